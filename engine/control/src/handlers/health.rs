//! What probes and Prometheus ask: `/healthz`, `/readyz`, `/metrics`. Needs no token: a probe has
//! none. Owns no fds.

use std::sync::Arc;

use api::errors::NotReady;
use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::control::Control;
use crate::failed::Failed;
use crate::functions::store_state::away_text;
use crate::metrics::format::Format;
use crate::metrics::memory;
use crate::metrics::text::{self, Exposition};
use fleet::core::Pool;
use host::fault::Fault;
use logs::traces::Traces;

/// Answers 200 while the process answers.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Answers 200 while new requests are served.
pub(crate) async fn readyz(State(control): State<Arc<Control>>) -> Response {
    let ready = control.shared.snapshot.load().pool(&Pool::Shared).len();
    match reason(control.is_draining(), ready) {
        // A node without its store serves what it has.
        None => match control.functions.follower.store().away() {
            None => "ready\n".into_response(),
            Some(away) => format!("ready; {}\n", away_text(&away)).into_response(),
        },
        Some(reason) => {
            let reason = reason.to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, Json(NotReady { reason })).into_response()
        }
    }
}

/// Returns why a node is not ready that has `ready` shared workers that serve. Returns `None` if it
/// is ready.
fn reason(draining: bool, ready: usize) -> Option<&'static str> {
    match (draining, ready) {
        (true, _) => Some("the node is stopping"),
        (false, 0) => Some("no worker is ready"),
        (false, _) => None,
    }
}

/// Answers everything that is counted.
pub(crate) async fn metrics(
    State(control): State<Arc<Control>>,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let (node, workers) = (control.node(), control.workers().await?);
    let reading = control.shared.metrics.read(&control.shared.snapshot.load().catalogue);
    let (engine_memory_bytes, parked) =
        (memory::resident_bytes(node.pid), control.shared.parking.count());
    let logs = control.logs.reading();
    let (cron, jobs) = (control.cron.tally(), control.jobs.reading());
    let traces = control.logs.traces.as_ref().map(Traces::reading);
    let text = text::write(Exposition {
        node,
        workers,
        reading,
        engine_memory_bytes,
        parked,
        logs,
        traces,
        cron,
        jobs,
        state: control.state.reading(),
    });
    let text = text.map_err(|error| Failed::new(Fault::NODE_BROKEN, error))?;
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(accepted);
    Ok(([(CONTENT_TYPE, format.content_type()), (VARY, "accept")], format.write(text))
        .into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_that_serves_and_goes_on_to() {
        assert_eq!(reason(false, 1), None);
        assert!(
            reason(false, 0).is_some() && reason(true, 1).is_some() && reason(true, 0).is_some()
        );
    }
}
