//! A worker that breaks the protocol. The file `mischief` beside the binary chooses how; without
//! that file it runs the real worker, `real-worker` beside it. It stands for a worker that an
//! attacker controls, or for one of another build. The engine is started with it in the place of
//! the real one (`node::binaries_with_worker`), since an engine runs the binary that it has found
//! at its start.
//!
//! Owns the worker's end of the channel, at the number that every worker has it at.
#![expect(clippy::expect_used, reason = "it may end however it likes")]

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd as _, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use abi::catalogue::CatalogueView;
use abi::channel::{Channel, Message as _, ReceiveBuffer, ReceiveError, Received};
use abi::job::{JobId, Submission};
use abi::message::{Awaits, ToEngine, ToWorker};
use abi::state::{Answered, Operation, Query, Question};
use http::{HeaderMap, Method};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Longer than a worker may take to start, without the time that it waits for the machine.
const LONGER_THAN_A_START: Duration = Duration::from_secs(12);

fn main() {
    let own = std::env::current_exe().expect("it was started from a file");
    let become_real = || -> ! {
        panic!("the real worker: {}", Command::new(own.with_file_name("real-worker")).exec())
    };
    let Ok(mischief) = std::fs::read_to_string(own.with_file_name("mischief")) else {
        become_real()
    };
    // SAFETY: the engine put the channel at this number before `exec`, and nothing in this process
    // has used it yet.
    let socket = unsafe { OwnedFd::from_raw_fd(abi::WORKER_CHANNEL_FD) };
    let raw = socket.as_raw_fd();
    let send = |bytes: &[u8], fds: &[i32]| {
        let rights = [ControlMessage::ScmRights(fds)];
        let rights = if fds.is_empty() { &rights[..0] } else { &rights[..] };
        let _ = sendmsg::<()>(raw, &[IoSlice::new(bytes)], rights, MsgFlags::empty(), None);
    };
    let own_hello =
        || ToEngine::Hello { version: abi::VERSION, build_id: abi::BUILD_ID.to_owned() };
    let null = File::open("/dev/null").expect("every machine has it");
    match mischief.trim() {
        "garbage" => send(&[0xa5; 300], &[]),
        "oversized" => send(&vec![0; 190 * 1024], &[]),
        "fds without a message" => send(&[1], &[null.as_raw_fd(); 200]),
        "another build" => {
            let hello =
                ToEngine::Hello { version: abi::VERSION + 1, build_id: "0.0.0+other".into() };
            let _ = Channel::from(socket).send(&hello, None);
        }
        "out of turn" => {
            let _ = Channel::from(socket).send(&ToEngine::Applied { generation: 1 }, None);
        }
        "from the future" => {
            let channel = Channel::from(socket);
            let _ = channel.send(&own_hello(), None);
            let _ = channel.send(&ToEngine::Applied { generation: u64::MAX }, None);
        }
        "returns what it was never given" => {
            let channel = Channel::from(socket);
            serve(&channel, |channel, _| {
                let _ = channel.send(
                    &ToEngine::Return {
                        read: b"GET / HT".to_vec(),
                        awaits: Awaits::First,
                        origin: None,
                    },
                    Some(null.as_fd()),
                );
            });
        }
        "asks for another's secrets" => {
            let asked = |channel: &Channel| {
                let _ =
                    channel.send(&ToEngine::RequestSecrets { function: "shop".to_owned() }, None);
            };
            let received_file = own.with_file_name("received");
            follow_protocol(&Channel::from(socket), asked, |_, received| {
                let what = match received.message {
                    ToWorker::Secrets { function } => format!("the secrets of {function}"),
                    ToWorker::SecretsMissing { reason, .. } => reason,
                    _ => return,
                };
                let _ = std::fs::write(&received_file, what);
            });
        }
        "asks for another's state" => {
            let received_file = own.with_file_name("received");
            follow_protocol(
                &Channel::from(socket),
                |_| {},
                |_, received| {
                    if let (ToWorker::State, Some(fd)) = (received.message, received.fd) {
                        let answers = ask_for_others(&Channel::from(fd), &state_queries());
                        let _ = std::fs::write(&received_file, answers);
                    }
                },
            );
        }
        "asks for another's jobs" => {
            let received_file = own.with_file_name("received");
            follow_protocol(
                &Channel::from(socket),
                |_| {},
                |_, received| {
                    if let (ToWorker::State, Some(fd)) = (received.message, received.fd) {
                        let answers = ask_for_others(&Channel::from(fd), &job_queries());
                        let _ = std::fs::write(&received_file, answers);
                    }
                },
            );
        }
        "garbage as a job" => follow_protocol(
            &Channel::from(socket),
            |_| {},
            |_, received| {
                if let (ToWorker::State, Some(fd)) = (received.message, received.fd) {
                    let mut forged = submission();
                    forged.headers.push(("sockhop-cron".to_owned(), b"1".to_vec()));
                    let memory = forged.seal().expect("there is memory left");
                    let question =
                        Question { id: 1, function: "hello".to_owned(), query: Query::Submit };
                    let _ = Channel::from(fd).send(&question, Some(memory.as_fd()));
                }
            },
        ),
        "garbage about state" => follow_protocol(
            &Channel::from(socket),
            |_| {},
            |_, received| {
                if let (ToWorker::State, Some(fd)) = (received.message, received.fd) {
                    let _ = Channel::from(fd).send_packet(&[0xa5; 300], None);
                }
            },
        ),
        "a library is missing: libnothing.so" => {
            eprintln!("{mischief}");
            std::process::exit(127);
        }
        "is kept waiting by the machine" => {
            wait_uninterruptibly(LONGER_THAN_A_START);
            become_real();
        }
        "closes what it gets" => serve(&Channel::from(socket), |_, _| {}),
        other => panic!("{other:?} is no mischief"),
    }
    // It does not end by itself, whatever the engine does.
    thread::sleep(Duration::from_secs(3600));
}

