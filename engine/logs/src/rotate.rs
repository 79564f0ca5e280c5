//! When a worker gets another segment, so that the one that it has can be shipped. Pure; owns no
//! fds.

use std::time::{Duration, Instant};

use abi::limits::{SEGMENT_SEAL_AGE, SEGMENT_SEAL_BYTES};
use abi::spool::HEADER;
use host::backoff::Backoff;

/// What was seen of the segment that a worker writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// When a record was first seen in it.
    begun: Option<Instant>,
    bytes_max: u64,
}

impl Rotation {
    /// Begins with an empty segment. A spool of `spool_bytes` is to hold several.
    pub fn new(spool_bytes: u64) -> Self {
        Self { begun: None, bytes_max: SEGMENT_SEAL_BYTES.min(spool_bytes / 8) }
    }

    /// Returns whether another segment is due when this one has `bytes`. `ships` is whether the
    /// store takes segments. While it does not, there is no use in making more of them.
    pub fn is_due(&mut self, bytes: u64, now: Instant, ships: bool) -> bool {
        if bytes <= HEADER.len() as u64 {
            return false;
        }
        let age = now.saturating_duration_since(*self.begun.get_or_insert(now));
        bytes >= self.bytes_max || (ships && age >= SEGMENT_SEAL_AGE)
    }
}

/// The pauses between attempts to ship a segment.
pub const SHIP_BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(1), max: Duration::from_secs(32) };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_sealed_by_size_or_by_age_and_never_empty() {
        let (start, header) = (Instant::now(), HEADER.len() as u64);
        let mut rotation = Rotation::new(u64::MAX);
        assert!(!rotation.is_due(header, start, true));
        let later = start + 2 * SEGMENT_SEAL_AGE;
        assert!(!rotation.is_due(header, later, true), "it is as old as what is in it");
        assert!(!rotation.is_due(header + 1, later, true));
        assert!(rotation.is_due(header + 1, later + SEGMENT_SEAL_AGE, true));
        assert!(!rotation.is_due(header + 1, later + SEGMENT_SEAL_AGE, false));
        assert!(rotation.is_due(SEGMENT_SEAL_BYTES, later, false));
        assert!(Rotation::new(800).is_due(100, start, false), "a small spool has small segments");
    }
}
