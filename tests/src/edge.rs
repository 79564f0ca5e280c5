//! A process that ends TLS, without a node: the harness is its engine. Owns the engine's end of the
//! channel and the process, which it ends.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use abi::board::{Board, Row};
use abi::certificates::{Certificates, TicketKey};
use abi::channel::{Channel, ReceiveBuffer, ReceiveError, Received};
use abi::message::{AccessLog, Awaits, Ending, Settings, ToEngine, ToWorker};
use abi::origin::Origin;
use nix::fcntl::{FcntlArg, fcntl};
use rustls::{ClientConnection, StreamOwned};

use crate::node::binaries;
use crate::tls::Authority;
use crate::wait;

/// How long anything may take that needs no time.
const SOON: Duration = Duration::from_secs(20);
/// The edge's row.
const ROW: u16 = 3;

/// An edge, and what an engine has of it.
#[derive(Debug)]
pub struct Edge {
    child: Child,
    channel: Option<Channel>,
    buffer: ReceiveBuffer,
    board: Board,
    authority: Authority,
    listener: TcpListener,
    /// Ends the thread that has started the process, and so stands for its engine.
    starter: Option<Sender<()>>,
}

/// A client inside of TLS.
pub type Client = StreamOwned<ClientConnection, TcpStream>;

impl Edge {
    /// Starts one, with a certificate for `localhost`.
    #[must_use]
    pub fn start() -> Self {
        let (ours, theirs) = Channel::pair().expect("a channel");
        let (starter, ended) = channel::<()>();
        let (started, child) = channel();
        thread::spawn(move || {
            let _ = started.send(spawn(&theirs));
            drop(theirs);
            let _ = ended.recv();
        });
        let child = child.recv().expect("the thread starts it");
        let (board, board_fd) = Board::create().expect("a board");
        let authority = Authority::default();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (channel, starter) = (Some(ours), Some(starter));
        let buffer = ReceiveBuffer::default();
        let mut edge = Self { child, channel, buffer, board, authority, listener, starter };
        assert!(matches!(edge.receive().message, ToEngine::Hello { .. }));
        edge.send(&ToWorker::StartEdge { row: ROW, settings: settings() }, Some(board_fd));
        edge.certify();
        assert_eq!(edge.receive().message, ToEngine::Applied { generation: 0 });
        edge
    }

    /// Sends it certificates of another authority than before. Later clients trust no other one.
    pub fn certify(&mut self) {
        self.authority = Authority::default();
        let certificates = Certificates {
            by_name: vec![self.authority.certificate("localhost")],
            ticket_keys: vec![TicketKey { name: [1; 16], key: [1; 32] }],
            ..Certificates::default()
        };
        self.send(&ToWorker::Certificates, Some(certificates.seal().expect("memory")));
    }

