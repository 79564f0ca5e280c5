//! Ringing functions by their schedules, and what came of it.
//!
//! [`ringer`] is the task that rings, while this engine has the [`turn`]: it holds the data folder's
//! [lock](settled) for that, so an engine that takes over rings from the moment on in which the one
//! before it does not any more, and goes on with what is settled. With NATS, one node of many has
//! the turn, by a [`lease`]. [`run`] rings once, and [`tally`] counts. Which tick is due decides the
//! crate `schedule`; that this node rings at all, its setting `--cron`.

mod lease;
mod ringer;
mod run;
mod settled;
pub(crate) mod tally;
mod turn;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::cron::{CronRun, CronStatus, ListedCron};
use fleet::workers::supervise::Command;
use host::clock;
use store::schedules::RingingNode;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use self::tally::Tally;
use crate::functions::{ChangeError, Functions};
use crate::life::Life;

/// How long a node that stops waits until the others know that it does not ring any more.
const SILENCE_WAIT: Duration = Duration::from_secs(5);

/// What this node is, for those who ring.
#[derive(Debug)]
pub struct Plan {
    /// Whether it is to ring.
    pub rings: bool,
    /// Its data folder.
    pub data: PathBuf,
    /// What it is called by in the store.
    pub node: RingingNode,
    /// Where nodes agree on which one rings.
    pub nats: Option<nats::Bucket>,
}

/// What this node knows of its runs.
#[derive(Debug, Default)]
struct Known {
    /// When each schedule is rung next, and how many runs are under way.
    now: HashMap<String, (Option<u64>, usize)>,
    /// The last run of each that has ended.
    last: HashMap<String, CronRun>,
    tally: Tally,
    /// With NATS, the host of the node that has the turn.
    holder: Option<String>,
}

/// Rings, and knows what came of it.
#[derive(Debug)]
pub struct Cron {
    functions: Arc<Functions>,
    supervisor: Sender<Command>,
    plan: Plan,
    /// Whether it rings now.
    rings: watch::Sender<bool>,
    known: Mutex<Known>,
}

impl Cron {
    /// Returns what rings `functions` by what the store says; see [`keep_ringing`](Self::keep_ringing).
    pub fn new(functions: Arc<Functions>, supervisor: Sender<Command>, plan: Plan) -> Self {
        let (rings, known) = (watch::Sender::new(false), Mutex::default());
        Self { functions, supervisor, plan, rings, known }
    }

    /// Rings, if this node is to, until it stops or another engine has taken over.
    pub async fn keep_ringing(self: Arc<Self>, mut life: watch::Receiver<Life>) {
        if self.plan.rings {
            return ringer::ring(self, life).await;
        }
        if let Some(nats) = &self.plan.nats {
            tokio::select! {
                () = lease::Lease::observe(nats, |host| self.lock().holder = host) => {}
                _ = life.wait_for(|life| *life != Life::Serving) => {}
            }
        }
    }

    /// Returns once this node rings no more and has told the others, or that takes too long. For one
    /// that is stopping.
    pub async fn until_silent(&self) {
        let mut rings = self.rings.subscribe();
        let _ = tokio::time::timeout(SILENCE_WAIT, rings.wait_for(|rings| !rings)).await;
    }

    /// Rings by a schedule at once, and returns when the function has answered.
    ///
    /// # Errors
    /// When there is no such schedule, or nothing that it rings.
    pub(crate) async fn run_now(&self, id: &str) -> Result<CronRun, ChangeError> {
        let schedule = self.functions.schedules.find(id)?;
        if let Some(error) = self.functions.schedules.is_in_vain(&schedule) {
            return Err(error);
        }
        let (run, outcome) = run::run(&self.supervisor, id, &schedule, clock::unix_ms()).await;
        self.ended(id, &schedule.target.function, (run.clone(), outcome), 0);
        Ok(run)
    }

    /// Adds what this node knows of runs.
    pub(crate) fn describe(&self, mut listed: ListedCron) -> ListedCron {
        let known = self.lock();
        if let Some((next_ms, running)) = known.now.get(&listed.id) {
            listed.running = *running;
            // The clock may have gone back.
            listed.next_ms = listed.next_ms.map(|next| next_ms.unwrap_or(next).max(next));
        }
        listed.last = known.last.get(&listed.id).cloned();
        listed
    }

    /// Returns who rings.
    pub(crate) fn status(&self) -> CronStatus {
        let schedules = &self.functions.schedules;
        let nodes = match self.plan.nats {
            Some(_) => self.lock().holder.clone().into_iter().collect(),
            None => schedules.ringing_hosts(),
        };
        let (rings, schedules) = (*self.rings.borrow(), schedules.stored().all().len());
        CronStatus { rings, schedules, nodes }
    }

    /// Returns what was counted.
    pub(crate) fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// Notes a run that has ended and began `late_ms` after it was due.
    fn ended(&self, id: &str, function: &str, ended: (CronRun, tally::Outcome), late_ms: u64) {
        let (run, outcome) = ended;
        if let Some(error) = &run.error {
            let log = run.invocation.as_ref().map(|it| format!("; see `sockhop logs {it}`"));
            tracing::warn!("the schedule {id} rang in vain: {error}{}", log.unwrap_or_default());
        }
        let mut known = self.lock();
        known.tally.ran(function, outcome, late_ms);
        known.last.insert(id.to_owned(), run);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