/// What is asked, and for which function.
type Asked = (&'static str, Query);

/// Asks for the state of a function that this worker does not run, and for a bucket that nobody was
/// granted.
fn state_queries() -> [Asked; 2] {
    let get = |bucket: Option<&str>| Query::State {
        bucket: bucket.map(str::to_owned),
        operation: Operation::Get { key: "k".to_owned() },
    };
    [("shop", get(None)), ("hello", get(Some("orders")))]
}

/// Submits a job of a function that this worker does not run, and one of a function that takes
/// none, and asks about jobs of both.
fn job_queries() -> [Asked; 4] {
    let progress = || Query::Progress { job: JobId::new().bytes() };
    [("shop", Query::Submit), ("hello", Query::Submit), ("shop", progress()), ("hello", progress())]
}

fn submission() -> Submission {
    Submission::new(None, &Method::POST, "/", &HeaderMap::new(), b"a job".to_vec())
}

/// Asks for what this worker must not have. Returns what was answered.
fn ask_for_others(engine: &Channel, queries: &[Asked]) -> String {
    let memory = submission().seal().expect("there is memory left");
    let mut answers = Vec::new();
    for (id, (function, query)) in (1..).zip(queries) {
        let question = Question { id, function: (*function).to_owned(), query: query.clone() };
        let fd = (question.fd_count() > 0).then(|| memory.as_fd());
        let _ = engine.send(&question, fd);
        let answered = loop {
            match engine.receive::<Answered>(&mut ReceiveBuffer::default()) {
                Ok(received) => break received.message,
                Err(ReceiveError::Empty) => thread::yield_now(),
                Err(error) => return error.to_string(),
            }
        };
        answers.push(format!("{} {:?}", answered.id, answered.response));
    }
    answers.join(", ")
}

/// Waits in the state that a process has while it waits for a disk.
fn wait_uninterruptibly(time: Duration) {
    let (flags, none) =
        (libc::c_long::from(libc::CLONE_VFORK | libc::SIGCHLD), libc::c_long::default());
    // SAFETY: without CLONE_VM the child has its own memory, as after fork, and it is this
    // process's only thread; there it only sleeps and ends. CLONE_VFORK is what keeps the parent
    // waiting (vfork(2)).
    unsafe {
        if libc::syscall(libc::SYS_clone, flags, none, none, none, none) == 0 {
            thread::sleep(time);
            libc::_exit(0);
        }
    }
}

/// Follows the protocol until it gets a connection, and calls `on_connection` then.
fn serve(channel: &Channel, on_connection: impl Fn(&Channel, OwnedFd)) {
    follow_protocol(
        channel,
        |_| {},
        |channel, received| {
            if let (ToWorker::Connection { .. }, Some(fd)) = (received.message, received.fd) {
                on_connection(channel, fd);
            }
        },
    );
}

/// Applies each catalogue and calls `applied` after it, and calls `on_message` with every other
/// message.
fn follow_protocol(
    channel: &Channel,
    applied: impl Fn(&Channel),
    on_message: impl Fn(&Channel, Received<ToWorker>),
) {
    let hello = ToEngine::Hello { version: abi::VERSION, build_id: abi::BUILD_ID.to_owned() };
    channel.send(&hello, None).expect("the engine listens");
    let mut buffer = ReceiveBuffer::default();
    loop {
        match channel.receive(&mut buffer) {
            Ok(Received { message: ToWorker::Catalogue, fd: Some(fd) }) => {
                let generation = CatalogueView::new(fd).expect("the engine's own").generation();
                channel.send(&ToEngine::Applied { generation }, None).expect("the engine listens");
                applied(channel);
            }
            Ok(received) => on_message(channel, received),
            Err(ReceiveError::Empty) => thread::sleep(Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}
