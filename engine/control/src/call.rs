//! A call by the control API: it becomes an ordinary request on a connection that goes where
//! accepted ones do.
//!
//! The connection is one end of a pair of sockets, so nobody dials anybody, and takes the path that
//! every client's connection takes, but for the accept: workers know that the control API sent it,
//! and so may it name any version. Owns both ends until the supervisor and hyper have them.

use std::error::Error;

use abi::message::Awaits;
use abi::problem::CONTENT_TYPE as PROBLEM_CONTENT_TYPE;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::mpsc::Sender;

use fleet::workers::supervise::Command;
use host::fault::Fault;
use takeover::Handed;

use crate::token;

/// Why the call did not get through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{0:?} is no path")]
    Path(String),
    #[error("the function is not reached: {0}")]
    Connection(#[source] Box<dyn Error + Send + Sync>),
    #[error("the function has not replied: {0}")]
    NoReply(#[source] hyper::Error),
}

impl CallError {
    /// Returns whose fault it is.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Path(_) => Fault::INVALID,
            Self::Connection(_) | Self::NoReply(_) => Fault::UNREACHED,
        }
    }

    fn connection(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Connection(error.into())
    }
}

/// Headers that belong to the request to the control API, not to the call. On the Unix socket
/// nothing has taken the token out.
const OWN_HEADERS: [HeaderName; 5] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::HOST, token::HEADER];

/// Calls the function `name` at `path_and_query` with the method, headers and body of `request`.
/// The name may have an alias or a version behind an `@`. `awaits` is [`Awaits::Admin`], or
/// [`Awaits::Event`] if the body is an event.
///
/// # Errors
/// When there can be no such path, or no reply comes.
pub(crate) async fn call(
    supervisor: &Sender<Command>,
    name: &str,
    path_and_query: &str,
    request: Request<Body>,
    awaits: Awaits,
) -> Result<Response<Body>, CallError> {
    let (mut parts, body) = request.into_parts();
    let target = format!("/{name}{path_and_query}");
    parts.uri = target.parse::<Uri>().map_err(|_| CallError::Path(path_and_query.to_owned()))?;
    OWN_HEADERS.iter().for_each(|header| drop(parts.headers.remove(header)));
    parts.headers.insert(header::HOST, HeaderValue::from_static("localhost"));

    let (stream, handed) = UnixStream::pair().map_err(CallError::connection)?;
    let handed = handed.into_std().map_err(CallError::connection)?;
    let handed = Handed { socket: handed.into(), read: Vec::new(), awaits, origin: None };
    supervisor
        .send(Command::Take(handed))
        .await
        .map_err(|_| CallError::connection("the node is stopping"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(CallError::connection)?;
    tokio::spawn(connection);
    let response =
        sender.send_request(Request::from_parts(parts, body)).await.map_err(CallError::NoReply)?;
    Ok(response.map(Body::new))
}

/// Returns whether a reply is the node's own, which had no room for the call.
pub(crate) fn is_refusal<B>(reply: &Response<B>) -> bool {
    let headers = reply.headers();
    let is_problem =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM_CONTENT_TYPE);
    is_problem
        && matches!(reply.status().as_u16(), 429 | 503)
        && headers.contains_key(header::RETRY_AFTER)
}

/// Reads a reply to its end: for a client that leaves before, the invocation would end.
pub(crate) async fn end(reply: Response<Body>) -> Result<(), axum::Error> {
    let mut body = reply.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}
