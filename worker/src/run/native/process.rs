//! One native process in its sandbox: its output, its connections, its end.
//!
//! A task reads what the sandbox's init says. Owns the pidfd of the init; listeners and connections
//! go to who asked for them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use abi::sandbox::{Begin, ExitStatus, FromSandbox, ToSandbox};
use abi::spool::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::output::Output;
use super::spawner::Sandboxed;
use super::{memory, outbound};
use crate::link::{Inbox, Outbox};
use crate::run::Spec;

/// How long a killed process may take to be gone before nobody waits for it any more.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// Between the end of a process and the last of its output.
const OUTPUT_WAIT: Duration = Duration::from_millis(50);

/// How a process is asked to end.
#[derive(Clone)]
pub(super) struct Farewell {
    /// How long the program gets to end after SIGTERM. If none, it gets no SIGTERM.
    pub(super) program: Duration,
    /// How long all of it gets.
    pub(super) all: Duration,
    /// Tells what runs beside the program, if anything does, how long it has to end.
    pub(super) tell: Option<Rc<dyn Fn(Duration)>>,
}

impl Farewell {
    /// Returns that of a program with nothing beside it.
    pub(super) fn after(grace: Duration) -> Self {
        Self { program: grace, all: grace, tell: None }
    }
}

/// How a process ended.
#[derive(Debug, Clone)]
pub(super) struct Exit {
    /// As the field says it: `exit status 1`, `signal: killed`.
    pub(super) how: String,
    /// `None` if it was never started, or nobody knows.
    pub(super) status: Option<ExitStatus>,
    /// Whether it ended because it had used up its memory.
    pub(super) out_of_memory: bool,
    /// The most memory that it has had, if anybody knows.
    memory_bytes_peak: Option<u64>,
}

/// A process, and its sandbox.
pub(super) struct Process {
    pub(super) output: Rc<Output>,
    outbox: Outbox<ToSandbox>,
    init: OwnedFd,
    connecting: RefCell<HashMap<u64, oneshot::Sender<io::Result<TcpStream>>>>,
    asking_ports: RefCell<Vec<oneshot::Sender<Vec<u16>>>>,
    next_ticket: Cell<u64>,
    /// Whether its sandbox waits to be told to execute the program.
    waits: Cell<bool>,
    /// Whether the program was executed.
    executed: Cell<bool>,
    /// Whether the program has ended, while others beside it may not have.
    program_gone: watch::Sender<bool>,
    gone: watch::Sender<bool>,
    exit: watch::Sender<Option<Exit>>,
}

