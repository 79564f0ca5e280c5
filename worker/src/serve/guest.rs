//! A guest during its invocation, and after its reply. Owns no fds.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use abi::board::now_us;
use abi::invocation_id::InvocationId;
use abi::outcome::Outcome;
use abi::spool::{After, Record};

use super::Pipeline;
use super::admission::Admitted;
use super::functions::Function;
use crate::facts::Facts;
use crate::run::Local;
use crate::run::failure::Failure;
use crate::run::thread::ThreadTime;
use crate::spool::time_us;

/// A guest during its invocation. Dropping it ends the guest.
pub(super) struct Guest {
    /// Its run, and its place among the admitted invocations. `None` after its end.
    pub(super) running: Option<(Local<'static, Result<(), Failure>>, Admitted)>,
    pub(super) function: Rc<Function>,
    pub(super) time: ThreadTime,
    pub(super) id: InvocationId,
    pub(super) facts: Rc<Facts>,
    pub(super) pipeline: Rc<Pipeline>,
}

impl Guest {
    /// Runs the guest until it waits or ends. Returns `Ready(Ok(()))` if it has ended before.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some((run, _)) = &mut self.running else { return Poll::Ready(Ok(())) };
        let thread = &self.pipeline.shared().thread;
        let ended = thread.poll(cx, run.as_mut(), &mut self.time, &self.function.typical_turn);
        self.facts.cpu.set(self.time.used);
        let ended = ready!(ended);
        self.facts.goes_on.set(false);
        self.log_after();
        // Its place is free from here on. Its instance is kept, or dropped once the reply has left
        // or another instance is made.
        self.running = None;
        Poll::Ready(ended)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.running.is_none()
    }

    /// Drops the instance of a guest that has ended, unless the instance is kept for another call.
    pub(super) fn drop_retired(&self) {
        if self.has_ended() {
            self.pipeline.drop_retired();
        }
    }

    /// Writes the second record: what the guest did after the invocation was recorded.
    fn log_after(&self) {
        let (Some(after_us), Some(spool)) =
            (self.facts.went_on(now_us), self.pipeline.shared().log.spool())
        else {
            return;
        };
        spool.put(&Record::After(After {
            id: self.id,
            time_us: time_us(),
            after_us,
            cpu_us: u64::try_from(self.facts.cpu.get().as_micros()).unwrap_or(u64::MAX),
            memory_bytes: self.facts.memory_bytes.get() as u64,
            outcome: self.facts.reason.get().map_or(Outcome::Ok, Outcome::Failed),
            function: &self.function.spec.name,
        }));
    }
}

/// Lets a guest whose reply is complete finish its work, within its time limit.
pub(super) fn linger(mut guest: Guest) {
    if !guest.has_ended() {
        guest.facts.goes_on.set(true);
        // Only the log still reports how it ends.
        tokio::task::spawn_local(async move { drop(poll_fn(|cx| guest.poll(cx)).await) });
    }
}
