//! Nodes that share a bucket, end and take over, against what was promised.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::keys::{self, Kept};
use super::ledger::{Ledger, Own};
use super::plan::{Current, Place, Planned, Work, plan};
use crate::record::{self, Attempt, Finished, Head, Record, Request, Target};
use crate::store::{Answer, Bounds, Follower, New, Task};
use crate::{JobId, new_id};

const NONE: Bounds = Bounds { jobs_max: u64::MAX, bytes_max: u64::MAX };

/// What NATS has.
#[derive(Debug, Default)]
struct Bucket {
    revision: u64,
    values: BTreeMap<String, (u64, Bytes)>,
}

impl Bucket {
    /// Writes all of it or nothing. Returns the revision of the last one.
    fn write(&mut self, changes: Vec<nats::Change>) -> Option<u64> {
        let revision = |key: &String| self.values.get(key).map_or(0, |(revision, _)| *revision);
        let fits =
            |of: &nats::Change| of.expected.is_none_or(|expected| expected == revision(&of.key));
        if !changes.iter().all(fits) {
            return None;
        }
        for nats::Change { key, value, .. } in changes {
            self.revision += 1;
            match value {
                Some(value) => drop(self.values.insert(key, (self.revision, value))),
                None => drop(self.values.remove(&key)),
            }
        }
        Some(self.revision)
    }

    fn kept(&self, id: JobId) -> Option<(u64, Kept)> {
        let (revision, value) = self.values.get(&keys::job(id))?;
        Some((*revision, Kept::decode(value).unwrap()))
    }

    fn jobs(&self) -> Vec<(JobId, u64, Kept)> {
        let all = self.values.keys().filter(|key| key.starts_with("job."));
        let all = all.filter_map(|key| keys::id(key));
        all.map(|id| self.kept(id).map(|(revision, kept)| (id, revision, kept)).unwrap()).collect()
    }
}

#[derive(Debug)]
struct Node {
    name: &'static str,
    ledger: Ledger,
}

impl Node {
    /// Does a task as the writer does it.
    fn perform(&mut self, bucket: &mut Bucket, work: &Work) -> Answer {
        for fresh in [false, true, true] {
            let id = work.job().filter(|_| fresh || !work.needs_nothing());
            let known = id.filter(|_| !fresh && !work.needs_record());
            let current = match known.and_then(|id| self.ledger.get(id)) {
                Some(Own { revision, parts, .. }) => {
                    Some(Current { revision: *revision, parts: *parts, kept: None })
                }
                None => id.and_then(|id| bucket.kept(id)).map(|(revision, kept)| Current {
                    revision,
                    parts: kept.parts,
                    kept: Some(kept),
                }),
            };
            let place = Place { node: self.name, messages: 0 };
            let write = match plan(work, current, &mut self.ledger, place) {
                Planned::Answer(answer) => return answer,
                Planned::TakenOver { .. } => return Answer::Unknown,
                Planned::Write(write) => write,
            };
            let count = write.changes.len() as u64;
            let Some(last) = bucket.write(write.changes) else {
                write.new.iter().for_each(|id| self.ledger.remove(*id));
                continue;
            };
            for (id, at) in write.records {
                self.ledger.wrote(id, last + 1 - count + at as u64);
                assert_eq!(
                    self.ledger.get(id).map(|own| own.revision),
                    Some(bucket.kept(id).unwrap().0)
                );
            }
            write.gone.into_iter().for_each(|id| self.ledger.remove(id));
            return Answer::Done;
        }
        panic!("nobody else writes: {work:?}");
    }

    /// Takes over all jobs of `other`.
    fn adopt(&mut self, bucket: &mut Bucket, other: &str) {
        for (id, revision, kept) in bucket.jobs() {
            if kept.owner == other {
                let work = Work::Adopt { id, revision, kept };
                assert_eq!(self.perform(bucket, &work), Answer::Done);
            }
        }
    }
}

fn new(body: usize, id: JobId) -> New {
    let head = Head { method: "POST".into(), ..Head::default() };
    let request = Request { head, body: vec![7; body] };
    let record = Record::new("a", Target::Function, &request, 1);
    New { id, record, request }
}

fn finished() -> Finished {
    let last = Attempt::default();
    Finished { function: "a".to_owned(), enqueued_ms: 1, ended_ms: 2, attempts: 1, last }
}

