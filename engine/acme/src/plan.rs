//! What to do next, decided from what is wanted, held and recorded. Pure; owns no fds.
//!
//! A certificate is renewed by the share of its lifetime that is left, so that those of six days
//! and of ninety are treated alike. The record of [`begin`] is written to the store *before* the CA
//! is asked for anything, and that of [`charge`] before the CA is asked to issue: what a crash
//! leaves behind counts as failed, and as issued.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use host::backoff::Backoff;
use sha2::{Digest as _, Sha256};

use crate::record::Attempts;

const MINUTE_MS: u64 = 60 * 1000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
const WEEK_MS: u64 = 7 * DAY_MS;

/// A certificate is renewed when one part in so many of its lifetime is left, or a little earlier.
const RENEWED_AT_PART_LEFT: u64 = 3;
/// Nodes and names spread their renewals over one part in so many of the lifetime before that.
const SPREAD_PART: u64 = 12;
/// While a certificate ends, attempts are no further apart than one part in so many of its
/// lifetime.
const PAUSE_PART_MAX: u64 = 24;
/// The longest that a CA can make a name wait, and that a record is believed to.
pub(crate) const WAIT_MAX_MS: u64 = WEEK_MS + DAY_MS;
/// How far a record may be ahead of this node's clock. One that is further was written by a clock
/// that was wrong.
const AHEAD_MAX_MS: u64 = DAY_MS;
/// How long after its end a certificate stays in the store.
const KEPT_AFTER_END_MS: u64 = DAY_MS;
/// No clock that is right shows an earlier time (1 January 2026).
const CLOCK_MIN_MS: u64 = 1_767_225_600_000;
/// How much longer each pause is, at most, so that names and nodes do not go in step.
const PAUSE_SPREAD: f64 = 0.25;

/// How long to pause.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// After failures. Let's Encrypt takes five failed validations a name and hour, and with two
    /// minutes first there are no more.
    pub(crate) backoff: Backoff,
    /// Between two looks at what is to be done, however much happens.
    pub(crate) pause_min: Duration,
    /// Between the writing of a lease and the look at who has it.
    pub(crate) settle: Duration,
}

impl Policy {
    pub(crate) const STANDARD: Self = Self {
        backoff: Backoff { first: Duration::from_secs(120), max: Duration::from_secs(86_400) },
        pause_min: Duration::from_secs(1),
        settle: Duration::from_secs(2),
    };

    /// After failures of the CA, whichever the name: it may be back at any time.
    pub(crate) fn of_authority(self) -> Self {
        let max = self.backoff.max.min(Duration::from_secs(3600));
        Self { backoff: Backoff { max, ..self.backoff }, ..self }
    }

    /// After failures of this node or its store, or of a CA that does not answer at all.
    pub(crate) fn of_node(self) -> Backoff {
        Backoff { first: self.pause_min, max: Duration::from_secs(300) }
    }
}

/// How often something may happen: `burst` times at once, and once more an interval. The record has
/// the time up to which the allowance is used up.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    interval_ms: u64,
    burst: u64,
}

impl Allowance {
    /// Of certificates for one name: at most four in any week, where Let's Encrypt takes five.
    /// Those of short lifetimes come as often as these need it.
    fn of_name(lifetime_ms: Option<u64>) -> Self {
        let most = WEEK_MS / 2;
        let interval_ms = lifetime_ms.map_or(most, |lifetime| (lifetime / 3).clamp(1, most));
        Self { interval_ms, burst: 2 }
    }

    /// Of all orders of an account: at most 300 in any three hours, as Let's Encrypt takes them.
    const OF_ACCOUNT: Self = Self { interval_ms: 3 * HOUR_MS / 100, burst: 200 };

    fn due_ms(self, used_up_to_ms: u64) -> u64 {
        used_up_to_ms.saturating_sub(self.interval_ms * (self.burst - 1))
    }

    fn charge(self, used_up_to_ms: u64, now_ms: u64) -> u64 {
        used_up_to_ms.max(now_ms).saturating_add(self.interval_ms)
    }

