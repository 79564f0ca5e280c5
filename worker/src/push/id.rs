//! Ids of WebSocket connections: which worker has it, and 16 random bytes. Pure; owns no fds.

use std::fmt;

use abi::limits::WORKERS_MAX;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::NoRandom;

const RANDOM_BYTES: usize = 16;
/// An id's bytes: its row and the random ones.
pub(super) const ID_BYTES: usize = 2 + RANDOM_BYTES;

/// The id of a WebSocket connection. Who knows it can push to the connection, if the function is
/// the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId([u8; ID_BYTES]);

impl ConnectionId {
    /// Makes the id of a connection of the worker that has `row`.
    ///
    /// # Errors
    /// If the kernel has no random bytes.
    pub(super) fn new(row: u16) -> Result<Self, NoRandom> {
        let mut id = [0; ID_BYTES];
        id[..2].copy_from_slice(&row.to_be_bytes());
        SystemRandom::new().fill(&mut id[2..]).map_err(|_| NoRandom)?;
        Ok(Self(id))
    }

    /// Reads an id as [`fmt::Display`] writes it.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let is_lower = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        let mut id = [0; ID_BYTES];
        // One connection has one id.
        let is_hex = text.bytes().all(is_lower);
        let read = (is_hex && hex::decode_to_slice(text, &mut id).is_ok()).then_some(Self(id));
        // No worker has another row, and the engine would take the question for a broken protocol.
        read.filter(|id| usize::from(id.row()) < WORKERS_MAX)
    }

    pub(super) fn bytes(self) -> [u8; ID_BYTES] {
        self.0
    }

    pub(super) fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the row of the worker that has the connection.
    pub(crate) fn row(self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 2 * ID_BYTES];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_row_that_no_worker_can_have_is_none() {
        let beyond = u16::try_from(WORKERS_MAX).unwrap();
        for row in [beyond, u16::MAX] {
            let id = ConnectionId::new(row).unwrap();
            assert_eq!(ConnectionId::read(&id.to_string()), None, "{row}");
        }
    }

    proptest! {
        #[test]
        fn an_id_is_read_as_it_is_written(row in 0u16..256) {
            let id = ConnectionId::new(row).unwrap();
            prop_assert_eq!(ConnectionId::read(&id.to_string()), Some(id));
            prop_assert_eq!(id.row(), row);
            prop_assert_eq!(ConnectionId::read(&id.to_string()[1..]), None);
            prop_assert_ne!(ConnectionId::new(row).unwrap(), id);
        }

        #[test]
        fn any_text_is_survived(text in ".{0,40}") {
            if let Some(id) = ConnectionId::read(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
