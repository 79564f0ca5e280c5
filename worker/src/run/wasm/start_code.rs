//! Runs a guest's start code, without a request: to prepare an instance, or in a trial.
//!
//! It is limited, yields and is watched as an invocation is. Owns no fds.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use abi::board::now_us;

use super::WasmRunner;
use super::failure::failure;
use super::instances::Instance;
use crate::run::failure::Failure;
use crate::run::thread::ThreadTime;

/// Makes the instance in the store of `instance`, within `limit`. Returns the failure, if any; a
/// program that exits well when it starts has not failed.
pub(super) async fn run(
    runner: &WasmRunner,
    instance: &mut Instance,
    limit: Duration,
) -> Option<Failure> {
    instance.store.set_epoch_deadline(1);
    let _epochs = runner.ticker.count();
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let mut time = ThreadTime {
        used: Duration::ZERO,
        deadline_ms: (now_us() / 1000).saturating_add(limit_ms),
    };
    let ended = {
        let mut made = pin!(tokio::time::timeout(limit, instance.instantiate(runner)));
        poll_fn(|cx| {
            runner.shared.thread.poll(cx, made.as_mut(), &mut time, &runner.idle.typical_start)
        })
        .await
    };
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => failure(runner, instance, &error),
        Err(_) => Some(Failure::TimedOut {
            function: runner.spec.name.to_string(),
            limit: runner.spec.timeout,
        }),
    }
}
