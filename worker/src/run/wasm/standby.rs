//! Prepares an instance of a function before a request needs it. Owns no fds.

use std::time::Duration;

use abi::invocation_id::InvocationId;
use abi::limits::{STANDBY_PAUSE_FACTOR, STANDBY_PAUSE_MIN, STANDBY_START_TIMEOUT};
use abi::spool::Stream;
use tokio::time::Instant;

use super::engine::Module;
use super::instances::Instance;
use super::{WasmRunner, start_code};
use crate::run::failure::Failure;

/// Prepares an instance. If that fails, the calls that need one report the reason, and the next is
/// tried after a pause.
pub(super) async fn make(runner: &WasmRunner) {
    if let Module::Command(_) = &runner.module {
        // A command's environment is its request's.
        return runner.idle.disable_standby();
    }
    let (id, began) = (InvocationId::new(), Instant::now());
    let mut instance = Instance::new(runner, id);
    let failure =
        start_code::run(runner, &mut instance, runner.spec.timeout.min(STANDBY_START_TIMEOUT))
            .await;
    // A program that exits well when it starts has not failed, and is not ready either.
    if failure.is_none() && instance.exports.is_some() {
        return runner.idle.put_standby(instance);
    }
    let pause = pause(began.elapsed());
    runner.idle.pause_standby(pause);
    // A full pool says nothing about the guest; any other failure is its own.
    if let Some(failure) = failure.filter(|failure| !matches!(failure, Failure::WorkerFull)) {
        let (shared, spec) = (&runner.shared, &runner.spec);
        shared.counters.count_reason(spec.slot, (&failure).into());
        let why = failure.logged();
        let line = format!(
            "[no instance could be made ready for the next request: {why}; none is for {pause:?}]"
        );
        shared.log.line(&spec.name, id, Stream::Node, line.as_bytes());
    }
}

/// Returns the pause after an instance could not be prepared, which took `took`: preparing must
/// only take a small part of the time.
fn pause(took: Duration) -> Duration {
    took.saturating_mul(STANDBY_PAUSE_FACTOR).max(STANDBY_PAUSE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_made_ready_takes_a_small_part_of_the_time() {
        assert_eq!(pause(Duration::ZERO), STANDBY_PAUSE_MIN);
        assert!(pause(STANDBY_START_TIMEOUT) >= 10 * STANDBY_START_TIMEOUT);
        assert!(pause(Duration::MAX) >= STANDBY_PAUSE_MIN, "it does not overflow");
    }
}