    fn ahead_max_ms(self) -> u64 {
        self.interval_ms * self.burst
    }
}

/// From when to when a certificate is valid, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub issued_ms: u64,
    pub ends_ms: u64,
}

impl Validity {
    /// Returns how long it is valid in all.
    pub fn lifetime_ms(self) -> u64 {
        self.ends_ms.saturating_sub(self.issued_ms)
    }

    /// Returns whether it can be removed from the store.
    pub(crate) fn is_long_over(self, now_ms: u64) -> bool {
        now_ms > self.ends_ms.saturating_add(KEPT_AFTER_END_MS)
    }
}

/// All that a decision is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World<'a> {
    /// The names that are to have certificates; none that cannot.
    pub(crate) wanted: &'a BTreeSet<String>,
    /// The certificate of each name, of the CA that is asked.
    pub(crate) held: &'a BTreeMap<String, Validity>,
    /// What was tried for each name.
    pub(crate) attempts: &'a BTreeMap<String, Attempts>,
    /// What was tried with the CA, whichever the name.
    pub(crate) authority: &'a Attempts,
    /// What sets this node's times apart from those of others.
    pub(crate) seed: u64,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Order(String),
    WaitUntil(u64),
    Nothing,
    /// This node's clock is wrong, and nothing can be decided by it.
    WrongClock,
}

/// Returns what to do next.
pub(crate) fn next(world: World<'_>, now_ms: u64) -> Next {
    if now_ms < CLOCK_MIN_MS {
        return Next::WrongClock;
    }
    let due = |name: &'_ String| (due_ms(world, name, now_ms), name.clone());
    let due: Vec<(u64, String)> = world.wanted.iter().map(due).collect();
    let urgency = |name: &String| {
        let failures = world.attempts.get(name).map_or(0, |attempts| attempts.failures);
        (failures, world.held.get(name).map_or(0, |validity| validity.ends_ms))
    };
    let now = due.iter().filter(|(due_ms, _)| *due_ms <= now_ms).map(|(_, name)| name);
    match (now.min_by_key(|name| urgency(name)), due.iter().map(|(due_ms, _)| *due_ms).min()) {
        (Some(name), _) => Next::Order(name.clone()),
        (None, Some(due_ms)) => Next::WaitUntil(due_ms),
        (None, None) => Next::Nothing,
    }
}

/// Returns when a certificate for `name` is ordered next; 0 for at once.
pub(crate) fn due_ms(world: World<'_>, name: &str, now_ms: u64) -> u64 {
    let held = world.held.get(name);
    let renewal_ms = held.map_or(0, |validity| renewal_ms(*validity, world.seed, name));
    let of_name = Allowance::of_name(held.map(|validity| validity.lifetime_ms()));
    let attempts = world.attempts.get(name).map_or(0, |of| free_ms(of, of_name, now_ms));
    let authority = free_ms(world.authority, Allowance::OF_ACCOUNT, now_ms);
    renewal_ms.max(attempts).max(authority)
}

/// Returns when a certificate is to be renewed: before the last third of its lifetime, each node
/// and name at another time. So one node orders, and the others see what it got.
pub(crate) fn renewal_ms(validity: Validity, seed: u64, name: &str) -> u64 {
    let lifetime_ms = validity.lifetime_ms();
    let spread_ms = part(lifetime_ms / SPREAD_PART, spread(seed, name));
    validity.ends_ms.saturating_sub(lifetime_ms / RENEWED_AT_PART_LEFT + spread_ms)
}

/// Returns from when on a record lets another attempt begin.
fn free_ms(attempts: &Attempts, allowance: Allowance, now_ms: u64) -> u64 {
    if attempts.began_ms > now_ms.saturating_add(AHEAD_MAX_MS) {
        return 0;
    }
    // Further than this nothing is ever written.
    let believed = |time_ms: u64, ahead_ms: u64| time_ms.min(attempts.began_ms + ahead_ms);
    let not_before_ms = believed(attempts.not_before_ms, WAIT_MAX_MS + HOUR_MS);
    let used_ms = believed(attempts.allowance_ms, allowance.ahead_max_ms());
    not_before_ms.max(allowance.due_ms(used_ms))
}

