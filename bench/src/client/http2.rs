//! One connection of the load that speaks HTTP/2, with any number of streams: each carries one
//! request after the other, as a connection of HTTP/1 does.
//!
//! The library is made of futures, and there is no runtime: the driver polls a session whenever its
//! socket has an event or a stream is to be started. Owns the socket; it is opened with the first
//! stream and dropped when the connection breaks.

use std::future::Future as _;
use std::io::{Read as _, Write as _};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable, LocalBoxFuture, poll_fn};
use futures_util::stream::FuturesUnordered;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use mio::net::TcpStream;
use mio::{Registry, Token};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Ended, Failure, Job, Times, Turn, must_wait, open, secured};
use super::request_mix::PreparedRequest;
use crate::tls::Stream;

/// So much of a reply may be on its way, and of all replies of a connection together.
const WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 24;

type Opened = Result<(SendRequest<Bytes>, Connection<Socket, Bytes>), h2::Error>;
/// A request on its way: the number of its stream, and how it ended.
type Exchange<'a> = Abortable<LocalBoxFuture<'a, (usize, Ended)>>;

/// A connection and its streams.
pub struct Session<'a> {
    token: Token,
    state: State,
    streams: Vec<StreamState>,
    /// The streams whose requests have not begun, because there is no connection yet.
    waiting: Vec<usize>,
    exchanges: FuturesUnordered<Exchange<'a>>,
    woken: Arc<Woken>,
}

enum State {
    Closed,
    Opening(Pin<Box<dyn Future<Output = Opened>>>),
    Open { sender: SendRequest<Bytes>, connection: Box<Connection<Socket, Bytes>> },
}

/// What there is of a stream. Its request is on its way if it can be ended before its time.
#[derive(Default)]
struct StreamState {
    times: Times,
    request: usize,
    abort: Option<AbortHandle>,
}

