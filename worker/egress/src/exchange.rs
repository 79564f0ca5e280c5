//! One forwarded request and the head of its reply, by the connection that is kept or a new one.
//! Owns the connection until the reply's body does.

use abi::limits::OUTBOUND_REPLY_HEAD_BYTES_MAX;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::connect::Connect;
use crate::destination::Destination;
use crate::fields::head_bytes;
use crate::gate::Gate;
use crate::refusal::Refusal;
use crate::upstream::{Kept, RequestBody, Upstream};

/// Sends a request that was admitted. Returns the reply and the connection that it comes by.
///
/// A kept connection may turn out to be closed by the server. A request of which nothing was sent
/// then goes by a new one; one of which something may have been sent does so only if it has no body
/// and its method is idempotent (RFC 9110 9.2.2).
pub(crate) async fn exchange<C: Connect>(
    gate: &Gate<C>,
    kept: &Kept,
    destination: &Destination,
    request: Request<Incoming>,
) -> Result<(Response<Incoming>, Upstream), Refusal> {
    let (head, body) = request.into_parts();
    let again = (body.is_end_stream() && head.method.is_idempotent()).then(|| head.clone());
    let mut request: Request<RequestBody> = Request::from_parts(head, Either::Left(body));
    if let Some(mut upstream) = kept.take().filter(|kept| kept.is_ready_for(destination)) {
        let sent = timeout(gate.limits().read_timeout, upstream.send(request)).await;
        match sent.map_err(|_| Refusal::Slow(destination.clone()))? {
            Ok(reply) => return checked(destination, reply).map(|reply| (reply, upstream)),
            Err(mut error) => {
                request = match (error.take_message(), again) {
                    (Some(request), _) => request,
                    (None, Some(head)) if !error.error().is_parse() => {
                        Request::from_parts(head, Either::Right(Empty::new()))
                    }
                    _ => return Err(reply_error(destination, error.into_error())),
                };
            }
        }
    }
    let stream = gate.connect(destination).await?;
    let opened = Upstream::new(destination.clone(), stream, gate.limits()).await;
    let mut upstream = opened.map_err(|error| reply_error(destination, error))?;
    let sent = timeout(gate.limits().read_timeout, upstream.send(request)).await;
    match sent.map_err(|_| Refusal::Slow(destination.clone()))? {
        Ok(reply) => checked(destination, reply).map(|reply| (reply, upstream)),
        Err(error) => Err(reply_error(destination, error.into_error())),
    }
}

fn checked(
    destination: &Destination,
    reply: Response<Incoming>,
) -> Result<Response<Incoming>, Refusal> {
    if head_bytes(reply.headers()) > OUTBOUND_REPLY_HEAD_BYTES_MAX {
        return Err(Refusal::Reply(destination.clone(), "its headers are too large".into()));
    }
    Ok(reply)
}

fn reply_error(destination: &Destination, error: hyper::Error) -> Refusal {
    Refusal::Reply(destination.clone(), error.into())
}