/// Returns the record to be written before an attempt begins.
pub(crate) fn begin(
    before: Attempts,
    policy: Policy,
    spread: f64,
    held: Option<Validity>,
    now_ms: u64,
) -> Attempts {
    let failures = before.failures.saturating_add(1);
    let before = believable(before, now_ms);
    Attempts {
        failures,
        began_ms: now_ms,
        not_before_ms: now_ms.saturating_add(pause_ms(policy, failures, spread, held)),
        ..before
    }
}

/// Returns the CA's record to be written before an attempt begins.
pub(crate) fn charge_account(before: Attempts, now_ms: u64) -> Attempts {
    let before = believable(before, now_ms);
    let allowance_ms = Allowance::OF_ACCOUNT.charge(before.allowance_ms, now_ms);
    Attempts { began_ms: now_ms, allowance_ms, ..before }
}

/// Returns the record to be written before the CA is asked to issue.
pub(crate) fn charge(before: Attempts, held: Option<Validity>, now_ms: u64) -> Attempts {
    let allowance = Allowance::of_name(held.map(Validity::lifetime_ms));
    let allowance_ms = allowance.charge(before.allowance_ms, now_ms);
    Attempts { allowance_ms, order: None, ..before }
}

/// A record without times that this node's clock cannot have shown.
fn believable(attempts: Attempts, now_ms: u64) -> Attempts {
    match attempts.began_ms > now_ms.saturating_add(AHEAD_MAX_MS) {
        true => Attempts { began_ms: now_ms, not_before_ms: 0, allowance_ms: 0, ..attempts },
        false => attempts,
    }
}

/// Returns the record of an attempt, as [`begin`] left it, that has failed. `wait_ms` is what the
/// CA asks for.
pub(crate) fn failed(
    begun: Attempts,
    policy: Policy,
    (spread, held): (f64, Option<Validity>),
    (error, wait_ms): (String, Option<u64>),
    now_ms: u64,
) -> Attempts {
    let pause_ms = pause_ms(policy, begun.failures, spread, held);
    let wait_ms = pause_ms.max(wait_ms.unwrap_or(0).min(WAIT_MAX_MS));
    Attempts {
        began_ms: now_ms,
        not_before_ms: now_ms.saturating_add(wait_ms),
        error: Some(error),
        ..begun
    }
}

/// Returns the record of an attempt that has got a certificate: what was issued stays charged, by
/// what is known now of how often such certificates are needed.
pub(crate) fn succeeded(begun: Attempts, got: Validity, now_ms: u64) -> Attempts {
    let allowance = Allowance::of_name(Some(got.lifetime_ms()));
    let allowance_ms = begun.allowance_ms.min(now_ms.saturating_add(allowance.ahead_max_ms()));
    let challenge = begun.challenge;
    Attempts { began_ms: now_ms, allowance_ms, challenge, ..Attempts::default() }
}

/// Returns how long to pause after so many failures in a row. It never shrinks as they grow.
fn pause_ms(policy: Policy, failures: u32, spread: f64, held: Option<Validity>) -> u64 {
    let of = |pause: Duration| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let pause_ms = of(policy.backoff.after(failures));
    let pause_ms = pause_ms.saturating_add(part(pause_ms, spread * PAUSE_SPREAD));
    match held {
        Some(validity) => pause_ms.min((validity.lifetime_ms() / PAUSE_PART_MAX).max(1)),
        None => pause_ms,
    }
}

/// Returns a number from 0 to 1 that this node always has for this name.
pub(crate) fn spread(seed: u64, name: &str) -> f64 {
    let digest = Sha256::new_with_prefix(seed.to_be_bytes()).chain_update(name).finalize();
    f64::from(u16::from_be_bytes([digest[0], digest[1]])) / 65536.0
}

/// Returns a share of a time.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a pause is not exact to the millisecond, and neither factor is negative"
)]
fn part(time_ms: u64, share: f64) -> u64 {
    (time_ms as f64 * share) as u64
}
