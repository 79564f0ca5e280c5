//! The limits of a proxy. Owns no fds.

use std::time::Duration;

use abi::limits::{
    OUTBOUND_CONNECT_TIMEOUT_DEFAULT, OUTBOUND_IDLE_TIMEOUT, OUTBOUND_READ_TIMEOUT_MAX,
    OUTBOUND_WRITE_TIMEOUT,
};

/// Clients' connections beyond two for each request: of programs that keep some open for later.
const CONNECTIONS_EXTRA: usize = 16;

/// How much a [`Proxy`](crate::Proxy) does at a time, and how long it waits for others.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Forwarded requests and tunnels at a time. More are answered 503.
    pub requests_max: usize,
    /// Clients' connections at a time, idle ones included. More are answered 503 and closed.
    pub connections_max: usize,
    /// How long a connection to a destination may take, the look-up of its name included.
    pub connect_timeout: Duration,
    /// How long a reply's head, and then each part of its body, may be waited for.
    pub read_timeout: Duration,
    /// How long a peer may take none of the bytes of a request or a reply.
    pub write_timeout: Duration,
    /// How long a client may take for a request's head, or send none.
    pub client_idle_timeout: Duration,
    /// How long a tunnel may carry nothing in either direction.
    pub tunnel_idle_timeout: Duration,
    /// The same once either side has ended its sending half, which is all that is seen of a client
    /// that has closed its connection.
    pub half_closed_idle_timeout: Duration,
}

impl Limits {
    /// Returns the limits of every function, with `requests_max` requests at a time.
    pub fn new(requests_max: usize) -> Self {
        Self {
            requests_max,
            connections_max: requests_max.saturating_mul(2).saturating_add(CONNECTIONS_EXTRA),
            connect_timeout: OUTBOUND_CONNECT_TIMEOUT_DEFAULT,
            read_timeout: OUTBOUND_READ_TIMEOUT_MAX,
            write_timeout: OUTBOUND_WRITE_TIMEOUT,
            client_idle_timeout: OUTBOUND_IDLE_TIMEOUT,
            tunnel_idle_timeout: OUTBOUND_READ_TIMEOUT_MAX,
            half_closed_idle_timeout: OUTBOUND_WRITE_TIMEOUT,
        }
    }
}