impl Process {
    /// Returns the process of a sandbox. `on_listener` gets each listener that was made inside,
    /// with the port that was asked for, but for that of its way out.
    pub(super) fn new(
        sandboxed: Sandboxed,
        begin: Begin,
        (spec, output): (&Rc<Spec>, Rc<Output>),
        mut on_listener: impl FnMut(u16, TcpListener) + 'static,
    ) -> Rc<Self> {
        let Sandboxed { inbox, outbox, init } = sandboxed;
        let process = Rc::new(Self {
            output,
            outbox,
            init,
            connecting: RefCell::default(),
            asking_ports: RefCell::default(),
            next_ticket: Cell::new(0),
            waits: Cell::new(begin == Begin::WhenTold),
            executed: Cell::new(false),
            program_gone: watch::Sender::new(false),
            gone: watch::Sender::new(false),
            exit: watch::Sender::new(None),
        });
        let (spec, ended) = (Rc::clone(spec), Rc::downgrade(&process));
        let listeners = move |port, listener| match (port, ended.upgrade()) {
            (outbound::PORT, Some(process)) => {
                let (spec, output) = (Rc::clone(&spec), Rc::clone(&process.output));
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        () = outbound::serve(spec, output, listener) => {}
                        () = process.gone() => {}
                    }
                });
            }
            _ => on_listener(port, listener),
        };
        tokio::task::spawn_local(Rc::clone(&process).hear(inbox, listeners));
        process
    }

    /// Hears of the sandbox until its end.
    async fn hear(
        self: Rc<Self>,
        mut inbox: Inbox<FromSandbox>,
        mut on_listener: impl FnMut(u16, TcpListener),
    ) {
        let exit = loop {
            let Ok(received) = inbox.next().await else {
                // It was killed from outside, or has broken the protocol.
                self.kill();
                break Exit::without_status("signal: killed");
            };
            match (received.message, received.fd) {
                (FromSandbox::Stdout, Some(pipe)) => self.output.read(Stream::Stdout, pipe),
                (FromSandbox::Stderr, Some(pipe)) => self.output.read(Stream::Stderr, pipe),
                (FromSandbox::Listener { asked, .. }, Some(listener)) => {
                    if let Ok(listener) = TcpListener::from_std(listener.into()) {
                        on_listener(asked, listener);
                    }
                }
                (FromSandbox::Connection { ticket }, Some(socket)) => {
                    self.connected(ticket, TcpStream::from_std(socket.into()));
                }
                (FromSandbox::ConnectFailed { ticket, errno }, _) => {
                    self.connected(ticket, Err(io::Error::from_raw_os_error(errno)));
                }
                (FromSandbox::Ports { ports }, _) => {
                    for asked in self.asking_ports.take() {
                        let _ = asked.send(ports.clone());
                    }
                }
                (FromSandbox::Failed { reason, .. }, _) => break Exit::without_status(&reason),
                (FromSandbox::Exited { status, out_of_memory, memory_bytes_peak, .. }, _) => {
                    let how = Exit::describe(status, out_of_memory);
                    let (status, memory_bytes_peak) = (Some(status), Some(memory_bytes_peak));
                    break Exit { how, status, out_of_memory, memory_bytes_peak };
                }
                (FromSandbox::ProgramEnded, _) => {
                    self.program_gone.send_replace(true);
                }
                (FromSandbox::Started, _) => self.executed.set(true),
                (FromSandbox::Prepared, _) => {}
                // A message without the fd that it has is refused by the channel.
                (
                    FromSandbox::Stdout
                    | FromSandbox::Stderr
                    | FromSandbox::Listener { .. }
                    | FromSandbox::Connection { .. },
                    None,
                ) => {}
            }
        };
        self.connecting.take();
        self.asking_ports.take();
        self.program_gone.send_replace(true);
        self.gone.send_replace(true);
        // What it has written last is in its pipes still.
        tokio::time::sleep(OUTPUT_WAIT).await;
        self.exit.send_replace(Some(exit));
    }

    /// Has a sandbox that was prepared execute its program. Does nothing with another one.
    pub(super) fn execute(&self) {
        if self.waits.replace(false) {
            self.outbox.send(ToSandbox::Start, None);
        }
    }

    /// Returns whether the sandbox has ended without executing its program, or may have: one that
    /// was killed from outside may have been about to end before it was told to.
    pub(super) fn was_lost(&self) -> bool {
        let kill = u8::try_from(libc::SIGKILL).map(ExitStatus::Signal).ok();
        let was_killed = |exit: &Exit| exit.status == kill && !exit.out_of_memory;
        let was_killed = self.exit.borrow().as_ref().is_some_and(was_killed);
        *self.gone.borrow() && (!self.executed.get() || was_killed)
    }

    /// Resolves as soon as the process has ended. How it ended is known a little later.
    pub(super) async fn gone(&self) {
        // The sender is this struct's own.
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    fn connected(&self, ticket: u64, connected: io::Result<TcpStream>) {
        if let Some(asked) = self.connecting.borrow_mut().remove(&ticket) {
            let _ = asked.send(connected);
        }
    }

    /// Connects to a port that the process listens on.
    ///
    /// # Errors
    /// What the kernel says inside the sandbox; `BrokenPipe` if the process has ended.
    pub(super) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let (ticket, (done, connected)) = (self.next_ticket.get(), oneshot::channel());
        self.next_ticket.set(ticket + 1);
        if *self.gone.borrow() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.connecting.borrow_mut().insert(ticket, done);
        self.outbox.send(ToSandbox::Connect { ticket, port }, None);
        connected.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Returns the TCP ports that the process listens on.
    pub(super) async fn ports(&self) -> Vec<u16> {
        let (done, ports) = oneshot::channel();
        self.asking_ports.borrow_mut().push(done);
        self.outbox.send(ToSandbox::Ports, None);
        ports.await.unwrap_or_default()
    }

    /// Resolves when the process has ended.
    pub(super) async fn exited(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or_else(|| Exit::without_status("it has ended")),
            Err(_) => Exit::without_status("it has ended"),
        }
    }

    /// Returns the most memory that the program has had: of its largest process while it runs, and
    /// what its sandbox has counted once it has ended. 0 if nobody knows.
    pub(super) fn memory_bytes_peak(&self) -> u64 {
        let ended = self.exit.borrow().as_ref().map(|exit| exit.memory_bytes_peak);
        ended.unwrap_or_else(|| memory::peak_below(self.init.as_fd())).unwrap_or(0)
    }

    /// Kills everything in the sandbox.
    pub(super) fn kill(&self) {
        // By the init's pidfd, which works whatever the init is at; the kernel kills the rest of a
        // pid namespace with its init. Without a namespace of its own, the init does it.
        self.outbox.send(ToSandbox::Kill, None);
        // SAFETY: a plain system call on an fd that this struct owns; a process that has ended
        // already makes it fail.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.init.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            );
        }
    }

    /// Ends the process: SIGTERM, and SIGKILL when its time has passed. What runs beside the
    /// program is told when that has ended, and ends by itself, or is killed at last.
    pub(super) async fn end(&self, farewell: &Farewell) {
        if !farewell.all.is_zero() {
            let deadline = Instant::now() + farewell.all;
            if farewell.tell.is_some() {
                self.outbox.send(ToSandbox::Linger, None);
            }
            if !farewell.program.is_zero() {
                self.signal(libc::SIGTERM);
            }
            if let Some(tell) = &farewell.tell {
                if timeout(farewell.program, self.program_gone()).await.is_err() {
                    self.signal(libc::SIGKILL);
                    let _ = timeout_at(deadline, self.program_gone()).await;
                }
                tell(deadline.saturating_duration_since(Instant::now()));
            }
            if timeout_at(deadline, self.exited()).await.is_ok() {
                return;
            }
        }
        self.kill();
        let _ = timeout(KILL_TIMEOUT, self.exited()).await;
    }

    /// Sends a signal to the program.
    fn signal(&self, signal: i32) {
        if let Ok(signal) = signal.try_into() {
            self.outbox.send(ToSandbox::Signal { signal }, None);
        }
    }

    async fn program_gone(&self) {
        // The sender is this struct's own.
        let _ = self.program_gone.subscribe().wait_for(|gone| *gone).await;
    }
}

impl Exit {
    fn without_status(how: &str) -> Self {
        let how = how.to_owned();
        Self { how, status: None, out_of_memory: false, memory_bytes_peak: None }
    }

    fn describe(status: ExitStatus, out_of_memory: bool) -> String {
        let ended = match status {
            ExitStatus::Code(code) => format!("exit status {code}"),
            ExitStatus::Signal(signal) => match i32::from(signal) {
                libc::SIGKILL => "signal: killed".to_owned(),
                libc::SIGSEGV => "signal: segmentation fault".to_owned(),
                libc::SIGABRT => "signal: aborted".to_owned(),
                libc::SIGTERM => "signal: terminated".to_owned(),
                libc::SIGSYS => "signal: bad system call".to_owned(),
                other => format!("signal: {other}"),
            },
        };
        if out_of_memory { format!("{ended}, out of its --memory") } else { ended }
    }
}
