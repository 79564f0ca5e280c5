//! Connections to a standalone program's port. Owns the listener, and each socket until the worker
//! has it.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use abi::board::now_us;
use abi::message::{Awaits, Ending};
use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::worker::Worker;

/// How long requests may go on after SIGTERM: platforms kill after ten seconds.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(9);
/// The wait after an accept that has failed, usually because too many connections are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections to `address` until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot be listened on the address.
pub(super) async fn run(
    worker: &Rc<Worker>,
    name: &str,
    address: SocketAddr,
) -> anyhow::Result<()> {
    let listener = listen(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!("function {name} listens on http://{}", listener.local_addr()?);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted.and_then(|(socket, _)| {
                // A reply of several writes shall not wait for the client's acknowledgement.
                socket.set_nodelay(true)?;
                socket.into_std()
            }) {
                Ok(socket) => worker.connections.take(
                    OwnedFd::from(socket),
                    Vec::new(),
                    Awaits::First,
                    now_us(),
                    None,
                ),
                Err(error) => {
                    tracing::warn!("a connection is not accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    drop(listener);
    worker.drain.begin(Ending::Close, DRAIN_TIMEOUT);
    worker.drained().await;
    Ok(())
}

/// Listens on an address. Where there is no IPv6, all addresses are those of IPv4.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error)
            if address.ip().is_unspecified()
                && [Some(libc::EAFNOSUPPORT), Some(libc::EADDRNOTAVAIL)]
                    .contains(&error.raw_os_error()) =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        listener => listener,
    }
}
