//! Memory that all relays of a thread use in turn: none of them keeps any while it waits. Owns no
//! fds.

use std::fmt;

/// What is read at a time, from either side: several TLS records become one write.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// What at most comes out of so many bytes of TLS, with what was there of a record before.
pub(super) const PLAINTEXT_BYTES: usize = READ_BYTES + 32 * 1024;

/// The memory.
pub(crate) struct Scratch {
    /// What was read from a client.
    pub(crate) sealed: Box<[u8]>,
    /// What came out of TLS, or is to go in.
    pub(crate) plaintext: Box<[u8]>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            sealed: vec![0; READ_BYTES].into_boxed_slice(),
            plaintext: vec![0; PLAINTEXT_BYTES].into_boxed_slice(),
        }
    }
}

/// Without what is in it.
impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}
