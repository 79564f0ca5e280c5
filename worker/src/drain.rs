//! The state of a drain: whether it has begun, its deadline, and the tasks that wait for it. Owns
//! no fds.

use std::cell::Cell;
use std::time::Duration;

use abi::message::Ending;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The drain of this worker.
#[derive(Default)]
pub(crate) struct Drain {
    ending: Cell<Option<Ending>>,
    deadline: Cell<Option<Instant>>,
    /// Notified when draining begins, and whenever something has ended meanwhile.
    changed: Notify,
}

impl Drain {
    /// Returns what becomes of connections after their current request. Returns `None` while the
    /// worker does not drain.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.get()
    }

    /// Begins to drain, for at most `within`.
    pub(crate) fn begin(&self, ending: Ending, within: Duration) {
        self.deadline.set(Some(Instant::now() + within));
        self.ending.set(Some(ending));
        self.changed.notify_waiters();
    }

    /// Records that a connection or an invocation has ended.
    pub(crate) fn one_ended(&self) {
        if self.ending.get().is_some() {
            self.changed.notify_waiters();
        }
    }

    /// Resolves when draining begins.
    pub(crate) async fn begun(&self) {
        loop {
            let changed = self.changed.notified();
            if self.ending.get().is_some() {
                return;
            }
            changed.await;
        }
    }

    /// Resolves after [`Self::begin`]: with `true` once `is_idle` returns `true`, or with `false`
    /// at the deadline.
    pub(crate) async fn over(&self, is_idle: impl Fn() -> bool) -> bool {
        self.begun().await;
        let deadline = self.deadline.get().unwrap_or_else(Instant::now);
        let idle = async {
            loop {
                let changed = self.changed.notified();
                if is_idle() {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout_at(deadline, idle).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_over_when_nothing_is_left_or_at_the_deadline() {
        let (drain, left) = (Drain::default(), Cell::new(1));
        assert_eq!(drain.ending(), None);
        drain.one_ended();
        drain.begin(Ending::Close, Duration::from_secs(5));
        assert_eq!(drain.ending(), Some(Ending::Close));
        let end = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            left.set(0);
            drain.one_ended();
        };
        let (over, ()) = tokio::join!(drain.over(|| left.get() == 0), end);
        assert!(over);
        assert!(!drain.over(|| false).await, "the deadline has come");
    }
}
