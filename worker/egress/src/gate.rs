//! What every request passes: the list of allowed destinations, the number of requests at a time,
//! and the way out. Owns no fds.

use std::fmt;
use std::sync::Arc;

use abi::outbound::AllowList;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::connect::{Connect, ConnectError};
use crate::destination::Destination;
use crate::limits::Limits;
use crate::refusal::Refusal;

pub(crate) struct Gate<C> {
    allow: Arc<AllowList>,
    connect: C,
    limits: Limits,
    requests: Arc<Semaphore>,
}

impl<C> fmt::Debug for Gate<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allow, limits, requests, connect: _ } = self;
        f.debug_struct("Gate")
            .field("allow", allow)
            .field("limits", limits)
            .field("requests", requests)
            .finish_non_exhaustive()
    }
}

impl<C: Connect> Gate<C> {
    pub(crate) fn new(allow: Arc<AllowList>, connect: C, limits: Limits) -> Self {
        let requests = Arc::new(Semaphore::new(limits.requests_max.min(Semaphore::MAX_PERMITS)));
        Self { allow, connect, limits, requests }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the permit for a request to `destination`, to be kept as long as the request lasts.
    pub(crate) fn admit(&self, destination: &Destination) -> Result<OwnedSemaphorePermit, Refusal> {
        if !self.allow.allows_host(&destination.host, destination.port) {
            return Err(Refusal::Host(destination.clone()));
        }
        let permit = Arc::clone(&self.requests).try_acquire_owned();
        permit.map_err(|_| Refusal::Busy(self.limits.requests_max))
    }

    /// Connects to a destination that was admitted.
    pub(crate) async fn connect(&self, destination: &Destination) -> Result<C::Stream, Refusal> {
        let connecting = self.connect.connect(&destination.host, destination.port);
        let connected = timeout(self.limits.connect_timeout, connecting).await;
        let connected = connected.unwrap_or(Err(ConnectError::TimedOut));
        connected.map_err(|error| Refusal::connect(destination, error))
    }
}
