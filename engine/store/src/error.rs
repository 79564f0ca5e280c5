//! Why a store cannot be read or written, whichever backend it has. Owns no fds.

use std::io;
use std::path::{Path, PathBuf};

use host::fault::{self, Fault};

/// Why a store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store cannot {what} {path:?}: {source}{hint}")]
    Io { what: &'static str, path: PathBuf, source: io::Error, hint: &'static str },
    #[error(
        "the store {name} has the format {found:?}, this build reads {readable}; use the sockhop that wrote it, or a newer one"
    )]
    Format { name: String, found: String, readable: String },
    #[error(
        "the object {key:?} in the store is not understood: {reason}; deploy the function again"
    )]
    Unfit { key: String, reason: String },
    #[error(
        "the key {key:?} leads out of the store's folder, so nothing was read or written; it is made of a name that was not checked, please report it"
    )]
    Outside { key: String },
    #[error(
        "function {name:?} with all its versions has more than {bytes_max} bytes, which is too much to keep; --for-good removes it all the same"
    )]
    TooLargeToKeep { name: String, bytes_max: usize },
    #[error("the store has no object {key:?}; deploy the function again")]
    Missing { key: String },
    #[error(
        "the object {key:?} in the store is damaged: {reason}; something else than sockhop has changed it, or it was cut short"
    )]
    Damaged { key: String, reason: String },
    #[error(
        "the store {name} is away: {endpoint}: {reason}; if this lasts, see that the server runs, that --s3-endpoint is its address, and that the network lets this machine reach it"
    )]
    Away { name: String, endpoint: String, reason: String },
    #[error(
        "the store {name} is away: {reason}; bring it back, or, if a new store is meant to be there, stop the node and remove {path:?} and what is in cache beside it"
    )]
    Gone { name: String, reason: &'static str, path: PathBuf },
    #[error(
        "{name} is no store of sockhop, and is not empty: {found:?} stands there; name an empty folder or a prefix of its own, such as {name}/sockhop"
    )]
    Occupied { name: String, found: String },
    #[error("the store {name} at {endpoint} refuses: {reason}; {hint}")]
    Refused { name: String, endpoint: String, reason: String, hint: String },
    #[error(
        "what answers for the store {name} at {endpoint} is no S3: {reason}; check --s3-endpoint"
    )]
    Foreign { name: String, endpoint: String, reason: String },
    #[error("the store {name} cannot be opened: {source}")]
    Credentials { name: String, source: CredentialsError },
    #[error("the store's thread has ended: {reason}")]
    Ended { reason: String },
}

impl StoreError {
    /// Returns what makes an I/O error at `path` a [`StoreError::Io`], with a hint at what helps.
    pub fn io(what: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| {
            let hint = match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "; free some space and try again"
                }
                io::ErrorKind::PermissionDenied => "; it must belong to the user who runs the node",
                io::ErrorKind::ReadOnlyFilesystem => "; the file system is read-only",
                _ => "",
            };
            Self::Io { what, path: path.to_owned(), source, hint }
        }
    }

    pub(super) fn too_large(key: &str, bytes_max: usize) -> Self {
        Self::Damaged { key: key.to_owned(), reason: format!("it has more than {bytes_max} bytes") }
    }

    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Io { source, .. } if fault::is_full(source) => Fault::STORE_FULL,
            Self::Away { .. } | Self::Gone { .. } => Fault::STORE_AWAY,
            Self::TooLargeToKeep { .. } => Fault::CONFLICT,
            Self::Outside { .. } | Self::Ended { .. } => Fault::NODE_BROKEN,
            Self::Io { .. }
            | Self::Format { .. }
            | Self::Unfit { .. }
            | Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::Occupied { .. }
            | Self::Refused { .. }
            | Self::Foreign { .. }
            | Self::Credentials { .. } => Fault::STORE_BROKEN,
        }
    }

    /// Returns whether the store cannot be reached, which may pass by itself. It has not refused.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Gone { .. })
    }

    /// Returns whether the operation certainly has not happened. A file system says so; after a
    /// network error nobody knows.
    pub fn is_certain(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Gone { .. })
    }
}

/// Why there are no credentials for a bucket.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file that has them with --s3-credentials"
    )]
    None,
    #[error(
        "{there} is set and {missing} is not; set both, or name a file that has them with --s3-credentials"
    )]
    Half { there: &'static str, missing: &'static str },
    #[error("--s3-credentials: the file {path:?} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "--s3-credentials: others than its owner may read {path:?} (its mode is {mode:04o}); run: chmod 600 {path:?}"
    )]
    Open { path: PathBuf, mode: u32 },
    #[error(
        "--s3-credentials: {path:?} has no {missing} in its section [default]; it must look like this:\n[default]\naws_access_key_id = ...\naws_secret_access_key = ..."
    )]
    Incomplete { path: PathBuf, missing: &'static str },
}
