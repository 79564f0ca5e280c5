//! Which of many nodes rings, and up to which tick each schedule is settled: one entry in NATS.
//!
//! Who writes the entry has the turn, and so knows what the one before has settled. Each write is a
//! compare-and-set of the entry's revision, and no tick is rung before it: whoever has lost the turn
//! without knowing rings nothing more. Others take the turn when nothing was written for [`LEASE`],
//! by their own clocks. Owns no fds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nats::{Bucket, Change, Failure};
use serde::{Deserialize, Serialize};
use store::schedules::RingingNode;

/// The entry.
const KEY: &str = "cron.turn";
/// How long the turn is a node's that writes nothing.
const LEASE: Duration = Duration::from_secs(6);
/// How often a node writes that has it.
const RENEW: Duration = Duration::from_secs(2);
/// How often the others look.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often those look that do not want it.
const OBSERVE_INTERVAL: Duration = Duration::from_secs(5);
/// What has a revision that it was not to have any more is read again so often.
const ATTEMPTS: usize = 3;
/// As many writes are remembered that may come about later.
const ATTEMPTED_MAX: usize = 16;

/// The entry's value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    /// The id of the node that has the turn. One that stops gives it back.
    owner: Option<String>,
    /// Its host.
    host: String,
    settled: BTreeMap<String, u64>,
}

/// The entry as a node has seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    revision: u64,
    written: Written,
    /// Since when it has this revision, at the latest.
    since: Instant,
}

/// What a node that waits does.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Take the turn, if the entry still has this revision.
    Take(u64),
    Wait,
}

/// Returns what `node` does that has seen this, or that nobody has ever had the turn.
fn decide(seen: Option<&Seen>, node: &str, now: Instant) -> Decision {
    let Some(Seen { revision, written, since }) = seen else { return Decision::Take(0) };
    let is_free = match &written.owner {
        None => true,
        // This node before it has started again; or the engine that it has taken over from.
        Some(owner) => owner == node || now.duration_since(*since) >= LEASE,
    };
    if is_free { Decision::Take(*revision) } else { Decision::Wait }
}

/// Returns what is seen after the entry was read.
fn see(before: Option<Seen>, revision: u64, written: Written, now: Instant) -> Seen {
    match before {
        Some(before) if before.revision == revision => before,
        _ => Seen { revision, written, since: now },
    }
}

/// The turn.
#[derive(Debug)]
pub(super) struct Lease {
    nats: Bucket,
    node: RingingNode,
    revision: u64,
    settled: BTreeMap<String, u64>,
    /// What was written and not answered.
    attempted: Vec<Bytes>,
    renewed: Instant,
}

/// Why what is settled was not written. Nothing may be rung.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// NATS cannot be asked now.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// Another node has taken the turn.
    #[error("the node on {host:?} has taken the turn to ring")]
    Lost {
        /// Where it runs.
        host: String,
    },
}

