//! What an init waits for once its program runs: the worker, its children, the spawner's end, and
//! connections that are being made. Its exit code is nobody's but the spawner's.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use abi::channel::{Channel, ReceiveBuffer, ReceiveError};
use abi::sandbox::{
    Begin, ExitStatus, FromSandbox, Level, PORTS_MAX, Step, ToSandbox, bounded_reason,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use rustix::process::{WaitOptions, WaitStatus, wait};

use super::connects::{Answer, Connects};
use super::diag::Diag;
use super::failure::Failure;
use super::program::{Program, failure_in};
use super::{Start, shares_network};
use crate::children::children;
use crate::listening;
use crate::outbox::Outbox;

/// With so many answers that the worker has not taken, no more questions are read.
const ANSWERS_WAITING_MAX: usize = 256;
/// How long processes that were killed may take to end before the rest is left to the kernel.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the worker may take to make room for the last message.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(5);

/// What is waited on for a program.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) program: Program,
    /// Those of [`abi::sandbox::Sandbox::beside`], in its order.
    pub(super) beside: Vec<Program>,
    /// SIGCHLD.
    pub(super) signals: SignalFd,
    /// By which the kernel is asked for ports, if others have ports on the same network.
    pub(super) diag: Option<Diag>,
}

impl Running {
    /// Returns the numbers of its fds.
    pub(super) fn fds(&self) -> Vec<RawFd> {
        let programs = std::iter::once(&self.program).chain(&self.beside);
        let mut fds: Vec<RawFd> = programs.flat_map(Program::fds).collect();
        fds.push(self.signals.as_raw_fd());
        fds.extend(self.diag.as_ref().map(Diag::fd));
        fds
    }

    /// Lets all of it be executed.
    pub(super) fn go(&mut self) {
        std::iter::once(&mut self.program).chain(&mut self.beside).for_each(Program::go);
    }
}

/// Why init stops waiting.
enum End {
    /// The program has ended.
    Exited(ExitStatus),
    /// The program, or one beside it, was not executed or has ended too early, and the worker is
    /// told so.
    Failed,
    /// The worker or the spawner has gone: nobody wants to know more.
    Abandoned,
}

/// Waits until the program has ended, or nobody wants it any more. Returns the exit code.
pub(super) fn run(start: &Start<'_>, running: Running) -> i32 {
    let mut init = Init {
        start,
        program: Child::of(running.program),
        beside: running.beside.into_iter().map(Child::of).collect(),
        ended: None,
        lingers: false,
        signals: running.signals,
        diag: running.diag,
        connects: Connects::default(),
        outbox: Outbox::new(),
        buffer: ReceiveBuffer::default(),
    };
    let end = match start.sandbox.begin {
        Begin::AtOnce => init.wait(),
        Begin::WhenTold => init.send(FromSandbox::Prepared, None).and_then(|()| init.wait()),
    };
    init.end_processes();
    match end {
        Ok(End::Exited(status)) => i32::from(!init.last_words(status)),
        Ok(End::Failed) => i32::from(!flushed(&mut init.outbox, start.channel)),
        Ok(End::Abandoned) | Err(_) => 1,
    }
}

/// The process of a program.
struct Child {
    program: Program,
    /// Until it was waited for, after which its number may be another's.
    pid: Option<Pid>,
    /// Until the program is executed: what was read of its report.
    report: Option<Vec<u8>>,
}

impl Child {
    fn of(program: Program) -> Self {
        Self { pid: Some(program.pid), program, report: Some(Vec::new()) }
    }

    /// Reads of the report. Returns `None` when there is more to come, and at its end whether the
    /// program could not be executed.
    fn read_report(&mut self) -> io::Result<Option<Result<(), Failure>>> {
        let Some(text) = &mut self.report else { return Ok(None) };
        let mut buffer = [0; 2048];
        let length = nix::unistd::read(&self.program.report, &mut buffer)?;
        if length > 0 {
            text.extend(buffer.iter().take(length));
            return Ok(None);
        }
        let failure = failure_in(text);
        self.report = None;
        Ok(Some(failure.map_or(Ok(()), Err)))
    }
}

