//! The task that rings: it looks at the clock at least once a second, so that it notices one that was
//! stepped, and at each schedule when that may be due. Owns the [turn](super::turn) to ring.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::cron::CronRun;
use host::clock;
use schedule::runs::Admitted;
use schedule::{Runs, Timing};
use store::schedules::{All, SAY_INTERVAL, StoredSchedule};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Cron;
use super::lease;
use super::run::run;
use super::tally::{LeftOut, Outcome};
use super::turn::{Turn, WriteError};
use crate::functions::timing;
use crate::life::Life;

/// The clock and the schedules are looked at so often at least.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A schedule as it is rung.
struct Entry {
    stored: Arc<StoredSchedule>,
    /// `None` if this build does not understand it.
    timing: Option<Timing>,
    settled_ms: Option<u64>,
    /// Nothing is due before.
    next_ms: Option<u64>,
    runs: Runs,
    /// Whether it was said that it rings nothing.
    said_in_vain: bool,
}

/// What a look at a schedule has settled.
struct Looked {
    id: String,
    /// Up to which tick it was settled before.
    before_ms: Option<u64>,
    missed: u64,
    /// The tick to be rung.
    ring: Option<u64>,
    late_ms: u64,
}

/// Why this engine rings no more.
enum End {
    /// The node stops, or another engine has taken over.
    Life(Life),
    /// Another node has taken the turn.
    Lost,
}

/// A run that has ended, with how late it began.
struct Ended {
    id: String,
    function: String,
    of: (CronRun, Outcome),
    late_ms: u64,
}

/// The task's state.
struct Ringer {
    cron: Arc<Cron>,
    turn: Turn,
    entries: BTreeMap<String, Entry>,
    /// What the file has.
    written: BTreeMap<String, u64>,
    /// What was known of schedules that have not been seen yet.
    remembered: BTreeMap<String, u64>,
    all: Arc<All>,
    looked_ms: u64,
    running: JoinSet<Ended>,
    said: Option<Instant>,
    said_others: bool,
    said_unwritten: bool,
}

/// Rings until the node stops, or another engine has taken over. If another node takes the turn, this
/// one waits for it again.
pub(super) async fn ring(cron: Arc<Cron>, mut life: watch::Receiver<Life>) {
    loop {
        let turn = tokio::select! {
            turn = Turn::wait(&cron) => turn,
            _ = life.wait_for(|life| *life != Life::Serving) => return,
        };
        let turn = match turn {
            Ok(turn) => turn,
            Err(error) => {
                return tracing::error!(
                    "this node rings by no schedule: cron.lock in its data folder cannot be locked: {error}"
                );
            }
        };
        if let End::Life(_) = ring_with(&cron, turn, &mut life).await {
            return;
        }
    }
}

/// Rings as long as this engine has the turn.
async fn ring_with(cron: &Arc<Cron>, turn: Turn, life: &mut watch::Receiver<Life>) -> End {
    cron.rings.send_replace(true);
    let settled = turn.read();
    let mut ringer = Ringer {
        cron: Arc::clone(cron),
        turn,
        entries: BTreeMap::new(),
        written: settled.clone(),
        remembered: settled,
        all: Arc::default(),
        looked_ms: 0,
        running: JoinSet::new(),
        said: None,
        said_others: false,
        said_unwritten: false,
    };
    let end = loop {
        let looked = ringer.look(clock::unix_ms());
        // Nothing is rung before that is written.
        match ringer.write().await {
            Ok(()) => looked.into_iter().for_each(|looked| ringer.act(looked)),
            Err(lease::WriteError::Failed(_)) => {
                looked.into_iter().for_each(|looked| ringer.undo(looked));
            }
            Err(error @ lease::WriteError::Lost { .. }) => {
                tracing::warn!("this node rings no more: {error}");
                break End::Lost;
            }
        }
        ringer.show();
        ringer.say();
        let pause = ringer.pause(clock::unix_ms());
        tokio::select! {
            biased;
            end = life.wait_for(|life| *life != Life::Serving) => {
                break End::Life(end.map_or(Life::Draining, |life| *life));
            }
            Some(ended) = ringer.running.join_next() => ringer.ended(ended),
            () = sleep(pause) => {}
        }
    };
    ringer.stop(&end).await;
    end
}

