//! Makes instances ready while the worker has nothing else to do, for the functions that were called lately.
//!
//! One task. It gives way to everything: before each instance it waits until a whole round of the runtime has gone by in which no
//! request came. Owns no fds.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use tokio::sync::Notify;

use crate::functions::Function;
use crate::worker::Worker;

/// Functions that were called, in the order in which they get an instance made ready.
#[derive(Default)]
pub(crate) struct Standby {
    called: RefCell<VecDeque<Weak<Function>>>,
    /// Calls so far.
    calls: Cell<u64>,
    added: Notify,
}

impl Standby {
    /// A function was called, and has taken what was ready.
    pub(crate) fn called(&self, function: &Rc<Function>) {
        self.calls.set(self.calls.get().wrapping_add(1));
        if function.kept.wants_standby() {
            let mut called = self.called.borrow_mut();
            if !called.iter().any(|other| std::ptr::eq(other.as_ptr(), Rc::as_ptr(function))) {
                called.push_back(Rc::downgrade(function));
                self.added.notify_one();
            }
        }
    }

    /// Makes instances ready, for as long as the worker lives.
    pub(crate) async fn run(&self, worker: &Worker) {
        loop {
            self.added.notified().await;
            loop {
                self.idle().await;
                let Some(function) = self.called.borrow_mut().pop_front() else { break };
                if let Some(function) = function.upgrade()
                    && function.kept.wants_standby()
                {
                    function.kept.make_standby(&function, worker).await;
                    if function.kept.wants_standby() {
                        self.called.borrow_mut().push_back(Rc::downgrade(&function));
                    }
                }
            }
        }
    }

    /// Waits for a round in which no request came.
    async fn idle(&self) {
        loop {
            let before = self.calls.get();
            // Goes to the end of the queue, behind a look at the sockets.
            tokio::task::yield_now().await;
            if self.calls.get() == before {
                return;
            }
        }
    }
}
