//! The load generator: one thread, one epoll, any number of connections.
//!
//! Owns its connections and timer, and through them every socket of the load; `connection` says when each
//! opens and closes. The loop here decides only *when* a request starts; `record` decides what counts.
//!
//! Closed loop: a connection starts its next request as soon as it has its reply. Open loop: requests
//! start at intended times; one whose time has come while all connections are busy waits, and its wait
//! counts.

mod connection;
mod error_counts;
mod open_files;
mod record;
mod schedule;
mod timer;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::ops::Range;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::cpu::{self, ThreadTime};
use crate::interrupt;
use connection::{Connection, Ended, Failure, Job};
pub use error_counts::ErrorCounts;
pub use open_files::{Error as OpenFilesError, allow as allow_open_files, most as open_files_max};
pub use record::Record;
use record::Recorder;
use schedule::Schedule;
use timer::Timer;

/// How often time-outs, rests and interrupts are looked at: the coarsest wait of the loop.
const SWEEP_NS: u64 = 10_000_000;
/// A request without a whole reply by then has timed out.
const TIMEOUT_NS: u64 = 5_000_000_000;
/// After a failed connect a connection rests: a dead server would else be hammered at full speed.
const REST_NS: u64 = 50_000_000;
const READ_BUFFER_BYTES: usize = 64 * 1024;
const EVENTS_PER_POLL: usize = 1024;
/// No connection has it: they count from zero.
const TIMER: Token = Token(usize::MAX - 1);