impl Ringer {
    /// Looks at every schedule that may be due, and settles what is.
    fn look(&mut self, now_ms: u64) -> Vec<Looked> {
        self.take_over_changes();
        let is_back = now_ms < self.looked_ms;
        self.looked_ms = now_ms;
        let mut looked = Vec::new();
        for (id, entry) in &mut self.entries {
            let Some(timing) = &entry.timing else { continue };
            let may_be = is_back
                || entry.settled_ms.is_none()
                || entry.next_ms.is_some_and(|next| next <= now_ms);
            if !may_be {
                continue;
            }
            let verdict = timing.look(entry.settled_ms, now_ms);
            let before_ms = entry.settled_ms.replace(verdict.settled_ms);
            entry.next_ms = verdict.next_ms;
            let (missed, ring, late_ms) = (verdict.missed, verdict.ring, verdict.late_ms);
            looked.push(Looked { id: id.clone(), before_ms, missed, ring, late_ms });
        }
        looked
    }

    /// Does what follows of a look, after that was written.
    fn act(&mut self, looked: Looked) {
        let Looked { id, missed, ring, late_ms, .. } = looked;
        if missed > 0
            && let Some(entry) = self.entries.get(&id)
        {
            let function = &entry.stored.target.function;
            self.cron.lock().tally.left_out(function, LeftOut::Missed, missed);
            tracing::warn!("the schedule {id} was not rung in time: {missed} ticks are left out");
        }
        if let Some(tick_ms) = ring {
            self.begin(&id, tick_ms, late_ms);
        }
    }

    /// Has a schedule looked at again, as if it was not.
    fn undo(&mut self, looked: Looked) {
        if let Some(entry) = self.entries.get_mut(&looked.id) {
            entry.settled_ms = looked.before_ms;
            entry.next_ms = Some(0);
        }
    }

    /// Takes over what has changed of the schedules.
    fn take_over_changes(&mut self) {
        let all = self.cron.functions.schedules.stored().all();
        if Arc::ptr_eq(&all, &self.all) {
            return;
        }
        self.entries.retain(|id, _| all.contains_key(id));
        for (id, stored) in all.iter() {
            match self.entries.get_mut(id) {
                Some(entry) if entry.stored == *stored => {}
                Some(entry) => {
                    entry.timing = timing(id, stored);
                    entry.stored = Arc::clone(stored);
                    // Its jitter may be another one: it is looked at now.
                    entry.next_ms = entry.timing.is_some().then_some(0);
                }
                None => {
                    let timing = timing(id, stored);
                    let entry = Entry {
                        stored: Arc::clone(stored),
                        next_ms: timing.is_some().then_some(0),
                        timing,
                        settled_ms: self.remembered.remove(id),
                        runs: Runs::default(),
                        said_in_vain: false,
                    };
                    self.entries.insert(id.clone(), entry);
                }
            }
        }
        self.all = all;
    }

    /// Writes what is settled, unless that was written.
    ///
    /// # Errors
    /// If nothing may be rung.
    async fn write(&mut self) -> Result<(), lease::WriteError> {
        let settled = |(id, entry): (&String, &Entry)| Some((id.clone(), entry.settled_ms?));
        let mut settled: BTreeMap<String, u64> = self.entries.iter().filter_map(settled).collect();
        // Schedules that this node does not know yet are not forgotten for it.
        if self.turn.is_shared() {
            for (id, settled_ms) in &self.remembered {
                settled.entry(id.clone()).or_insert(*settled_ms);
            }
        }
        if settled == self.written && !self.turn.is_due() {
            return Ok(());
        }
        let error = match self.turn.write(settled.clone()).await {
            Ok(()) => {
                (self.written, self.said_unwritten) = (settled, false);
                return Ok(());
            }
            Err(error) => error,
        };
        // Once, however long it lasts.
        if !self.said_unwritten {
            tracing::error!("{error}");
        }
        self.said_unwritten = true;
        match error {
            WriteError::File(_) => Ok(()),
            WriteError::Lease(error) => Err(error),
        }
    }