struct Init<'a> {
    start: &'a Start<'a>,
    program: Child,
    beside: Vec<Child>,
    /// How the program has ended, while those beside it have not.
    ended: Option<ExitStatus>,
    /// Whether those beside it may end.
    lingers: bool,
    signals: SignalFd,
    diag: Option<Diag>,
    connects: Connects,
    outbox: Outbox<FromSandbox>,
    buffer: ReceiveBuffer,
}

/// Which of the fds that an init waits on are ready.
struct Ready {
    channel: bool,
    lifeline: bool,
    /// The program's first.
    reports: Vec<bool>,
    connects: Vec<bool>,
}

impl Init<'_> {
    /// Waits for one thing after the other. An error is one that leaves nothing to wait for.
    fn wait(&mut self) -> io::Result<End> {
        loop {
            let ready = self.poll()?;
            if ready.lifeline {
                return Ok(End::Abandoned);
            }
            // Before the children: a program that could not be executed has ended too.
            for (at, _) in ready.reports.iter().enumerate().filter(|(_, ready)| **ready) {
                if self.read_report(at)? {
                    return Ok(End::Failed);
                }
            }
            while self.signals.read_signal()?.is_some() {}
            let gone = self.reap();
            if let Some(end) = self.end_by(&gone)? {
                return Ok(end);
            }
            for answer in self.connects.finish(|index| ready.connects.get(index) == Some(&true)) {
                self.answer(answer)?;
            }
            self.outbox.flush(self.start.channel)?;
            if ready.channel && !self.read_channel()? {
                return Ok(End::Abandoned);
            }
        }
    }

    /// Waits until something is ready.
    fn poll(&self) -> io::Result<Ready> {
        let mut wanted = PollFlags::empty();
        if self.outbox.len() < ANSWERS_WAITING_MAX {
            wanted |= PollFlags::POLLIN;
        }
        if self.outbox.len() > 0 {
            wanted |= PollFlags::POLLOUT;
        }
        let mut fds = vec![
            PollFd::new(self.start.channel.as_fd(), wanted),
            PollFd::new(self.start.lifeline, PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        for child in self.children().filter(|child| child.report.is_some()) {
            fds.push(PollFd::new(child.program.report.as_fd(), PollFlags::POLLIN));
        }
        fds.extend(self.connects.waiting().map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = fds.iter().map(|fd| fd.any().unwrap_or(false));
        let (channel, lifeline) = (ready.next() == Some(true), ready.next() == Some(true));
        let _signals = ready.next();
        let reports =
            self.children().map(|child| child.report.is_some() && ready.next() == Some(true));
        let reports = reports.collect();
        Ok(Ready { channel, lifeline, reports, connects: ready.collect() })
    }

    /// Returns the program, and those beside it.
    fn children(&self) -> impl Iterator<Item = &Child> {
        std::iter::once(&self.program).chain(&self.beside)
    }

    /// Returns the program if `at` is 0, or the one before `at` beside it.
    fn child(&mut self, at: usize) -> Option<&mut Child> {
        match at.checked_sub(1) {
            None => Some(&mut self.program),
            Some(at) => self.beside.get_mut(at),
        }
    }

    /// Reads of a report. Returns whether that program could not be executed, which the worker is
    /// told.
    fn read_report(&mut self, at: usize) -> io::Result<bool> {
        let Some(outcome) = self.child(at).map_or(Ok(None), Child::read_report)? else {
            return Ok(false);
        };
        let message = match outcome {
            Err(failure) => {
                let reason = bounded_reason(failure.to_string());
                FromSandbox::Failed { step: failure.step, reason }
            }
            // One that was killed while it waited has closed its report, too.
            Ok(()) if at == 0 && !self.program.program.waits() => FromSandbox::Started,
            Ok(()) => return Ok(false),
        };
        let failed = matches!(message, FromSandbox::Failed { .. });
        self.send(message, None)?;
        Ok(failed)
    }

    /// Waits for every child that has ended, orphans of the program's included. Returns which
    /// programs are among them, and how they ended.
    fn reap(&mut self) -> Vec<(usize, ExitStatus)> {
        let mut ended = Vec::new();
        loop {
            // Not nix's: it has no name for real-time signals, and loses the process with them.
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => (Pid::from_raw(pid.as_raw_nonzero().get()), status),
                Ok(None) | Err(_) => return ended,
            };
            let Some(status) = exit_status(status) else { continue };
            let Some(at) = self.children().position(|child| child.pid == Some(pid)) else {
                continue;
            };
            if let Some(child) = self.child(at) {
                child.pid = None;
            }
            ended.push((at, status));
        }
    }

    /// Returns whether the sandbox ends, now that these programs have ended.
    fn end_by(&mut self, gone: &[(usize, ExitStatus)]) -> io::Result<Option<End>> {
        for (at, status) in gone {
            match at.checked_sub(1) {
                None => self.ended = Some(*status),
                Some(_) if self.lingers => {}
                Some(beside) => return self.ended_too_early(beside, *status).map(Some),
            }
        }
        let Some(status) = self.ended else { return Ok(None) };
        if !self.lingers || self.beside.iter().all(|child| child.pid.is_none()) {
            return Ok(Some(End::Exited(status)));
        }
        if gone.iter().any(|(at, _)| *at == 0) {
            self.send(FromSandbox::ProgramEnded, None)?;
        }
        Ok(None)
    }

    /// Tells the worker of a program beside the program that has ended, or was not executed.
    fn ended_too_early(&mut self, beside: usize, status: ExitStatus) -> io::Result<End> {
        while self.beside.get(beside).is_some_and(|child| child.report.is_some()) {
            if self.read_report(beside + 1)? {
                return Ok(End::Failed);
            }
        }
        let path = self.start.sandbox.beside.get(beside).map_or("", String::as_str);
        let reason = match status {
            ExitStatus::Code(code) => format!("{path} ended with exit status {code}"),
            ExitStatus::Signal(signal) => format!("{path} was ended by signal {signal}"),
        };
        let reason = bounded_reason(reason);
        self.send(FromSandbox::Failed { step: Step::Execute, reason }, None)?;
        Ok(End::Failed)
    }

    /// Reads what the worker has sent. Returns whether it is still there.
    fn read_channel(&mut self) -> io::Result<bool> {
        while self.outbox.len() < ANSWERS_WAITING_MAX {
            match self.start.channel.receive::<ToSandbox>(&mut self.buffer) {
                Ok(received) => self.act_on(received.message)?,
                Err(ReceiveError::Empty) => return Ok(true),
                Err(ReceiveError::Gone) => return Ok(false),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(true)
    }

    fn act_on(&mut self, message: ToSandbox) -> io::Result<()> {
        match message {
            ToSandbox::Start => {
                self.program.program.go();
                self.beside.iter_mut().for_each(|child| child.program.go());
                Ok(())
            }
            ToSandbox::Linger => {
                self.lingers = true;
                Ok(())
            }
            ToSandbox::Connect { ticket, port } => match self.connects.begin(ticket, port) {
                Some(answer) => self.answer(answer),
                None => Ok(()),
            },
            ToSandbox::Ports => {
                let ports = self.ports();
                self.send(FromSandbox::Ports { ports }, None)
            }
            ToSandbox::Signal { signal } => {
                if let Some(program) = self.program.pid {
                    // SAFETY: a plain system call. The program has not been waited for, so its
                    // number is its own, and so is the group that it leads.
                    unsafe { libc::kill(-program.as_raw(), signal.into()) };
                }
                Ok(())
            }
            ToSandbox::Kill => {
                self.kill_all();
                Ok(())
            }
        }
    }

    fn answer(&mut self, answer: Answer) -> io::Result<()> {
        let ticket = answer.ticket;
        match answer.outcome {
            Ok(socket) => self.send(FromSandbox::Connection { ticket }, Some(socket)),
            Err(errno) => {
                self.send(FromSandbox::ConnectFailed { ticket, errno: errno as i32 }, None)
            }
        }
    }

    fn send(&mut self, message: FromSandbox, fd: Option<OwnedFd>) -> io::Result<()> {
        self.outbox.send(self.start.channel, message, fd)
    }

    /// Returns the ports that programs inside listen on, as far as they can be told from others.
    fn ports(&self) -> Vec<u16> {
        let sandbox = self.start.sandbox;
        let shared = shares_network(sandbox);
        let uid = shared.then(|| match sandbox.level {
            // The file has the numbers of the reader's namespace.
            Level::Full => crate::identity::PROGRAM_UID,
            Level::Basic => self.start.identity.program_on_host().0,
        });
        let told = self.diag.as_ref().zip(uid).and_then(|(diag, uid)| diag.ports(uid));
        let mut ports = told.unwrap_or_else(|| {
            let text = |name| std::fs::read_to_string(format!("/proc/self/net/{name}"));
            let texts = ["tcp", "tcp6"].map(|name| text(name).unwrap_or_default());
            texts.iter().flat_map(|text| listening::ports(text, uid)).collect()
        });
        ports.retain(|port| shared || !sandbox.listen.contains(port));
        ports.sort_unstable();
        ports.dedup();
        ports.truncate(PORTS_MAX);
        ports
    }

    /// Kills every other process of the sandbox.
    fn kill_all(&self) {
        match self.start.sandbox.level {
            Level::Full if std::process::id() == 1 => {
                // SAFETY: a plain system call. This is the first process of a pid namespace, so
                // that -1 means the others in it.
                unsafe { libc::kill(-1, libc::SIGKILL) };
            }
            Level::Full => {}
            Level::Basic => {
                self.start.group.kill();
                for child in children() {
                    // One that has ended meanwhile is what is wanted.
                    let _ = kill(child, Signal::SIGKILL);
                }
            }
        }
    }

    /// Kills and waits for every process that is left, so that what they used is counted.
    fn end_processes(&mut self) {
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            self.kill_all();
            self.reap();
            if matches!(wait(WaitOptions::NOHANG), Err(rustix::io::Errno::CHILD)) {
                return;
            }
            if Instant::now() >= deadline {
                return;
            }
            // Woken by the end of one; those that it leaves behind become children of this process.
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, 20_u16);
            while matches!(self.signals.read_signal(), Ok(Some(_))) {}
        }
    }

    /// Tells the worker how the program ended. Returns whether it has been told.
    fn last_words(&mut self, status: ExitStatus) -> bool {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN);
        let micros = |time: nix::sys::time::TimeVal| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            seconds
                .saturating_mul(1_000_000)
                .saturating_add(u64::try_from(time.tv_usec()).unwrap_or(0))
        };
        let (user, system, largest_kib) = usage.map_or((0, 0, 0), |usage| {
            let largest = u64::try_from(usage.max_rss()).unwrap_or(0);
            (micros(usage.user_time()), micros(usage.system_time()), largest)
        });
        let readings = self.start.group.readings();
        let peak = readings.memory_bytes_peak().unwrap_or(largest_kib.saturating_mul(1024));
        let exited = FromSandbox::Exited {
            status,
            memory_bytes_peak: peak,
            cpu_user_us: user,
            cpu_system_us: system,
            out_of_memory: readings.out_of_memory(),
        };
        // A program that was executed and ended at once: both are known only now.
        while self.program.report.is_some() {
            match self.read_report(0) {
                Ok(false) => {}
                Ok(true) => return flushed(&mut self.outbox, self.start.channel),
                Err(_) => return false,
            }
        }
        let sent = self.send(exited, None);
        sent.is_ok() && flushed(&mut self.outbox, self.start.channel)
    }
}

/// Returns how a process ended, or `None` if it was only stopped.
fn exit_status(status: WaitStatus) -> Option<ExitStatus> {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(ExitStatus::Code(byte(code))),
        (None, Some(signal)) => Some(ExitStatus::Signal(byte(signal))),
        (None, None) => None,
    }
}

/// Waits until everything is sent. Returns whether it is.
fn flushed(outbox: &mut Outbox<FromSandbox>, channel: &Channel) -> bool {
    let deadline = Instant::now() + LAST_WORDS_TIMEOUT;
    while outbox.len() > 0 && Instant::now() < deadline {
        let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLOUT)];
        let _ = poll(&mut fds, 100_u16);
        if outbox.flush(channel).is_err() {
            return false;
        }
    }
    outbox.len() == 0
}
