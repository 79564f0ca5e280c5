//! What a task changes in NATS. Pure; owns no fds.

use std::time::Duration;

use nats::Change;

use super::keys::{self, Kept};
use super::ledger::{Ledger, Own};
use crate::JobId;
use crate::record::{self, Finished, Record};
use crate::store::{Answer, Bounds, Follower, New, Task};

/// What came of a job is kept for so long,
const FINISHED_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// and for so long while the bucket has more than so many messages.
const FINISHED_TTL_FULL: Duration = Duration::from_secs(60);
const MESSAGES_MAX: u64 = 500_000;
/// How long the mark of a removed key stays.
const MARK_TTL: Duration = Duration::from_secs(2);

const NO_BOUNDS: Bounds = Bounds { jobs_max: u64::MAX, bytes_max: u64::MAX };

/// What is to be written.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Task(Task),
    /// Make a job this node's, whose node has gone.
    Adopt {
        id: JobId,
        revision: u64,
        kept: Kept,
    },
}

impl Work {
    /// Returns the job that is changed.
    pub(super) fn job(&self) -> Option<JobId> {
        match self {
            Self::Task(Task::Enqueue(new, _)) => Some(new.id),
            Self::Task(Task::Update(id, ..) | Task::Retry(id, _) | Task::Remove(id)) => Some(*id),
            Self::Task(Task::Finish { id, .. }) | Self::Adopt { id, .. } => Some(*id),
            Self::Task(_) => None,
        }
    }

    /// Returns whether nobody else can have changed the job since it was seen; if somebody has, that
    /// is found out by the write.
    pub(super) fn needs_nothing(&self) -> bool {
        matches!(self, Self::Task(Task::Enqueue(..)) | Self::Adopt { .. })
    }

    /// Returns whether what is in the ledger of a job is not enough.
    pub(super) fn needs_record(&self) -> bool {
        matches!(self, Self::Task(Task::Retry(..)))
    }
}

/// A job, before it is changed.
#[derive(Debug, Clone)]
pub(super) struct Current {
    pub(super) revision: u64,
    pub(super) parts: u32,
    /// What is kept of it, if it was read; otherwise it is this node's.
    pub(super) kept: Option<Kept>,
}

/// What is written for a task, all of it or nothing.
#[derive(Debug, Default)]
pub(super) struct Write {
    pub(super) changes: Vec<Change>,
    /// This node's jobs of which a record is written, and the place of that in `changes`.
    pub(super) records: Vec<(JobId, usize)>,
    /// Those among them that are new.
    pub(super) new: Vec<JobId>,
    /// The job that there is no more.
    pub(super) gone: Option<JobId>,
    /// The job that another node has, and that node.
    pub(super) of_another: Option<(JobId, String)>,
}

/// What comes of a task.
#[derive(Debug)]
pub(super) enum Planned {
    /// Nothing is written.
    Answer(Answer),
    /// Nothing is written, as the job is this node's no more.
    TakenOver {
        by: String,
    },
    Write(Write),
}

/// Whose jobs are changed, and how full the bucket is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) node: &'a str,
    pub(super) messages: u64,
}

