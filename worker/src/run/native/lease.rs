//! A request's share of a process, and what came of its call. A [`Lease`] keeps its version, and
//! with it the version's processes; it owns no fds of its own.

use std::rc::Rc;

use super::process::{Farewell, Process};
use crate::run::Call;
use crate::run::failure::Failure;

/// A process of the pool. No other has its number.
pub(super) type ProcessId = u64;

/// Whose processes are shared out.
pub(super) trait Lessor {
    /// Notes that the request which has a share was answered.
    fn answered(&self, number: ProcessId);

    /// Takes a share back.
    fn released(&self, number: ProcessId);

    /// Forgets a process that was killed, or is being ended.
    fn killed(&self, number: ProcessId);
}

/// A request's share of a process. When it is dropped, another request can have it.
pub(super) struct Lease {
    lessor: Rc<dyn Lessor>,
    number: ProcessId,
    pub(super) process: Rc<Process>,
}

impl Lease {
    pub(super) fn new(lessor: Rc<dyn Lessor>, number: ProcessId, process: Rc<Process>) -> Self {
        Self { lessor, number, process }
    }

    /// Returns what is to be called once the request has been answered, if the lease stays taken
    /// for a moment.
    pub(super) fn on_answer(&self) -> impl FnOnce() + use<> {
        let (lessor, number) = (Rc::clone(&self.lessor), self.number);
        move || lessor.answered(number)
    }

    /// Kills the process, and takes it out of the pool.
    pub(super) fn kill(&self) {
        self.process.kill();
        self.lessor.killed(self.number);
    }

    /// Takes the process out of the pool, and ends it in a task of its own.
    pub(super) fn end(&self, farewell: Farewell) {
        let process = Rc::clone(&self.process);
        tokio::task::spawn_local(async move { process.end(&farewell).await });
        self.lessor.killed(self.number);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.lessor.released(self.number);
    }
}

/// What came of a call.
pub(super) enum Called {
    Ended(Result<(), Failure>),
    /// The process was gone, and has seen nothing of it.
    NotBegun(Box<Call>),
}
