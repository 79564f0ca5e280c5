//! From the worker to the client.

use std::io::{self, ErrorKind, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use super::scratch::{READ_BYTES, Scratch};
use super::{Cut, DownState, Relay, Step, now};

impl Relay {
    /// Does one step: sends the client what is to be sent, or reads from the worker.
    pub(super) fn step_down(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> Result<Step, Cut> {
        if self.tls.wants_write() {
            return self.flush(cx);
        }
        match self.down.state {
            DownState::Open => self.read_worker(cx, scratch),
            DownState::Ending => {
                // An error means that the client has gone, which the other direction finds.
                let _ = Pin::new(&mut self.client).poll_shutdown(cx);
                self.down.state = DownState::Ended;
                Ok(Step::Progress)
            }
            DownState::Ended => Ok(Step::Waits),
        }
    }

    fn read_worker(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<Step, Cut> {
        let mut buffer = ReadBuf::new(&mut scratch.plaintext[..READ_BYTES]);
        match now(Pin::new(&mut self.worker).poll_read(cx, &mut buffer)) {
            Ok(None) => return Ok(Step::Waits),
            Ok(Some(())) if !buffer.filled().is_empty() => {
                self.tls.writer().write_all(buffer.filled()).map_err(Cut::Client)?;
            }
            // An end that was closed with unread bytes in it resets the other one behind all that
            // was sent (unix(7)): it is an end like any other.
            Ok(Some(())) => self.worker_sends_no_more(),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.worker_sends_no_more(),
            Err(error) => return Err(Cut::Worker(error)),
        }
        self.flush(cx)?;
        Ok(Step::Progress)
    }

    fn worker_sends_no_more(&mut self) {
        self.tls.send_close_notify();
        self.down.state = DownState::Ending;
    }

    /// Sends what TLS has for the client, as far as it takes it.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<Step, Cut> {
        let mut step = Step::Waits;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Client { socket: &mut self.client, cx }) {
                Ok(_) => {
                    self.down.stall.clear();
                    step = Step::Progress;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.down.stall.set_once(self.write_timeout);
                    break;
                }
                Err(error) => return Err(Cut::Client(error)),
            }
        }
        Ok(step)
    }
}

/// The client's socket, whose task is woken when it takes more.
pub(crate) struct Client<'a, 'b> {
    pub(crate) socket: &'a mut TcpStream,
    pub(crate) cx: &'a mut Context<'b>,
}

impl Write for Client<'_, '_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.socket).poll_write(self.cx, from))
    }

    fn write_vectored(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, from))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn or_would_block(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    now(polled)?.ok_or_else(|| ErrorKind::WouldBlock.into())
}
