//! Why the database cannot be used. Owns no fds.

use std::io;

use crate::entry::Damaged;

/// Why the database cannot be used now.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no room.
    #[error("the disk is full")]
    Full,
    /// The file system's own error.
    #[error("the database cannot be read or written: {0}")]
    Io(io::Error),
    /// It is not as it was written.
    #[error(
        "the database is damaged: {0}; move the file away to begin with an empty one, or put a copy in its place"
    )]
    Damaged(String),
    /// Of a later build.
    #[error(
        "the database is of format {found}, which a later build has written; this one knows {known}"
    )]
    Newer {
        /// That of the file.
        found: u64,
        /// That of this build.
        known: u64,
    },
    /// Another process has it open.
    #[error("the engine that this one takes over from has not let go of the database yet")]
    Held,
}

impl From<Damaged> for Fault {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged.to_string())
    }
}

impl Fault {
    /// Returns the fault that an error of the database is.
    pub fn of(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::Held,
            redb::Error::Io(error) if host::fault::is_full(&error) => Self::Full,
            // What begins otherwise than a database does.
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                Self::Damaged(error.to_string())
            }
            redb::Error::Io(error) => Self::Io(error),
            redb::Error::PreviousIo => Self::Io(io::Error::other("an earlier error")),
            error => Self::Damaged(error.to_string()),
        }
    }

    /// Returns the fault that a panic of the database is: it does so of files that others have
    /// changed.
    pub(crate) fn of_panic(panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Self::Damaged(text.unwrap_or("?").to_owned())
    }
}