/// What is done by one of three nodes, with one of the jobs.
#[derive(Debug, Clone)]
enum Step {
    Enqueue(usize),
    Update,
    Finish {
        with_follower: bool,
    },
    Remove,
    Retry,
    /// Another node takes over all of its jobs.
    CutOff {
        by: usize,
    },
    /// It begins anew.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<(usize, prop::sample::Index, Step)>> {
    let step = prop_oneof![
        4 => prop_oneof![0usize..10, Just(1 << 20)].prop_map(Step::Enqueue),
        2 => Just(Step::Update),
        2 => any::<bool>().prop_map(|with_follower| Step::Finish { with_follower }),
        1 => Just(Step::Remove),
        1 => Just(Step::Retry),
        1 => (0usize..3).prop_map(|by| Step::CutOff { by }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec((0usize..3, any::<prop::sample::Index>(), step), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A job that was kept is there, whole, until it is done or removed; a node that another one has
    /// taken over from changes nothing of it; and no part of a request is left behind.
    #[test]
    fn no_job_is_lost_between_nodes(steps in steps()) {
        let mut bucket = Bucket::default();
        let mut nodes = ["a", "b", "c"].map(|name| Node { name, ledger: Ledger::default() });
        // Whose each is.
        let mut model: BTreeMap<JobId, (&str, u64)> = BTreeMap::new();
        let mut all = Vec::new();
        for (at, index, step) in steps {
            let chosen = (!all.is_empty()).then(|| *index.get(&all));
            let name = nodes[at].name;
            let mut perform = |work| nodes[at].perform(&mut bucket, &Work::Task(work));
            match (step, chosen) {
                (Step::Enqueue(body), _) => {
                    let new = new(body, new_id());
                    all.push(new.id);
                    model.insert(new.id, (name, new.record.bytes));
                    prop_assert_eq!(perform(Task::Enqueue(new.clone(), NONE)), Answer::Done);
                }
                (Step::Update, Some(id)) => {
                    let record = Record { attempts: 1, ..new(0, id).record };
                    let is_own = model.get(&id).is_some_and(|(owner, _)| *owner == name);
                    let expected = if is_own { Answer::Done } else { Answer::Unknown };
                    prop_assert_eq!(perform(Task::Update(id, record, Vec::new())), expected);
                }
                (Step::Finish { with_follower }, Some(id)) => {
                    let follower = new(3, new_id());
                    let then = with_follower.then(|| {
                        let (new, small) = (follower.clone(), Request::default());
                        Follower { new, small, bounds: NONE }
                    });
                    let then = then.into_iter().collect();
                    let was_there = model.remove(&id).is_some();
                    if was_there && with_follower {
                        all.push(follower.id);
                        model.insert(follower.id, (name, follower.record.bytes));
                    }
                    let expected = if was_there { Answer::Done } else { Answer::Unknown };
                    prop_assert_eq!(perform(Task::Finish { id, finished: finished(), then }), expected);
                    let done = bucket.values.get(&keys::done(id));
                    prop_assert!(!was_there || record::decode(&done.unwrap().1) == Ok(finished()));
                }
                (Step::Remove, Some(id)) => {
                    let was_there = model.remove(&id).is_some();
                    let expected = if was_there { Answer::Done } else { Answer::Unknown };
                    prop_assert_eq!(perform(Task::Remove(id)), expected);
                }
                (Step::Retry, Some(id)) => {
                    let is_there = model.contains_key(&id);
                    let expected = if is_there { Answer::Done } else { Answer::Unknown };
                    prop_assert_eq!(perform(Task::Retry(id, 9)), expected);
                }
                (Step::CutOff { by }, _) => {
                    let taker = nodes[by].name;
                    if taker != name {
                        nodes[by].adopt(&mut bucket, name);
                        model.values_mut().filter(|(owner, _)| *owner == name).for_each(|of| of.0 = taker);
                    }
                }
                (Step::Restart, _) => {
                    let of = |(id, revision, kept): &(JobId, u64, Kept)| {
                        (kept.owner == name).then(|| (*id, Own::new(*revision, kept.parts, &kept.record)))
                    };
                    let own = bucket.jobs().iter().filter_map(of).collect();
                    let ledger = &mut nodes[at].ledger;
                    ledger.replace(own, bucket.revision);
                }
                (_, None) => {}
            }
        }
        let found: BTreeMap<JobId, String> =
            bucket.jobs().into_iter().map(|(id, _, kept)| (id, kept.owner)).collect();
        let expected = model.iter().map(|(id, (owner, _))| (*id, (*owner).to_owned())).collect();
        prop_assert_eq!(found, expected);
        let mut parts = 0;
        for (id, (_, bytes)) in &model {
            let (_, kept) = bucket.kept(*id).unwrap();
            let found = keys::parts(*id, kept.parts).map(|key| bucket.values[&key].1.clone());
            let found: Vec<Bytes> = found.collect();
            parts += found.len();
            prop_assert_eq!(keys::join(&found).unwrap().bytes(), *bytes);
        }
        let left = bucket.values.keys().filter(|key| key.starts_with("request.")).count();
        prop_assert_eq!(left, parts);
    }
}
