//! One stream of a leg: from its request to the end of its reply. Owns no fds.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use abi::board::Places;
use abi::head::is_reserved;
use abi::invocation_id::InvocationId;
use abi::message::Awaits;
use abi::outcome::ReplyEnd;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{EXPECT, FORWARDED, HOST, SEC_WEBSOCKET_ACCEPT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};

use super::Leg;
use super::duplex::Duplex;
use super::extended_connect::Key;
use super::reply::Sending;
use super::request_body::OnStream;
use crate::edge::h1::encode::Framing;
use crate::edge::h1::forwarded::resolve_client;
use crate::edge::h1::message::{Seen, seen};
use crate::edge::h1::secure::location;
use crate::edge::websocket::{Handshake, Opening};
use crate::origin::{FORWARDED_PREFIX, remove_reserved};
use crate::run::BarePrefix;
use crate::serve::{Account, Destination, Exchange, Moved, ReplyBody, problem_response};

/// Answers a stream.
pub(super) async fn run(
    leg: Rc<Leg>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let pipeline = leg.connections.pipeline();
    let (parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let asks = parts.headers.contains_key(EXPECT);
    let key = Key::of(&parts);
    let Some(mut exchange) = exchange(&leg, parts, key.as_ref()) else {
        return respond.send_reset(Reason::REFUSED_STREAM);
    };
    let opening = key.as_ref().and_then(|_| opening(&leg, &mut exchange));
    // What the client sends by then is the connection's, and no body.
    let (body, kept) = if opening.is_some() { (None, Some(body)) } else { (Some(body), None) };
    if asks {
        // It says that the stream is taken here.
        let mut interim = Response::new(());
        *interim.status_mut() = StatusCode::CONTINUE;
        let _ = respond.send_informational(interim);
    }
    let source = OnStream::new(&exchange.request, body, leg.origin.local, key.is_some());
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
    let reply = match (opening, kept) {
        (Some(opening), Some(body)) if reply.status().is_success() => {
            match Box::pin(opening.accept(reply, account.id)).await {
                Ok((headers, accepted, sent_bytes)) => {
                    let outcome = match changed(&leg, respond, headers, account.id) {
                        Ok(sender) => {
                            let stream = Duplex::new(body, sender);
                            let write_timeout = pipeline.write_timeout();
                            let (unread, head) = Default::default();
                            accepted.start(stream, unread, head, write_timeout, Rc::clone(&leg));
                            ReplyEnd::Whole(StatusCode::SWITCHING_PROTOCOLS.as_u16())
                        }
                        Err(_) => ReplyEnd::None,
                    };
                    account.close(pipeline, outcome, moved(sent_bytes));
                    return pipeline.drop_retired();
                }
                Err(problem) => problem_response(&problem, account.id).map(ReplyBody::Whole),
            }
        }
        _ => reply,
    };
    let status = reply.status().as_u16();
    let (reply, is_changed) = match key {
        Some(key) => agreed(&key, reply, account.id),
        None => (reply, false),
    };
    let mut sending = Sending::new(&leg.connections, account.id, is_head, is_changed);
    let outcome = match sending.send(respond, reply).await {
        Ok(()) => ReplyEnd::Whole(status),
        Err(_) => ReplyEnd::Cut(status),
    };
    account.close(pipeline, outcome, moved(sending.sent_bytes()));
    // The reply has left, so dropping the instance delays nobody.
    pipeline.drop_retired();
}

/// Makes a request that asks to change the protocol the opening of a WebSocket connection, if its
/// function is called for each message.
fn opening(leg: &Leg, exchange: &mut Exchange) -> Option<Box<Opening>> {
    if !exchange.destination.takes_messages() {
        return None;
    }
    let opened = Handshake::take(&mut exchange.request)?.and_then(|handshake| {
        let websockets = leg.connections.websockets();
        Opening::new(websockets, Box::new(handshake), exchange, leg.origin.local)
    });
    opened.map_err(|problem| exchange.destination = Destination::Problem(problem)).ok()
}

/// Sends the head of a reply by which a stream becomes a WebSocket connection.
fn changed(
    leg: &Leg,
    mut respond: SendResponse<Bytes>,
    headers: HeaderMap,
    id: InvocationId,
) -> Result<SendStream<Bytes>, h2::Error> {
    let (mut head, ()) = Response::new(()).into_parts();
    head.headers = headers;
    head.headers.remove(SEC_WEBSOCKET_ACCEPT);
    Sending::new(&leg.connections, id, false, true).fields(&mut head, Framing::Chunked);
    respond.send_response(Response::from_parts(head, ()), false)
}

/// Returns what the client of a stream that asks to change the protocol gets for `reply`, and
/// whether it changes.
fn agreed(key: &Key, reply: Response<ReplyBody>, id: InvocationId) -> (Response<ReplyBody>, bool) {
    let (mut head, body) = reply.into_parts();
    match key.answer(&mut head) {
        Ok(is_changed) => (Response::from_parts(head, body), is_changed),
        Err(problem) => (problem_response(&problem, id).map(ReplyBody::Whole), false),
    }
}

/// Returns the request as its function sees it, and where it goes. Returns `None` if another worker
/// has to answer it. It asks to change the protocol if there is a `key` for that.
fn exchange(leg: &Leg, parts: Parts, key: Option<&Key>) -> Option<Box<Exchange>> {
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
    if headers.keys().any(|name| is_reserved(name.as_str())) {
        remove_reserved(&mut headers);
    }
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
        headers.insert(HOST, host);
    }
    let mut request = Request::new(());
    let prefix = match seen(Bytes::copy_from_slice(target.as_bytes()), prefix_length) {
        Ok(Seen { uri, prefix, is_bare }) => {
            *request.uri_mut() = uri;
            if is_bare {
                request.extensions_mut().insert(BarePrefix);
            }
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
    if let Some(key) = key {
        *request.method_mut() = Method::GET;
        key.ask(&mut headers);
    }
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    let client_places = match client.address == leg.peer.client.address {
        true => leg.places,
        false => Some(Places::of(client.address, settings.address_seed)),
    };
    let may_wait = key.is_none();
    Some(Box::new(Exchange {
        request,
        prefix,
        client,
        client_places,
        destination,
        may_wait,
        arrived: None,
    }))
}
