//! A deadline that is moved at every request, for little.
//!
//! Moving a tokio timer outwards only stores the new time; the wheel is touched when the old one
//! fires. Owns a timer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// One deadline, or none.
#[derive(Default)]
pub(crate) struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
    set: bool,
}

impl Deadline {
    /// Sets the deadline to so far from now.
    pub(crate) fn set(&mut self, after: Duration) {
        let at = Instant::now() + after;
        self.set = true;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(at),
            None => self.timer = Some(Box::pin(sleep_until(at))),
        }
    }

    /// There is no deadline any more.
    pub(crate) fn clear(&mut self) {
        self.set = false;
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set
    }

    /// Whether it has passed; wakes the task when it does.
    pub(crate) fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) if self.set => timer.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }
}
