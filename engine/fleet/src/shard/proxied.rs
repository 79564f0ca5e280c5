//! Takes the header of the PROXY protocol off the front of a connection, where a listener has each
//! begin with one.
//!
//! Exactly the header is taken, so that what hops begins with a request or a TLS handshake. It has
//! mostly arrived with the connection. If not, a task of the shard waits for the rest, for as long
//! as a head may take; those are counted. Owns the socket until then.

use std::cell::Cell;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::limits::PROXY_HEADER_BYTES_MAX;
use abi::network::Network;
use abi::origin::Origin;
use abi::proxy_header::{Named, ProxyHeaderError, Read, read};
use futures_util::AsyncReadExt as _;
use futures_util::future::{Either, select};
use glommio::net::TcpStream;
use host::listen::Scheme;
use nix::sys::socket::{MsgFlags, recv};

use crate::dispatch::Shared;
use crate::dispatch::peek::peek;

/// How many connections of one shard may wait for their headers. More are closed.
const WAITING_MAX: usize = 1024;
/// How long a shard that stops goes on waiting for headers: a proxy sends its own at once.
const STOP_GRACE: Duration = Duration::from_millis(200);
/// How often it looks meanwhile.
const STOP_LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// How often a shard warns of connections that it closes here.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

thread_local! {
    static WAITING: Cell<usize> = const { Cell::new(0) };
    static WARNED_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
enum Closed {
    /// The client has gone, and nobody is to blame.
    #[error("it has gone")]
    Gone,
    #[error(
        "{0} is no trusted proxy; name it in --trusted-proxies if it may say whose connections it \
         passes on"
    )]
    Untrusted(IpAddr),
    #[error("{0}; only a proxy that sends one may connect here (send-proxy, proxy_protocol)")]
    Header(#[from] ProxyHeaderError),
    #[error("its PROXY header has not come within {0:?} (--head-timeout)")]
    Late(Duration),
    #[error("{WAITING_MAX} connections wait for their PROXY headers already")]
    Full,
}

/// A place among the connections that wait. It is free again when it is dropped.
struct WaitingPlace(());

impl WaitingPlace {
    fn take() -> Option<Self> {
        let taken = WAITING.get();
        (taken < WAITING_MAX).then(|| {
            WAITING.set(taken + 1);
            Self(())
        })
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        WAITING.set(WAITING.get() - 1);
    }
}

/// Takes a new connection, once its header has come. Must be called on a shard's executor.
pub(super) fn take(core: usize, (socket, scheme): (OwnedFd, Scheme), shared: &Arc<Shared>) {
    match begin(&socket, shared) {
        Ok(Progress::Whole(named)) => whole(core, (socket, scheme), named, shared),
        Ok(Progress::Partial(header)) => {
            let Some(place) = WaitingPlace::take() else {
                return closed(core, shared, &Closed::Full);
            };
            let shared = Arc::clone(shared);
            glommio::spawn_local(async move {
                let rest = rest(&socket, header, shared.limits.load().head_timeout).await;
                match rest {
                    Ok(named) => whole(core, (socket, scheme), named, &shared),
                    Err(why) => closed(core, &shared, &why),
                }
                drop(place);
            })
            .detach();
        }
        Err(why) => closed(core, shared, &why),
    }
}

/// Waits for connections whose headers have not come. The executor ends next, and they with it.
pub(super) async fn stopped() {
    let begun = Instant::now();
    while WAITING.get() > 0 && begun.elapsed() < STOP_GRACE {
        glommio::timer::sleep(STOP_LOOK_INTERVAL).await;
    }
}

/// What has come of a header.
enum Progress {
    /// A part of it, which is taken off the socket.
    Partial(Vec<u8>),
    /// It is taken off the socket.
    Whole(Option<Named>),
}

/// Takes what has come of the header of a new connection.
fn begin(socket: &OwnedFd, shared: &Shared) -> Result<Progress, Closed> {
    // A Unix socket's peer has no address: whoever may open the file is trusted.
    if let Some(peer) = super::peer(socket)
        && !may_name(peer, &shared.limits.load().proxies)
    {
        return Err(Closed::Untrusted(peer));
    }
    advance(socket, Vec::new())
}

/// Returns whether a peer is believed whose connections it passes on. Where no proxies are named,
/// the listener is for nobody else.
fn may_name(peer: IpAddr, proxies: &[Network]) -> bool {
    proxies.is_empty() || proxies.iter().any(|network| network.contains(peer))
}

/// Takes more of a header of which `header` is taken already.
fn advance(socket: &OwnedFd, mut header: Vec<u8>) -> Result<Progress, Closed> {
    loop {
        let taken = header.len();
        if let Read::Whole { named, .. } = read(&header)? {
            return Ok(Progress::Whole(named));
        }
        let mut buffer = [0; PROXY_HEADER_BYTES_MAX];
        // A part of a header is shorter than the longest one.
        let bytes = peek(socket, &mut buffer[taken..]).ok_or(Closed::Gone)?;
        if bytes.is_empty() {
            return Ok(Progress::Partial(header));
        }
        header.extend_from_slice(bytes);
        if let Read::Whole { length, .. } = read(&header)? {
            header.truncate(length);
        }
        take_off(socket, header.len() - taken)?;
    }
}

