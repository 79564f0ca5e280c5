//! Prepares instances for the next calls of functions that were called lately, while the worker has
//! nothing else to do.
//!
//! This is one task with the lowest priority: before each function it waits until the runtime has
//! gone a whole round in which no request arrived. Owns no fds.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use tokio::sync::Notify;

use crate::run::Runner;

/// The functions that were called, in the order in which they are prepared.
#[derive(Default)]
pub(super) struct Standby {
    called: RefCell<VecDeque<Weak<dyn Runner>>>,
    /// The number of calls so far.
    calls: Cell<u64>,
    added: Notify,
}

impl Standby {
    /// Records that a function was called, and has taken the instance that was ready.
    pub(super) fn called(&self, runner: &Rc<dyn Runner>) {
        self.calls.set(self.calls.get().wrapping_add(1));
        if runner.needs_preparing() {
            let mut called = self.called.borrow_mut();
            if !called.iter().any(|other| std::ptr::addr_eq(other.as_ptr(), Rc::as_ptr(runner))) {
                called.push_back(Rc::downgrade(runner));
                self.added.notify_one();
            }
        }
    }

    /// Prepares functions. Never returns.
    pub(super) async fn run(&self) {
        loop {
            self.added.notified().await;
            loop {
                self.idle().await;
                let Some(runner) = self.called.borrow_mut().pop_front() else { break };
                if let Some(runner) = runner.upgrade()
                    && runner.needs_preparing()
                {
                    runner.prepare().await;
                    if runner.needs_preparing() {
                        self.called.borrow_mut().push_back(Rc::downgrade(&runner));
                    }
                }
            }
        }
    }

    /// Waits until the runtime has gone a round in which no request arrived.
    async fn idle(&self) {
        loop {
            let before = self.calls.get();
            // This yield goes to the end of the run queue, behind a look at the sockets.
            tokio::task::yield_now().await;
            if self.calls.get() == before {
                return;
            }
        }
    }
}
