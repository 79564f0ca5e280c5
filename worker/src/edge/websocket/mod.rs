//! WebSocket for functions that are called for each message (RFC 6455).
//!
//! A request that asks for it is an [`Opening`]: its function is invoked, and with a reply of 2xx
//! the [handshake] is accepted. From then on a [session] has the connection: it reads [frames] off
//! its [stream], has each message answered by an invocation of its own, and sends what functions
//! [push](crate::push). In the end it invokes the function once more.
//!
//! Whoever has the connection, by whichever version of HTTP, makes an opening of the request and
//! gives the session a stream of bytes. Owns no fds but the session's stream.

mod frames;
mod handshake;
mod invoke;
mod session;
mod stream;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use abi::invocation_id::InvocationId;
use abi::limits::{WEBSOCKET_ENDS_PER_WORKER_MAX, WEBSOCKET_MESSAGE_BYTES_MAX};
use abi::message::Ending;
use abi::problem::Problem;
use abi::spool::Stream;
use bytes::BytesMut;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Limited};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

pub(super) use self::handshake::{Handshake, accept};
use self::invoke::Caller;
use self::session::Session;
use self::stream::{Buffers, Frames};
use crate::drain::Drain;
use crate::push::{Message, Registered};
use crate::serve::{EventKind, Exchange, Pipeline, ReplyBody, WebSocketEvent};

/// What the WebSocket connections of a worker share.
pub(super) struct Shared {
    pipeline: Rc<Pipeline>,
    drain: Rc<Drain>,
    buffers: Rc<Buffers>,
    /// The places for invocations that tell functions of ends.
    ends: Semaphore,
}

impl Shared {
    pub(super) fn new(pipeline: Rc<Pipeline>, drain: Rc<Drain>) -> Rc<Self> {
        let ends = Semaphore::new(WEBSOCKET_ENDS_PER_WORKER_MAX);
        Rc::new(Self { pipeline, drain, buffers: Rc::default(), ends })
    }

    /// Returns the code that connections are closed with when the worker drains: clients of one
    /// that only makes room for another may come back at once.
    fn ending(&self) -> Option<u16> {
        self.drain.ending().map(|ending| match ending {
            Ending::Close => frames::code::GOING_AWAY,
            Ending::GiveBack => frames::code::RESTART,
        })
    }
}

/// A connection that a client has asked for.
pub(super) struct Opening {
    shared: Rc<Shared>,
    handshake: Box<Handshake>,
    caller: Caller,
    registered: Registered,
}

/// A connection that was accepted.
pub(super) struct Accepted {
    session: Session,
    /// The function's first message.
    first: Option<Message>,
}

impl Opening {
    /// Makes the request of `exchange` the opening of a connection.
    ///
    /// # Errors
    /// Why there is none, for the client.
    pub(super) fn new(
        shared: &Rc<Shared>,
        handshake: Box<Handshake>,
        exchange: &mut Exchange,
        local: SocketAddr,
    ) -> Result<Box<Self>, Problem> {
        let gone = || Problem::new(500, "the function has no WebSocket connections any more");
        let callee = exchange.destination.callee().ok_or_else(gone)?;
        let websockets = &shared.pipeline.shared().websockets;
        let registered = websockets
            .register(&callee.function)
            .map_err(|error| Problem::new(503, error.to_string()))?;
        let event = WebSocketEvent { id: registered.id, kind: EventKind::Open };
        exchange.request.extensions_mut().insert(event);
        let caller = Caller::of(exchange, callee, local);
        Ok(Box::new(Self { shared: Rc::clone(shared), handshake, caller, registered }))
    }

    /// Accepts the connection after a reply of 2xx. Returns the headers for its client with the
    /// connection, and how many bytes the function sends first.
    ///
    /// # Errors
    /// Why it is not accepted after all, for the client.
    pub(super) async fn accept(
        self: Box<Self>,
        reply: Response<ReplyBody>,
        id: InvocationId,
    ) -> Result<(HeaderMap, Box<Accepted>, u64), Problem> {
        let Self { shared, handshake, caller, registered } = *self;
        let (head, body) = reply.into_parts();
        let whole = Limited::new(body, WEBSOCKET_MESSAGE_BYTES_MAX).collect().await;
        let whole = whole.map_err(|_| {
            let name = &caller.callee.function;
            Problem::new(
                500,
                format!("function {name:?} failed during its first message, or it is too long"),
            )
        });
        let bytes = whole?.to_bytes();
        let (headers, chosen_wrongly) = handshake.accepted(&head.headers);
        if chosen_wrongly {
            let why =
                "[its Sec-WebSocket-Protocol is none that the client offers, and is left out]";
            let log = &shared.pipeline.shared().log;
            log.line(&caller.callee.function, id, Stream::Node, why.as_bytes());
        }
        let first_bytes = bytes.len() as u64;
        let first = (first_bytes > 0)
            .then(|| Message::of_body(head.headers.get(http::header::CONTENT_TYPE), bytes));
        let session = Session::new(shared, caller, registered);
        Ok((headers, Box::new(Accepted { session, first }), first_bytes))
    }
}

impl Accepted {
    /// Serves the connection over `stream` to its end, in a task of its own: what a connection of
    /// HTTP needs is not kept for it. `unread` was read from the stream already, and `head` is sent
    /// first. `guard` is dropped in the end.
    pub(super) fn start(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        unread: BytesMut,
        head: Vec<u8>,
        write_timeout: Duration,
        guard: impl Sized + 'static,
    ) {
        let Self { session, first } = self;
        let buffers = Rc::clone(&session.shared.buffers);
        // A copy, as the bytes would keep the whole buffer of the request.
        let unread = BytesMut::from(&unread[..]);
        let mut frames = Frames::new(stream, unread, head, buffers, write_timeout);
        if let Some(first) = first {
            frames.send(&first);
        }
        tokio::task::spawn_local(async move {
            session.run(frames).await;
            drop(guard);
        });
    }
}
