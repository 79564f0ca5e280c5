//! From the client to the worker.

use std::io::{self, ErrorKind, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConnection;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use super::scratch::Scratch;
use super::{Cut, Relay, Step, UpState, now};
use crate::watch::{Ends, Watch};

/// How long the worker may take nothing of what a client has left behind, once the client sends no
/// more. It has gone, or waits for its reply; a worker that reads on keeps it.
const ENDED_GRACE: Duration = Duration::from_secs(1);

impl Relay {
    /// Does one step: gives the worker what is pending, or reads from the client.
    pub(super) fn step_up(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> Result<Step, Cut> {
        if self.up.sent < self.up.pending.len() {
            return self.send_pending(cx);
        }
        match self.up.state {
            UpState::Ending => {
                // An error means that the worker has closed its end, which the other direction
                // finds.
                let _ = Pin::new(&mut self.worker).poll_shutdown(cx);
                self.up.state = UpState::Ended;
                Ok(Step::Progress)
            }
            UpState::Closed => Ok(Step::Waits),
            UpState::Open | UpState::Ended => self.read_client(cx, scratch),
        }
    }

    fn read_client(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<Step, Cut> {
        let mut buffer = ReadBuf::new(&mut scratch.sealed);
        let polled = Pin::new(&mut self.client).poll_read(cx, &mut buffer);
        let length = buffer.filled().len();
        match now(polled).map_err(Cut::Client)? {
            None => return Ok(Step::Waits),
            Some(()) if length > 0 => {}
            // What was pending has been taken, or nothing would have been read.
            Some(()) if self.up.state == UpState::Open => return Err(Cut::Truncated),
            Some(()) => {
                self.up.state = UpState::Closed;
                return Ok(Step::Progress);
            }
        }
        if self.up.state == UpState::Open {
            let (opened, is_end) = open_records(&mut self.tls, &self.client, length, scratch)?;
            if is_end {
                self.up.state = UpState::Ending;
            }
            self.deliver(cx, &scratch.plaintext[..opened])?;
        }
        Ok(Step::Progress)
    }

    /// Gives the worker `plaintext`, and keeps what it does not take.
    fn deliver(&mut self, cx: &mut Context<'_>, plaintext: &[u8]) -> Result<(), Cut> {
        let mut rest = plaintext;
        while !rest.is_empty() {
            match now(Pin::new(&mut self.worker).poll_write(cx, rest)) {
                Ok(Some(sent)) => rest = &rest[sent..],
                Ok(None) => {
                    self.up.keep(rest);
                    break;
                }
                Err(error) => return self.worker_reads_no_more(error),
            }
        }
        Ok(())
    }

    fn send_pending(&mut self, cx: &mut Context<'_>) -> Result<Step, Cut> {
        let pending = &self.up.pending[self.up.sent..];
        match now(Pin::new(&mut self.worker).poll_write(cx, pending)) {
            Ok(Some(sent)) => {
                self.up.sent += sent;
                self.up.grace.clear();
                if self.up.sent == self.up.pending.len() {
                    self.up.forget();
                }
                Ok(Step::Progress)
            }
            Ok(None) => self.watch_client(cx),
            Err(error) => self.worker_reads_no_more(error).map(|()| Step::Progress),
        }
    }

    /// The worker has closed its end, or one way of it. What it has sent before still reaches the
    /// client; what the client sends is discarded from here on.
    fn worker_reads_no_more(&mut self, error: io::Error) -> Result<(), Cut> {
        if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) {
            return Err(Cut::Worker(error));
        }
        self.up.forget();
        self.up.state = UpState::Ended;
        Ok(())
    }

    /// Finds out whether the client has gone while nothing is read from it, because the worker
    /// takes nothing.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<Step, Cut> {
        if self.up.watch.is_none() {
            // Without a free fd only time limits end the connection.
            self.up.watch = Watch::new(&self.client, Ends::Sending).ok();
        }
        match self.up.watch.as_ref().map(|watch| watch.poll_end(cx)) {
            Some(Poll::Ready(true)) => Err(Cut::Client(ErrorKind::ConnectionReset.into())),
            Some(Poll::Ready(false)) => {
                self.up.grace.set_once(ENDED_GRACE);
                Ok(Step::Waits)
            }
            Some(Poll::Pending) | None => Ok(Step::Waits),
        }
    }
}

/// Takes the first `length` bytes of what was read out of TLS. Returns the length of what came out,
/// and whether it is the client's last.
pub(crate) fn open_records(
    tls: &mut ServerConnection,
    client: &TcpStream,
    length: usize,
    scratch: &mut Scratch,
) -> Result<(usize, bool), Cut> {
    let (mut sealed, mut opened, mut is_last) = (&scratch.sealed[..length], 0, false);
    while !sealed.is_empty() && !is_last {
        if tls.read_tls(&mut sealed).map_err(Cut::Client)? == 0 {
            return Err(Cut::Client(ErrorKind::InvalidData.into()));
        }
        let (more, is_end) = Opened { tls, client }.take(&mut scratch.plaintext[opened..])?;
        opened += more;
        is_last = is_end;
    }
    // After a large record rustls keeps a buffer of its size until the next one comes.
    if length > SMALL_READ_BYTES && !tls.wants_write() {
        let _ = tls.read_tls(&mut Nothing);
    }
    Ok((opened, is_last))
}

/// A client's TLS, and its socket for the alert that says what is wrong.
pub(crate) struct Opened<'a> {
    pub(crate) tls: &'a mut ServerConnection,
    pub(crate) client: &'a TcpStream,
}

impl Opened<'_> {
    /// Takes all that is readable now out of TLS. Returns how much that was, and whether it is the
    /// client's last.
    pub(crate) fn take(self, to: &mut [u8]) -> Result<(usize, bool), Cut> {
        let state = match self.tls.process_new_packets() {
            Ok(state) => state,
            Err(error) => {
                // If there is room for it.
                let _ = self.tls.write_tls(&mut TryWrite(self.client));
                return Err(Cut::Tls(error));
            }
        };
        let readable = state.plaintext_bytes_to_read();
        // It is never more than came in.
        let to =
            to.get_mut(..readable).ok_or_else(|| Cut::Client(ErrorKind::InvalidData.into()))?;
        if readable > 0 {
            self.tls.reader().read_exact(to).map_err(Cut::Client)?;
        }
        Ok((readable, state.peer_has_closed()))
    }
}

/// A read of more than this may have been of large records.
const SMALL_READ_BYTES: usize = 4096;

/// A reader that has nothing now.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
}

/// The client's socket, for a write that does not wait.
struct TryWrite<'a>(&'a TcpStream);

impl io::Write for TryWrite<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.try_write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
