//! The spawner: a process with one thread that makes sandboxes and sees to their end.
//!
//! It owns its end of the channel, an O_PATH fd for each code, a pidfd for each sandbox, and the
//! lifeline. Everything of it ends when it does, and it ends when its channel does.

mod scratch;
mod spawn;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use abi::channel::{Channel, ReceiveBuffer, ReceiveError};
use abi::sandbox::{FromSpawner, Sandbox, ToSpawner, bounded_reason};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::kill;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{Signal, pidfd_send_signal};

use crate::children::children;
use crate::outbox::Outbox;
use spawn::{Common, Made};

/// With so many answers that the worker has not taken, no more requests are read.
const ANSWERS_WAITING_MAX: usize = 256;
/// How often the removal of a cgroup is tried again, whose processes have only just ended.
const REMOVAL_INTERVAL_MS: u16 = 5;
/// After so long what is left of a sandbox is left to the next spawner.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long inits may take to end what they have started, when the spawner does.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs this process as a spawner until its channel, which is its stdin, ends. To be called before
/// a thread is started or a file opened, when the only argument is [`crate::SPAWNER_ARGUMENT`].
#[must_use]
pub fn spawner_main() -> ExitCode {
    match channel().and_then(|channel| run(&channel)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sockhop: the spawner of native functions has failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes the channel off stdin, and closes every fd beyond stderr.
fn channel() -> io::Result<Channel> {
    // SAFETY: nothing in this process owns an fd beyond stderr yet.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: stdin is open, and is this process's only copy of the channel.
    let channel = unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3) };
    if channel < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this fd, and nobody else knows of it.
    let channel = unsafe { OwnedFd::from_raw_fd(channel) };
    rustix::stdio::dup2_stdin(OpenOptions::new().read(true).open("/dev/null")?)?;
    Ok(Channel::from(channel))
}

/// Serves a channel until it ends, and cleans up.
fn run(channel: &Channel) -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut spawner = Spawner {
        channel,
        common: Common::new().map_err(io::Error::other)?,
        codes: HashMap::new(),
        sandboxes: HashMap::new(),
        ending: Vec::new(),
        outbox: Outbox::new(),
        buffer: ReceiveBuffer::default(),
    };
    let served = spawner.serve();
    spawner.end();
    match served {
        // It goes whenever it likes, with answers on their way to it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        served => served,
    }
}

struct Spawner<'a> {
    channel: &'a Channel,
    common: Common,
    codes: HashMap<u64, OwnedFd>,
    /// By the worker's number. An init that has ended is taken out once it was waited for.
    sandboxes: HashMap<u64, Made>,
    /// Without processes, but with something to remove.
    ending: Vec<(u64, Made, Instant)>,
    outbox: Outbox<FromSpawner>,
    buffer: ReceiveBuffer,
}

