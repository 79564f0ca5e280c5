//! Which job is tried next. Pure; owns no fds.
//!
//! Jobs that are due stand in a line for each function, and functions take turns. So a function with
//! many jobs holds up no other. A function has at most as many running as are left free for others,
//! and fewer while there is no room for it. What an operation costs does not grow with the number
//! of functions.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::JobId;

/// What becomes of a job whose attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It is done, or was removed.
    Gone,
    /// It is tried again.
    Retry {
        /// In milliseconds since 1970.
        due_ms: u64,
    },
    /// There was no room for it.
    PutOff {
        /// In milliseconds since 1970.
        due_ms: u64,
    },
    /// It is a dead letter.
    Dead,
}

/// What a job is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is due, or will be.
    Queued,
    /// An attempt is under way.
    Running,
    /// It is tried no more.
    Dead,
}

/// How many jobs there are of a function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// That wait.
    pub queued: usize,
    /// That run.
    pub running: usize,
    /// That are dead letters.
    pub dead: usize,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Until then it is not due.
    Later(u64),
    Line,
    Running,
    Dead,
}

#[derive(Debug)]
struct Entry {
    function: Arc<str>,
    place: Place,
    put_off: u32,
}

/// The jobs of a function.
#[derive(Debug)]
struct Line {
    /// Those that are due, the oldest first.
    due: BTreeSet<JobId>,
    depth: Depth,
    /// So many may run at a time.
    allowed: usize,
    /// Whether it is among those that take turns.
    has_turn: bool,
}

/// All jobs, by what is next.
#[derive(Debug)]
pub struct Queue {
    running_max: usize,
    running: usize,
    queued: usize,
    jobs: BTreeMap<JobId, Entry>,
    lines: HashMap<Arc<str>, Line>,
    later: BTreeSet<(u64, JobId)>,
    turns: VecDeque<Arc<str>>,
}

impl Queue {
    /// Returns an empty one, of which at most `running_max` run at a time.
    #[must_use]
    pub fn new(running_max: usize) -> Self {
        Self {
            running_max,
            running: 0,
            queued: 0,
            jobs: BTreeMap::new(),
            lines: HashMap::new(),
            later: BTreeSet::new(),
            turns: VecDeque::new(),
        }
    }

    /// Adds a job, unless it is there.
    pub fn insert(&mut self, id: JobId, function: &str, due_ms: u64, now_ms: u64) {
        if self.add(id, function) {
            self.queue(id, due_ms, now_ms);
        }
    }

    /// Adds a dead letter, unless the job is there.
    pub fn insert_dead(&mut self, id: JobId, function: &str) {
        if self.add(id, function) {
            self.place(id, Place::Dead);
        }
    }

    /// Returns a job whose turn it is, which runs from now on.
    pub fn start(&mut self, now_ms: u64) -> Option<JobId> {
        while let Some((due_ms, id)) = self.later.first().copied()
            && due_ms <= now_ms
        {
            self.place(id, Place::Line);
        }
        // Those that have as many as they may are passed over. Each of them has one running, so
        // there are never more of them than run.
        for _ in 0..self.turns.len() {
            if self.running >= self.running_max {
                return None;
            }
            let function = self.turns.pop_front()?;
            let free = self.running_max - self.running;
            let Some(line) = self.lines.get_mut(&function) else { continue };
            if line.depth.running >= line.allowed.min(free) {
                self.turns.push_back(function);
                continue;
            }
            line.has_turn = line.due.len() > 1;
            let Some(id) = line.due.first().copied() else {
                self.forget_line(&function);
                continue;
            };
            if line.has_turn {
                self.turns.push_back(function);
            }
            self.place(id, Place::Running);
            return Some(id);
        }
        None
    }

