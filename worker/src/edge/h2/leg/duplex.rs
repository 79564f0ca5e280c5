//! A stream of HTTP/2 as a stream of bytes, for a protocol that it has changed to. Owns no fds.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both directions of a stream. Dropping it resets the stream, unless both have ended.
pub(super) struct Duplex {
    receiver: RecvStream,
    sender: SendStream<Bytes>,
    /// What was received and not read.
    received: Bytes,
    /// Whether [`Self::sender`] has ended.
    is_shut: bool,
}

impl Duplex {
    pub(super) fn new(receiver: RecvStream, sender: SendStream<Bytes>) -> Self {
        Self { receiver, sender, received: Bytes::new(), is_shut: false }
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.received.is_empty() {
            match ready!(self.receiver.poll_data(cx)) {
                Some(data) => self.received = data.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.received.len().min(buffer.remaining());
        buffer.put_slice(&self.received[..length]);
        self.received.advance(length);
        // Only now may more come: nothing gathers here.
        let _ = self.receiver.flow_control().release_capacity(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.sender.reserve_capacity(bytes.len());
        loop {
            match ready!(self.sender.poll_capacity(cx)) {
                Some(Ok(0)) => {}
                Some(Ok(room)) => {
                    let length = room.min(bytes.len());
                    let data = Bytes::copy_from_slice(&bytes[..length]);
                    self.sender.send_data(data, false).map_err(io::Error::other)?;
                    return Poll::Ready(Ok(length));
                }
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    /// What was written is the connection's, which sends it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            self.is_shut = true;
            self.sender.send_data(Bytes::new(), true).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        if !self.is_shut {
            self.sender.send_reset(Reason::CANCEL);
        }
    }
}