impl Spawner<'_> {
    /// Acts on one thing after the other, until the worker has gone.
    fn serve(&mut self) -> io::Result<()> {
        loop {
            let (asked, ended) = self.poll()?;
            for process in ended {
                self.reap(process);
            }
            for process in self.remove_what_ended() {
                self.send(FromSpawner::Ended { process }, None)?;
            }
            self.outbox.flush(self.channel)?;
            if asked && !self.read_channel()? {
                return Ok(());
            }
        }
    }

    /// Waits until something is to be done. Returns whether the channel is ready, and which inits
    /// have ended.
    fn poll(&self) -> io::Result<(bool, Vec<u64>)> {
        let mut wanted = PollFlags::empty();
        if self.outbox.len() < ANSWERS_WAITING_MAX {
            wanted |= PollFlags::POLLIN;
        }
        if self.outbox.len() > 0 {
            wanted |= PollFlags::POLLOUT;
        }
        let processes: Vec<u64> = self.sandboxes.keys().copied().collect();
        let mut fds = vec![PollFd::new(self.channel.as_fd(), wanted)];
        fds.extend(
            self.sandboxes.values().map(|made| PollFd::new(made.pidfd.as_fd(), PollFlags::POLLIN)),
        );
        let timeout = match self.ending.is_empty() {
            true => PollTimeout::NONE,
            false => REMOVAL_INTERVAL_MS.into(),
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = fds.iter().map(|fd| fd.any().unwrap_or(false));
        let asked = ready.next() == Some(true);
        let ended = processes.into_iter().zip(ready).filter(|(_, ready)| *ready);
        Ok((asked, ended.map(|(process, _)| process).collect()))
    }

    /// Waits for an init that has ended. The kernel has waited for all processes of its namespace
    /// by then.
    fn reap(&mut self, process: u64) {
        let Some(made) = self.sandboxes.get(&process) else { return };
        if let Ok(WaitStatus::StillAlive) = waitpid(made.pid, Some(WaitPidFlag::WNOHANG)) {
            return;
        }
        let is_basic = made.scratch.is_some();
        if let Some(made) = self.sandboxes.remove(&process) {
            self.ending.push((process, made, Instant::now()));
        }
        if is_basic {
            self.end_strays();
        }
    }

    /// Ends children of this process that are no inits: orphans of an init that was killed, which
    /// had no pid namespace to take them along.
    fn end_strays(&self) {
        loop {
            let inits: Vec<Pid> = self.sandboxes.values().map(|made| made.pid).collect();
            let strays = children().into_iter().filter(|child| !inits.contains(child));
            let mut ended = false;
            for stray in strays {
                let killed = kill(stray, nix::sys::signal::Signal::SIGKILL).is_ok();
                // Those that it leaves are looked for in the next round.
                ended |= killed && waitpid(stray, None).is_ok();
            }
            if !ended {
                return;
            }
        }
    }

    /// Removes what is left of sandboxes without processes. Returns those of which nothing is.
    fn remove_what_ended(&mut self) -> Vec<u64> {
        let mut gone = Vec::new();
        self.ending.retain_mut(|(process, made, since)| {
            // A daemon of a program without a pid namespace may have outlived its init.
            made.group.kill();
            let removed = made.group.remove();
            if !removed && since.elapsed() < REMOVAL_TIMEOUT {
                return true;
            }
            if let Some(folder) = made.scratch.take() {
                scratch::remove(&folder);
            }
            gone.push(*process);
            false
        });
        gone
    }

    /// Reads what the worker has sent. Returns whether it is still there.
    fn read_channel(&mut self) -> io::Result<bool> {
        while self.outbox.len() < ANSWERS_WAITING_MAX {
            match self.channel.receive::<ToSpawner>(&mut self.buffer) {
                Ok(received) => self.act_on(received.message, received.fd)?,
                Err(ReceiveError::Empty) => return Ok(true),
                Err(ReceiveError::Gone) => return Ok(false),
                // What it asked for is lost; the worker sees the end of the process channel.
                Err(ReceiveError::FdLost) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(true)
    }

    fn act_on(&mut self, message: ToSpawner, fd: Option<OwnedFd>) -> io::Result<()> {
        match (message, fd) {
            (ToSpawner::Code { code }, Some(folder)) => {
                self.codes.insert(code, folder);
                Ok(())
            }
            (ToSpawner::ForgetCode { code }, _) => {
                self.codes.remove(&code);
                Ok(())
            }
            (ToSpawner::Spawn { process, sandbox }, Some(channel)) => {
                match self.spawn(process, &sandbox, channel) {
                    Ok(pidfd) => self.send(FromSpawner::Spawned { process }, Some(pidfd)),
                    Err(reason) => {
                        let reason = bounded_reason(reason);
                        self.send(FromSpawner::SpawnFailed { process, reason }, None)
                    }
                }
            }
            // The channel has checked that those with an fd have one.
            (ToSpawner::Code { .. } | ToSpawner::Spawn { .. }, None) => Ok(()),
        }
    }

    /// Makes a sandbox. Returns a pidfd for the worker.
    fn spawn(
        &mut self,
        process: u64,
        sandbox: &Sandbox,
        channel: OwnedFd,
    ) -> Result<OwnedFd, String> {
        let is_ending = self.ending.iter().any(|(number, _, _)| *number == process);
        if is_ending || self.sandboxes.contains_key(&process) {
            return Err(format!(
                "there is a process {process} already; this is an error of sockhop"
            ));
        }
        let Some(code) = self.codes.get(&sandbox.code) else {
            return Err(format!("there is no code {}; this is an error of sockhop", sandbox.code));
        };
        let made = self.common.spawn(sandbox, code.as_fd(), channel)?;
        let pidfd = made.pidfd.try_clone();
        self.sandboxes.insert(process, made);
        pidfd.map_err(|error| {
            if let Some(made) = self.sandboxes.get(&process) {
                // It goes the way of all that end.
                let _ = pidfd_send_signal(&made.pidfd, Signal::KILL);
            }
            format!("there is no file descriptor for it: {error}; raise `ulimit -n`")
        })
    }

    fn send(&mut self, message: FromSpawner, fd: Option<OwnedFd>) -> io::Result<()> {
        self.outbox.send(self.channel, message, fd)
    }

    /// Ends every sandbox, and removes what is left of it.
    fn end(&mut self) {
        // Inits without a pid namespace end what they have started, and then themselves.
        self.common.end_lifeline();
        let deadline = Instant::now() + END_TIMEOUT;
        for made in self.sandboxes.values() {
            if made.scratch.is_some() {
                let left = deadline.saturating_duration_since(Instant::now());
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
                let _ = poll(&mut [PollFd::new(made.pidfd.as_fd(), PollFlags::POLLIN)], timeout);
            }
            // One that has ended meanwhile is what is wanted.
            let _ = pidfd_send_signal(&made.pidfd, Signal::KILL);
        }
        for (process, made) in std::mem::take(&mut self.sandboxes) {
            made.group.kill();
            let _ = waitpid(made.pid, None);
            self.ending.push((process, made, Instant::now()));
        }
        self.end_strays();
        self.remove_what_ended();
        while !self.ending.is_empty() {
            let _ = poll(&mut [], REMOVAL_INTERVAL_MS);
            self.remove_what_ended();
        }
    }
}
