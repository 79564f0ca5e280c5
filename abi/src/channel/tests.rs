//! The channel against a peer that keeps to the protocol, and one that does not.

use std::io::{Read, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;

use super::*;
use crate::message::{AccessLog, Awaits, Ending, Settings, ToEngine, ToWorker};

fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_message_and_its_fd_arrive_whole() {
    let (engine, worker) = Channel::pair().unwrap();
    let (socket, mut far) = UnixStream::pair().unwrap();
    let sent = ToWorker::Connection {
        read: b"GET /".to_vec(),
        awaits: Awaits::Next,
        accepted_at_us: 7,
        origin: None,
    };
    engine.send(&sent, Some(socket.as_fd())).unwrap();
    drop(socket);
    let received = worker.receive::<ToWorker>(&mut ReceiveBuffer::default()).unwrap();
    assert_eq!(received.message, sent);
    let mut near = UnixStream::from(received.fd.unwrap());
    near.write_all(b"x").unwrap();
    let mut byte = [0];
    far.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

#[test]
fn received_fds_do_not_survive_exec() {
    let (engine, worker) = Channel::pair().unwrap();
    let empty = ToWorker::Connection {
        read: Vec::new(),
        awaits: Awaits::First,
        accepted_at_us: 0,
        origin: None,
    };
    engine.send(&empty, Some(engine.as_fd())).unwrap();
    let fd = worker.receive::<ToWorker>(&mut ReceiveBuffer::default()).unwrap().fd.unwrap();
    let flags = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
}

#[test]
fn a_full_queue_is_busy_and_a_closed_one_gone() {
    let (engine, worker) = Channel::pair().unwrap();
    let message = ToEngine::Return { read: vec![0; 64 * 1024], awaits: Awaits::Next, origin: None };
    let stdin = io::stdin();
    let busy = (0..1000).map(|_| worker.send(&message, Some(stdin.as_fd()))).find(Result::is_err);
    assert!(matches!(busy, Some(Err(SendError::Busy))), "{busy:?}");
    drop(engine);
    assert!(matches!(worker.send(&message, Some(stdin.as_fd())), Err(SendError::Gone)));
}

#[test]
fn what_was_sent_before_refuse_more_is_still_received_and_nothing_after() {
    let (engine, worker) = Channel::pair().unwrap();
    let message = ToWorker::Drain { ending: Ending::Close, deadline_ms: 1 };
    engine.send(&message, None).unwrap();
    worker.refuse_more().unwrap();
    assert!(matches!(engine.send(&message, None), Err(SendError::Gone)));
    let mut buffer = ReceiveBuffer::default();
    assert_eq!(worker.receive::<ToWorker>(&mut buffer).unwrap().message, message);
    assert!(matches!(worker.receive::<ToWorker>(&mut buffer), Err(ReceiveError::Gone)));
}

#[test]
fn fds_that_do_not_belong_are_refused_and_closed() {
    let (engine, worker) = Channel::pair().unwrap();
    assert!(matches!(
        engine.send(&ToWorker::Catalogue, None),
        Err(SendError::Fds { expected: 1, given: 0 })
    ));
    let before = open_fds();
    // A peer that ignores our types: packets with several fds, and one of a kind that carries none.
    let bytes = envelope::pack(&ToWorker::Drain { ending: Ending::Close, deadline_ms: 1 }).unwrap();
    for fds in [&[0, 1][..], &[0][..], &[0, 1, 2][..], &[0; 253][..]] {
        engine.socket.send_with_fd(&bytes, fds).unwrap();
        let received = worker.receive::<ToWorker>(&mut ReceiveBuffer::default());
        assert!(matches!(received, Err(ReceiveError::Malformed(_))), "{received:?}");
    }
    assert_eq!(open_fds(), before);
}

#[test]
fn an_oversized_packet_is_refused() {
    let (engine, worker) = Channel::pair().unwrap();
    engine.socket.send(&vec![0; MESSAGE_BYTES_MAX + 1]).unwrap();
    let received = worker.receive::<ToWorker>(&mut ReceiveBuffer::default());
    assert!(matches!(received, Err(ReceiveError::Malformed(_))), "{received:?}");
    let too_large =
        ToEngine::Return { read: vec![0; MESSAGE_BYTES_MAX], awaits: Awaits::Next, origin: None };
    assert!(matches!(
        worker.send(&too_large, Some(engine.as_fd())),
        Err(SendError::TooLarge { .. })
    ));
}

#[test]
fn another_builds_message_is_refused() {
    let (engine, worker) = Channel::pair().unwrap();
    let mut bytes =
        envelope::pack(&ToWorker::Drain { ending: Ending::Close, deadline_ms: 1 }).unwrap();
    bytes[8] ^= 1;
    engine.socket.send(&bytes).unwrap();
    let received = worker.receive::<ToWorker>(&mut ReceiveBuffer::default());
    assert!(
        matches!(&received, Err(ReceiveError::Malformed(why)) if why.contains("another build")),
        "{received:?}"
    );
}

#[test]
fn an_end_survives_the_trip_through_a_raw_fd() {
    let (engine, worker) = Channel::pair().unwrap();
    let raw = worker.socket.into_raw_fd();
    // SAFETY: the fd was given up on the line above.
    let worker = Channel::from(unsafe { OwnedFd::from_raw_fd(raw) });
    worker.send(&ToEngine::Applied { generation: 7 }, None).unwrap();
    let received = engine.receive::<ToEngine>(&mut ReceiveBuffer::default()).unwrap();
    assert_eq!(received.message, ToEngine::Applied { generation: 7 });
}

proptest! {
    /// Whatever bytes a peer sends, receiving them is an error or a message, never a panic.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 1..512), valid_header: bool) {
        let (engine, worker) = Channel::pair().unwrap();
        let mut packet = Vec::new();
        if valid_header {
            packet.extend_from_slice(&envelope::pack(&ToWorker::Catalogue).unwrap()[..envelope::HEADER_BYTES]);
        }
        packet.extend_from_slice(&bytes);
        engine.socket.send(&packet).unwrap();
        let _ = worker.receive::<ToWorker>(&mut ReceiveBuffer::default());
        engine.socket.send(&packet).unwrap();
        let _ = worker.receive::<ToEngine>(&mut ReceiveBuffer::default());
    }

    /// A message with any one byte changed is refused or is some message; it never panics.
    #[test]
    fn any_flipped_byte_is_survived(at in 0usize..4096, to: u8, read in proptest::collection::vec(any::<u8>(), 0..256)) {
        let (engine, worker) = Channel::pair().unwrap();
        let connection = ToWorker::Connection { read, awaits: Awaits::First, accepted_at_us: 0, origin: None };
        let mut bytes = envelope::pack(&connection).unwrap();
        let at = at % bytes.len();
        bytes[at] = to;
        engine.socket.send_with_fd(&bytes, &[0]).unwrap();
        let _ = worker.receive::<ToWorker>(&mut ReceiveBuffer::default());
    }
}

#[test]
fn settings_beyond_their_limits_are_refused() {
    let settings = |head_timeout_ms, log_bytes| Settings {
        only_function: None,
        shared_rows: 1,
        address_seed: 0,
        names: crate::names::Names::default(),
        https_redirect: None,
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        head_timeout_ms,
        idle_timeout_ms: 1,
        write_timeout_ms: 1,
        access_log: AccessLog::Off,
        logs: true,
        guest_stderr: false,
        trace_sample: 0,
        native_cores: Vec::new(),
        native_sandbox: crate::sandbox::Level::Full,
        log_filter: "x".repeat(log_bytes),
    };
    let timeout_ms_max = u32::try_from(crate::limits::SETTING_TIMEOUT_MAX.as_millis()).unwrap();
    let (engine, worker) = Channel::pair().unwrap();
    for (head_timeout_ms, log_bytes, taken) in [
        (timeout_ms_max, crate::limits::LOG_FILTER_BYTES_MAX, true),
        (timeout_ms_max + 1, 0, false),
        (1, crate::limits::LOG_FILTER_BYTES_MAX + 1, false),
    ] {
        let settings = settings(head_timeout_ms, log_bytes);
        assert_eq!(
            ToWorker::Settings { settings: settings.clone() }.check().is_ok(),
            taken,
            "{settings:?}"
        );
        assert_eq!(
            ToWorker::Start { row: 0, settings: settings.clone() }.check().is_ok(),
            taken,
            "{settings:?}"
        );
        if taken {
            let sent = ToWorker::Settings { settings };
            engine.send(&sent, None).unwrap();
            assert_eq!(
                worker.receive::<ToWorker>(&mut ReceiveBuffer::default()).unwrap().message,
                sent
            );
        }
    }
}
