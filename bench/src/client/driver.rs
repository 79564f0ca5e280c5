//! A thread of the load: one epoll, any number of connections.
//!
//! Owns its connections and timer, and through them its sockets; `connection` and `http2` open and
//! close each. The loop here only decides *when* a request starts, and in which *slot*, that is,
//! connection or stream of one; `record` decides what counts.
//!
//! In a closed loop a slot starts its next request as soon as it has its reply. In an open loop
//! requests start at intended times. If all slots are busy at such a time, the request waits, and
//! its wait counts.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::connection::{Ended, Failure, Job, Turn};
use super::progress::{Counts, Progress};
use super::rate::Stretch;
use super::record::{ClientThread, Record, Recorder};
use super::schedule::Schedule;
use super::timer::Timer;
use super::transport::{SlotEnded, Transport};
use super::{Error, Plan, Protocol, nanoseconds};
use crate::cpu::ThreadTime;
use crate::interrupt;

/// The interval at which time-outs, rests and interrupts are checked.
const SWEEP_NS: u64 = 10_000_000;
/// The rest of a connection after a failed connect. Without it the client would hammer a dead
/// server.
const REST_NS: u64 = 50_000_000;
const READ_BUFFER_BYTES: usize = 64 * 1024;
const EVENTS_PER_POLL: usize = 1024;
/// The token of the timer. No connection has it: they count from zero.
const TIMER: Token = Token(usize::MAX - 1);

/// A thread's part of a plan.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Its number, from 0.
    pub number: usize,
    /// The number of parts.
    pub of: usize,
    /// Its share of the connections.
    pub connections: usize,
    /// The core that it is pinned to.
    pub core: Option<usize>,
    /// The zero of the clock, the same for all threads.
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
    driver.recorder.handshakes(driver.transport.handshakes());
    Ok(driver.recorder.finish(driver.transport.in_flight().into_iter(), backlog, thread))
}

struct Driver<'a> {
    poll: Poll,
    plan: &'a Plan,
    started: Instant,
    window: Range<u64>,
    job: Job<'a>,
    transport: Transport<'a>,
    /// Slots with nothing to do. The longest idle is first, so that a low rate still uses all of
    /// them.
    idle: VecDeque<usize>,
    /// Slots that failed to connect, each with the end of its rest, in order of time.
    resting: VecDeque<(u64, usize)>,
    schedule: Option<Schedule>,
    timer: Timer,
    recorder: Recorder,
    buffer: Vec<u8>,
    /// Only ever filled and emptied again.
    ended: Vec<SlotEnded>,
    random: fastrand::Rng,
    /// When the next sweep is due.
    sweep_at: u64,
    /// Nanoseconds of polling without an event, in a thread that never sleeps.
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
        let transport = Transport::new(plan.protocol, part.connections);
        Ok(Self {
            poll,
            plan,
            job: Job {
                address: plan.address,
                tls: plan.tls.as_ref(),
                mix: &plan.mix,
                only_handshakes: plan.protocol == Protocol::Handshakes,
                connect_counts: plan.kept_share < 1.0,
            },
            idle: (0..transport.slots()).collect(),
            transport,
            resting: VecDeque::new(),
            recorder: Recorder::new(sections, schedule.is_some())?,
            schedule,
            timer,
            window,
            buffer: vec![0; READ_BUFFER_BYTES],
            ended: Vec::new(),
            // The choices are the same in every run, and differ between threads.
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
        let mut reported = Counts::default();
        loop {
            let now = self.now();
            if now >= self.sweep_at {
                interrupt::check()?;
                self.sweep(now);
                let (good, bad) = self.recorder.so_far();
                let in_flight = self.transport.slots() - self.idle.len() - self.resting.len();
                let counts = Counts { good, bad, in_flight: in_flight as u64 };
                progress.report(&mut reported, counts);
                self.sweep_at = now + SWEEP_NS;
            }
            if now >= self.window.end {
                return Ok(());
            }
            self.start_due(now);
            self.advance();
            let mut wait =
                Duration::from_nanos(self.sweep_at.min(self.window.end).saturating_sub(now));
            if self.plan.spin {
                wait = Duration::ZERO;
            } else if let Some(schedule) = self.schedule.as_ref().filter(|_| !self.idle.is_empty())
            {
                // Poll's timeout is in milliseconds; the timer is exact to the microsecond.
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
            self.advance();
        }
    }

    /// Starts the requests whose time has come in idle slots.
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
        let request = self.plan.mix.choose(&mut self.random);
        let last = match self.plan.kept_share {
            share if share >= 1.0 => false,
            share => self.random.f64() >= share,
        };
        let turn = Turn { request, last, intended };
        let registry = self.poll.registry();
        if let Some(ended) = self.transport.start(&self.job, registry, index, turn, now) {
            self.ended(index, &ended, now);
        }
    }

    fn on_event(&mut self, token: usize, closed: bool) {
        let (started, mut ended) = (self.started, std::mem::take(&mut self.ended));
        let clock = move || nanoseconds(started.elapsed());
        self.transport.on_event(&self.job, token, closed, &mut self.buffer, &clock, &mut ended);
        self.end_all(ended);
    }

    /// Lets the transport do what it has not done yet, until that leads to nothing more.
    fn advance(&mut self) {
        loop {
            let (started, mut ended) = (self.started, std::mem::take(&mut self.ended));
            let clock = move || nanoseconds(started.elapsed());
            self.transport.advance(&self.job, &clock, &mut ended);
            let is_done = ended.is_empty();
            self.end_all(ended);
            if is_done {
                return;
            }
        }
    }

    fn end_all(&mut self, mut ended: Vec<SlotEnded>) {
        for (index, how, at) in ended.drain(..) {
            self.ended(index, &how, at);
        }
        self.ended = ended;
    }

    fn ended(&mut self, index: usize, ended: &Ended, at: u64) {
        let times = self.transport.times(index);
        self.recorder.record(ended, times, at);
        if matches!(ended, Ended::Failed(Failure::Connect)) {
            self.resting.push_back((at + REST_NS, index));
        } else if self.schedule.is_none() && at < self.window.end {
            // The next request starts at once, without going through the idle list: its intended
            // time is the arrival of the reply.
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
        for index in 0..self.transport.slots() {
            if self.transport.expire(index, now, timeout) {
                self.ended(index, &Ended::Failed(Failure::Timeout), now);
            }
        }
    }
}
