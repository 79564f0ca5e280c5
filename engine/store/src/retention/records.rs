//! The policies of the other nodes, as one node has read them, and which of them count. Pure; owns
//! no fds.
//!
//! A node writes its policy regularly. A policy does not count any more if it is old by the store's
//! clock, and this process has watched it for long enough to know that no node writes it. Both are
//! needed: a clock can jump, and a process that has just started has watched nothing.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::policy::{Policy, is_key};
use crate::objects::Listed;

/// How long a policy counts that is not written again, by the store's clock.
pub(super) const COUNTS_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long it must have been seen unchanged: longer than a running node leaves it.
pub(super) const WATCHED_FOR: Duration = Duration::from_secs(60 * 60);
/// The longest time between two looks. After a longer one the store was away, perhaps for other
/// nodes, too, which could not write.
const LOOKS_APART_MAX: Duration = Duration::from_secs(30 * 60);

/// A policy of another node.
#[derive(Debug)]
struct Record {
    tag: String,
    /// When it was first seen with this tag, by the monotonic clock.
    since: Duration,
    modified: SystemTime,
    /// `None` until it was read.
    policy: Option<Policy>,
}

/// The policies of all other nodes.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The policies by their keys.
    records: BTreeMap<String, Record>,
    /// When the last look was, by the monotonic clock.
    looked: Option<Duration>,
}

impl Records {
    /// Applies a listing. Returns the keys of the policies to read.
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

    /// Adds a policy that was read.
    pub(super) fn read(&mut self, key: &str, policy: Policy) {
        if let Some(record) = self.records.get_mut(key) {
            record.policy = Some(policy);
        }
    }

    /// Removes the policies that do not count any more. Returns their keys. `store` is the time by
    /// the store's clock.
    pub(super) fn expire(&mut self, now: Duration, store: SystemTime) -> Vec<String> {
        let counts = |record: &Record| {
            let age = store.duration_since(record.modified).unwrap_or_default();
            age <= COUNTS_FOR || now.saturating_sub(record.since) < WATCHED_FOR
        };
        let expired = self.records.extract_if(.., |_, record| !counts(record));
        expired.map(|(key, _)| key).collect()
    }

    /// Returns the policy that keeps what any of them or `own` keeps. A policy that is not read yet
    /// counts as one that keeps everything.
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
