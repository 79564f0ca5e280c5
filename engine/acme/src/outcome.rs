//! What is recorded of an attempt that has failed, by whose fault that was. Pure; owns no fds.

use crate::error::AcmeError;
use crate::plan::{self, Policy, Validity};
use crate::record::Attempts;

/// Whom a failure is put down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// This node, its settings or its store, or a CA that has not been asked for an order yet.
    /// Nothing is recorded of it: other nodes do not wait, and neither does this one after a
    /// restart with other settings.
    Node,
    /// The CA, whichever the name.
    Authority,
    /// The CA takes no more of this name, and maybe of others.
    Limit,
    /// The name.
    Name,
}

/// Returns whom a failure is put down to. `asked` says whether the CA was asked for an order.
pub(crate) fn blame(error: &AcmeError, asked: bool) -> Blame {
    match error {
        AcmeError::RateLimited { .. } if asked => Blame::Limit,
        AcmeError::RateLimited { .. } => Blame::Authority,
        AcmeError::Away { .. } | AcmeError::Foreign { .. } if asked => Blame::Authority,
        AcmeError::Store(_)
        | AcmeError::Key(_)
        | AcmeError::OtherKey { .. }
        | AcmeError::Unfit { .. }
        | AcmeError::Crypto { .. }
        | AcmeError::Directory { .. }
        | AcmeError::Root { .. }
        | AcmeError::Unreadable { .. }
        | AcmeError::Open { .. }
        | AcmeError::Hmac { .. }
        | AcmeError::Client { .. }
        | AcmeError::Away { .. }
        | AcmeError::Foreign { .. }
        | AcmeError::Account { .. }
        | AcmeError::NoListener { .. }
        | AcmeError::WrongClock => Blame::Node,
        AcmeError::Name(_)
        | AcmeError::Refused { .. }
        | AcmeError::Challenge { .. }
        | AcmeError::NoChallenge { .. }
        | AcmeError::Slow { .. }
        | AcmeError::Chain { .. } => Blame::Name,
    }
}

/// The records of an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    /// The name's before it began.
    pub(crate) before: Attempts,
    /// The name's as it was last written.
    pub(crate) name: Attempts,
    /// The CA's as it was last written.
    pub(crate) authority: Attempts,
}

/// How an attempt has failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure<'a> {
    pub(crate) error: &'a AcmeError,
    pub(crate) blame: Blame,
    /// How long the CA asks to wait.
    pub(crate) wait_ms: Option<u64>,
}

/// Returns the name's record and the CA's after a failure.
pub(crate) fn after(
    records: Records,
    failure: Failure<'_>,
    policy: Policy,
    (spread, held): (f64, Option<Validity>),
    now_ms: u64,
) -> (Attempts, Attempts) {
    let Records { before, name, authority } = records;
    let text = failure.error.to_string();
    let of_all = |authority: Attempts, wait_ms: Option<u64>| {
        let policy = policy.of_authority();
        let most_ms = u64::try_from(policy.backoff.max.as_millis()).unwrap_or(u64::MAX);
        let begun = Attempts { failures: authority.failures.saturating_add(1), ..authority };
        let why = (text.clone(), wait_ms.map(|wait_ms| wait_ms.min(most_ms)));
        plan::failed(begun, policy, (spread, None), why, now_ms)
    };
    let of_name = |name: Attempts, wait_ms| {
        plan::failed(name, policy, (spread, held), (text.clone(), wait_ms), now_ms)
    };
    // It says nothing of the name, so it is as if that had not been tried.
    let untried = |name: Attempts, error| Attempts {
        failures: before.failures,
        not_before_ms: before.not_before_ms,
        challenge: before.challenge,
        challenge_failed: before.challenge_failed,
        error,
        ..name
    };
    match failure.blame {
        // Other nodes have no part in it.
        Blame::Node => (untried(name, before.error.clone()), authority),
        Blame::Authority => (untried(name, Some(text.clone())), of_all(authority, failure.wait_ms)),
        Blame::Limit => (of_name(name, failure.wait_ms), of_all(authority, None)),
        Blame::Name => {
            let challenge_failed = matches!(
                failure.error,
                AcmeError::Challenge { .. } | AcmeError::NoChallenge { .. }
            );
            (of_name(Attempts { challenge_failed, ..name }, failure.wait_ms), authority)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Challenge;

    const NOW: u64 = 1_800_000_000_000;
    const HOUR: u64 = 60 * 60 * 1000;

    fn limited() -> AcmeError {
        AcmeError::RateLimited { directory: "d".to_owned(), detail: "no more".to_owned() }
    }

    fn away() -> AcmeError {
        AcmeError::Away { directory: "d".to_owned(), reason: "refused".to_owned() }
    }

    /// After the second failure of a name in a row.
    fn after_failure(error: &AcmeError, asked: bool, wait_ms: Option<u64>) -> (Attempts, Attempts) {
        let before = Attempts { failures: 1, began_ms: NOW - 1, ..Attempts::default() };
        let name = plan::begin(before.clone(), Policy::STANDARD, 0.0, None, NOW);
        let name = Attempts { challenge: Some(Challenge::Http01), ..name };
        let records = Records { before, name, authority: Attempts::default() };
        let failure = Failure { error, blame: blame(error, asked), wait_ms };
        after(records, failure, Policy::STANDARD, (0.0, None), NOW)
    }

    #[test]
    fn a_failed_challenge_is_the_names_and_the_other_is_next() {
        let (name, authority) = after_failure(
            &AcmeError::Challenge {
                name: "a.example".to_owned(),
                challenge: "http-01",
                port: 80,
                detail: "404".to_owned(),
            },
            true,
            None,
        );
        assert_eq!((name.failures, name.challenge_failed), (2, true));
        assert_eq!(name.not_before_ms, NOW + 4 * 60 * 1000);
        assert!(name.error.is_some_and(|error| error.contains("404")));
        assert_eq!(authority, Attempts::default());
    }

    #[test]
    fn a_limit_holds_the_name_for_as_long_as_is_asked_and_the_others_for_a_moment() {
        let (name, authority) = after_failure(&limited(), true, Some(30 * HOUR));
        assert_eq!(name.not_before_ms, NOW + 30 * HOUR);
        assert_eq!(authority.not_before_ms, NOW + 2 * 60 * 1000);
        // Before an order was asked for, it is not about the name.
        let (name, authority) = after_failure(&limited(), false, Some(30 * HOUR));
        assert_eq!((name.failures, name.not_before_ms), (1, 0));
        assert_eq!(authority.not_before_ms, NOW + HOUR);
    }

    #[test]
    fn a_ca_that_is_away_costs_the_name_nothing() {
        let (name, authority) = after_failure(&away(), true, None);
        assert_eq!((name.failures, name.not_before_ms, authority.failures), (1, 0, 1));
        let (name, authority) = after_failure(&away(), false, None);
        assert_eq!((name.failures, name.error, authority), (1, None, Attempts::default()));
    }
}
