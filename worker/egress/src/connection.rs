//! HTTP/1.1 on a client's connection, until it ends or becomes a tunnel. Owns the stream.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;

use abi::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body as _;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Parts};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use crate::connect::Connect;
use crate::destination::Destination;
use crate::forward::forward;
use crate::gate::Gate;
use crate::refusal::{Afterwards, Refusal};
use crate::reply_body::ReplyBody;
use crate::upstream::Kept;
use crate::write_timeout::WriteTimeout;
use crate::{linger, tunnel};

/// A sentence of the proxy's own, or a server's body.
type Body = Either<Full<Bytes>, ReplyBody>;
/// Boxed because hyper gives the stream back only of a service whose futures can be moved.
type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>;

/// Serves a client until its connection ends.
pub(crate) async fn serve<C, I>(gate: Rc<Gate<C>>, stream: I, on_denied: impl Fn(&str) + 'static)
where
    C: Connect,
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = gate.limits().clone();
    let opened = Rc::new(Cell::new(None));
    let client =
        Rc::new(Client { gate, on_denied, kept: Kept::default(), opened: Rc::clone(&opened) });
    let service = service_fn(move |request| {
        let client = Rc::clone(&client);
        Box::pin(async move { Ok(client.answer(request).await) }) as Answering
    });
    let stream = TokioIo::new(WriteTimeout::new(stream, limits.write_timeout));
    let mut connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.client_idle_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        // A client that leaves ends its request: hyper sees that its half has ended.
        .half_close(false)
        .serve_connection(stream, service);
    let ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let Parts { io, read_buf, service, .. } = connection.into_parts();
    // With it goes the server's connection that was kept for this client.
    drop(service);
    let stream = io.into_inner().into_inner();
    match opened.take() {
        Some(Opened { server, permit: _permit }) if ended.is_ok() => {
            tunnel::run(stream, read_buf, server, &limits).await;
        }
        _ => linger::close(stream).await,
    }
}

/// A connection to a tunnel's server.
struct Opened<I> {
    server: I,
    permit: OwnedSemaphorePermit,
}

/// What the requests of one connection have in common.
struct Client<C: Connect, D> {
    gate: Rc<Gate<C>>,
    on_denied: D,
    kept: Kept,
    /// The server of the tunnel that the connection becomes after this reply.
    opened: Rc<Cell<Option<Opened<C::Stream>>>>,
}

impl<C: Connect, D: Fn(&str)> Client<C, D> {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (answered, afterwards) = if request.method() == Method::CONNECT {
            (self.open(request).await, Afterwards::Close)
        } else {
            let forwarded = forward(&self.gate, &self.kept, request).await;
            (forwarded.map(|reply| reply.map(Either::Right)), Afterwards::Keep)
        };
        answered.unwrap_or_else(|refusal| {
            if refusal.is_denial() {
                (self.on_denied)(&refusal.to_string());
            }
            refusal.reply(afterwards).map(Either::Left)
        })
    }

    /// Connects to the server of a tunnel, which begins behind the reply.
    async fn open(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        if !request.body().is_end_stream() {
            return Err(Refusal::TunnelBody);
        }
        let authority = request.uri().authority().ok_or(Refusal::Destination)?;
        let destination = Destination::of_tunnel(authority).ok_or(Refusal::Destination)?;
        let permit = self.gate.admit(&destination)?;
        let server = self.gate.connect(&destination).await?;
        self.opened.set(Some(Opened { server, permit }));
        Ok(Response::new(Either::Left(Full::default())))
    }
}
