//! Runs the code that a guest runs when its instance is made, without a request: to have one ready, or on trial.
//!
//! It is held to limits, yields and is watched as an invocation is. Owns no fds.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::time::Duration;

use abi::board::now_us;
use tokio::time::error::Elapsed;

use super::cpu_time;
use super::instances::Instance;
use crate::functions::Function;
use crate::worker::Worker;

/// Makes the instance in the store of `instance`, within `timeout`.
pub(super) async fn run(
    worker: &Worker,
    function: &Function,
    instance: &mut Instance,
    timeout: Duration,
) -> Result<wasmtime::Result<()>, Elapsed> {
    instance.store.set_epoch_deadline(1);
    let _epochs = worker.functions.engines().ticker().count();
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let deadline_ms = (now_us() / 1000).saturating_add(timeout_ms);
    let (mut made, mut used) = (pin!(tokio::time::timeout(timeout, instance.instantiate(function))), Duration::ZERO);
    let typical = &function.kept.typical_start;
    poll_fn(|cx| {
        worker.guest_has_thread_until(deadline_ms, typical);
        let before = used;
        let polled = cpu_time::measured(&mut used, || made.as_mut().poll(cx));
        worker.guest_left_thread(used.saturating_sub(before), typical);
        polled
    })
    .await
}
