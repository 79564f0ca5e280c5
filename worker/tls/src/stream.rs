//! What is inside of a client's TLS as a stream, for whoever answers it in this process: nothing is
//! copied to another socket. Owns the client's socket.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::linger;
use crate::relay::{Alarm, Client, Cut, Opened, Scratch, open_records};

/// So much may wait to be sent before a write waits for that.
const UNSENT_BYTES_MAX: usize = 64 * 1024;

/// The plaintext of a client. Written bytes are sent by the next flush.
#[derive(Debug)]
pub struct Stream<'a> {
    client: TcpStream,
    tls: Box<ServerConnection>,
    scratch: &'a RefCell<Scratch>,
    /// What came out of TLS and nobody has read, from [`Self::taken`] on.
    pending: Vec<u8>,
    taken: usize,
    /// Whether the client has ended its side of TLS.
    is_ended: bool,
    /// Whether this side has.
    is_shut: bool,
    /// Whether nothing more can be said to the client.
    is_broken: bool,
    /// What was written since all was sent.
    unsent: usize,
    /// Until when the client may take nothing of that.
    stall: Alarm,
    write_timeout: Duration,
}

impl<'a> Stream<'a> {
    /// Makes one of a client's socket whose handshake is over.
    ///
    /// # Errors
    /// If what the client sent first breaks TLS.
    pub(crate) fn begin(
        client: TcpStream,
        mut tls: Box<ServerConnection>,
        write_timeout: Duration,
        scratch: &'a RefCell<Scratch>,
    ) -> Result<Self, Cut> {
        // A write waits before there is too much.
        tls.set_buffer_limit(None);
        let (pending, is_ended) = {
            let plaintext = &mut scratch.borrow_mut().plaintext;
            let (opened, is_end) =
                Opened { tls: &mut tls, client: &client }.take(&mut plaintext[..])?;
            (plaintext[..opened].to_vec(), is_end)
        };
        Ok(Self {
            client,
            tls,
            scratch,
            pending,
            taken: 0,
            is_ended,
            is_shut: false,
            is_broken: false,
            unsent: 0,
            stall: Alarm::default(),
            write_timeout,
        })
    }

    /// Tells the client that this is the end, unless it was told, and closes its socket gently.
    pub(crate) async fn close(mut self) {
        if self.is_broken {
            return;
        }
        let shut = poll_fn(|cx| Pin::new(&mut self).poll_shutdown(cx)).await;
        if shut.is_ok() {
            linger::close(self.client).await;
        }
    }

    fn poll_opened(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), Cut>> {
        let scratch = &mut *self.scratch.borrow_mut();
        while !self.is_ended {
            if self.unsent == 0 {
                // TLS may have something of its own to say.
                let _ = self.poll_send(cx)?;
            }
            let mut sealed = ReadBuf::new(&mut scratch.sealed);
            ready!(Pin::new(&mut self.client).poll_read(cx, &mut sealed)).map_err(Cut::Client)?;
            let length = sealed.filled().len();
            if length == 0 {
                return Poll::Ready(Err(Cut::Truncated));
            }
            let (opened, is_end) = open_records(&mut self.tls, &self.client, length, scratch)?;
            self.is_ended = is_end;
            if opened > 0 {
                let (now, later) =
                    scratch.plaintext[..opened].split_at(opened.min(buffer.remaining()));
                buffer.put_slice(now);
                self.pending = later.to_vec();
                self.taken = 0;
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what TLS has for the client.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Client { socket: &mut self.client, cx }) {
                Ok(_) => self.stall.clear(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stall.set_once(self.write_timeout);
                    if self.stall.has_passed(cx) {
                        // What the kernel still keeps for this client is given up with it.
                        let _ = self.client.set_zero_linger();
                        return Poll::Ready(Err(Cut::Stalled));
                    }
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(Cut::Client(error))),
            }
        }
        self.unsent = 0;
        Poll::Ready(Ok(()))
    }

    /// Makes a cut the error of a stream.
    fn or_broken<T>(&mut self, result: Result<T, Cut>) -> io::Result<T> {
        result.map_err(|cut| {
            self.is_broken = true;
            io::Error::new(ErrorKind::ConnectionAborted, cut)
        })
    }
}

impl AsyncRead for Stream<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.pending.is_empty() {
            let opened = ready!(this.poll_opened(cx, buffer));
            return Poll::Ready(this.or_broken(opened));
        }
        let rest = &this.pending[this.taken..];
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        this.taken += length;
        if this.taken == this.pending.len() {
            this.pending = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.unsent >= UNSENT_BYTES_MAX {
            let sent = ready!(this.poll_send(cx));
            this.or_broken(sent)?;
        }
        let written = this.tls.writer().write_vectored(bytes).map_err(Cut::Client);
        let written = this.or_broken(written)?;
        this.unsent += written;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = ready!(self.poll_send(cx));
        Poll::Ready(self.or_broken(sent))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.is_shut {
            this.is_shut = true;
            this.tls.send_close_notify();
        }
        let sent = ready!(this.poll_send(cx));
        this.or_broken(sent)?;
        Pin::new(&mut this.client).poll_shutdown(cx)
    }
}
