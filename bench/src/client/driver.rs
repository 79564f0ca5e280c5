//! One thread of the load: one epoll, any number of connections.
//!
//! Owns its connections and timer, and through them its sockets; `connection` says when each opens
//! and closes. The loop here decides only *when* a request starts; `record` decides what counts.
//!
//! Closed loop: a connection starts its next request as soon as it has its reply. Open loop:
//! requests start at intended times; one whose time has come while all connections are busy waits,
//! and its wait counts.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::connection::{Connection, Ended, Failure, Job, Turn};
use super::progress::Progress;
use super::rate::Stretch;
use super::record::{ClientThread, Record, Recorder};
use super::schedule::Schedule;
use super::timer::Timer;
use super::{Error, Plan, nanoseconds};
use crate::cpu::ThreadTime;
use crate::interrupt;

/// How often time-outs, rests and interrupts are looked at: the coarsest wait of the loop.
const SWEEP_NS: u64 = 10_000_000;
/// After a failed connect a connection rests: a dead server would else be hammered at full speed.
const REST_NS: u64 = 50_000_000;
const READ_BUFFER_BYTES: usize = 64 * 1024;
const EVENTS_PER_POLL: usize = 1024;
/// No connection has it: they count from zero.
const TIMER: Token = Token(usize::MAX - 1);

/// Which part of a plan a thread has.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Its number, from 0.
    pub number: usize,
    /// Of so many.
    pub of: usize,
    /// Its share of the connections.
    pub connections: usize,
    /// Where it is pinned.
    pub core: Option<usize>,
    /// When time is zero, for all threads alike.
    pub started: Instant,
}

/// Runs a part of a plan on the calling thread.
pub fn run(plan: &Plan, part: Part, progress: &Progress) -> Result<Record, Error> {
    let cpu_before = ThreadTime::now()?;
    let mut driver = Driver::new(plan, part)?;
    driver.drive(progress)?;
    let (cpu, wall) = (ThreadTime::now()?.since(cpu_before), part.started.elapsed());
    let busy =
        if plan.spin { wall.saturating_sub(Duration::from_nanos(driver.spun)) } else { cpu.ran };
    let thread = ClientThread { core: part.core, cpu, busy, wall };
    let backlog = driver.schedule.map(|schedule| schedule.due_before(driver.window.end));
    let in_flight = driver.connections.iter().filter_map(Connection::in_flight);
    Ok(driver.recorder.finish(in_flight, backlog, thread))
}

struct Driver<'a> {
    poll: Poll,
    plan: &'a Plan,
    started: Instant,
    window: Range<u64>,
    job: Job<'a>,
    connections: Vec<Connection>,
    /// Connections with nothing to do, longest idle first, so that a low rate still uses all of
    /// them.
    idle: VecDeque<usize>,
    /// Connections that failed to connect, and until when each rests; in order of time.
    resting: VecDeque<(u64, usize)>,
    schedule: Option<Schedule>,
    timer: Timer,
    recorder: Recorder,
    buffer: Vec<u8>,
    random: fastrand::Rng,
    /// When the next sweep is due.
    sweep_at: u64,
    /// Nanoseconds spent looking for work in vain, instead of asleep.
    spun: u64,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a Plan, part: Part) -> Result<Self, Error> {
        let poll = Poll::new().map_err(Error::SetUp)?;
        let timer = Timer::new(poll.registry(), TIMER).map_err(Error::SetUp)?;
        let window = plan.window();
        let stretches = plan.rate.as_ref().map(|rate| rate.stretches(&window));
        let sections = match &stretches {
            Some(stretches) => stretches.iter().map(|stretch| stretch.time.clone()).collect(),
            None => vec![window.clone()],
        };
        let schedule = stretches.map(|stretches| {
            let warming = stretches.first().map(|first| Stretch::warming(window.start, first));
            Schedule::new(warming.into_iter().chain(stretches), part.number, part.of)
        });
        Ok(Self {
            poll,
            plan,
            job: Job {
                address: plan.address,
                asks: &plan.asks,
                connect_counts: plan.kept_share < 1.0,
            },
            connections: (0..part.connections).map(|index| Connection::new(Token(index))).collect(),
            idle: (0..part.connections).collect(),
            resting: VecDeque::new(),
            recorder: Recorder::new(sections, schedule.is_some())?,
            schedule,
            timer,
            window,
            buffer: vec![0; READ_BUFFER_BYTES],
            // The same choices in every run, and others in every thread.
            random: fastrand::Rng::with_seed(part.number as u64),
            sweep_at: 0,
            spun: 0,
            started: part.started,
        })
    }

    fn now(&self) -> u64 {
        nanoseconds(self.started.elapsed())
    }

    fn drive(&mut self, progress: &Progress) -> Result<(), Error> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        let mut told = (0, 0, 0);
        loop {
            let now = self.now();
            if now >= self.sweep_at {
                interrupt::check()?;
                self.sweep(now);
                let (good, bad) = self.recorder.so_far();
                let in_flight = self.connections.len() - self.idle.len() - self.resting.len();
                progress.tell(&mut told, good, bad, in_flight as u64);
                self.sweep_at = now + SWEEP_NS;
            }
            if now >= self.window.end {
                return Ok(());
            }
            self.start_due(now);
            let mut wait =
                Duration::from_nanos(self.sweep_at.min(self.window.end).saturating_sub(now));
            if self.plan.spin {
                wait = Duration::ZERO;
            } else if let Some(schedule) = self.schedule.as_ref().filter(|_| !self.idle.is_empty())
            {
                // Poll waits in milliseconds; the timer hits the microsecond.
                self.timer.arm(schedule.next().saturating_sub(now)).map_err(Error::Poll)?;
            }
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(Error::Poll(error));
                }
                _ => {}
            }
            if self.plan.spin && events.is_empty() {
                self.spun += self.now().saturating_sub(now);
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
            let now = self.now();
            self.start(index, intended, now);
        }
    }

    fn start(&mut self, index: usize, intended: u64, now: u64) {
        let ask = self.plan.asks.choose(&mut self.random);
        let last = match self.plan.kept_share {
            share if share >= 1.0 => false,
            share => self.random.f64() >= share,
        };
        let turn = Turn { ask, last, intended };
        if let Some(ended) =
            self.connections[index].start(&self.job, self.poll.registry(), turn, now)
        {
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
            // Straight on, without a turn through the idle list: the reply's arrival is the
            // intended time.
            self.start(index, at, at);
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
        let timeout = nanoseconds(self.plan.timeout);
        for index in 0..self.connections.len() {
            if self.connections[index].expire(now, timeout) {
                self.ended(index, &Ended::Failed(Failure::Timeout), now);
            }
        }
    }
}
