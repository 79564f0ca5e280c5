//! What becomes of a job after an attempt. Pure; owns no fds.
//!
//! An attempt that fails counts, one that the node or the function had no room for does not: the
//! job is put off. Both pauses double each time.

/// The longest pause, also one that a function asks for.
const PAUSE_MAX_MS: u64 = 60 * 60 * 1000;
/// The first pause of a job that is put off, and the longest.
const PUT_OFF_MIN_MS: u64 = 1000;
const PUT_OFF_MAX_MS: u64 = 5 * 60 * 1000;
/// By what part of it a pause may be shorter or longer.
const JITTER: f64 = 0.2;

/// What a function has its jobs tried by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// So many attempts are made.
    pub attempts_max: u32,
    /// An older job is tried no more.
    pub age_max_ms: u64,
    /// The pause after the first attempt.
    pub pause_ms: u64,
}

/// How an attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The function has done it.
    Ok,
    /// The function has not, or it has gone on the way.
    Failed {
        /// The least pause that it asks for.
        retry_after_ms: Option<u64>,
    },
    /// There was no room for it, or no way there.
    Refused {
        /// The least pause that the node asks for.
        retry_after_ms: Option<u64>,
    },
    /// There is nothing that could do it.
    Gone,
}

/// Where a job stands when an attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How many attempts have been made, this one included.
    pub attempts: u32,
    /// How many times it was put off since it was tried last.
    pub put_off: u32,
    /// From when its age counts.
    pub since_ms: u64,
}

/// What becomes of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is done.
    Done,
    /// It is tried again, not before this.
    Retry {
        /// In milliseconds since 1970.
        due_ms: u64,
    },
    /// The same, and this attempt does not count.
    PutOff {
        /// In milliseconds since 1970.
        due_ms: u64,
    },
    /// It is a dead letter.
    Dead(Reason),
}

/// Why a job is tried no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// So many attempts have failed.
    Attempts(u32),
    /// It is older than jobs of the function may become.
    Age,
    /// There is no function for it.
    Gone,
}

/// Returns whether a job may be tried at all.
#[must_use]
pub fn is_too_old(policy: Policy, since_ms: u64, now_ms: u64) -> bool {
    now_ms >= since_ms.saturating_add(policy.age_max_ms)
}

/// Decides. `random` is from 0 to 1.
#[must_use]
pub fn next(
    policy: Policy,
    standing: Standing,
    outcome: Outcome,
    now_ms: u64,
    random: f64,
) -> Next {
    let Standing { attempts, put_off, since_ms } = standing;
    let end_ms = since_ms.saturating_add(policy.age_max_ms);
    let due = |least: Option<u64>, pause: u64| {
        let least = least.unwrap_or(0).min(PAUSE_MAX_MS);
        now_ms.saturating_add(jittered(pause, random).max(least))
    };
    match outcome {
        Outcome::Ok => Next::Done,
        Outcome::Gone => Next::Dead(Reason::Gone),
        Outcome::Failed { .. } if attempts >= policy.attempts_max => {
            Next::Dead(Reason::Attempts(attempts))
        }
        Outcome::Failed { retry_after_ms } => {
            let longest = PAUSE_MAX_MS.max(policy.pause_ms);
            let due_ms =
                due(retry_after_ms, doubled(policy.pause_ms, attempts.saturating_sub(1), longest));
            if due_ms >= end_ms { Next::Dead(Reason::Age) } else { Next::Retry { due_ms } }
        }
        Outcome::Refused { .. } if now_ms >= end_ms => Next::Dead(Reason::Age),
        Outcome::Refused { retry_after_ms } => {
            let pause = doubled(PUT_OFF_MIN_MS, put_off, PUT_OFF_MAX_MS);
            // At the end of its age there is a last attempt, in vain or not.
            Next::PutOff { due_ms: due(retry_after_ms, pause).min(end_ms.saturating_sub(1)) }
        }
    }
}

