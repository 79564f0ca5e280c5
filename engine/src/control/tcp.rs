//! The control API over TCP (`--admin`): the same as on the Unix socket, for those who show the token.
//!
//! Anyone may connect, so connections are few and must say what they want soon. Owns its sockets.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::api::Failed;
use super::token::Token;

/// Connections of the admin listener at once; more wait in the kernel.
const CONNECTIONS_MAX: usize = 64;
/// How long one may take for a request's head, and be idle before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nothing is accepted after the kernel had no fd or memory for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Why there is no admin listener.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address:?} for --admin: {source}; choose another HOST:PORT, port 0 for a free one")]
pub(crate) struct AdminError {
    address: String,
    source: io::Error,
}

/// A socket for the API, and what its clients must show.
pub(crate) struct Admin {
    listener: StdListener,
    pub(crate) address: SocketAddr,
    pub(super) token: Arc<Token>,
}

impl Admin {
    /// Listens on `address`; nothing is answered before [`serve`].
    ///
    /// # Errors
    /// [`AdminError`] naming the address.
    pub(crate) fn listen(address: &str, token: Token) -> Result<Self, AdminError> {
        let open = || {
            let listener = StdListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, bound) = open().map_err(|source| AdminError { address: address.to_owned(), source })?;
        Ok(Self { listener, address: bound, token: Arc::new(token) })
    }
}

/// Lets a request through that shows the token.
pub(super) async fn check(State(token): State<Arc<Token>>, request: Request, next: Next) -> Response {
    if token.is_in(request.headers().get(AUTHORIZATION).map(|value| value.as_bytes())) {
        return next.run(request).await;
    }
    let what = "expected `Authorization: Bearer TOKEN`; the token is in admin.token in the node's data folder";
    let refused = Failed(StatusCode::UNAUTHORIZED, what.to_owned());
    ([(WWW_AUTHENTICATE, "Bearer")], refused).into_response()
}

/// Serves until the process ends.
pub(super) async fn serve(admin: Admin, router: Router) {
    let listener = match TcpListener::from_std(admin.listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("the admin listener cannot start: {error}"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    let mut http = hyper::server::conn::http1::Builder::new();
                    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
                    // A client that breaks off or is no HTTP has only itself to tell.
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
