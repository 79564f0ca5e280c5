//! What was pushed to one connection and was not sent yet, in order and bounded. Owns no fds.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use abi::limits::{WEBSOCKET_PUSHED_BYTES_MAX, WEBSOCKET_PUSHED_MAX};

use super::Message;

/// What a function has pushed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Message(Message),
    /// The connection is to be closed with this code.
    Close(u16),
}

impl Pushed {
    fn bytes(&self) -> usize {
        match self {
            Self::Message(message) => message.bytes.len(),
            Self::Close(_) => 0,
        }
    }
}

/// There is no room for more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The queue of one connection. It holds no memory while nothing waits.
#[derive(Default)]
pub(crate) struct Mailbox(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Pushed>,
    bytes: usize,
    waker: Option<Waker>,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the queue.
    ///
    /// # Errors
    /// If too much waits already.
    pub(super) fn push(&self, pushed: Pushed) -> Result<(), Full> {
        let waker = {
            let mut state = self.lock();
            let bytes = state.bytes + pushed.bytes();
            if state.waiting.len() >= WEBSOCKET_PUSHED_MAX || bytes > WEBSOCKET_PUSHED_BYTES_MAX {
                return Err(Full);
            }
            state.bytes = bytes;
            state.waiting.push_back(pushed);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Resolves with what was pushed next.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Pushed> {
        let mut state = self.lock();
        match state.waiting.pop_front() {
            Some(pushed) => {
                state.bytes -= pushed.bytes();
                if state.waiting.is_empty() {
                    state.waiting = VecDeque::new();
                }
                Poll::Ready(pushed)
            }
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Pushed {
        Pushed::Message(Message { is_text: false, bytes: vec![0; bytes].into() })
    }

    #[test]
    fn it_keeps_order_and_has_bounds() {
        let mailbox = Mailbox::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(mailbox.poll_next(&mut cx).is_pending());
        for _ in 0..WEBSOCKET_PUSHED_MAX {
            mailbox.push(message(1)).unwrap();
        }
        assert_eq!(mailbox.push(Pushed::Close(1000)), Err(Full));
        assert_eq!(mailbox.poll_next(&mut cx), Poll::Ready(message(1)));
        mailbox.push(Pushed::Close(1000)).unwrap();
        let left: Vec<_> = std::iter::from_fn(|| match mailbox.poll_next(&mut cx) {
            Poll::Ready(pushed) => Some(pushed),
            Poll::Pending => None,
        })
        .collect();
        assert_eq!(left.len(), WEBSOCKET_PUSHED_MAX);
        assert_eq!(left.last(), Some(&Pushed::Close(1000)));
        mailbox.push(message(WEBSOCKET_PUSHED_BYTES_MAX)).unwrap();
        assert_eq!(mailbox.push(message(1)), Err(Full));
    }
}
