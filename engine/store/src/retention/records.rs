//! The policies that nodes have left in the store, as one node has read them, and which of them
//! count. Pure; owns no fds.
//!
//! A node writes its policy anew every so often. One that is old by the store's clock, and that
//! this process has watched long enough to know that nobody writes it any more, counts no longer.
//! Either alone would not do: a clock can jump, and a process that has just started has seen
//! nothing.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::policy::{Policy, is_key};
use crate::objects::Listed;

/// For how long a policy counts that is not written anew, by the store's clock.
pub(super) const COUNTS_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// For how long it was seen unchanged by then: longer than a node that runs leaves it so.
pub(super) const WATCHED_FOR: Duration = Duration::from_secs(60 * 60);
/// Longer than from one look to the next, unless the store was away, for other nodes perhaps too.
const LOOKS_APART_MAX: Duration = Duration::from_secs(30 * 60);

/// A policy of another node.
#[derive(Debug)]
struct Record {
    tag: String,
    /// Since when it was seen with this tag, look after look, on the monotonic clock.
    since: Duration,
    modified: SystemTime,
    /// None until it has been read.
    policy: Option<Policy>,
}

/// Those of all other nodes.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// By their keys.
    records: BTreeMap<String, Record>,
    /// The last look, on the monotonic clock.
    looked: Option<Duration>,
}

impl Records {
    /// Takes over a listing, and tells which are to be read.
    pub(super) fn list(&mut self, listed: &[Listed], own: &str, now: Duration) -> Vec<String> {
        let before = self.looked.replace(now);
        let watched = before.is_some_and(|looked| now.saturating_sub(looked) <= LOOKS_APART_MAX);
        let others = listed.iter().filter(|listed| listed.key != own && is_key(&listed.key));
        let record = |listed: &Listed| {
            let before = self.records.remove(&listed.key).filter(|before| before.tag == listed.tag);
            let (tag, modified) = (listed.tag.clone(), listed.modified);
            let new = Record { tag, since: now, modified, policy: None };
            let mut record = before.unwrap_or(new);
            if !watched {
                record.since = now;
            }
            (listed.key.clone(), record)
        };
        self.records = others.map(record).collect();
        let unread = self.records.iter().filter(|(_, record)| record.policy.is_none());
        unread.map(|(key, _)| key.clone()).collect()
    }

    /// Takes over what was read of one.
    pub(super) fn read(&mut self, key: &str, policy: Policy) {
        if let Some(record) = self.records.get_mut(key) {
            record.policy = Some(policy);
        }
    }

    /// Forgets those that count no longer, and tells which they are. `store` is the time by the
    /// store's clock.
    pub(super) fn expire(&mut self, now: Duration, store: SystemTime) -> Vec<String> {
        let counts = |record: &Record| {
            let age = store.duration_since(record.modified).unwrap_or_default();
            age <= COUNTS_FOR || now.saturating_sub(record.since) < WATCHED_FOR
        };
        let expired = self.records.extract_if(.., |_, record| !counts(record));
        expired.map(|(key, _)| key).collect()
    }

    /// What all of them keep, and `own`. One that is not read yet may keep everything.
    pub(super) fn most_generous(&self, own: Policy) -> Policy {
        let policy = |record: &Record| record.policy.unwrap_or(Policy::EVERYTHING);
        self.records.values().map(policy).fold(own, Policy::or)
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy::key;
    use super::*;

    const OWN: Policy = Policy {
        logs_kept_for_ms: 1,
        logs_kept_bytes: 4,
        versions_kept: 1,
        versions_kept_for_ms: 1,
    };

    fn listed(id: u128, tag: &str, modified: SystemTime) -> Listed {
        let key = key("n", &uuid::Uuid::from_u128(id).to_string());
        Listed { key, bytes: 1, tag: tag.to_owned(), modified }
    }

    #[test]
    fn what_is_unread_keeps_everything_and_what_has_changed_is_read_again() {
        let (mut records, epoch) = (Records::default(), SystemTime::UNIX_EPOCH);
        let [own, other] = [1, 2].map(|id| listed(id, "1", epoch));
        let note = Listed { key: "retention/readme".into(), ..listed(3, "1", epoch) };
        let all = [own.clone(), other.clone(), note];
        assert_eq!(records.list(&all, &own.key, Duration::ZERO), [other.key.as_str()]);
        assert_eq!(records.most_generous(OWN), Policy::EVERYTHING);
        let policy = Policy { logs_kept_for_ms: 9, logs_kept_bytes: 2, ..OWN };
        records.read(&other.key, policy);
        let both = Policy { logs_kept_for_ms: 9, ..OWN };
        assert_eq!(records.most_generous(OWN), both);
        assert!(records.list(&all, &own.key, Duration::ZERO).is_empty());
        let again = Listed { tag: "2".into(), ..other.clone() };
        assert_eq!(records.list(&[again], &own.key, Duration::ZERO), [other.key.as_str()]);
        // It was removed.
        assert!(records.list(&[], &own.key, Duration::ZERO).is_empty());
        assert_eq!(records.most_generous(OWN), OWN);
    }

    #[test]
    fn a_policy_expires_when_it_is_old_and_was_watched_long_enough() {
        let epoch = SystemTime::UNIX_EPOCH;
        let other = listed(2, "1", epoch);
        let mut records = Records::default();
        records.list(std::slice::from_ref(&other), "", Duration::ZERO);
        let (old, soon) = (epoch + 2 * COUNTS_FOR, WATCHED_FOR / 2);
        records.list(std::slice::from_ref(&other), "", soon);
        assert!(records.expire(soon, old).is_empty(), "not watched for long enough");
        assert!(records.expire(WATCHED_FOR, epoch + COUNTS_FOR).is_empty(), "not old enough");
        // It is written anew, by a clock that was set.
        let again = Listed { tag: "2".into(), ..other.clone() };
        records.list(std::slice::from_ref(&again), "", soon);
        records.list(std::slice::from_ref(&again), "", WATCHED_FOR);
        assert!(records.expire(WATCHED_FOR, old).is_empty(), "somebody writes it");
        let away = WATCHED_FOR + 2 * LOOKS_APART_MAX;
        records.list(std::slice::from_ref(&again), "", away);
        assert!(records.expire(away, old).is_empty(), "the store was away, for its node as well");
        for half in 1..=2 {
            records.list(std::slice::from_ref(&again), "", away + half * WATCHED_FOR / 2);
        }
        assert_eq!(records.expire(away + WATCHED_FOR, old), [other.key]);
        assert_eq!(records.most_generous(OWN), OWN);
    }
}
