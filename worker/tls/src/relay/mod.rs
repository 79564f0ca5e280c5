//! Carries bytes between a client's TLS connection and the plaintext end's other side. Owns both
//! sockets.
//!
//! The two directions are independent of each other: [`up`] leads from the client to the worker,
//! [`down`] back. Each is a few steps that do not wait, which the task repeats while there is
//! progress. What the receiver has not taken is kept, at most one read's worth each way, and while
//! there is some nothing more is read.

mod alarm;
mod down;
mod scratch;
mod up;

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConnection;
use tokio::net::{TcpStream, UnixStream};

pub(crate) use self::alarm::Alarm;
pub(crate) use self::down::Client;
pub(crate) use self::scratch::Scratch;
pub(crate) use self::up::{Opened, open_records};
use crate::watch::Watch;

/// How often both directions are gone through before other connections have their turn.
const ROUNDS_MAX: usize = 8;

/// A TLS connection and its plaintext.
#[derive(Debug)]
pub(crate) struct Relay {
    client: TcpStream,
    worker: UnixStream,
    tls: Box<ServerConnection>,
    up: Up,
    down: Down,
    write_timeout: Duration,
}

/// The direction from the client to the worker.
#[derive(Debug, Default)]
struct Up {
    state: UpState,
    /// What came out of TLS and the worker has not taken, from [`Self::sent`] on.
    pending: Vec<u8>,
    sent: usize,
    /// Watches the client while nothing is read from it.
    watch: Option<Watch>,
    /// Until when the worker may take nothing of what a client left behind that sends no more.
    grace: Alarm,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum UpState {
    /// The client may send.
    #[default]
    Open,
    /// The client has ended its side of TLS. The worker is to see that behind what is pending.
    Ending,
    /// The worker has seen it, or takes nothing any more. What the client sends is discarded.
    Ended,
    /// The client has ended TCP's side, too: there is nothing to read.
    Closed,
}

/// The direction from the worker to the client.
#[derive(Debug, Default)]
struct Down {
    state: DownState,
    /// Until when the client may take nothing of what is to be sent.
    stall: Alarm,
    /// Watches the worker's end once it sends no more.
    watch: Option<Watch>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum DownState {
    /// The worker may send.
    #[default]
    Open,
    /// The worker has ended its side. The client is to see that behind what is to be sent.
    Ending,
    /// The client has been sent `close_notify` and the end of TCP's side.
    Ended,
}

impl Up {
    /// Keeps what the worker has not taken.
    fn keep(&mut self, rest: &[u8]) {
        self.pending = rest.to_vec();
        self.sent = 0;
    }

    /// The worker has taken what was pending, or never will.
    fn forget(&mut self) {
        self.pending = Vec::new();
        self.sent = 0;
        self.watch = None;
        self.grace.clear();
    }
}

/// How a relay ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Both ways in order, or the worker has closed its end: the client's socket is to be closed
    /// gently.
    Finished(TcpStream),
    /// At once.
    Cut(Cut),
}

/// Why a relay was cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cut {
    #[error("the client has ended the connection without close_notify")]
    Truncated,
    #[error("the client has left, and the worker takes nothing of what it sent last")]
    Abandoned,
    #[error("the client takes nothing")]
    Stalled,
    #[error("the client broke TLS: {0}")]
    Tls(rustls::Error),
    #[error("the client's socket failed: {0}")]
    Client(io::Error),
    #[error("the plaintext's socket failed: {0}")]
    Worker(io::Error),
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Something has changed.
    Progress,
    /// Nothing can be done until the task is woken.
    Waits,
}

impl Relay {
    /// Makes one of a client's socket whose handshake is over, and of `worker`, the end of a new
    /// pair that stays here. The other end has the first bytes when this returns.
    ///
    /// # Errors
    /// If what the client sent first breaks TLS, or the process has no file descriptor left.
    pub(crate) fn begin(
        client: TcpStream,
        worker: StdUnixStream,
        mut tls: Box<ServerConnection>,
        write_timeout: Duration,
        scratch: &mut Scratch,
    ) -> Result<Self, Cut> {
        // Nothing is read from the worker while something is to be sent, which limits it as well.
        tls.set_buffer_limit(None);
        let first = Opened { tls: &mut tls, client: &client };
        let (opened, is_end) = first.take(&mut scratch.plaintext)?;
        let plaintext = &scratch.plaintext[..opened];
        // Before tokio has the socket, which would first ask whether it can be written to. It is
        // empty: what is there of a request by now fits.
        let sent = (&worker).write(plaintext).map_err(Cut::Worker)?;
        let mut up = Up::default();
        up.keep(&plaintext[sent..]);
        if is_end {
            up.state = UpState::Ending;
        }
        let worker = UnixStream::from_std(worker).map_err(Cut::Worker)?;
        Ok(Self { client, worker, tls, up, down: Down::default(), write_timeout })
    }

    /// Runs the relay to its end.
    pub(crate) async fn run(mut self, scratch: &RefCell<Scratch>) -> End {
        let end = std::future::poll_fn(|cx| self.poll(cx, &mut scratch.borrow_mut())).await;
        match end {
            Ok(()) => End::Finished(self.client),
            Err(cut) => {
                if matches!(cut, Cut::Stalled) {
                    // What the kernel still keeps for this client is given up with it.
                    let _ = self.client.set_zero_linger();
                }
                End::Cut(cut)
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Result<(), Cut>> {
        for _ in 0..ROUNDS_MAX {
            let up = self.step_up(cx, scratch)?;
            let down = self.step_down(cx, scratch)?;
            if self.is_over(cx) {
                return Poll::Ready(Ok(()));
            }
            if (up, down) == (Step::Waits, Step::Waits) {
                return self.poll_limits(cx);
            }
        }
        // A client that sends on and takes nothing is held to its time, too.
        if let ended @ Poll::Ready(_) = self.poll_limits(cx) {
            return ended;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Returns whether nothing can come any more.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.down.state != DownState::Ended {
            return false;
        }
        if self.up.state == UpState::Closed {
            return true;
        }
        // The worker sends no more. It may still read.
        if self.down.watch.is_none() {
            self.down.watch = Watch::new(&self.worker, crate::watch::Ends::Both).ok();
        }
        self.down.watch.as_ref().is_none_or(|watch| watch.poll_end(cx).is_ready())
    }

    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        if self.down.stall.has_passed(cx) {
            return Poll::Ready(Err(Cut::Stalled));
        }
        if self.up.grace.has_passed(cx) {
            return Poll::Ready(Err(Cut::Abandoned));
        }
        Poll::Pending
    }
}

/// Makes the result of a call that may have to wait one that does not: `None` is the wait.
fn now<T>(polled: Poll<io::Result<T>>) -> io::Result<Option<T>> {
    match polled {
        Poll::Ready(Ok(value)) => Ok(Some(value)),
        Poll::Ready(Err(error)) => Err(error),
        Poll::Pending => Ok(None),
    }
}