/// Returns `pause`, doubled so many times, but `longest` at most.
fn doubled(pause: u64, times: u32, longest: u64) -> u64 {
    pause.saturating_mul(1_u64.checked_shl(times).unwrap_or(u64::MAX)).min(longest)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "pauses are hours at most, and a part of a millisecond does not matter"
)]
fn jittered(pause_ms: u64, random: f64) -> u64 {
    (pause_ms as f64 * (1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: Policy = Policy { attempts_max: 3, age_max_ms: 6 * 3_600_000, pause_ms: 60_000 };
    const FAILED: Outcome = Outcome::Failed { retry_after_ms: None };
    const REFUSED: Outcome = Outcome::Refused { retry_after_ms: None };

    fn standing(attempts: u32, put_off: u32) -> Standing {
        Standing { attempts, put_off, since_ms: 0 }
    }

    #[test]
    fn pauses_double_and_attempts_end() {
        let at = |attempts, random| next(POLICY, standing(attempts, 0), FAILED, 1000, random);
        assert_eq!(at(1, 0.5), Next::Retry { due_ms: 61_000 });
        assert_eq!(at(1, 0.0), Next::Retry { due_ms: 49_000 });
        assert_eq!(at(1, 1.0), Next::Retry { due_ms: 73_000 });
        assert_eq!(at(2, 0.5), Next::Retry { due_ms: 121_000 });
        assert_eq!(at(3, 0.5), Next::Dead(Reason::Attempts(3)));
        let many = Policy { attempts_max: 100, ..POLICY };
        let far = next(many, standing(90, 0), FAILED, 0, 0.5);
        assert_eq!(far, Next::Retry { due_ms: PAUSE_MAX_MS });
    }

    #[test]
    fn a_function_may_ask_for_a_longer_pause_and_not_for_ever() {
        let after = |ms| Outcome::Failed { retry_after_ms: Some(ms) };
        let at = |ms| next(POLICY, standing(1, 0), after(ms), 0, 0.5);
        assert_eq!(at(1000), Next::Retry { due_ms: 60_000 });
        assert_eq!(at(90_000), Next::Retry { due_ms: 90_000 });
        assert_eq!(at(u64::MAX), Next::Retry { due_ms: PAUSE_MAX_MS });
    }

    #[test]
    fn what_is_put_off_counts_no_attempt_until_its_age_is_over() {
        let at = |put_off, now| next(POLICY, standing(9, put_off), REFUSED, now, 0.5);
        assert_eq!(at(0, 0), Next::PutOff { due_ms: 1000 });
        assert_eq!(at(3, 0), Next::PutOff { due_ms: 8000 });
        assert_eq!(at(u32::MAX, 0), Next::PutOff { due_ms: PUT_OFF_MAX_MS });
        let end = POLICY.age_max_ms;
        assert_eq!(at(40, end - 10), Next::PutOff { due_ms: end - 1 });
        assert_eq!(at(40, end), Next::Dead(Reason::Age));
        assert!(is_too_old(POLICY, 0, end) && !is_too_old(POLICY, 0, end - 1));
    }

    #[test]
    fn a_retry_that_would_come_too_late_is_none() {
        let now = POLICY.age_max_ms - 30_000;
        assert_eq!(next(POLICY, standing(1, 0), FAILED, now, 0.5), Next::Dead(Reason::Age));
        assert_eq!(next(POLICY, standing(1, 0), Outcome::Ok, now, 0.5), Next::Done);
        assert_eq!(next(POLICY, standing(1, 0), Outcome::Gone, 0, 0.5), Next::Dead(Reason::Gone));
    }

    proptest! {
        /// Whatever comes of its attempts, a job ends, and no pause is longer than it may be.
        #[test]
        fn every_job_ends(seed: Vec<u8>, attempts_max in 1u32..=100, pause_ms in 1000u64..=3_600_000) {
            let policy = Policy { attempts_max, pause_ms, ..POLICY };
            let (mut now, mut attempts, mut put_off) = (0, 0, 0);
            let mut ended = false;
            for step in seed.iter().chain(std::iter::repeat_n(&0, 30_000)) {
                let refused = step % 2 == 1;
                let outcome = if refused { REFUSED } else { FAILED };
                attempts += u32::from(!refused);
                let standing = Standing { attempts, put_off, since_ms: 0 };
                match next(policy, standing, outcome, now, f64::from(*step) / 255.0) {
                    Next::Retry { due_ms } => {
                        prop_assert!(!refused && due_ms > now && due_ms - now <= 4_320_000);
                        put_off = 0;
                        now = due_ms;
                    }
                    Next::PutOff { due_ms } => {
                        prop_assert!(refused && due_ms - now <= 360_000);
                        put_off += 1;
                        // Whoever tries is a little late.
                        now = due_ms.max(now) + 1;
                    }
                    Next::Dead(_) => {
                        ended = true;
                        break;
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert!(ended);
        }
    }
}