/// What goes wrong here. What goes wrong with single requests is counted, not returned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No epoll or timer.
    #[error("cannot set up the event loop ({0}); raise the limit on open files (ulimit -n)")]
    SetUp(io::Error),
    /// More connections than files.
    #[error(transparent)]
    OpenFiles(#[from] open_files::Error),
    /// The loop broke.
    #[error("the event loop failed ({0}); this is a bug in sockhop-bench or the kernel")]
    Poll(io::Error),
    /// Histogram bounds, which are constants.
    #[error("cannot make a histogram ({0}); this is a bug in sockhop-bench")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// No CPU clock.
    #[error(transparent)]
    Cpu(#[from] cpu::Error),
    /// Stopped by a signal.
    #[error(transparent)]
    Interrupted(#[from] interrupt::Error),
}

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to connect.
    pub address: SocketAddr,
    /// The bytes of every request.
    pub request: Vec<u8>,
    /// The body every reply must have, if it must.
    pub expected_body: Option<Vec<u8>>,
    /// Whether a connection carries more than one request.
    pub keep_alive: bool,
    /// Connections at a time.
    pub connections: u32,
    /// Requests per second for an open loop.
    pub rate: Option<NonZeroU64>,
    /// Load before the window.
    pub warmup: Duration,
    /// The measured window.
    pub window: Duration,
}

/// Runs a plan on the calling thread.
pub fn run(plan: &Plan) -> Result<Record, Error> {
    open_files::allow(plan.connections)?;
    let window_start = nanoseconds(plan.warmup);
    let window = window_start..window_start + nanoseconds(plan.window);
    let cpu_before = ThreadTime::now()?;
    let mut client = Client::new(plan, window)?;
    client.drive()?;
    let wall = client.started.elapsed();
    let backlog = client.schedule.map(|schedule| schedule.due_before(client.window.end));
    let in_flight = client.connections.iter().filter_map(Connection::in_flight);
    Ok(client.recorder.finish(in_flight, backlog, ThreadTime::now()?.since(cpu_before), wall))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

struct Client {
    poll: Poll,
    started: Instant,
    window: Range<u64>,
    job: Job,
    connections: Vec<Connection>,
    /// Connections with nothing to do, longest idle first, so that a low rate still uses all of them.
    idle: VecDeque<usize>,
    /// Connections that failed to connect, and until when each rests; in order of time.
    resting: VecDeque<(u64, usize)>,
    schedule: Option<Schedule>,
    timer: Timer,
    recorder: Recorder,
    buffer: Vec<u8>,
    /// When the next sweep is due.
    sweep_at: u64,
}

impl Client {
    fn new(plan: &Plan, window: Range<u64>) -> Result<Self, Error> {
        let poll = Poll::new().map_err(Error::SetUp)?;
        let timer = Timer::new(poll.registry(), TIMER).map_err(Error::SetUp)?;
        let count = plan.connections as usize;
        Ok(Self {
            poll,
            job: Job {
                address: plan.address,
                request: plan.request.clone(),
                expected_body: plan.expected_body.clone(),
                keep_alive: plan.keep_alive,
            },
            connections: (0..count).map(|index| Connection::new(Token(index))).collect(),
            idle: (0..count).collect(),
            resting: VecDeque::new(),
            schedule: plan.rate.map(Schedule::new),
            timer,
            recorder: Recorder::new(window.clone(), plan.rate.is_some())?,
            window,
            buffer: vec![0; READ_BUFFER_BYTES],
            sweep_at: 0,
            started: Instant::now(),
        })
    }

    fn now(&self) -> u64 {
        nanoseconds(self.started.elapsed())
    }

    fn drive(&mut self) -> Result<(), Error> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        loop {
            let now = self.now();
            if now >= self.window.end {
                return Ok(());
            }
            if now >= self.sweep_at {
                interrupt::check()?;
                self.sweep(now);
                self.sweep_at = now + SWEEP_NS;
            }
            self.start_due(now);
            let wait = Duration::from_nanos(self.sweep_at.min(self.window.end).saturating_sub(now));
            if let Some(schedule) = self.schedule.as_ref().filter(|_| !self.idle.is_empty()) {
                // Poll waits in milliseconds; the timer hits the microsecond.
                self.timer.arm(schedule.next().saturating_sub(now)).map_err(Error::Poll)?;
            }
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(Error::Poll(error));
                }
                _ => {}
            }
            for event in &events {
                if event.token() != TIMER {
                    self.on_event(event.token().0, event.is_read_closed());
                }
            }
        }
    }

    /// Gives idle connections the requests whose time has come.
    fn start_due(&mut self, now: u64) {
        loop {
            let Some(&index) = self.idle.front() else {
                return;
            };
            let intended = match &mut self.schedule {
                Some(schedule) => match schedule.take_due(now) {
                    Some(intended) => intended,
                    None => return,
                },
                None => now,
            };
            self.idle.pop_front();
            self.start(index, intended);
        }
    }

    fn start(&mut self, index: usize, intended: u64) {
        let now = self.now();
        if let Some(ended) = self.connections[index].start(&self.job, self.poll.registry(), intended, now) {
            self.ended(index, &ended, now);
        }
    }

    fn on_event(&mut self, index: usize, closed: bool) {
        let started = self.started;
        let clock = move || nanoseconds(started.elapsed());
        let ended = self.connections[index].on_event(&self.job, closed, &mut self.buffer, &clock);
        if let Some((ended, at)) = ended {
            self.ended(index, &ended, at);
        }
    }

    fn ended(&mut self, index: usize, ended: &Ended, at: u64) {
        let times = self.connections[index].times();
        self.recorder.record(ended, times, at);
        if matches!(ended, Ended::Failed(Failure::Connect)) {
            self.resting.push_back((at + REST_NS, index));
        } else if self.schedule.is_none() && at < self.window.end {
            // Straight on, without a turn through the idle list: the reply's arrival is the intended time.
            self.start(index, at);
        } else {
            self.idle.push_back(index);
        }
    }

    fn sweep(&mut self, now: u64) {
        while let Some(&(until, index)) = self.resting.front() {
            if until > now {
                break;
            }
            self.resting.pop_front();
            self.idle.push_back(index);
        }
        for index in 0..self.connections.len() {
            if self.connections[index].expire(now, TIMEOUT_NS) {
                self.ended(index, &Ended::Failed(Failure::Timeout), now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
