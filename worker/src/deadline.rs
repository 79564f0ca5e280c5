//! A deadline that can be moved cheaply at every request.
//!
//! Moving a tokio timer to a later time only stores the new time; the timer wheel is touched when
//! the old time comes. Owns a timer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that may be set or not.
#[derive(Default)]
pub(crate) struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
    set: bool,
}

impl Deadline {
    /// Sets the deadline to `after` from now.
    pub(crate) fn set(&mut self, after: Duration) {
        let at = Instant::now() + after;
        self.set = true;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(at),
            None => self.timer = Some(Box::pin(sleep_until(at))),
        }
    }

    /// Clears the deadline. The timer is kept for the next one.
    pub(crate) fn clear(&mut self) {
        self.set = false;
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set
    }

    /// Resolves when the deadline has passed. Never resolves while no deadline is set.
    pub(crate) fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) if self.set => timer.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }
}
