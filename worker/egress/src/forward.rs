//! Forwards a request for a whole `http` URL to its server. Owns no fds.

use http::uri::Scheme;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::connect::Connect;
use crate::destination::Destination;
use crate::exchange::exchange;
use crate::fields::{self, Body};
use crate::gate::Gate;
use crate::refusal::Refusal;
use crate::reply_body::ReplyBody;
use crate::upstream::Kept;

/// Forwards `request`. Returns the server's reply, whose body is still to come.
pub(crate) async fn forward<C: Connect>(
    gate: &Gate<C>,
    kept: &Kept,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Refusal> {
    let uri = request.uri();
    let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or(Refusal::NoProxyRequest)?;
    if *scheme != Scheme::HTTP {
        return Err(Refusal::Scheme);
    }
    let destination = Destination::of_http(authority).ok_or(Refusal::Destination)?;
    let permit = gate.admit(&destination)?;
    let (mut head, body) = request.into_parts();
    let has_body = if body.is_end_stream() { Body::None } else { Body::Some };
    fields::for_server(&mut head, has_body).ok_or(Refusal::Destination)?;
    let request = Request::from_parts(head, body);
    let (reply, upstream) = exchange(gate, kept, &destination, request).await?;
    // No upgrade was asked for, so the server breaks the protocol (RFC 9110 15.2.2).
    if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refusal::Reply(
            destination,
            "it switches to a protocol nobody asked for".into(),
        ));
    }
    let (mut head, body) = reply.into_parts();
    fields::for_client(&mut head);
    let timeout = gate.limits().read_timeout;
    let body = ReplyBody::new(body, timeout, upstream, Kept::clone(kept), permit);
    Ok(Response::from_parts(head, body))
}
