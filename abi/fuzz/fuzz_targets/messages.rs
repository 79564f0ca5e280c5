//! Messages: any packet, with up to four fds, received through a real channel as either direction's
//! message.
//!
//! It is refused, or it is a message that keeps to its limits and has the fd it needs; such a
//! message survives being sent again; and whatever happens, no fd is leaked.
#![no_main]

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use abi::channel::{Channel, Message, ReceiveBuffer, ReceiveError, Received, SendError};
use abi::envelope;
use abi::message::{AccessLog, Awaits, Ending, Settings, ToEngine, ToWorker};
use abi::names::Names;
use abi::sandbox::Level;
use fuzz::{FdWatch, Origin};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use sendfd::SendWithFd;

/// More than a message may carry, and more than the receiver has space for.
const FDS_MAX: usize = 4;

/// A peer that sends what it likes, and the honest end it sends to. Used again for each input, as
/// in a long life.
struct Ends {
    peer: Channel,
    /// The peer's socket, past the channel's own rules.
    raw: UnixDatagram,
    honest: Channel,
    buffer: ReceiveBuffer,
}

impl Ends {
    fn new() -> Self {
        let (peer, honest) = Channel::pair().expect("there are sockets left");
        let raw = peer.readiness().expect("there are file descriptors left");
        Self { peer, raw, honest, buffer: ReceiveBuffer::default() }
    }
}

thread_local! {
    static ENDS: std::cell::RefCell<Ends> = std::cell::RefCell::new(Ends::new());
}

fuzz_target!(|bytes: &[u8]| {
    // An error is an input too short to say what is to happen.
    let _ = ENDS.with_borrow_mut(|ends| run(ends, &mut Unstructured::new(bytes)));
});

fn run(ends: &mut Ends, input: &mut Unstructured<'_>) -> Result<()> {
    let fds = input.int_in_range(0..=FDS_MAX)?;
    let packet = Origin::choose(input)?.archive(input, |input| {
        let packed = if input.arbitrary()? {
            envelope::pack(&to_worker(input)?)
        } else {
            envelope::pack(&to_engine(input)?)
        };
        Ok(packed.expect("a message can be packed"))
    })?;
    deliver(ends, &packet, fds, Channel::receive::<ToWorker>, Channel::send::<ToWorker>);
    deliver(ends, &packet, fds, Channel::receive::<ToEngine>, Channel::send::<ToEngine>);
    Ok(())
}