/// Notes that something is to be polled again.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<'a> Session<'a> {
    pub fn new(token: Token, streams: usize) -> Self {
        Self {
            token,
            state: State::Closed,
            streams: (0..streams).map(|_| StreamState::default()).collect(),
            waiting: Vec::new(),
            exchanges: FuturesUnordered::new(),
            woken: Arc::default(),
        }
    }

    /// Returns the times of a stream's request, or of its last one.
    pub fn times(&self, stream: usize) -> Times {
        self.streams[stream].times
    }

    /// Returns the times of the requests on their way.
    pub fn in_flight(&self) -> impl Iterator<Item = Times> {
        self.streams.iter().filter(|stream| stream.abort.is_some()).map(|stream| stream.times)
    }

    /// Has a request begun on a stream, on the connection or on a new one. Returns how it ended if
    /// it ended at once. [`Session::advance`] sends it.
    pub fn start(
        &mut self,
        job: &Job<'_>,
        registry: &Registry,
        stream: usize,
        turn: Turn,
        now: u64,
    ) -> Option<Ended> {
        self.streams[stream] = StreamState {
            times: Times { intended: turn.intended, sent: now },
            request: turn.request,
            abort: None,
        };
        if matches!(self.state, State::Closed) {
            let socket = open(job.address, registry, self.token);
            let Ok(socket) = socket.and_then(|socket| secured(socket, job.tls)) else {
                return Some(Ended::Failed(Failure::Connect));
            };
            let handshake = h2::client::Builder::new()
                .enable_push(false)
                .initial_window_size(WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .handshake(Socket(socket));
            self.state = State::Opening(Box::pin(handshake));
        }
        self.streams[stream].abort = Some(AbortHandle::new_pair().0);
        self.waiting.push(stream);
        None
    }

    /// Does all that can be done now. Adds the streams whose requests have ended, how, and when.
    pub fn advance(
        &mut self,
        job: &Job<'a>,
        now: &impl Fn() -> u64,
        ended: &mut Vec<(usize, Ended, u64)>,
    ) {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        loop {
            self.woken.0.store(false, Ordering::Relaxed);
            let is_broken = self.poll_connection(&mut cx, job, now);
            while let Poll::Ready(Some(exchange)) = self.exchanges.poll_next_unpin(&mut cx) {
                // One that was given up has been reported already.
                if let Ok((stream, how)) = exchange {
                    self.streams[stream].abort = None;
                    ended.push((stream, how, now()));
                }
            }
            if let Some(failure) = is_broken {
                self.state = State::Closed;
                self.exchanges.clear();
                self.waiting.clear();
                for (stream, state) in self.streams.iter_mut().enumerate() {
                    if state.abort.take().is_some() {
                        ended.push((stream, Ended::Failed(failure), now()));
                    }
                }
                return;
            }
            if !self.woken.0.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Returns what has become of the requests if the connection is over.
    fn poll_connection(
        &mut self,
        cx: &mut Context<'_>,
        job: &Job<'a>,
        now: &impl Fn() -> u64,
    ) -> Option<Failure> {
        match &mut self.state {
            State::Closed => return None,
            State::Opening(opening) => match opening.as_mut().poll(cx) {
                Poll::Ready(Ok((sender, connection))) => {
                    self.state = State::Open { sender, connection: Box::new(connection) };
                }
                Poll::Ready(Err(_)) => return Some(Failure::Connect),
                Poll::Pending => return None,
            },
            State::Open { .. } => {}
        }
        let State::Open { sender, connection } = &mut self.state else { return None };
        for stream in self.waiting.drain(..) {
            let (abort, registration) = AbortHandle::new_pair();
            let state = &mut self.streams[stream];
            state.abort = Some(abort);
            state.times.sent = now();
            let exchange = exchange(sender.clone(), job.mix.get(state.request));
            let exchange: LocalBoxFuture<'a, _> = Box::pin(async move { (stream, exchange.await) });
            self.exchanges.push(Abortable::new(exchange, registration));
        }
        Pin::new(connection).poll(cx).is_ready().then_some(Failure::Reset)
    }

    /// Gives up on a request older than `timeout`. Returns whether it did.
    pub fn expire(&mut self, stream: usize, now: u64, timeout: u64) -> bool {
        let state = &mut self.streams[stream];
        if now.saturating_sub(state.times.sent) < timeout {
            return false;
        }
        let Some(abort) = state.abort.take() else { return false };
        abort.abort();
        self.waiting.retain(|waiting| *waiting != stream);
        true
    }
}

/// Sends a request and reads its reply.
async fn exchange(sender: SendRequest<Bytes>, prepared: &PreparedRequest) -> Ended {
    // A URL that the library does not take is told before a load begins.
    let Some(message) = &prepared.message else { return Ended::Failed(Failure::Malformed) };
    let exchanged = async {
        let mut sender = sender.ready().await?;
        let body = message.body().clone();
        let (response, to) = sender.send_request(message.clone().map(drop), body.is_empty())?;
        drop(sender);
        let (mut sending, mut is_sent) = (pin!(send(body, to)), false);
        let mut receiving = pin!(receive(response, prepared.expected_body.as_deref()));
        poll_fn(|cx| {
            // It is read while the rest is still being sent. A server may want no more of that.
            is_sent = is_sent || sending.as_mut().poll(cx).is_ready();
            receiving.as_mut().poll(cx)
        })
        .await
    };
    exchanged.await.unwrap_or_else(|error: h2::Error| {
        let is_gone = error.is_io() || error.is_reset() || error.is_go_away();
        Ended::Failed(if is_gone { Failure::Reset } else { Failure::Malformed })
    })
}

async fn send(mut body: Bytes, mut to: SendStream<Bytes>) -> Result<(), h2::Error> {
    while !body.is_empty() {
        to.reserve_capacity(body.len());
        let room = poll_fn(|cx| to.poll_capacity(cx)).await;
        let room = room.unwrap_or(Err(Reason::CANCEL.into()))?;
        if room == 0 {
            continue;
        }
        let piece = body.split_to(room.min(body.len()));
        to.send_data(piece, body.is_empty())?;
    }
    Ok(())
}

async fn receive(response: ResponseFuture, expected: Option<&[u8]>) -> Result<Ended, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let (mut length, mut body_is_right) = (0, true);
    while let Some(data) = body.data().await {
        let data = data?;
        if let Some(expected) = expected {
            body_is_right &= expected.get(length..length + data.len()) == Some(&data);
        }
        length += data.len();
        let _ = body.flow_control().release_capacity(data.len());
    }
    body_is_right &= expected.is_none_or(|expected| expected.len() == length);
    Ok(Ended::Reply { status: head.status.as_u16(), body_is_right })
}

/// The socket as the library uses it. It never wakes: the driver does, by the socket's events.
struct Socket(Stream<TcpStream>);

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        later(self.0.read(buffer.initialize_unfilled())).map_ok(|count| buffer.advance(count))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        later(self.0.write(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        later(self.0.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// Makes a call that has to wait one that is pending.
fn later<T>(done: std::io::Result<T>) -> Poll<std::io::Result<T>> {
    match done {
        Err(error) if must_wait(&error) => Poll::Pending,
        done => Poll::Ready(done),
    }
}
