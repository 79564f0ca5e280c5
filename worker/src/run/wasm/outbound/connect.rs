//! Makes connections: from a name to addresses, from those to the allowed ones, then TCP and TLS,
//! all within one time limit.
//!
//! Every address of a name is checked, and the connection is made to an address that was checked,
//! so a name that changes its addresses in between gains nothing. The kept connections of a pool
//! were checked by the same list when they were made. Owns the socket until it is hyper's.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use abi::limits::{OUTBOUND_ADDRESSES_MAX, OUTBOUND_CONNECT_TIMEOUT_DEFAULT};
use abi::outbound::AllowList;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tower_service::Service;

use super::error::{ConnectError, Denied};
use super::resolve::Resolver;
use super::stream::{Afterwards, Stream};
use super::target::Target;
use super::tls::Tls;

tokio::task_local! {
    /// The connect timeout of the request that is being polled: hyper-util's client has no other
    /// way from a request to the connector.
    pub(super) static CONNECT_TIMEOUT: Duration;
}

/// Makes connections for hyper-util's client.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Inner>);

struct Inner {
    allow: Arc<AllowList>,
    tls: Tls,
    resolver: Resolver,
    requests_max: usize,
    /// The permits for connections: one for every request, and as many for kept connections.
    connections: Arc<Semaphore>,
}

impl Connector {
    pub(super) fn new(allow: Arc<AllowList>, requests_max: usize, tls: Tls) -> Self {
        let connections = Arc::new(Semaphore::new(2 * requests_max));
        Self(Arc::new(Inner { allow, tls, resolver: Resolver::new(), requests_max, connections }))
    }

    /// Returns a connector for whoever speaks TLS by itself, or none.
    pub(crate) fn plain(allow: Arc<AllowList>, requests_max: usize) -> Self {
        Self::new(allow, requests_max, Tls::system())
    }

    /// Connects to a host without TLS, within the usual time.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(crate) async fn connect_plain(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Stream, ConnectError> {
        let target = Target { host: host.to_owned(), port, tls: false };
        let deadline = Instant::now() + OUTBOUND_CONNECT_TIMEOUT_DEFAULT;
        let connected = timeout_at(deadline, self.0.connect(&target, deadline)).await;
        connected.unwrap_or(Err(ConnectError::TimedOut))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let inner = Arc::clone(&self.0);
        let limit =
            CONNECT_TIMEOUT.try_with(|limit| *limit).unwrap_or(OUTBOUND_CONNECT_TIMEOUT_DEFAULT);
        let deadline = Instant::now() + limit;
        // The client finishes a connection in the background if another has become free meanwhile;
        // the deadline ends that, too.
        Box::pin(async move {
            let target = Target::of(&uri).ok_or(ConnectError::Uri)?;
            let connected = timeout_at(deadline, inner.connect(&target, deadline)).await;
            connected.unwrap_or(Err(ConnectError::TimedOut)).map(TokioIo::new)
        })
    }
}

impl Inner {
    async fn connect(&self, target: &Target, deadline: Instant) -> Result<Stream, ConnectError> {
        let place =
            Arc::clone(&self.connections).try_acquire_owned().map_err(|_| ConnectError::Limit)?;
        // Kept connections take at most half of the permits, so that there is one for every request
        // that may be in flight.
        let crowded = self.connections.available_permits() < self.requests_max;
        let afterwards = if crowded { Afterwards::Close } else { Afterwards::Keep };
        let addresses = allowed(&self.allow, target, self.resolver.addresses(target).await?)?;
        let tcp = first_of(&addresses, deadline).await?;
        tcp.set_nodelay(true).map_err(ConnectError::Tcp)?;
        if target.tls {
            Ok(Stream::new(self.tls.handshake(target, tcp).await?, afterwards, place))
        } else {
            Ok(Stream::new(tcp, afterwards, place))
        }
    }
}

/// Returns the addresses of a target that the function may reach.
fn allowed(
    allow: &AllowList,
    target: &Target,
    mut addresses: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let first = addresses.first().map(SocketAddr::ip);
    addresses.retain(|address| allow.allows_address(&target.host, address.ip(), target.port));
    addresses.truncate(OUTBOUND_ADDRESSES_MAX);
    match first {
        Some(first) if addresses.is_empty() => Err(Denied::address(target, first).into()),
        _ => Ok(addresses),
    }
}

/// Connects to the first address that accepts. Each gets an equal share of the time that is left,
/// so that none uses up the time of those after it.
async fn first_of(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut failed = ConnectError::TimedOut;
    let mut left = addresses;
    while let Some((address, rest)) = left.split_first() {
        let shares = u32::try_from(left.len()).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / shares;
        failed = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => ConnectError::Tcp(error),
            Err(_) => ConnectError::TimedOut,
        };
        left = rest;
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_checked_and_not_too_many_are_tried() {
        let allow = AllowList::new(["a.example:80"]).unwrap();
        let target = Target::of(&Uri::from_static("http://a.example")).unwrap();
        let resolved = |public: &str| -> Vec<SocketAddr> {
            let texts = ["10.0.0.1", public, "127.0.0.1", "fd00::1"];
            texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 80)).collect()
        };
        let kept = allowed(&allow, &target, resolved("8.8.8.8")).unwrap();
        assert_eq!(kept, ["8.8.8.8:80".parse::<SocketAddr>().unwrap()]);
        let error = allowed(&allow, &target, resolved("169.254.169.254")).unwrap_err().to_string();
        assert!(
            error.contains("resolves to 10.0.0.1")
                && error.contains("--allow-outbound 10.0.0.1:80"),
            "{error}"
        );
        let many = vec![kept[0]; OUTBOUND_ADDRESSES_MAX + 1];
        assert_eq!(allowed(&allow, &target, many).unwrap().len(), OUTBOUND_ADDRESSES_MAX);
    }
}
