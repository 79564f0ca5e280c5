//! Which nodes are there. Pure; owns no fds.
//!
//! Each renews a sign of life. One whose sign does not change for [`LEASE`] has gone, by the clock
//! of whoever looks: no clocks are compared. While NATS is away nobody can renew anything, so that
//! does not count.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::JobId;

/// How long a node may renew nothing.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// How often a node renews its sign.
pub(super) const RENEW: Duration = Duration::from_secs(2);
/// After so long a node that has gone is forgotten.
const FORGET: Duration = Duration::from_secs(600);

#[derive(Debug, Clone)]
struct Seen {
    /// That of its sign; 0 if it has none.
    revision: u64,
    host: String,
    /// Since when its sign has this revision, at the latest.
    since: Instant,
    has_left: bool,
    /// Whether it was there when it was looked last.
    was_there: bool,
}

impl Seen {
    fn is_there(&self, now: Instant) -> bool {
        !self.has_left && now.saturating_duration_since(self.since) < LEASE
    }
}

/// A sign of life, as it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) node: String,
    pub(super) revision: u64,
    pub(super) host: String,
    pub(super) has_left: bool,
}

/// The nodes, as one of them sees them.
#[derive(Debug)]
pub(super) struct Nodes {
    own: String,
    others: BTreeMap<String, Seen>,
}

impl Nodes {
    pub(super) fn new(own: String) -> Self {
        Self { own, others: BTreeMap::new() }
    }

    /// Takes the signs that were found.
    pub(super) fn see(&mut self, found: Vec<Found>, now: Instant) {
        for Found { node, revision, host, has_left } in found {
            let is_same = self.others.get(&node).is_some_and(|seen| seen.revision == revision);
            if node != self.own && !is_same {
                let seen = Seen { revision, host, since: now, has_left, was_there: true };
                self.others.insert(node, seen);
            }
        }
        self.others.retain(|_, seen| now.saturating_duration_since(seen.since) < FORGET);
    }

    /// Takes note of a node that somebody has named. One without a sign may be about to give one.
    pub(super) fn name(&mut self, node: &str, now: Instant) {
        if node != self.own && !self.others.contains_key(node) {
            let host = String::new();
            let seen = Seen { revision: 0, host, since: now, has_left: false, was_there: true };
            self.others.insert(node.to_owned(), seen);
        }
    }

    /// NATS was away until now.
    pub(super) fn pause(&mut self, now: Instant) {
        self.others.values_mut().for_each(|seen| seen.since = now);
    }

    /// Returns whether some node has gone since this was asked last.
    pub(super) fn has_lost_one(&mut self, now: Instant) -> bool {
        let mut has_lost_one = false;
        for seen in self.others.values_mut() {
            let is_there = seen.is_there(now);
            has_lost_one |= std::mem::replace(&mut seen.was_there, is_there) && !is_there;
        }
        has_lost_one
    }

    /// Returns whether a node, which was named, has gone.
    pub(super) fn has_gone(&self, node: &str, now: Instant) -> bool {
        self.others.get(node).is_some_and(|seen| !seen.is_there(now))
    }

    /// Returns whether this node is the one to take over a job of one that has gone. As many nodes as
    /// are there share those, without a word: at most they see one another differently for a while.
    pub(super) fn is_mine(&self, id: JobId, now: Instant) -> bool {
        let there = || self.others.iter().filter(|(_, seen)| seen.is_there(now));
        let (before, count) =
            (there().filter(|(node, _)| **node < self.own).count(), there().count() + 1);
        let [.., a, b, c, d, e, f, g, h] = id.bytes();
        let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        number % count as u64 == before as u64
    }

    /// Returns what a node is called in a message.
    pub(super) fn name_of(&self, node: &str) -> String {
        match self.others.get(node).map(|seen| &*seen.host).filter(|host| !host.is_empty()) {
            Some(host) => format!("the node on {host:?}"),
            None => format!("the node {node:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::new_id;

    const STEP: Duration = Duration::from_secs(2);

    fn found(node: &str, revision: u64) -> Found {
        Found { node: node.to_owned(), revision, host: "h".to_owned(), has_left: false }
    }

    #[test]
    fn a_node_has_gone_when_it_renews_nothing_or_says_so() {
        let start = Instant::now();
        let mut nodes = Nodes::new("a".to_owned());
        nodes.see(vec![found("a", 1), found("b", 2), found("c", 3)], start);
        assert!(!nodes.has_gone("b", start) && !nodes.has_gone("a", start + 2 * LEASE));
        nodes.see(vec![found("b", 4), found("c", 3)], start + STEP);
        assert!(!nodes.has_lost_one(start + STEP));
        assert!(!nodes.has_gone("b", start + LEASE) && nodes.has_gone("c", start + LEASE));
        assert!(nodes.has_lost_one(start + LEASE) && !nodes.has_lost_one(start + LEASE));
        let left = Found { has_left: true, ..found("b", 5) };
        nodes.see(vec![left], start + LEASE);
        assert!(nodes.has_gone("b", start + LEASE) && nodes.has_lost_one(start + LEASE));
        // It comes back, and goes again.
        nodes.see(vec![found("b", 6)], start + LEASE);
        assert!(!nodes.has_gone("b", start + LEASE) && !nodes.has_lost_one(start + LEASE));
        assert!(nodes.has_lost_one(start + 3 * LEASE));
    }

    #[test]
    fn what_nobody_can_renew_is_not_missed_and_a_name_counts_from_when_it_was_heard() {
        let start = Instant::now();
        let mut nodes = Nodes::new("a".to_owned());
        nodes.see(vec![found("b", 1)], start);
        nodes.pause(start + 5 * LEASE);
        assert!(!nodes.has_lost_one(start + 5 * LEASE));
        nodes.name("x", start + 5 * LEASE);
        assert!(!nodes.has_gone("x", start + 6 * LEASE - STEP));
        assert!(nodes.has_gone("x", start + 6 * LEASE) && nodes.has_lost_one(start + 6 * LEASE));
        assert!(!nodes.has_gone("y", start), "nobody has named it");
    }

    #[test]
    fn nodes_that_see_the_same_share_every_job_among_them() {
        let now = Instant::now();
        let signs = || ["a", "b", "c", "d"].map(|node| found(node, 1)).to_vec();
        let nodes = ["a", "b", "c"].map(|own| {
            let mut nodes = Nodes::new(own.to_owned());
            nodes.see(signs(), now);
            nodes.see(vec![Found { has_left: true, ..found("d", 2) }], now);
            nodes
        });
        let mut shares = [0; 3];
        for _ in 0..3000 {
            let id = new_id();
            let whose: Vec<usize> = (0..3).filter(|at| nodes[*at].is_mine(id, now)).collect();
            assert_eq!(whose.len(), 1);
            shares[whose[0]] += 1;
        }
        assert!(shares.iter().all(|share| *share > 800), "{shares:?}");
    }
}
