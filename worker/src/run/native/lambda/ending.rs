//! The end of an invocation, whether or not its client has waited for it, and the lines that AWS
//! has around each: in the log if the function is to have them, and in the tail of the log that a
//! caller of the Invoke API asks for. Owns the process's lease until the end.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use abi::invocation_id::InvocationId;
use lambda::log_lines;
use lambda::runtime_api::{Completing, RuntimeApi};
use lambda::shutdown::ShutdownReason;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::super::lease::Lease;
use super::answer::Caller;
use super::{MIB, farewell, memory_mb};
use crate::run::Spec;

/// An invocation that has begun, and what is told when it ends.
pub(super) struct Ending {
    pub(super) lease: Lease,
    pub(super) caller: Rc<Caller>,
    pub(super) spec: Rc<Spec>,
    pub(super) id: InvocationId,
    /// How long the process took to start, if this is its first invocation.
    pub(super) init: Option<Duration>,
    pub(super) concurrency: u32,
}

impl Ending {
    /// Writes the line that the invocation begins with.
    pub(super) fn begin(&self) {
        self.write(&log_lines::start(&self.caller.id, &self.caller.executed_version));
    }

    /// Waits for the end of the invocation, and tells whether it ran into the time limit. A process
    /// that does is killed.
    pub(super) async fn complete(
        self,
        api: Rc<RuntimeApi>,
        (completing, deadline): (Completing, Instant),
        ended: oneshot::Sender<bool>,
    ) {
        let timed_out = tokio::select! {
            biased;
            completion = completing => {
                self.report(completion.duration);
                false
            }
            () = sleep_until(deadline) => {
                let (id, limit) = (&self.caller.id, self.spec.timeout);
                if self.spec.report_lines {
                    let line = log_lines::timed_out(SystemTime::now(), id, limit);
                    self.lease.process.output.frame_line(self.id, &line);
                }
                // Before it is killed: nobody counts its memory afterwards.
                self.report(limit);
                // One of several may be given up without the others.
                if self.concurrency <= 1 {
                    let farewell = farewell(&api, ShutdownReason::Timeout);
                    match farewell.tell {
                        None => self.lease.kill(),
                        Some(_) => self.lease.end(farewell),
                    }
                }
                api.invocation_failed(id);
                true
            }
        };
        let _ = ended.send(timed_out);
    }

    /// Writes the lines that the invocation ends with.
    fn report(&self, duration: Duration) {
        if !self.spec.report_lines && !self.caller.wants_log {
            return;
        }
        let process = &self.lease.process;
        process.output.catch_up();
        if self.concurrency <= 1 {
            // Its last line needs no line break.
            process.output.end();
        }
        self.write(&log_lines::end(&self.caller.id));
        let report = log_lines::Report {
            id: &self.caller.id,
            duration,
            init_duration: self.init,
            memory_size_mb: memory_mb(&self.spec),
            memory_used_mb: process.memory_bytes_peak().div_ceil(MIB),
        };
        self.write(&report.line());
    }

    fn write(&self, line: &str) {
        let output = &self.lease.process.output;
        if self.spec.report_lines {
            output.frame_line(self.id, line);
        }
        if self.caller.wants_log {
            output.remember_line(line);
        }
    }
}
