//! What gate and service of one connection tell each other: the request that is being answered, and when it has been.
//!
//! Both run in the connection's task; plain cells do. Owns no fds.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use abi::catalogue::CatalogueView;
use abi::problem::Problem;

/// Where the request that hyper is about to see goes.
pub(super) enum Destination {
    /// A function of the catalogue that routed it.
    Function { catalogue: Rc<CatalogueView>, index: usize, prefix_length: usize },
    /// No function: the answer is the node's own.
    Problem(Problem),
}

/// State of the one request that hyper may be busy with.
#[derive(Default)]
pub(super) struct Exchange {
    destination: RefCell<Option<Destination>>,
    unanswered: Cell<bool>,
    reply_made: Cell<bool>,
    /// The connection's task, when the gate holds bytes back until the reply has left.
    held_back: RefCell<Option<Waker>>,
}

impl Exchange {
    /// The gate passes a request on.
    pub(super) fn begin(&self, destination: Destination) {
        *self.destination.borrow_mut() = Some(destination);
        self.unanswered.set(true);
        self.reply_made.set(false);
    }

    /// The service takes it.
    pub(super) fn take_destination(&self) -> Option<Destination> {
        self.destination.borrow_mut().take()
    }

    /// hyper has taken the last of the reply.
    pub(super) fn reply_made(&self) {
        self.reply_made.set(true);
    }

    /// hyper has flushed everything it had. If that was a reply's end, the next request may come.
    pub(super) fn flushed(&self) {
        if self.reply_made.get() && self.unanswered.get() {
            self.unanswered.set(false);
            if let Some(waker) = self.held_back.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    /// Whether a request has been passed on whose reply has not wholly left.
    pub(super) fn is_unanswered(&self) -> bool {
        self.unanswered.get()
    }

    /// Wakes `waker` when the reply has left.
    pub(super) fn wake_when_answered(&self, waker: &Waker) {
        let mut held_back = self.held_back.borrow_mut();
        if !held_back.as_ref().is_some_and(|held| held.will_wake(waker)) {
            *held_back = Some(waker.clone());
        }
    }
}
