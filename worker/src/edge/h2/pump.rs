//! Carries the body of a stream to another one, with its trailers. Owns no fds.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use tokio::time::timeout;

/// Why a body did not arrive whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// Who sends it has reset it.
    Sender(Reason),
    /// Who takes it has reset it, has gone, or takes nothing any more.
    Receiver(Reason),
}

/// Carries all of it. Whoever takes none of it for as long as `stall`, if there is such a limit, is
/// gone.
pub(super) async fn pump(
    from: &mut RecvStream,
    to: &mut SendStream<Bytes>,
    stall: Option<Duration>,
) -> Result<(), Broken> {
    loop {
        let next = poll_fn(|cx| match poll_reset(to, cx) {
            Poll::Ready(reason) => Poll::Ready(Err(Broken::Receiver(reason))),
            Poll::Pending => from.poll_data(cx).map(|data| data.transpose().map_err(sender)),
        });
        let Some(mut data) = next.await? else { break };
        let is_last = from.is_end_stream();
        if is_last && data.is_empty() {
            return to.send_data(data, true).map_err(receiver);
        }
        while !data.is_empty() {
            let room = room(to, data.len());
            let room = match stall {
                Some(stall) => timeout(stall, room).await.unwrap_or(Err(Reason::CANCEL)),
                None => room.await,
            };
            let piece = data.split_to(room.map_err(Broken::Receiver)?.min(data.len()));
            let length = piece.len();
            to.send_data(piece, is_last && data.is_empty()).map_err(receiver)?;
            // Only now may more of it be sent: nothing gathers here.
            let _ = from.flow_control().release_capacity(length);
        }
        if is_last {
            return Ok(());
        }
    }
    match from.trailers().await.map_err(sender)? {
        Some(trailers) => to.send_trailers(trailers).map_err(receiver),
        None => to.send_data(Bytes::new(), true).map_err(receiver),
    }
}

/// Waits until something can be sent, of which there are `length` bytes. Returns how many of them.
pub(super) async fn room(to: &mut SendStream<Bytes>, length: usize) -> Result<usize, Reason> {
    to.reserve_capacity(length);
    loop {
        match poll_fn(|cx| to.poll_capacity(cx)).await {
            Some(Ok(0)) => {}
            Some(Ok(room)) => return Ok(room),
            Some(Err(error)) => return Err(reason(&error)),
            None => return Err(Reason::CANCEL),
        }
    }
}

/// Resolves when whoever takes a stream has reset it.
fn poll_reset(to: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Reason> {
    to.poll_reset(cx).map(|reset| reset.unwrap_or_else(|error| reason(&error)))
}

fn sender(error: h2::Error) -> Broken {
    Broken::Sender(reason(&error))
}

fn receiver(error: h2::Error) -> Broken {
    Broken::Receiver(reason(&error))
}

/// Returns what a stream is reset with because of `error`.
pub(super) fn reason(error: &h2::Error) -> Reason {
    error.reason().filter(|_| !error.is_io()).unwrap_or(Reason::INTERNAL_ERROR)
}
