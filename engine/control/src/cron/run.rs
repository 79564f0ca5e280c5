//! One run: a request to a function, on the road that the control API's calls take. Owns the
//! connection until the answer is over.

use std::time::Instant;

use abi::message::Awaits;
use abi::problem::INVOCATION_ID_HEADER;
use api::cron::{CronRun, ID_HEADER, TIME_HEADER};
use axum::body::Body;
use axum::http::{Request, Response};
use fleet::workers::supervise::Command;
use host::clock;
use schedule::expression::rfc3339;
use store::schedules::StoredSchedule;
use tokio::sync::mpsc::Sender;

use super::tally::Outcome;
use crate::call::{call, end, is_refusal};

/// Rings for the tick `tick_ms`: a POST without a body, whose headers name the schedule and the tick.
/// Workers take both headers out of what clients send. Returns when the answer is over.
pub(super) async fn run(
    supervisor: &Sender<Command>,
    id: &str,
    schedule: &StoredSchedule,
    tick_ms: u64,
) -> (CronRun, Outcome) {
    let (began_ms, began) = (clock::unix_ms(), Instant::now());
    let request = Request::post("/")
        .header(ID_HEADER, id)
        .header(TIME_HEADER, rfc3339(tick_ms))
        .body(Body::empty())
        .unwrap_or_default();
    let (name, path) = (schedule.target.to_string(), &schedule.path);
    let answered = call(supervisor, &name, path, request, Awaits::Admin).await;
    let (mut status, mut invocation) = (None, None);
    let (outcome, error) = match answered {
        Err(error) => (Outcome::Unreached, Some(error.to_string())),
        Ok(answer) => {
            status = Some(answer.status().as_u16());
            let id = answer.headers().get(INVOCATION_ID_HEADER);
            invocation = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
            let first = judged(&answer);
            match end(answer).await {
                Ok(()) => first,
                Err(error) => (Outcome::Failed, Some(format!("its answer was cut short: {error}"))),
            }
        }
    };
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let run = CronRun { scheduled_ms: tick_ms, began_ms, duration_ms, status, invocation, error };
    (run, outcome)
}

/// Returns what an answer's head says of a run.
fn judged<B>(answer: &Response<B>) -> (Outcome, Option<String>) {
    let status = answer.status();
    if status.as_u16() < 400 {
        return (Outcome::Ok, None);
    }
    let outcome = if is_refusal(answer) { Outcome::Refused } else { Outcome::Failed };
    (outcome, Some(format!("the answer is {status}")))
}

#[cfg(test)]
mod tests {
    use abi::problem::CONTENT_TYPE as PROBLEM_CONTENT_TYPE;
    use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};

    use super::*;

    #[test]
    fn an_answer_below_400_is_well_and_the_nodes_own_refusal_is_told_apart() {
        let answer = |status: u16, kind: &str, retry: bool| {
            let answer = Response::builder().status(status).header(CONTENT_TYPE, kind);
            let answer = if retry { answer.header(RETRY_AFTER, "1") } else { answer };
            judged(&answer.body(()).unwrap()).0
        };
        for (status, kind, retry, outcome) in [
            (204, "", false, Outcome::Ok),
            (302, "", false, Outcome::Ok),
            (404, "text/plain", false, Outcome::Failed),
            (503, "text/plain", true, Outcome::Failed),
            (429, PROBLEM_CONTENT_TYPE, true, Outcome::Refused),
            (503, PROBLEM_CONTENT_TYPE, true, Outcome::Refused),
            (504, PROBLEM_CONTENT_TYPE, false, Outcome::Failed),
        ] {
            assert_eq!(answer(status, kind, retry), outcome, "{status} {kind}");
        }
    }
}
