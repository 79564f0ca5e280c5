//! The connection to NATS, and the key-value bucket in it that nodes share.
//!
//! [`Link`] is a connection on a thread and a runtime of its own, so that nothing of it blocks
//! anybody. While it is away, whatever is asked for fails at once; it comes back by itself.
//! [`Bucket`] is a key-value bucket of JetStream: what was answered to have been written is read by
//! whoever reads next, on every node. [`credentials`] is the file with which a node shows who it
//! is, [`version`] which servers will do. Owns the connection's sockets.

mod bucket;
mod credentials;
mod error;
mod layout;
mod link;
mod list;
mod version;

use std::path::Path;

pub use self::bucket::{BATCH_MESSAGES_MAX, Bucket, Change, Entry};
pub use self::credentials::CredentialsError;
pub use self::error::{Failure, StartError};
pub use self::link::{Link, Options};

/// Checks that a file has credentials, if one is named.
///
/// # Errors
/// [`CredentialsError`] says what is wrong with it.
pub fn check_credentials(file: Option<&Path>) -> Result<(), CredentialsError> {
    file.map_or(Ok(()), |path| credentials::Credentials::read(path).map(drop))
}