impl Lease {
    /// Waits until this node has the turn. Tells `holder` the host of the node that has it.
    pub(super) async fn wait(
        nats: &Bucket,
        node: &RingingNode,
        holder: impl Fn(Option<String>),
    ) -> Self {
        let id = node.id.to_string();
        let mut seen: Option<Seen> = None;
        loop {
            match nats.get(KEY).await {
                Ok(found) => {
                    seen = found.map(|entry| {
                        see(seen, entry.revision, parse(&entry.value), Instant::now())
                    });
                    holder(seen.as_ref().and_then(|seen| host(&seen.written)));
                    if let Decision::Take(revision) = decide(seen.as_ref(), &id, Instant::now()) {
                        let settled = seen.as_ref().map(|seen| seen.written.settled.clone());
                        let mut lease = Self {
                            nats: nats.clone(),
                            node: node.clone(),
                            revision,
                            settled: settled.clone().unwrap_or_default(),
                            attempted: Vec::new(),
                            renewed: Instant::now(),
                        };
                        match lease.write(settled.unwrap_or_default()).await {
                            Ok(()) => {
                                holder(Some(node.host.clone()));
                                return lease;
                            }
                            Err(error) => tracing::debug!("the turn to ring is not taken: {error}"),
                        }
                    }
                }
                // While NATS is away, the node that has the turn cannot write either.
                Err(failure) => {
                    tracing::debug!("who has the turn to ring is not known: {failure}");
                    seen = seen.map(|seen| Seen { since: Instant::now(), ..seen });
                }
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Tells `holder` the host of the node that has the turn, for ever.
    pub(super) async fn observe(nats: &Bucket, holder: impl Fn(Option<String>)) {
        loop {
            if let Ok(found) = nats.get(KEY).await {
                holder(found.and_then(|entry| host(&parse(&entry.value))));
            }
            tokio::time::sleep(OBSERVE_INTERVAL).await;
        }
    }

    /// Returns up to which tick each schedule is settled, as it was written last.
    pub(super) fn settled(&self) -> &BTreeMap<String, u64> {
        &self.settled
    }

    /// Returns whether others will take the turn soon, unless something is written.
    pub(super) fn is_due(&self) -> bool {
        self.renewed.elapsed() >= RENEW
    }

    /// Writes what is settled, and so keeps the turn.
    ///
    /// # Errors
    /// [`WriteError`]: nothing may be rung.
    pub(super) async fn write(&mut self, settled: BTreeMap<String, u64>) -> Result<(), WriteError> {
        let owner = Some(self.node.id.to_string());
        let written = Written { owner, host: self.node.host.clone(), settled };
        self.put(&written).await?;
        self.settled = written.settled;
        Ok(())
    }

    /// Gives the turn back.
    pub(super) async fn end(mut self) {
        let settled = std::mem::take(&mut self.settled);
        if let Err(error) = self.put(&Written { settled, ..Written::default() }).await {
            tracing::debug!("the turn to ring ends by time: {error}");
        }
    }

    async fn put(&mut self, written: &Written) -> Result<(), WriteError> {
        let value = Bytes::from(serde_json::to_vec(written).unwrap_or_default());
        for _ in 0..ATTEMPTS {
            let change = Change::set(KEY, value.clone()).if_still(self.revision);
            let found = match self.nats.write(vec![change]).await {
                Ok(revision) => {
                    self.wrote(revision);
                    return Ok(());
                }
                Err(Failure::Conflict) => self.nats.get(KEY).await?,
                Err(failure) => {
                    if matches!(failure, Failure::Unanswered(_)) {
                        self.attempted.truncate(ATTEMPTED_MAX - 1);
                        self.attempted.insert(0, value);
                    }
                    return Err(failure.into());
                }
            };
            match found {
                Some(found) if found.value == value => {
                    self.wrote(found.revision);
                    return Ok(());
                }
                // What this node has written earlier; it has rung nothing for it.
                Some(found)
                    if found.revision == self.revision || self.attempted.contains(&found.value) =>
                {
                    self.revision = found.revision;
                }
                Some(found) => {
                    return Err(WriteError::Lost { host: parse(&found.value).host });
                }
                None => self.revision = 0,
            }
        }
        Err(Failure::Away("it refuses what nobody else has written".to_owned()).into())
    }

    fn wrote(&mut self, revision: u64) {
        self.revision = revision;
        self.attempted.clear();
        self.renewed = Instant::now();
    }
}

fn parse(value: &[u8]) -> Written {
    serde_json::from_slice(value).unwrap_or_else(|error| {
        tracing::warn!("which ticks were rung is not known any more: {error}");
        Written::default()
    })
}

/// Returns where the node runs that has the turn.
fn host(written: &Written) -> Option<String> {
    written.owner.as_ref().map(|_| written.host.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(revision: u64, owner: Option<&str>, since: Instant) -> Seen {
        let owner = owner.map(str::to_owned);
        Seen { revision, written: Written { owner, ..Written::default() }, since }
    }

    #[test]
    fn the_turn_is_taken_from_nobody_from_oneself_and_from_one_that_writes_no_more() {
        let start = Instant::now();
        let decided = |owner, after| decide(Some(&seen(7, owner, start)), "a", start + after);
        assert_eq!(decide(None, "a", start), Decision::Take(0));
        for (owner, after, expected) in [
            (None, Duration::ZERO, Decision::Take(7)),
            (Some("a"), Duration::ZERO, Decision::Take(7)),
            (Some("b"), Duration::ZERO, Decision::Wait),
            (Some("b"), LEASE - Duration::from_millis(1), Decision::Wait),
            (Some("b"), LEASE, Decision::Take(7)),
        ] {
            assert_eq!(decided(owner, after), expected, "{owner:?} {after:?}");
        }
    }

    #[test]
    fn a_node_that_writes_keeps_its_turn_however_long_others_look() {
        let (start, step) = (Instant::now(), LEASE - Duration::from_millis(1));
        let mut now = start;
        let mut last = seen(1, Some("b"), start);
        for revision in 2..20 {
            now += step;
            last = see(Some(last), revision, seen(0, Some("b"), now).written, now);
            assert_eq!(decide(Some(&last), "a", now), Decision::Wait);
        }
        // The same revision is the same entry, seen as long.
        let again = see(Some(last.clone()), 19, Written::default(), now + step);
        assert_eq!(again, last);
    }
}