    /// Sends it these settings.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = settings();
        change(&mut settings);
        self.send(&ToWorker::Settings { settings }, None);
    }

    /// The edge's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The edge's row on the board.
    #[must_use]
    pub fn row(&self) -> &Row {
        &self.board.rows()[usize::from(ROW)]
    }

    /// Sends it a message.
    pub fn send(&self, message: &ToWorker, fd: Option<OwnedFd>) {
        let channel = self.channel.as_ref().expect("it is not closed");
        channel.send(message, fd.as_ref().map(|fd| fd.as_fd())).expect("the edge listens");
    }

    /// Tells it to drain.
    pub fn drain(&mut self, ending: Ending, deadline: Duration) {
        let deadline_ms = u32::try_from(deadline.as_millis()).expect("a short time");
        self.send(&ToWorker::Drain { ending, deadline_ms }, None);
        assert_eq!(self.receive().message, ToEngine::Draining);
    }

    /// Returns its next message.
    pub fn receive(&mut self) -> Received<ToEngine> {
        wait::until("a message of the edge", SOON, || self.receive_now())
            .expect("the edge has not closed the channel")
    }

    /// Waits until it has closed the channel.
    pub fn expect_channel_closed(&mut self) {
        let next = wait::until("the end of the channel", SOON, || self.receive_now());
        assert!(matches!(next, Err(ReceiveError::Gone)), "{next:?}");
    }

    /// Returns its next message, if there is one now.
    pub fn receive_now(&mut self) -> Option<Result<Received<ToEngine>, ReceiveError>> {
        let channel = self.channel.as_ref().expect("it is not closed");
        match channel.receive(&mut self.buffer) {
            Err(ReceiveError::Empty) => None,
            received => Some(received),
        }
    }

    /// Closes this end of the channel.
    pub fn close_channel(&mut self) {
        self.channel = None;
    }

    /// Ends the thread that has started the process, which the kernel takes for the parent's end.
    pub fn end_starter(&mut self) {
        self.starter = None;
    }

    /// Gives it a connection whose client has said nothing yet.
    #[must_use]
    pub fn connect(&self) -> Client {
        let address = self.listener.local_addr().expect("it listens");
        let client = TcpStream::connect(address).expect("it listens");
        client.set_read_timeout(Some(SOON)).expect("a time");
        let (accepted, _) = self.listener.accept().expect("it has connected");
        let (read, awaits) = (Vec::new(), Awaits::First);
        let message = ToWorker::Connection { read, awaits, accepted_at_us: 0, origin: None };
        self.send(&message, Some(accepted.into()));
        let name = "localhost".try_into().expect("a name");
        let tls = ClientConnection::new(self.authority.client(), name).expect("settings");
        StreamOwned::new(tls, client)
    }

    /// Returns the plaintext end of `client`, which has just written.
    pub fn plaintext_end(&mut self, client: &Client) -> UnixStream {
        let received = self.receive();
        let ToEngine::Return { read, awaits, origin } = received.message else {
            panic!("expected a plaintext end, got {:?}", received.message)
        };
        assert_eq!((read, awaits), (Vec::new(), Awaits::First));
        let client = client.sock.local_addr().expect("it is connected");
        let local = self.listener.local_addr().expect("it listens");
        assert_eq!(origin, Some(Origin { client, local, https: true }));
        let end = UnixStream::from(received.fd.expect("it comes with its fd"));
        end.set_nonblocking(false).expect("an open socket");
        end.set_read_timeout(Some(SOON)).expect("a time");
        end
    }

    /// Waits for its exit.
    pub fn exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait::until("the edge's exit", SOON, || child.try_wait().expect("a child of ours"))
    }

    /// Waits for its exit, and checks that it is one in order.
    pub fn expect_exit(&mut self) {
        let status = self.exit();
        assert_eq!((status.code(), status.signal()), (Some(0), None));
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a few bytes each way.
pub fn exchange(client: &mut Client, end: &mut UnixStream) {
    client.write_all(b"request").expect("it is connected");
    expect(end, b"request");
    end.write_all(b"reply").expect("it is connected");
    expect(client, b"reply");
}

/// Reads `expected`.
pub fn expect(reader: &mut impl std::io::Read, expected: &[u8]) {
    let mut read = vec![0; expected.len()];
    reader.read_exact(&mut read).expect("it is connected");
    assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(expected));
}

/// Starts the process as the engine does.
fn spawn(channel: &Channel) -> Child {
    let above = |fd: std::os::fd::BorrowedFd<'_>| {
        fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(10)).expect("a free fd")
    };
    let fds = [
        (above(channel.as_fd()), abi::WORKER_CHANNEL_FD),
        (above(std::io::stderr().as_fd()), abi::WORKER_STDERR_FD),
    ];
    let mut command = Command::new(binaries().join("sockhop-worker"));
    command.env_clear().env("SOCKHOP_LOG", "debug");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: between fork and exec only system calls are made, on fds of the child's own.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            for (from, to) in fds {
                if libc::dup2(from, to) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let child = command.spawn().expect("the worker's binary is there");
    for (fd, _) in fds {
        // SAFETY: the copies that were made above, of which nobody else knows.
        unsafe { libc::close(fd) };
    }
    child
}

fn settings() -> Settings {
    Settings {
        only_function: None,
        shared_rows: 1,
        address_seed: 1,
        names: abi::names::Names::default(),
        https_redirect: None,
        trusted_proxies: Vec::new(),
        head_timeout_ms: 10_000,
        idle_timeout_ms: 10_000,
        write_timeout_ms: 10_000,
        access_log: AccessLog::Off,
        logs: false,
        guest_stderr: false,
        trace_sample: 0,
        log_filter: "debug".into(),
        native_cores: Vec::new(),
        native_sandbox: abi::sandbox::Level::Full,
    }
}
