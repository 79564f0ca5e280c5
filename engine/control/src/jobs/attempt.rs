//! One attempt: a request to a function, on the road that the control API's calls take. Owns the
//! connection until the reply is over.

use std::time::Instant;

use abi::job::{ABOUT_HEADER, ATTEMPT_HEADER, ID_HEADER};
use abi::limits::CALLBACK_REPLY_BYTES_MAX;
use abi::message::Awaits;
use abi::problem::INVOCATION_ID_HEADER;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use fleet::workers::supervise::Command;
use host::clock;
use http_body_util::BodyExt as _;
use jobs::JobId;
use jobs::plan::Outcome;
use jobs::record::{Attempt, Record, Request as Kept, Target};
use tokio::sync::mpsc::Sender;

use crate::call::{CallError, call, end, is_refusal};

/// The header by which a worker says that a function has failed at an event.
const FUNCTION_ERROR: &str = "x-amz-function-error";

/// An attempt that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) made: Attempt,
    /// The reply, if somebody is told of it.
    pub(super) reply: Option<Reply>,
}

/// What a function has replied.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) content_type: Option<String>,
    /// The body. `None` if it is larger than anybody is told.
    pub(super) body: Option<Vec<u8>>,
}

/// Makes an attempt. Returns when the reply is over.
pub(super) async fn attempt(
    supervisor: &Sender<Command>,
    id: JobId,
    record: &Record,
    request: Kept,
) -> Ended {
    let (began_ms, began) = (clock::unix_ms(), Instant::now());
    let made = Attempt { began_ms, ..Attempt::default() };
    let outcome = Outcome::Failed { retry_after_ms: None };
    let mut ended = Ended { outcome, made, reply: None };
    ended.outcome = make(supervisor, id, record, request, &mut ended).await;
    ended.made.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    ended
}

async fn make(
    supervisor: &Sender<Command>,
    id: JobId,
    record: &Record,
    kept: Kept,
    ended: &mut Ended,
) -> Outcome {
    let made = &mut ended.made;
    let path = kept.head.path_and_query.clone();
    let failed = Outcome::Failed { retry_after_ms: None };
    let request = match of_kept(id, record, kept) {
        Ok(request) => request,
        Err(error) => {
            made.error = Some(format!("the request cannot be sent: {error}"));
            return failed;
        }
    };
    let name = match &record.reference {
        Some(reference) => format!("{}@{reference}", record.function),
        None => record.function.clone(),
    };
    let awaits = match record.target {
        Target::Function | Target::Callback(_) => Awaits::Admin,
        Target::Event => Awaits::Event,
    };
    let reply = match call(supervisor, &name, &path, request, awaits).await {
        Ok(reply) => reply,
        Err(error) => {
            made.error = Some(error.to_string());
            return match error {
                CallError::Connection(_) => Outcome::Refused { retry_after_ms: None },
                CallError::Path(_) | CallError::NoReply(_) => failed,
            };
        }
    };
    made.status = Some(reply.status().as_u16());
    made.invocation = text(reply.headers(), INVOCATION_ID_HEADER).map(str::to_owned);
    let outcome = judged(&reply);
    if outcome != Outcome::Ok {
        made.error = Some(match reply.headers().contains_key(FUNCTION_ERROR) {
            true => "the function has failed".to_owned(),
            false => format!("the reply is {}", reply.status()),
        });
    }
    let content_type = text(reply.headers(), CONTENT_TYPE.as_str()).map(str::to_owned);
    let read = match record.callback {
        Some(_) => read(reply).await.map(|body| Some(Reply { content_type, body })),
        None => end(reply).await.map(|()| None),
    };
    match read {
        Ok(reply) => {
            ended.reply = reply;
            outcome
        }
        Err(error) => {
            made.error = Some(format!("the reply was cut short: {error}"));
            failed
        }
    }
}

/// Returns the request of an attempt.
fn of_kept(id: JobId, record: &Record, kept: Kept) -> Result<Request<Body>, axum::http::Error> {
    let mut request = Request::builder().method(&*kept.head.method);
    for (name, value) in kept.head.headers {
        request = request.header(name, value);
    }
    let id = HeaderValue::from_bytes(&id.text())?;
    let mut request = request.header(ID_HEADER, id).header(ATTEMPT_HEADER, record.attempts + 1);
    if let Some(about) = &record.about {
        request = request.header(ABOUT_HEADER, about);
    }
    request.body(Body::from(kept.body))
}

/// Reads a reply to its end. Returns the body if it is not too large.
async fn read(reply: Response<Body>) -> Result<Option<Vec<u8>>, axum::Error> {
    let (mut body, mut kept) = (reply.into_body(), Some(Vec::new()));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if let Some(bytes) = &mut kept {
            bytes.extend_from_slice(&data);
        }
        kept = kept.filter(|bytes| bytes.len() <= CALLBACK_REPLY_BYTES_MAX);
    }
    Ok(kept)
}

/// Returns what a reply's head says of an attempt.
fn judged<B>(reply: &Response<B>) -> Outcome {
    let headers = reply.headers();
    if reply.status().as_u16() < 400 && !headers.contains_key(FUNCTION_ERROR) {
        return Outcome::Ok;
    }
    let seconds = text(headers, RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok());
    let retry_after_ms = seconds.map(|seconds: u64| seconds.saturating_mul(1000));
    match is_refusal(reply) {
        true => Outcome::Refused { retry_after_ms },
        false => Outcome::Failed { retry_after_ms },
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_says_whether_to_try_again_and_when() {
        let judge = |status: u16, headers: &[(&str, &str)]| {
            let reply = Response::builder().status(status);
            let reply =
                headers.iter().fold(reply, |reply, (name, value)| reply.header(*name, *value));
            judged(&reply.body(()).unwrap())
        };
        let failed = |retry_after_ms| Outcome::Failed { retry_after_ms };
        let problem = ("content-type", "application/problem+json");
        assert_eq!(judge(204, &[]), Outcome::Ok);
        assert_eq!(judge(302, &[("retry-after", "9")]), Outcome::Ok);
        assert_eq!(judge(200, &[("x-amz-function-error", "Unhandled")]), failed(None));
        assert_eq!(judge(404, &[]), failed(None));
        assert_eq!(judge(503, &[("retry-after", "120")]), failed(Some(120_000)));
        assert_eq!(judge(503, &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]), failed(None));
        let busy = judge(503, &[problem, ("retry-after", "1")]);
        assert_eq!(busy, Outcome::Refused { retry_after_ms: Some(1000) });
        assert_eq!(judge(504, &[problem]), failed(None));
    }
}
