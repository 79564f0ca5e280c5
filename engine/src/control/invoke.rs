//! A call through the front door: the control API's `invoke` becomes an ordinary request to the node's own listener.
//!
//! So it takes the path every client's takes: accept, peek, hop. Owns the connection while it lasts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, Response, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::token;

/// Why the call did not get through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvokeError {
    #[error("{0:?} is no path")]
    Path(String),
    #[error("the node's own listener {address} does not answer: {reason}")]
    Listener { address: SocketAddr, reason: String },
}

/// Headers that belong to the request to the control API, not to the call. On the Unix socket nothing has taken the token out.
const OWN_HEADERS: [HeaderName; 5] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::HOST, token::HEADER];

/// Calls the function `name`, which may have what is meant of it behind an `@`, at `path_and_query` with the method, headers and body of `request`.
pub(super) async fn invoke(
    listener: SocketAddr,
    name: &str,
    path_and_query: &str,
    request: Request<Body>,
) -> Result<Response<Body>, InvokeError> {
    let address = reachable(listener);
    let failed = |error: &dyn std::fmt::Display| InvokeError::Listener { address, reason: error.to_string() };
    let (mut parts, body) = request.into_parts();
    let target = format!("/{name}{path_and_query}");
    parts.uri = target.parse::<Uri>().map_err(|_| InvokeError::Path(path_and_query.to_owned()))?;
    OWN_HEADERS.iter().for_each(|header| drop(parts.headers.remove(header)));
    parts.headers.insert(header::HOST, HeaderValue::from_static("localhost"));

    let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    tokio::spawn(connection);
    let response = sender.send_request(Request::from_parts(parts, body)).await.map_err(|error| failed(&error))?;
    Ok(response.map(Body::new))
}

/// Where a listener on every interface is reached from here.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}
