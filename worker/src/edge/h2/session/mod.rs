//! Clients' connections of HTTP/2, in an edge. Each has a task, which owns the client's socket; that
//! of a TLS connection serves it, too.

mod exchange;
mod leg;
mod legs;

mod target;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use abi::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use abi::message::ToEngine;
use abi::origin::Origin;
use bytes::Bytes;
use h2::Reason;
use h2::server::Connection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use self::legs::Legs;
use super::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use crate::link::Outbox;

/// Streams that a client may reset without ending its connection, whatever came of the others.
/// Each costs a worker an invocation that nobody reads (CVE-2023-44487).
const RESETS_MAX: u64 = 200;
/// How long its legs are kept that have no streams: each costs its worker memory.
const LEGS_IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client without streams may take once it was told that the connection ends.
const TOLD_TIMEOUT: Duration = Duration::from_secs(2);
/// What counting a field costs beside its bytes (RFC 9113 6.5.2).
const FIELD_BYTES: usize = 32;

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// For their preface.
    pub(crate) preface: Duration,
    /// Between two streams.
    pub(crate) idle: Duration,
    /// Without taking a byte of a reply.
    pub(crate) write: Duration,
}

/// The sessions of this process.
pub(crate) struct Sessions {
    /// `None` once this process is on its own.
    outbox: RefCell<Option<Outbox<ToEngine>>>,
    timeouts: Cell<Timeouts>,
    open: Cell<usize>,
    draining: Cell<bool>,
    changed: Notify,
}

impl Sessions {
    /// There are none yet.
    pub(crate) fn new(outbox: Outbox<ToEngine>, timeouts: Timeouts) -> Rc<Self> {
        Rc::new(Self {
            outbox: RefCell::new(Some(outbox)),
            timeouts: Cell::new(timeouts),
            open: Cell::new(0),
            draining: Cell::new(false),
            changed: Notify::new(),
        })
    }

    /// New connections have these limits.
    pub(crate) fn set_timeouts(&self, timeouts: Timeouts) {
        self.timeouts.set(timeouts);
    }

    /// Serves a client whose connection begins with a preface. `guard` is dropped when it is over.
    pub(crate) fn take<S, G>(self: &Rc<Self>, stream: S, origin: Origin, guard: G)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
        G: 'static,
    {
        let serve = Rc::clone(self).serve(stream, origin);
        tokio::task::spawn_local(async move {
            let _guard = guard;
            serve.await;
        });
    }

    /// Serves a client whose connection begins with a preface, to its end. It counts from now on.
    pub(crate) fn serve<S>(self: Rc<Self>, stream: S, origin: Origin) -> impl Future<Output = ()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.open.set(self.open.get() + 1);
        let open = Open(self);
        async move { Session::serve(stream, origin, Rc::clone(&open.0)).await }
    }

    /// Tells every client that it is to open another connection (GOAWAY).
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.changed.notify_waiters();
    }

    /// Resolves when there is no connection.
    pub(crate) async fn none_open(&self) {
        self.wait(|| self.open.get() == 0).await;
    }

    /// Lets go of the engine. What is under way goes on.
    pub(crate) fn let_go(&self) {
        *self.outbox.borrow_mut() = None;
    }

    async fn wait(&self, is_so: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so() {
                return;
            }
            changed.await;
        }
    }

    /// Sends a message with an fd. Returns `false` if there is no engine.
    fn send(&self, message: ToEngine, fd: OwnedFd) -> bool {
        let outbox = self.outbox.borrow();
        outbox.as_ref().map(|outbox| outbox.send(message, Some(fd))).is_some()
    }
}

/// The guard of an open connection.
struct Open(Rc<Sessions>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.changed.notify_waiters();
    }
}

/// A client's connection.
struct Session {
    sessions: Rc<Sessions>,
    origin: Origin,
    legs: Legs,
    timeouts: Timeouts,
    /// The streams that are being answered.
    active: Cell<u32>,
    /// When the last one was over.
    idle_since: Cell<Instant>,
    streams: Cell<u64>,
    /// How many of them the client has reset before it had their replies.
    resets: Cell<u64>,
    ended: Notify,
}

impl Session {
    async fn serve<S>(stream: S, origin: Origin, sessions: Rc<Sessions>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let timeouts = sessions.timeouts.get();
        let header_list = HEAD_BYTES_MAX + HEADERS_MAX * FIELD_BYTES;
        let mut builder = h2::server::Builder::new();
        let handshake = builder
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(STREAMS_MAX)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_header_list_size(u32::try_from(header_list).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER_BYTES)
            .enable_connect_protocol()
            .handshake::<_, Bytes>(stream);
        let mut connection = match timeout(timeouts.preface, handshake).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return tracing::debug!("a client's HTTP/2 is refused: {error}"),
            Err(_) => return tracing::debug!("a client's HTTP/2 preface took too long"),
        };
        let session = Rc::new(Self {
            sessions,
            origin,
            legs: Legs::default(),
            timeouts,
            active: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            streams: Cell::new(0),
            resets: Cell::new(0),
            ended: Notify::new(),
        });
        session.run(&mut connection).await;
    }

    async fn run<S>(self: Rc<Self>, connection: &mut Connection<S, Bytes>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // When the client was told that the connection ends.
        let mut told: Option<Instant> = None;
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => {
                        self.streams.set(self.streams.get() + 1);
                        let active = Active::new(Rc::clone(&self));
                        tokio::task::spawn_local(exchange::run(active, request, respond));
                    }
                    Some(Err(error)) => {
                        return tracing::debug!("a client's HTTP/2 connection is cut: {error}");
                    }
                    None => return,
                },
                () = self.idle_until(self.idle_since.get() + LEGS_IDLE_TIMEOUT),
                    if self.legs.is_any() => self.legs.close(),
                () = self.is_over(), if told.is_none() => {
                    told = Some(Instant::now());
                    connection.graceful_shutdown();
                }
                // A client that neither closes nor says that it knows.
                () = self.gone_since(told), if told.is_some() => return,
                () = self.ended.notified() => {
                    if self.resets.get() > RESETS_MAX
                        && self.resets.get() > self.streams.get() / 2
                        && told.is_none()
                    {
                        told = Some(Instant::now());
                        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    }
                }
            }
        }
    }

    /// Resolves when the client is to be told that the connection ends.
    async fn is_over(&self) {
        tokio::select! {
            () = self.sessions.wait(|| self.sessions.draining.get()) => {}
            () = self.idle_until(self.idle_since.get() + self.timeouts.idle) => {}
        }
    }

    /// Resolves when a client that was `told` takes too long: the last reply may still be on its
    /// way, and then the client has to say that it knows.
    async fn gone_since(&self, told: Option<Instant>) {
        let told = told.unwrap_or_else(Instant::now);
        let sent = self.idle_since.get() + self.timeouts.write;
        self.idle_until(sent.max(told + TOLD_TIMEOUT)).await;
    }

    /// Resolves at a time if there is no stream. Never does while there is one: its end is an event
    /// of its own.
    async fn idle_until(&self, at: Instant) {
        if self.active.get() > 0 {
            return pending().await;
        }
        sleep_until(at).await;
    }
}

/// The guard of a stream that is being answered.
struct Active(Rc<Session>);

impl Active {
    fn new(session: Rc<Session>) -> Self {
        session.active.set(session.active.get() + 1);
        Self(session)
    }

    /// Notes that the client has reset the stream.
    fn was_reset(&self) {
        self.0.resets.set(self.0.resets.get() + 1);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
        self.0.idle_since.set(Instant::now());
        self.0.ended.notify_one();
    }
}
