//! Whose turn it is to change what is deployed: one change at a time, and none while another engine
//! takes over. Owns no fds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::error::ChangeError;

/// Lets one change through at a time.
#[derive(Debug, Default)]
pub(super) struct ChangeGate {
    /// Guards nothing but the order of changes: whoever has it may write to the store, to
    /// [`StoreView`](super::store_view::StoreView) and to
    /// [`Publication`](super::publication::Publication). Nobody compiles or waits for a trial with
    /// it, so a way back is never behind one.
    turn: Arc<Mutex<()>>,
    /// No change begins, because another engine takes over.
    closed: AtomicBool,
}

/// The turn to change what is deployed. The next change begins when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _turn: OwnedMutexGuard<()>,
}

/// No change of what is deployed is under way, and none begins, until this is dropped.
#[derive(Debug)]
pub struct Closed {
    gate: Arc<ChangeGate>,
    turn: Option<Turn>,
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.gate.closed.store(false, SeqCst);
        self.turn = None;
    }
}

impl ChangeGate {
    /// Returns whether changes are let through.
    ///
    /// # Errors
    /// [`ChangeError::TakenOver`] when they are not.
    pub(super) fn check(&self) -> Result<(), ChangeError> {
        if self.closed.load(SeqCst) { Err(ChangeError::TakenOver) } else { Ok(()) }
    }

    /// Waits for the changes before this one.
    ///
    /// # Errors
    /// [`ChangeError::TakenOver`] when another engine takes over.
    pub(super) async fn enter(&self) -> Result<Turn, ChangeError> {
        self.check()?;
        let turn = self.wait().await;
        // Those who waited behind the last change are too late.
        self.check().map(|()| turn)
    }

    /// Waits for the changes before this one, whether the gate is open or not. This is for work
    /// that must not coincide with a change and changes nothing that is deployed.
    pub(super) async fn wait(&self) -> Turn {
        Turn { _turn: Arc::clone(&self.turn).lock_owned().await }
    }

    /// Lets no change begin any more, and waits for one that is under way.
    pub(super) async fn close(self: &Arc<Self>) -> Closed {
        self.closed.store(true, SeqCst);
        let mut closed = Closed { gate: Arc::clone(self), turn: None };
        closed.turn = Some(self.wait().await);
        closed
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_take_over_waits_for_the_change_under_way_and_refuses_the_next() {
        let gate = Arc::new(ChangeGate::default());
        let mut nobody = Context::from_waker(Waker::noop());
        let mut poll = |future: std::pin::Pin<
            &mut dyn Future<Output = Result<Turn, ChangeError>>,
        >| { future.poll(&mut nobody) };
        let mut first = Box::pin(gate.enter());
        let Poll::Ready(Ok(turn)) = poll(first.as_mut()) else { panic!("nobody was before it") };
        let mut behind = Box::pin(gate.enter());
        assert!(poll(behind.as_mut()).is_pending());
        let mut close = Box::pin(gate.close());
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(close.as_mut().poll(&mut nobody).is_pending());
        assert!(matches!(gate.check(), Err(ChangeError::TakenOver)));
        drop(turn);
        assert!(matches!(
            behind.as_mut().poll(&mut nobody),
            Poll::Ready(Err(ChangeError::TakenOver))
        ));
        let Poll::Ready(closed) = close.as_mut().poll(&mut nobody) else { panic!("not closed") };
        drop(closed);
        let mut next = Box::pin(gate.enter());
        assert!(matches!(next.as_mut().poll(&mut nobody), Poll::Ready(Ok(_))));
    }
}
