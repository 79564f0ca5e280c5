//! The control API over TCP (`--admin`): the same as on the Unix socket, for clients that show the
//! token.
//!
//! Anyone may connect, so there are so many connections and no more, and each must send a request
//! soon. Owns its sockets.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::failed::Failed;
use crate::life::Life;
use crate::token::{HEADER, Token};
use host::fault::Fault;
use takeover::Start;

/// How many connections the control API has at once. More wait in the kernel.
pub(crate) const CONTROL_CONNECTIONS_MAX: usize = 64;
/// The same of the API as AWS Lambda has it: its clients keep a connection for each invocation that
/// they have had at a time, which nobody else can have until it has been idle for long.
pub(crate) const LAMBDA_CONNECTIONS_MAX: usize = 1024;
/// How many may wait there.
const BACKLOG: i32 = 1024;
/// How long a connection may take for a request's head, and be idle before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nothing is accepted after the kernel had no fd or memory for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Why there is no admin listener.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address:?} for --{option}: {source}; choose another HOST:PORT, port 0 for a \
     free one"
)]
pub struct AdminError {
    option: &'static str,
    address: String,
    source: io::Error,
}

/// A socket for the API, and what its clients must show.
#[derive(Debug)]
pub struct Admin {
    listener: StdListener,
    pub address: SocketAddr,
    pub(crate) token: Arc<Token>,
}

impl Admin {
    /// Listens on `address`; nothing is answered before [`serve`]. With [`Start::TakeOver`] another
    /// engine may still listen there.
    ///
    /// # Errors
    /// [`AdminError`] naming the address, and the option that has it.
    pub fn listen(
        option: &'static str,
        address: &str,
        token: Token,
        start: Start,
    ) -> Result<Self, AdminError> {
        let open = || {
            let mut resolved = address.to_socket_addrs()?;
            let address = resolved.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
            if start == Start::Alone && address.port() != 0 {
                // Without SO_REUSEPORT first: it would let a second server of the same user share
                // the port by mistake.
                drop(StdListener::bind(address)?);
            }
            let socket =
                Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let listener = StdListener::from(socket);
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, bound) =
            open().map_err(|source| AdminError { option, address: address.to_owned(), source })?;
        Ok(Self { listener, address: bound, token: Arc::new(token) })
    }
}

/// Lets a request through that shows the token, and takes that out of it.
pub(crate) async fn check(
    State(token): State<Arc<Token>>,
    mut request: Request,
    next: Next,
) -> Response {
    let shown =
        request.headers().contains_key(AUTHORIZATION) || request.headers().contains_key(HEADER);
    if token.take_from(request.headers_mut()) {
        return next.run(request).await;
    }
    let wrong = if shown { "this is not the node's token; " } else { "" };
    let what = "expected `Authorization: Bearer TOKEN`; the token is in admin.token in the node's \
    data folder";
    let refused = Failed::new(Fault::UNAUTHORIZED, format_args!("{wrong}{what}"));
    ([(WWW_AUTHENTICATE, "Bearer")], refused).into_response()
}

/// Serves so many connections at a time, until the process ends, or another engine listens in its
/// place.
pub(crate) async fn serve(
    admin: Admin,
    connections_max: usize,
    router: Router,
    mut life: watch::Receiver<Life>,
) {
    let listener = match TcpListener::from_std(admin.listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("the admin listener cannot start: {error}"),
    };
    let places = Arc::new(Semaphore::new(connections_max));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = life.wait_for(|life| *life == Life::Replaced) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    let mut http = hyper::server::conn::http1::Builder::new();
                    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
                    // An error here is the client's: it broke off, or does not speak HTTP.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("the admin listener did not accept a connection: {error}");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}