/// Decides. What is new is in the ledger from now on: if it is not written, it is to be removed
/// there.
pub(super) fn plan(
    work: &Work,
    current: Option<Current>,
    ledger: &mut Ledger,
    place: Place<'_>,
) -> Planned {
    let mut write = Write::default();
    match (work, current) {
        // It was written before, by this node, and that was not known.
        (Work::Task(Task::Enqueue(..)), Some(_)) => return Planned::Answer(Answer::Done),
        (Work::Task(Task::Enqueue(new, bounds)), None) => {
            if let Err(why) = write.enqueue(new, *bounds, ledger, place.node) {
                return Planned::Answer(Answer::Full(why));
            }
        }
        (Work::Adopt { id, revision, kept }, current) => {
            let (revision, kept) = match &current {
                None => (*revision, kept),
                // It was changed, and not taken over.
                Some(Current { revision, kept: Some(now), .. }) if now.owner == kept.owner => {
                    (*revision, now)
                }
                Some(_) => return Planned::Answer(Answer::Unknown),
            };
            ledger.insert(*id, Own::new(0, kept.parts, &kept.record));
            write.new.push(*id);
            write.record(*id, revision, kept.parts, &kept.record, place.node);
        }
        (Work::Task(Task::Update(id, record, then)), Some(current)) => {
            match &current.kept {
                Some(kept) if kept.owner != place.node => {
                    return Planned::TakenOver { by: kept.owner.clone() };
                }
                Some(kept) if kept.record == *record => return Planned::Answer(Answer::Done),
                _ => {}
            }
            then.iter().for_each(|then| write.follow(then, ledger, place.node));
            write.record(*id, current.revision, current.parts, record, place.node);
        }
        (Work::Task(Task::Finish { id, finished, then }), Some(current)) => {
            if current.kept.as_ref().is_some_and(|kept| kept.record.death.is_some()) {
                return Planned::Answer(Answer::Unknown);
            }
            then.iter().for_each(|then| write.follow(then, ledger, place.node));
            write.finished(*id, finished, place.messages);
            write.remove(*id, current, place.node);
        }
        (Work::Task(Task::Remove(id)), Some(current)) => write.remove(*id, current, place.node),
        (Work::Task(Task::Retry(id, now_ms)), Some(Current { revision, parts, kept })) => {
            let Some(kept) = kept else { return Planned::Answer(Answer::Unknown) };
            let owner = kept.owner;
            let record = kept.record.retried(*now_ms);
            write.record(*id, revision, parts, &record, &owner);
            if owner != place.node {
                write.of_another = Some((*id, owner));
                write.records.clear();
            }
        }
        (Work::Task(_), _) => return Planned::Answer(Answer::Unknown),
    }
    Planned::Write(write)
}

impl Write {
    fn enqueue(
        &mut self,
        new: &New,
        bounds: Bounds,
        ledger: &mut Ledger,
        node: &str,
    ) -> Result<(), String> {
        let New { id, record, request } = new;
        let request = keys::request(*id, request);
        let parts = u32::try_from(request.len()).unwrap_or(u32::MAX);
        ledger.reserve(*id, Own::new(0, parts, record), bounds)?;
        self.new.push(*id);
        self.changes.extend(request);
        self.record(*id, 0, parts, record, node);
        Ok(())
    }

    /// Writes what follows from a job, with the small request if there is no room for the other.
    fn follow(&mut self, then: &Follower, ledger: &mut Ledger, node: &str) {
        let Follower { new, small, bounds } = then;
        if self.enqueue(new, *bounds, ledger, node).is_err() {
            let record = Record { bytes: small.bytes(), ..new.record.clone() };
            let new = New { id: new.id, record, request: small.clone() };
            // There is room without bounds.
            let _ = self.enqueue(&new, NO_BOUNDS, ledger, node);
        }
    }

    fn record(&mut self, id: JobId, revision: u64, parts: u32, record: &Record, owner: &str) {
        self.records.push((id, self.changes.len()));
        let kept = Kept { owner: owner.to_owned(), parts, record: record.clone() };
        self.changes.push(kept.change(id, revision));
    }

    fn finished(&mut self, id: JobId, finished: &Finished, messages: u64) {
        let ttl = if messages > MESSAGES_MAX { FINISHED_TTL_FULL } else { FINISHED_TTL };
        let change = Change::set(keys::done(id), record::encode(finished));
        self.changes.push(change.for_only(ttl));
    }

    fn remove(&mut self, id: JobId, current: Current, node: &str) {
        let Current { revision, parts, kept } = current;
        let removed = keys::parts(id, parts).map(|key| Change::remove(key).for_only(MARK_TTL));
        self.changes.extend(removed);
        let removed = Change::remove(keys::job(id)).if_still(revision);
        self.changes.push(removed.for_only(MARK_TTL));
        self.gone = Some(id);
        self.of_another =
            kept.map(|kept| kept.owner).filter(|owner| owner != node).map(|owner| (id, owner));
    }
}
