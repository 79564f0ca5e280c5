//! One leg: a socket pair to the worker of some functions. Its task owns this end of the pair; the
//! other end goes to the engine.

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::{Future as _, poll_fn};
use std::io::{self, Cursor, Write as _};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use abi::message::{Awaits, ToEngine};
use abi::origin::Origin;
use abi::problem::Problem;
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, join};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::super::fields::remove_connection_specific;
use super::super::{LEG_FRAME_BYTES_MAX, LEG_STREAM_WINDOW_BYTES, LEG_WINDOW_BYTES};
use super::Sessions;
use super::target::Target;

/// How long a worker may take for its preface: it may have to be started first, and the engine
/// refuses what waits for longer than it allows.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(60);
/// The same for the rest of its settings, which it sends with that ...
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(5);
/// ... and for the rest of a refusal, which is written at once.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// The most of a refusal that is read.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Headers of a refusal.
const REFUSAL_HEADERS_MAX: usize = 32;
/// What a refusal begins with. No preface does: its first byte is a length's (RFC 9113 4.1).
const HTTP1: &[u8] = b"HTTP/1.";
/// Ways of which it is known that they lead here, at most.
const CONFIRMED_MAX: usize = 256;

/// A leg that streams can be sent on.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) sender: SendRequest<Bytes>,
    /// Streams of these kinds were taken. Before the first of a kind its body waits.
    confirmed: RefCell<HashSet<String>>,
}

/// The answer of whoever refuses a leg.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Somebody on the way, or the node.
    Answer(Response<Bytes>),
    /// This edge.
    Problem(Problem),
}

impl Leg {
    /// Opens a leg to the worker that `target` goes to. It has `place` for as long as it lives.
    pub(super) async fn open(
        sessions: &Sessions,
        origin: Origin,
        target: &Target,
        place: OwnedSemaphorePermit,
    ) -> Result<Rc<Self>, Refusal> {
        let unavailable = |error: io::Error| {
            tracing::error!("a stream is refused: no socket pair can be made for it: {error}");
            let why = "the node has no file descriptors or memory for the request; try again";
            Refusal::Problem(Problem::new(503, why.to_owned()))
        };
        let (mut ours, theirs) = tls::pair().map_err(unavailable)?;
        // It fits into an empty buffer.
        ours.write_all(target.head().as_bytes()).map_err(unavailable)?;
        let ours = UnixStream::from_std(ours).map_err(unavailable)?;
        let message =
            ToEngine::Return { read: Vec::new(), awaits: Awaits::Streams, origin: Some(origin) };
        if !sessions.send(message, theirs) {
            let why = "another process of the node takes new requests; try again";
            return Err(Refusal::Problem(Problem::new(503, why.to_owned())));
        }
        let (mut receiver, sender) = ours.into_split();
        let mut read = BytesMut::new();
        let first = async {
            while read.len() < HTTP1.len() && receiver.read_buf(&mut read).await? > 0 {}
            io::Result::Ok(())
        };
        match timeout(PREFACE_TIMEOUT, first).await {
            Ok(Ok(())) if read.starts_with(HTTP1) => {
                let rest = async {
                    while read.len() < REFUSAL_BYTES_MAX
                        && receiver.read_buf(&mut read).await.is_ok_and(|bytes| bytes > 0)
                    {
                    }
                };
                // What has come by then will do.
                let _ = timeout(REFUSAL_TIMEOUT, rest).await;
                return Err(refusal(&read));
            }
            Ok(Ok(())) if !read.is_empty() => {}
            Ok(_) | Err(_) => return Err(lost()),
        }
        let io = join(Cursor::new(read.freeze()).chain(receiver), sender);
        let (sender, mut connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(LEG_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(LEG_WINDOW_BYTES)
            .max_frame_size(LEG_FRAME_BYTES_MAX)
            .max_send_buffer_size(LEG_STREAM_WINDOW_BYTES as usize)
            .handshake(io)
            .await
            .map_err(|_| lost())?;
        // The worker's settings are the first that it says. Before they are here, no stream could
        // change its protocol (RFC 8441 3).
        let settled = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Pending if sender.is_extended_connect_protocol_enabled() => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => Poll::Ready(false),
        });
        if timeout(SETTINGS_TIMEOUT, settled).await != Ok(true) {
            return Err(lost());
        }
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection to a worker is cut: {error}");
            }
            drop(place);
        });
        Ok(Rc::new(Self { sender, confirmed: RefCell::default() }))
    }

    /// Returns whether streams of this kind were taken before.
    pub(super) fn is_confirmed(&self, key: &str) -> bool {
        self.confirmed.borrow().contains(key)
    }

    /// Notes that one was.
    pub(super) fn confirm(&self, key: String) {
        let mut confirmed = self.confirmed.borrow_mut();
        if confirmed.len() >= CONFIRMED_MAX {
            confirmed.clear();
        }
        confirmed.insert(key);
    }
}

/// Returns the answer when a worker has gone before it said anything.
pub(super) fn lost() -> Refusal {
    let why = "the worker of the function has ended, or does not answer; try again";
    Refusal::Problem(Problem::new(502, why.to_owned()))
}

/// Reads the answer in the form of HTTP/1.1 of whoever has refused a leg.
fn refusal(bytes: &[u8]) -> Refusal {
    let mut headers = [httparse::EMPTY_HEADER; REFUSAL_HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = parsed.parse(bytes) else { return lost() };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let Some(status) = status else { return lost() };
    let mut answer = Response::new(Bytes::copy_from_slice(&bytes[length..]));
    *answer.status_mut() = status;
    for header in &*parsed.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(header.value)) {
            answer.headers_mut().append(name, value);
        }
    }
    remove_connection_specific(answer.headers_mut());
    Refusal::Answer(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_refusal_is_passed_on_without_what_concerns_its_connection() {
        let text =
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\nx: y\r\n\r\nno";
        let Refusal::Answer(answer) = refusal(text) else { panic!("it is an answer") };
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (404, &b"no"[..]));
        assert_eq!(answer.headers().len(), 2);
        let cut = &text[..40];
        assert!(matches!(refusal(cut), Refusal::Problem(problem) if problem.status == 502));
    }

    proptest! {
        #[test]
        fn any_refusal_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = refusal(&[HTTP1, &bytes].concat());
        }
    }
}