/// Takes so many bytes off a socket, which have been peeked at.
fn take_off(socket: &OwnedFd, length: usize) -> Result<(), Closed> {
    let mut scrap = [0; PROXY_HEADER_BYTES_MAX];
    match recv(socket.as_raw_fd(), &mut scrap[..length], MsgFlags::MSG_DONTWAIT) {
        Ok(received) if received == length => Ok(()),
        _ => Err(Closed::Gone),
    }
}

/// Waits for the rest of a header.
async fn rest(
    socket: &OwnedFd,
    mut header: Vec<u8>,
    limit: Duration,
) -> Result<Option<Named>, Closed> {
    let waiting = async {
        let copy = socket.try_clone().map_err(|_| Closed::Gone)?;
        // SAFETY: the fd was just made, and is given up by its only owner. The calls are the same
        // for every stream socket.
        let mut stream = unsafe { TcpStream::from_raw_fd(copy.into_raw_fd()) };
        loop {
            // At least one more byte belongs to the header.
            let mut byte = [0];
            match stream.read(&mut byte).await {
                Ok(1) => header.extend_from_slice(&byte),
                _ => return Err(Closed::Gone),
            }
            match advance(socket, header)? {
                Progress::Partial(more) => header = more,
                Progress::Whole(named) => return Ok(named),
            }
        }
    };
    match select(pin!(waiting), pin!(glommio::timer::sleep(limit))).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(_) => Err(Closed::Late(limit)),
    }
}

/// Takes a connection whose header is taken off.
fn whole(
    core: usize,
    (socket, scheme): (OwnedFd, Scheme),
    named: Option<Named>,
    shared: &Arc<Shared>,
) {
    // The proxy's own connection has the socket's addresses.
    let origin = named.map(|Named { client, local }| Origin { client, local, https: false });
    super::take(core, (socket, scheme), origin, shared);
}

/// Counts a connection that is closed, and says why.
fn closed(core: usize, shared: &Shared, why: &Closed) {
    if matches!(why, Closed::Gone) {
        return;
    }
    let counts = shared.metrics.of_shard(core);
    counts.accepted.add(1);
    counts.refused(if matches!(why, Closed::Full) { 503 } else { 400 });
    if WARNED_AT.get().is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
        WARNED_AT.set(Some(Instant::now()));
        tracing::warn!(
            "a connection to a listener with ?proxy-protocol is closed: {why}; others within \
             {WARNING_INTERVAL:?} are told at the level debug"
        );
    } else {
        tracing::debug!("a connection to a listener with ?proxy-protocol is closed: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read as _, Write as _};
    use std::net::SocketAddr;
    use std::os::unix::net::UnixStream;

    #[test]
    fn where_proxies_are_named_nobody_else_may_name_clients() {
        let [proxy, other] = ["10.1.2.3", "192.0.2.1"].map(|text| text.parse::<IpAddr>().unwrap());
        let named = ["10.0.0.0/8".parse().unwrap()];
        assert!(may_name(proxy, &named) && !may_name(other, &named));
        assert!(may_name(other, &[]));
    }

    proptest! {
        /// However a header comes, it is taken off, and nothing of what follows it.
        #[test]
        fn exactly_the_header_is_taken(
            rest in proptest::collection::vec(any::<u8>(), 1..40),
            cuts in proptest::collection::vec(1_usize..20, 0..8),
        ) {
            let header = b"PROXY TCP4 192.0.2.1 10.0.0.1 40000 443\r\n";
            let sent = [&header[..], &rest].concat();
            let (ours, mut proxy) = UnixStream::pair().unwrap();
            let mut socket = ours;
            let (mut left, mut state) = (&sent[..], Vec::new());
            let mut named = None;
            for cut in cuts.into_iter().chain([sent.len()]) {
                let (piece, behind) = left.split_at(cut.min(left.len()));
                proxy.write_all(piece).unwrap();
                left = behind;
                let fd = OwnedFd::from(socket.try_clone().unwrap());
                match advance(&fd, state).unwrap() {
                    Progress::Partial(more) => state = more,
                    Progress::Whole(found) => {
                        named = found;
                        break;
                    }
                }
            }
            proxy.write_all(left).unwrap();
            drop(proxy);
            let client: SocketAddr = "192.0.2.1:40000".parse().unwrap();
            prop_assert_eq!(named.unwrap().client, client);
            let mut found = Vec::new();
            socket.read_to_end(&mut found).unwrap();
            prop_assert_eq!(found, rest);
        }
    }
}
