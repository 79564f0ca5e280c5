//! Resolves names to addresses by the system's resolver.
//!
//! `getaddrinfo` blocks, and cannot be cancelled: each look-up takes one of tokio's threads for as
//! long as the resolver takes, even if nobody waits for it any more. So the permit belongs to the
//! look-up itself, and a function cannot fill the worker with threads. Owns no fds.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use abi::limits::OUTBOUND_LOOKUPS_MAX;
use tokio::sync::Semaphore;

use super::error::ConnectError;
use super::target::Target;

pub(super) struct Resolver {
    lookups: Arc<Semaphore>,
}

impl Resolver {
    pub(super) fn new() -> Self {
        Self { lookups: Arc::new(Semaphore::new(OUTBOUND_LOOKUPS_MAX)) }
    }

    /// Returns all of the target's addresses, at least one, in the resolver's order.
    pub(super) async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Some(address) = target.address() {
            return Ok(vec![SocketAddr::new(address, target.port)]);
        }
        let permit =
            Arc::clone(&self.lookups).acquire_owned().await.map_err(|_| ConnectError::Limit)?;
        let (host, port) = (target.host.clone(), target.port);
        let lookup = tokio::task::spawn_blocking(move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Vec::from_iter);
            drop(permit);
            found
        });
        let found =
            lookup.await.map_err(io::Error::other).flatten().map_err(ConnectError::Lookup)?;
        if found.is_empty() {
            return Err(ConnectError::Lookup(io::Error::other("the name has no address")));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_up_waits_while_too_many_are_under_way() {
        let resolver = Resolver::new();
        let busy = Arc::clone(&resolver.lookups)
            .try_acquire_many_owned(u32::try_from(OUTBOUND_LOOKUPS_MAX).unwrap());
        let target = Target { host: "localhost".into(), port: 1, tls: false };
        let mut waiting = std::pin::pin!(resolver.addresses(&target));
        let short = tokio::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(short, &mut waiting).await.is_err());
        drop(busy.unwrap());
        assert!(waiting.await.unwrap().iter().all(|address| address.ip().is_loopback()));
        assert_eq!(resolver.lookups.available_permits(), OUTBOUND_LOOKUPS_MAX);
    }
}