    /// Begins the run of a tick, or leaves it out.
    fn begin(&mut self, id: &str, tick_ms: u64, late_ms: u64) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let function = &entry.stored.target.function;
        if let Some(error) = self.cron.functions.schedules.is_in_vain(&entry.stored) {
            if !entry.said_in_vain {
                tracing::warn!("the schedule {id} rings nothing: {error}");
            }
            entry.said_in_vain = true;
            self.cron.lock().tally.left_out(function, LeftOut::NoFunction, 1);
            return;
        }
        entry.said_in_vain = false;
        match entry.runs.admit(tick_ms, entry.stored.overlap) {
            Admitted::Now => self.spawn(id, tick_ms, late_ms),
            Admitted::Later => {}
            Admitted::Skipped => {
                tracing::info!("the schedule {id} leaves out a tick: the run before it goes on");
                self.cron.lock().tally.left_out(function, LeftOut::Overlap, 1);
            }
        }
    }

    fn spawn(&mut self, id: &str, tick_ms: u64, late_ms: u64) {
        let Some(entry) = self.entries.get(id) else { return };
        let (stored, id) = (Arc::clone(&entry.stored), id.to_owned());
        let supervisor = self.cron.supervisor.clone();
        self.running.spawn(async move {
            let of = run(&supervisor, &id, &stored, tick_ms).await;
            Ended { id, function: stored.target.function.clone(), of, late_ms }
        });
    }

    /// Takes a run that has ended, and begins the one that waits for it.
    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let Ended { id, function, of, late_ms } = match ended {
            Ok(ended) => ended,
            Err(error) => {
                return tracing::error!("a run has ended badly, please report it: {error}");
            }
        };
        self.cron.ended(&id, &function, of, late_ms);
        if let Some(tick_ms) = self.entries.get_mut(&id).and_then(|entry| entry.runs.ended()) {
            let late_ms = clock::unix_ms().saturating_sub(tick_ms);
            self.spawn(&id, tick_ms, late_ms);
        }
    }

    /// Shows what is next.
    fn show(&self) {
        let shown =
            |(id, entry): (&String, &Entry)| (id.clone(), (entry.next_ms, entry.runs.running()));
        let now: HashMap<_, _> = self.entries.iter().map(shown).collect();
        let mut known = self.cron.lock();
        known.last.retain(|id, _| now.contains_key(id));
        known.now = now;
    }

    /// Tells other nodes that this one rings, if there is anything to ring and no other way to know.
    fn say(&mut self) {
        if self.turn.is_shared() {
            return;
        }
        let is_due = self.said.is_none_or(|said| said.elapsed() >= SAY_INTERVAL);
        if self.entries.is_empty() || !is_due {
            return;
        }
        let news = self.said.replace(Instant::now()).is_none();
        let others = self.cron.functions.schedules.stored().ringing();
        let others = others.into_iter().filter(|node| *node != self.cron.plan.node);
        let others: Vec<String> = others.map(|node| node.to_string()).collect();
        if !others.is_empty() && !self.said_others {
            let others = others.join(", ");
            tracing::warn!(
                "another node rings by the same schedules ({others}): set --cron off on all but one"
            );
        }
        self.said_others = !others.is_empty();
        let cron = Arc::clone(&self.cron);
        tokio::spawn(async move {
            let schedules = &cron.functions.schedules;
            if let Err(error) = schedules.say_ringing(&cron.plan.node, news).await {
                tracing::debug!("other nodes do not know that this one rings: {error}");
            }
        });
    }

    /// Returns how long nothing is to be done.
    fn pause(&self, now_ms: u64) -> Duration {
        let next = self.entries.values().filter_map(|entry| entry.next_ms).min();
        let left_ms = next.map(|next| next.saturating_sub(now_ms));
        if self.said_unwritten && self.turn.is_shared() {
            return LOOK_INTERVAL;
        }
        left_ms.map_or(LOOK_INTERVAL, |left| Duration::from_millis(left).min(LOOK_INTERVAL))
    }

    /// Lets another engine ring, and takes what comes of the runs under way.
    async fn stop(self, end: &End) {
        let Self { cron, turn, entries, mut running, .. } = self;
        let waiting: usize = entries.values().map(|entry| entry.runs.waiting()).sum();
        if waiting > 0 {
            tracing::warn!("{waiting} ticks that waited for the runs before them are left out");
        }
        if let End::Life(Life::Draining) = end {
            // An engine that has taken over is the same node.
            match turn.is_shared() {
                true => turn.end().await,
                false => {
                    drop(turn);
                    cron.functions.schedules.say_silent(&cron.plan.node).await;
                }
            }
        } else {
            drop(turn);
        }
        cron.rings.send_replace(false);
        let rest = async move {
            while let Some(ended) = running.join_next().await {
                if let Ok(Ended { id, function, of, late_ms }) = ended {
                    cron.ended(&id, &function, of, late_ms);
                }
            }
        };
        match end {
            End::Life(_) => rest.await,
            // This node may get the turn again meanwhile.
            End::Lost => drop(tokio::spawn(rest)),
        }
    }
}
