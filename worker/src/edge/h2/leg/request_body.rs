//! The body of a stream's request. Owns no fds.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use abi::limits::BODY_TIMEOUT;
use bytes::Bytes;
use h2::RecvStream;
use http::Request;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};

use crate::deadline::Deadline;
use crate::run::body::{BodyError, RequestBody};
use crate::serve::RequestSource;

/// What is known of a body, for whoever reads it and whoever answers the request.
#[derive(Debug)]
struct State {
    limit_bytes: AtomicU64,
    taken_bytes: AtomicU64,
    failure: Mutex<Option<BodyError>>,
}

impl State {
    fn fail(&self, error: BodyError) -> BodyError {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        error
    }
}

/// The request of a stream.
pub(super) struct OnStream {
    /// `None` once somebody reads it, or if there is none.
    body: RefCell<Option<RecvStream>>,
    length: Option<u64>,
    local: SocketAddr,
    /// Whether the stream asks to change its protocol. What it brings then is no body.
    changes: bool,
    state: Arc<State>,
}

impl OnStream {
    pub(super) fn new(
        request: &Request<()>,
        body: Option<RecvStream>,
        local: SocketAddr,
        changes: bool,
    ) -> Self {
        let length = request.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let body = RefCell::new(body.filter(|body| !body.is_end_stream()));
        let (limit_bytes, taken_bytes) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        let state = Arc::new(State { limit_bytes, taken_bytes, failure: Mutex::new(None) });
        Self { body, length, local, changes, state }
    }

    /// Returns how much of the body was read.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.state.taken_bytes.load(Relaxed)
    }
}

impl RequestSource for OnStream {
    fn limit(&self, bytes_max: u64) -> Result<(), BodyError> {
        if self.changes {
            return Ok(());
        }
        self.state.limit_bytes.store(bytes_max, Relaxed);
        match self.length {
            Some(length) if length > bytes_max => {
                Err(self.state.fail(BodyError::TooLarge { limit: bytes_max }))
            }
            _ => Ok(()),
        }
    }

    fn body(&self) -> RequestBody {
        let (length, changes, state) = (self.length, self.changes, Arc::clone(&self.state));
        let body = self.body.take().map(|stream| {
            let deadline = Deadline::default();
            RequestBody::new(StreamBody {
                stream,
                length,
                changes,
                state,
                deadline,
                is_over: false,
            })
        });
        body.unwrap_or_else(RequestBody::none)
    }

    fn failure(&self) -> Option<BodyError> {
        *self.state.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn local_address(&self) -> SocketAddr {
        self.local
    }
}

/// The body that a guest reads.
struct StreamBody {
    stream: RecvStream,
    /// Its length, if the client has declared one.
    length: Option<u64>,
    /// Whether it is what the client sends by another protocol.
    changes: bool,
    state: Arc<State>,
    /// Until when the client may send nothing.
    deadline: Deadline,
    is_over: bool,
}

impl StreamBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(data) = ready!(self.stream.poll_data(cx)) {
            let Ok(data) = data else { return Poll::Ready(Some(Err(BodyError::Ended))) };
            let _ = self.stream.flow_control().release_capacity(data.len());
            let length = data.len() as u64;
            let taken = self.state.taken_bytes.fetch_add(length, Relaxed) + length;
            let limit = self.state.limit_bytes.load(Relaxed);
            return Poll::Ready(Some(match taken > limit {
                true => Err(BodyError::TooLarge { limit }),
                false => Ok(Frame::data(data)),
            }));
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        Poll::Ready(match trailers {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(_) => Some(Err(BodyError::Ended)),
        })
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let next = match self.poll_next(cx) {
            Poll::Ready(next) => next,
            // Another protocol may be silent for as long as it likes.
            Poll::Pending if self.changes => return Poll::Pending,
            Poll::Pending => {
                if !self.deadline.is_set() {
                    self.deadline.set(BODY_TIMEOUT);
                }
                ready!(self.deadline.poll_passed(cx));
                Some(Err(BodyError::Stalled { limit: BODY_TIMEOUT }))
            }
        };
        self.deadline.clear();
        self.is_over = !matches!(&next, Some(Ok(frame)) if frame.is_data());
        Poll::Ready(next.map(|frame| frame.map_err(|error| self.state.fail(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