fn deliver<M: Message + PartialEq + Debug>(
    ends: &mut Ends,
    packet: &[u8],
    fds: usize,
    receive: impl Fn(&Channel, &mut ReceiveBuffer) -> std::result::Result<Received<M>, ReceiveError>,
    send: impl Fn(&Channel, &M, Option<BorrowedFd<'_>>) -> std::result::Result<(), SendError>,
) {
    let watch = FdWatch::start();
    let fd = ends.honest.as_raw_fd();
    ends.raw.send_with_fd(packet, &[fd; FDS_MAX][..fds]).expect("the queue is empty");
    match receive(&ends.honest, &mut ends.buffer) {
        Ok(Received { message, fd }) => {
            assert_eq!(fd.is_some(), fds == 1, "{fds} fds were sent");
            assert_eq!(message.fd_count(), fds, "{message:?}");
            assert_eq!(message.check(), Ok(()));
            send(&ends.peer, &message, fd.as_ref().map(AsFd::as_fd))
                .expect("what was received can be sent");
            let again =
                receive(&ends.honest, &mut ends.buffer).expect("what was sent can be received");
            assert_eq!(again.message, message);
        }
        Err(ReceiveError::Malformed(_)) => {}
        // An empty packet looks the same as a closed socket.
        Err(ReceiveError::Gone) if packet.is_empty() => {}
        Err(error) => panic!("the packet was lost: {error}"),
    }
    watch.end();
}

fn to_worker(input: &mut Unstructured<'_>) -> Result<ToWorker> {
    Ok(match input.int_in_range(0..=14)? {
        0 => ToWorker::Start { row: input.arbitrary()?, settings: settings(input)? },
        1 => ToWorker::Catalogue,
        2 => ToWorker::Module { key: input.arbitrary()? },
        3 => ToWorker::ModuleMissing { key: input.arbitrary()?, reason: input.arbitrary()? },
        4 => ToWorker::Connection {
            read: input.arbitrary()?,
            awaits: awaits(input)?,
            accepted_at_us: input.arbitrary()?,
            origin: origin(input)?,
        },
        5 => ToWorker::Settings { settings: settings(input)? },
        6 => ToWorker::Secrets { function: input.arbitrary()? },
        7 => ToWorker::SecretsMissing { function: input.arbitrary()?, reason: input.arbitrary()? },
        8 => ToWorker::Try { ticket: input.arbitrary()? },
        9 => ToWorker::Spool,
        10 => ToWorker::StartEdge { row: input.arbitrary()?, settings: settings(input)? },
        11 => ToWorker::Certificates,
        12 => ToWorker::State,
        13 => ToWorker::Push,
        _ => {
            let ending = if input.arbitrary()? { Ending::Close } else { Ending::GiveBack };
            ToWorker::Drain { ending, deadline_ms: input.arbitrary()? }
        }
    })
}

fn settings(input: &mut Unstructured<'_>) -> Result<Settings> {
    Ok(Settings {
        only_function: input.arbitrary()?,
        shared_rows: input.arbitrary()?,
        address_seed: input.arbitrary()?,
        names: Names { domain: input.arbitrary()?, paths: input.arbitrary()? },
        https_redirect: input.arbitrary()?,
        trusted_proxies: (0..input.int_in_range(0..=3)?)
            .map(|_| {
                let (address, bits): (IpAddr, u8) =
                    (input.arbitrary()?, input.int_in_range(0..=32)?);
                Ok(format!("{address}/{bits}").parse().expect("a network"))
            })
            .collect::<Result<_>>()?,
        head_timeout_ms: input.arbitrary()?,
        idle_timeout_ms: input.arbitrary()?,
        write_timeout_ms: input.arbitrary()?,
        access_log: *input.choose(&[AccessLog::Off, AccessLog::Text, AccessLog::Json])?,
        logs: input.arbitrary()?,
        guest_stderr: input.arbitrary()?,
        trace_sample: input.arbitrary()?,
        native_cores: input.arbitrary()?,
        native_sandbox: *input.choose(&[Level::Full, Level::Basic])?,
        log_filter: input.arbitrary()?,
    })
}

fn to_engine(input: &mut Unstructured<'_>) -> Result<ToEngine> {
    Ok(match input.int_in_range(0..=8)? {
        0 => ToEngine::Hello { version: input.arbitrary()?, build_id: input.arbitrary()? },
        1 => ToEngine::Applied { generation: input.arbitrary()? },
        2 => ToEngine::RequestModule { key: input.arbitrary()? },
        3 => ToEngine::Draining,
        4 => ToEngine::RequestSecrets { function: input.arbitrary()? },
        5 => ToEngine::Tried { ticket: input.arbitrary()?, failure: input.arbitrary()? },
        6 => ToEngine::Detached,
        7 => ToEngine::Push { row: input.arbitrary()? },
        _ => ToEngine::Return {
            read: input.arbitrary()?,
            awaits: awaits(input)?,
            origin: origin(input)?,
        },
    })
}

fn origin(input: &mut Unstructured<'_>) -> Result<Option<abi::origin::Origin>> {
    let is_there: bool = input.arbitrary()?;
    let mut address = || Ok(SocketAddr::new(input.arbitrary()?, input.arbitrary()?));
    let (client, local) = (address()?, address()?);
    let origin = abi::origin::Origin { client, local, https: input.arbitrary()? };
    Ok(is_there.then_some(origin))
}

fn awaits(input: &mut Unstructured<'_>) -> Result<Awaits> {
    Ok(*input.choose(&[Awaits::First, Awaits::Next, Awaits::Admin, Awaits::Event])?)
}
