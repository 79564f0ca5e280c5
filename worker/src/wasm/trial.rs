//! A trial of a version before it is deployed: one instance, made as for a request and let go again. Owns no fds.

use std::rc::Rc;

use abi::catalogue::CatalogueView;
use abi::choice::Choice;
use abi::invocation_id::InvocationId;
use abi::limits::TRIAL_REASON_BYTES_MAX;
use abi::message::ToEngine;

use super::instances::Instance;
use super::invocation::{Failure, failure};
use super::start_code;
use crate::functions::Function;
use crate::worker::Worker;

/// Instantiates the one version of `catalogue`, and tells the engine what came of it.
pub(crate) async fn run(worker: Rc<Worker>, ticket: u64, catalogue: CatalogueView) {
    let made = instantiate(&worker, catalogue).await;
    let failure = made.err().map(|mut reason| {
        reason.truncate(reason.floor_char_boundary(TRIAL_REASON_BYTES_MAX));
        reason
    });
    worker.outbox.send(ToEngine::Tried { ticket, failure }, None);
}

async fn instantiate(worker: &Rc<Worker>, catalogue: CatalogueView) -> Result<(), String> {
    let only = Choice { function: 0, version: 0, spec: 0 };
    let loaded = worker.functions.get(&Rc::new(catalogue), only).await;
    let function = loaded.map_err(|error| error.reason().to_owned())?;
    let mut instance = Instance::new(&function, InvocationId::new(), &worker.log);
    let ended = start_code::run(worker, &function, &mut instance, function.timeout).await;
    failure(&function, &instance, ended).map_or(Ok(()), |failure| Err(reason(&function, failure)))
}

/// What keeps it from being instantiated, for whoever deploys it.
fn reason(function: &Function, failure: Failure) -> String {
    match failure {
        Failure::Trapped { reason, frames, .. } => {
            let frames: String = frames.iter().map(|frame| format!("\n{frame}")).collect();
            format!("it trapped before its first request: {reason}{frames}")
        }
        Failure::OutOfMemory { .. } => format!(
            "it needs more than its --memory of {} bytes before its first request",
            function.limits.memory_bytes_max
        ),
        other => other.logged(),
    }
}
