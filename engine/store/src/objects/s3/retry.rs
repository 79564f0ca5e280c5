//! When a request to a bucket is tried again, and after which pause. Exponential backoff with full
//! jitter, so that many nodes that lost the same server do not return at once. Pure: callers pass
//! the random numbers. Owns no fds.

use std::time::Duration;

use abi::limits::{S3_ATTEMPTS_MAX, S3_BACKOFF_FIRST, S3_BACKOFF_MAX, S3_RETRY_TIMEOUT};
use host::backoff::Backoff;

const BACKOFF: Backoff = Backoff { first: S3_BACKOFF_FIRST, max: S3_BACKOFF_MAX };

/// How an attempt has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The next attempt may succeed: no connection, no answer in time, an incomplete answer, a
    /// server that is busy or broken.
    Transient,
    /// The same request would get the same answer.
    Permanent,
}

/// Returns the pause after the `attempt`th attempt (the first is 1), which ended `elapsed` after
/// the first one began. Returns `None` if there is to be no other attempt. `random` is from 0 to 1.
pub(super) fn pause(
    kind: FailureKind,
    attempt: u32,
    elapsed: Duration,
    random: f64,
) -> Option<Duration> {
    if kind == FailureKind::Permanent || attempt >= S3_ATTEMPTS_MAX {
        return None;
    }
    let pause = BACKOFF.after(attempt).mul_f64(random.clamp(0.0, 1.0));
    (elapsed + pause < S3_RETRY_TIMEOUT).then_some(pause)
}

/// Returns whether a server may answer otherwise the next time, by its `status` and by the `code`
/// of S3. The code counts, too, as a request that timed out on its way in is a 400.
pub(super) fn failure_kind(status: u16, code: &str) -> FailureKind {
    let is_transient = matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
        || matches!(
            code,
            "SlowDown"
                | "InternalError"
                | "RequestTimeout"
                | "ServiceUnavailable"
                | "OperationAborted"
        );
    if is_transient { FailureKind::Transient } else { FailureKind::Permanent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_passes_is_tried_again_and_what_lasts_is_not() {
        for (status, code) in
            [(500, ""), (503, "SlowDown"), (429, ""), (408, ""), (504, ""), (400, "RequestTimeout")]
        {
            assert_eq!(failure_kind(status, code), FailureKind::Transient, "{status} {code}");
        }
        for (status, code) in [
            (403, "SignatureDoesNotMatch"),
            (404, "NoSuchKey"),
            (400, ""),
            (501, "NotImplemented"),
            (301, ""),
        ] {
            assert_eq!(failure_kind(status, code), FailureKind::Permanent, "{status} {code}");
        }
        assert_eq!(pause(FailureKind::Permanent, 1, Duration::ZERO, 0.5), None);
    }

    /// The pauses of one request that never succeeds, by a seed.
    fn pauses(seed: u64) -> Vec<Duration> {
        let (mut random, mut elapsed) = (fastrand::Rng::with_seed(seed), Duration::ZERO);
        let next = |attempt| {
            let next = pause(FailureKind::Transient, attempt, elapsed, random.f64())?;
            elapsed += next;
            Some(next)
        };
        (1..).map_while(next).collect()
    }

    #[test]
    fn a_seed_gives_the_same_pauses_and_seeds_differ() {
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
    }

    proptest! {
        #[test]
        fn attempts_and_pauses_are_bounded(seed: u64, attempt: u32, elapsed_ms: u64, random: f64) {
            let all = pauses(seed);
            prop_assert_eq!(all.len() + 1, S3_ATTEMPTS_MAX as usize);
            for (at, pause) in all.iter().enumerate() {
                prop_assert!(*pause <= S3_BACKOFF_MAX && *pause <= S3_BACKOFF_FIRST * (1 << at));
            }
            let elapsed = Duration::from_millis(elapsed_ms);
            if let Some(pause) = pause(FailureKind::Transient, attempt, elapsed, random) {
                prop_assert!(pause <= S3_BACKOFF_MAX && elapsed < S3_RETRY_TIMEOUT);
            }
        }
    }
}
