//! [`Connect`]: the way out that the proxy is given. Owns no fds.

use std::error::Error;
use std::future::Future;

use tokio::io::{AsyncRead, AsyncWrite};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name led only to addresses that the function may not reach. The sentence, for the client
    /// and the function's log, says so and what would allow it.
    #[error("{0}")]
    Denied(String),
    /// The function has too many connections.
    #[error("the function has too many outgoing connections; close some, or try again later")]
    Limit,
    /// The name, the address or the connection took too long.
    #[error("the connection took too long")]
    TimedOut,
    /// Anything else, such as a name that does not resolve or a refused connection.
    #[error("{0}")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
}

/// Connects to destinations that the function's list allows by name.
///
/// Closures that take a host and a port and return a future implement it.
pub trait Connect: 'static {
    /// A connection. Its shutdown must end the sending half alone.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// Resolves `host`, a name or an address without brackets, checks that the function may reach
    /// what it resolved to, and connects to it. Dropping the future gives up.
    ///
    /// # Errors
    ///
    /// Returns a [`ConnectError`] if there is no allowed address or none of them accepts.
    fn connect(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = Result<Self::Stream, ConnectError>>;
}

impl<C, F, I> Connect for C
where
    C: Fn(&str, u16) -> F + 'static,
    F: Future<Output = Result<I, ConnectError>>,
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    type Stream = I;

    fn connect(&self, host: &str, port: u16) -> impl Future<Output = Result<I, ConnectError>> {
        self(host, port)
    }
}