    /// Returns when the next job is due that is not yet.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.later.first().map(|(due_ms, _)| *due_ms)
    }

    /// Takes what has come of a running job.
    pub fn ended(&mut self, id: JobId, ended: Ended, now_ms: u64) {
        let running_max = self.running_max;
        let Some(entry) = self.jobs.get_mut(&id).filter(|entry| entry.place == Place::Running)
        else {
            return;
        };
        entry.put_off = match ended {
            Ended::PutOff { .. } => entry.put_off.saturating_add(1),
            _ => 0,
        };
        if let Some(line) = self.lines.get_mut(&entry.function) {
            line.allowed = match ended {
                // Half of what was too much, and one more each time that there is room.
                Ended::PutOff { .. } => (line.depth.running / 2).max(1),
                _ => (line.allowed + 1).min(running_max),
            };
        }
        match ended {
            Ended::Gone => self.forget(id),
            Ended::Dead => self.place(id, Place::Dead),
            Ended::Retry { due_ms } | Ended::PutOff { due_ms } => self.queue(id, due_ms, now_ms),
        }
    }

    /// Removes a job that does not run. Returns what it was at, or `None` if it is not there.
    pub fn remove(&mut self, id: JobId) -> Option<State> {
        let state = self.state(id)?;
        if state != State::Running {
            self.forget(id);
        }
        Some(state)
    }

    /// Has a job that does not run be due now. Returns what it was at, or `None` if it is not there.
    pub fn hasten(&mut self, id: JobId) -> Option<State> {
        let state = self.state(id)?;
        if state != State::Running {
            self.place(id, Place::Line);
        }
        Some(state)
    }

    /// Returns what a job is at.
    #[must_use]
    pub fn state(&self, id: JobId) -> Option<State> {
        self.jobs.get(&id).map(|entry| match entry.place {
            Place::Later(_) | Place::Line => State::Queued,
            Place::Running => State::Running,
            Place::Dead => State::Dead,
        })
    }

    /// Returns until when a job that waits is not due.
    #[must_use]
    pub fn due_ms(&self, id: JobId) -> Option<u64> {
        match self.jobs.get(&id)?.place {
            Place::Later(due_ms) => Some(due_ms),
            Place::Line | Place::Running | Place::Dead => None,
        }
    }

    /// Returns how many times a job was put off since it was tried last.
    #[must_use]
    pub fn put_off(&self, id: JobId) -> u32 {
        self.jobs.get(&id).map_or(0, |entry| entry.put_off)
    }

    /// Returns the ids of all.
    pub fn all(&self) -> impl Iterator<Item = JobId> {
        self.jobs.keys().copied()
    }

    /// Returns the ids of all that run.
    pub fn running(&self) -> impl Iterator<Item = JobId> {
        self.jobs.iter().filter(|(_, entry)| entry.place == Place::Running).map(|(id, _)| *id)
    }

    /// Returns how many jobs there are of each function.
    pub fn depths(&self) -> impl Iterator<Item = (&str, Depth)> {
        self.lines.iter().map(|(function, line)| (&**function, line.depth))
    }

    /// Returns how many jobs wait or run.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.queued + self.running
    }

    /// Returns the id of the oldest job that is no dead letter.
    #[must_use]
    pub fn oldest(&self) -> Option<JobId> {
        let mut all = self.jobs.iter();
        all.find(|(_, entry)| entry.place != Place::Dead).map(|(id, _)| *id)
    }

    /// Returns whether the job is new.
    fn add(&mut self, id: JobId, function: &str) -> bool {
        if self.jobs.contains_key(&id) {
            return false;
        }
        let known = self.lines.get_key_value(function).map(|(function, _)| Arc::clone(function));
        let function = known.unwrap_or_else(|| {
            let function: Arc<str> = function.into();
            let (depth, allowed) = (Depth::default(), self.running_max);
            let line = Line { due: BTreeSet::new(), depth, allowed, has_turn: false };
            self.lines.insert(Arc::clone(&function), line);
            function
        });
        // As if it had been one: what has no place yet is counted nowhere.
        self.jobs.insert(id, Entry { function, place: Place::Dead, put_off: 0 });
        self.line_of(id, |line| line.depth.dead += 1);
        true
    }

    fn queue(&mut self, id: JobId, due_ms: u64, now_ms: u64) {
        self.place(id, if due_ms <= now_ms { Place::Line } else { Place::Later(due_ms) });
    }

    fn line_of(&mut self, id: JobId, with: impl FnOnce(&mut Line)) {
        let function = self.jobs.get(&id).map(|entry| &entry.function);
        if let Some(line) = function.and_then(|function| self.lines.get_mut(function)) {
            with(line);
        }
    }

    /// Has a job stand at `place`.
    fn place(&mut self, id: JobId, place: Place) {
        self.displace(id);
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        entry.place = place;
        let Some(line) = self.lines.get_mut(&entry.function) else { return };
        match place {
            Place::Dead => line.depth.dead += 1,
            Place::Running => {
                line.depth.running += 1;
                self.running += 1;
            }
            Place::Later(due_ms) => {
                line.depth.queued += 1;
                self.queued += 1;
                self.later.insert((due_ms, id));
            }
            Place::Line => {
                line.depth.queued += 1;
                self.queued += 1;
                line.due.insert(id);
                if !std::mem::replace(&mut line.has_turn, true) {
                    self.turns.push_back(Arc::clone(&entry.function));
                }
            }
        }
    }

    /// Takes a job from where it stands.
    fn displace(&mut self, id: JobId) {
        let Some(entry) = self.jobs.get(&id) else { return };
        let Some(line) = self.lines.get_mut(&entry.function) else { return };
        match entry.place {
            Place::Dead => line.depth.dead -= 1,
            Place::Running => {
                line.depth.running -= 1;
                self.running -= 1;
            }
            Place::Later(due_ms) => {
                line.depth.queued -= 1;
                self.queued -= 1;
                self.later.remove(&(due_ms, id));
            }
            Place::Line => {
                line.depth.queued -= 1;
                self.queued -= 1;
                line.due.remove(&id);
            }
        }
    }

    fn forget(&mut self, id: JobId) {
        self.displace(id);
        let Some(entry) = self.jobs.remove(&id) else { return };
        self.forget_line(&entry.function);
    }

    /// Forgets a line without jobs. One that has a turn is forgotten when it has had that.
    fn forget_line(&mut self, function: &str) {
        let line = self.lines.get(function);
        if line.is_some_and(|line| line.depth == Depth::default() && !line.has_turn) {
            self.lines.remove(function);
        }
    }
}
