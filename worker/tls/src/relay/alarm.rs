//! A time limit that is rarely set. Owns a timer while it is.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// A time limit that may be set or not.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Sets the limit to `after` from now, unless there is one.
    pub(crate) fn set_once(&mut self, after: Duration) {
        self.0.get_or_insert_with(|| Box::pin(sleep(after)));
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// Returns whether the limit has passed. Wakes the task when it does.
    pub(crate) fn has_passed(&mut self, cx: &mut Context<'_>) -> bool {
        self.0.as_mut().is_some_and(|timer| timer.as_mut().poll(cx) == Poll::Ready(()))
    }
}
