//! How a guest that has had the thread for long enough yields it. Owns no fds.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Resolves when the runtime has gone a whole round: other tasks have run, and it has looked at
/// sockets and timers, including the one of the time limit. tokio's own yield is ready whenever it
/// is polled again, and the task that takes what a guest has written polls it again at once: then
/// the guest would go on before any other task has run.
#[derive(Default)]
pub(crate) struct YieldRound(Option<Arc<Round>>);

thread_local! {
    /// Whether a guest waits only for its next turn on the thread. Set whenever one is polled and
    /// has to wait for that.
    static WAITING: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether a guest that was polled since the last call waits only for its next turn on the
/// thread.
pub(crate) fn take_yielded() -> bool {
    WAITING.take()
}

/// A round of the runtime.
struct Round {
    over: AtomicBool,
    /// The task that waits for its end. The lock is never contended: one thread runs both.
    waker: Mutex<Waker>,
}

impl Wake for Round {
    fn wake(self: Arc<Self>) {
        self.over.store(true, Relaxed);
        self.waker.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
    }
}

impl Future for YieldRound {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &self.0 {
            Some(round) if round.over.load(Relaxed) => return Poll::Ready(()),
            Some(round) => {
                round.waker.lock().unwrap_or_else(PoisonError::into_inner).clone_from(cx.waker())
            }
            None => {
                let round = Arc::new(Round {
                    over: AtomicBool::new(false),
                    waker: Mutex::new(cx.waker().clone()),
                });
                let waker = Waker::from(Arc::clone(&round));
                // Its first poll makes the runtime call the waker at the end of the round.
                let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
                self.0 = Some(round);
            }
        }
        WAITING.set(true);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::{Duration, Instant};

    #[test]
    fn who_polls_on_without_letting_others_run_does_not_end_the_wait() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut wait = YieldRound::default();
            poll_fn(|cx| {
                (0..3).for_each(|_| assert!(Pin::new(&mut wait).poll(cx).is_pending()));
                Poll::Ready(())
            })
            .await;
            wait.await;
        });
    }

    #[test]
    fn what_waits_again_and_again_is_ended_by_a_timer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let began = Instant::now();
        let endless = async {
            while began.elapsed() < Duration::from_secs(60) {
                YieldRound::default().await;
            }
        };
        let ended = runtime
            .block_on(async { tokio::time::timeout(Duration::from_millis(20), endless).await });
        assert!(ended.is_err(), "the timer was not looked at");
    }
}
