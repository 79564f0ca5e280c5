//! What every handler of the API has, and how it is set up. Owns no fds.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Semaphore;

use crate::place::Place;
use crate::sigv4::Credential;

/// The largest archive of code that a request may have in it.
pub const ZIP_BYTES_MAX: usize = 250 * 1024 * 1024;
/// How the API is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What requests must be signed with.
    pub credential: Arc<Credential>,
    /// Where the node says it is.
    pub place: Place,
    /// The largest archive of code that is taken; [`ZIP_BYTES_MAX`] unless the node has less room.
    pub zip_bytes_max: usize,
    /// The clock that signatures are checked by.
    pub clock: fn() -> SystemTime,
}

impl Settings {
    /// Returns the settings of a node whose clients sign with `credential`.
    #[must_use]
    pub fn new(credential: Credential) -> Self {
        Self {
            credential: Arc::new(credential),
            place: Place::default(),
            zip_bytes_max: ZIP_BYTES_MAX,
            clock: SystemTime::now,
        }
    }
}

/// What every handler has.
pub(crate) struct Api<L> {
    pub(crate) lambda: L,
    pub(crate) settings: Settings,
    /// A permit for each request with code.
    pub(crate) uploads: Arc<Semaphore>,
    /// A permit for each KiB of the other bodies.
    pub(crate) bodies: Arc<Semaphore>,
}

impl<L> fmt::Debug for Api<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("settings", &self.settings).finish_non_exhaustive()
    }
}
