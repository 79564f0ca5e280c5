//! One stream of a leg: from its request to the end of its reply. Owns no fds.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use abi::board::Places;
use abi::message::Awaits;
use abi::outcome::ReplyEnd;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{EXPECT, FORWARDED, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version};

use super::Leg;
use super::reply::Sending;
use super::request_body::OnStream;
use crate::edge::h1::forwarded::resolve_client;
use crate::edge::h1::message::seen;
use crate::edge::h1::secure::location;
use crate::origin::{FORWARDED_PREFIX, is_of_schedules, remove_schedule};
use crate::serve::{Account, Destination, Exchange, Moved};

/// Answers a stream.
pub(super) async fn run(
    leg: Rc<Leg>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let pipeline = leg.connections.pipeline();
    let (parts, body) = request.into_parts();
    let is_head = parts.method == http::Method::HEAD;
    let asks = parts.headers.contains_key(EXPECT);
    let Some(exchange) = exchange(&leg, parts) else {
        return respond.send_reset(Reason::REFUSED_STREAM);
    };
    if asks {
        // It says that the stream is taken here.
        let mut interim = Response::new(());
        *interim.status_mut() = StatusCode::CONTINUE;
        let _ = respond.send_informational(interim);
    }
    let source = OnStream::new(&exchange.request, body, leg.origin.local);
    let account = Account::open(pipeline, &exchange);
    let moved = |sent_bytes| Moved { received_bytes: source.taken_bytes(), sent_bytes };
    let reply = {
        let mut answer = pin!(pipeline.answer(exchange, &source, &account));
        poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(reply) => Poll::Ready(Some(reply)),
            // The client has given up, or gone.
            Poll::Pending => respond.poll_reset(cx).map(|_| None),
        })
        .await
    };
    let Some(reply) = reply else {
        return account.close(pipeline, ReplyEnd::None, moved(0));
    };
    let status = reply.status().as_u16();
    let mut sending = Sending::new(&leg.connections, account.id, is_head);
    let outcome = match sending.send(respond, reply).await {
        Ok(()) => ReplyEnd::Whole(status),
        Err(_) => ReplyEnd::Cut(status),
    };
    account.close(pipeline, outcome, moved(sending.sent_bytes()));
    // The reply has left, so dropping the instance delays nobody.
    pipeline.drop_retired();
}

/// Returns the request as its function sees it, and where it goes. Returns `None` if another worker
/// has to answer it.
fn exchange(leg: &Leg, parts: Parts) -> Option<Box<Exchange>> {
    let pipeline = leg.connections.pipeline();
    let host = parts.uri.authority().map(http::uri::Authority::as_str);
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let (mut destination, prefix_length) = pipeline.find(host, target, Awaits::Streams)?;
    let settings = pipeline.settings();
    let secure = settings.https_redirect.and_then(|port| location(host, target, port));
    let mut headers = parts.headers;
    headers.remove(EXPECT);
    let concerns =
        |name: &HeaderName| *name == FORWARDED || name.as_str().starts_with("x-forwarded-");
    let forwarded = headers.keys().any(concerns);
    headers.remove(&FORWARDED_PREFIX);
    if headers.keys().any(is_of_schedules) {
        remove_schedule(&mut headers);
    }
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
        headers.insert(HOST, host);
    }
    let mut request = Request::new(());
    let prefix = match seen(Bytes::copy_from_slice(target.as_bytes()), prefix_length) {
        Ok((uri, prefix)) => {
            *request.uri_mut() = uri;
            prefix
        }
        Err(problem) => {
            destination = Destination::Problem(problem);
            None
        }
    };
    if let Some(prefix) = &prefix {
        headers.insert(&FORWARDED_PREFIX, prefix.clone());
    }
    let client = resolve_client(&mut headers, forwarded, &leg.peer, &settings.trusted_proxies);
    if let Some(location) = secure.filter(|_| !client.https) {
        destination = Destination::Secure(location);
    }
    *request.method_mut() = parts.method;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    let client_places = match client.address == leg.peer.client.address {
        true => leg.places,
        false => Some(Places::of(client.address, settings.address_seed)),
    };
    Some(Box::new(Exchange { request, prefix, client, client_places, destination, arrived: None }))
}
