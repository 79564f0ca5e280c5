//! Why an instance failed. Pure; owns no fds.

use std::time::Duration;

use wasmtime::{GcHeapOutOfMemory, PoolConcurrencyLimitError};
use wasmtime_wasi::I32Exit;

use super::command::HeadError;
use super::instances::Instance;
use super::limits::Refused;
use super::{WasmRunner, http03, trap};
use crate::run::cpu_time::CpuTimeExceeded;
use crate::run::failure::Failure;

/// Returns why a call ended in `error`. Returns `None` if the guest has exited well.
pub(super) fn failure(
    runner: &WasmRunner,
    instance: &Instance,
    error: &wasmtime::Error,
) -> Option<Failure> {
    let (name, limits) = (|| runner.spec.name.to_string(), &runner.spec.limits);
    if error.is::<PoolConcurrencyLimitError>() {
        return Some(Failure::WorkerFull);
    }
    if error.is::<CpuTimeExceeded>() {
        let limit = Duration::from_millis(u64::from(limits.cpu_time_ms));
        return Some(Failure::OutOfCpuTime { function: name(), limit });
    }
    if error.is::<http03::BadReply>() {
        return Some(Failure::BadReply { function: name(), reason: error.to_string() });
    }
    if let Some(reason) = error.downcast_ref::<HeadError>() {
        return Some(Failure::BadReply { function: name(), reason: reason.to_string() });
    }
    // The limiter is not asked about the heap's growth if the heap cannot grow at all.
    if error.is::<GcHeapOutOfMemory<()>>() {
        return Some(Failure::OutOfMemory {
            function: name(),
            limit_bytes: limits.memory_bytes_max,
        });
    }
    Some(match (error.downcast_ref::<I32Exit>(), instance.store.data().limits.refused()) {
        (Some(I32Exit(0)), _) => return None,
        (Some(I32Exit(code)), _) => Failure::Exited { function: name(), code: *code },
        (None, Some(Refused::Memory)) => {
            Failure::OutOfMemory { function: name(), limit_bytes: limits.memory_bytes_max }
        }
        (None, Some(Refused::TableElements)) => {
            Failure::OutOfTable { function: name(), limit: limits.table_elements_max }
        }
        (None, Some(Refused::Held)) => Failure::OutOfHeld {
            function: name(),
            limit_bytes: instance.store.data().held_bytes_max(),
        },
        (None, None) => Failure::Trapped {
            function: name(),
            reason: trap::reason(error),
            frames: trap::frames(error),
        },
    })
}

/// Returns the reason why a function does not start, for the user who deploys it.
pub(super) fn start_failure(failure: Failure) -> String {
    match failure {
        Failure::Trapped { reason, frames, .. } => {
            let frames: String = frames.iter().map(|frame| format!("\n{frame}")).collect();
            format!("it trapped before its first request: {reason}{frames}")
        }
        Failure::OutOfMemory { limit_bytes, .. } => {
            format!(
                "it needs more than its --memory of {limit_bytes} bytes before its first request"
            )
        }
        other => other.logged(),
    }
}
