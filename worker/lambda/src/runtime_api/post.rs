//! A runtime's post of a response or an error. Owns no fds.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use hyper::body::Incoming;
use serde::Deserialize;

use super::answer::Answer;
use super::process::RuntimeApi;
use super::receive::{self, NotReceived, Received, receive};
use super::responses::{self, Whole};
use super::state::PostKind;
use super::stream::{StreamBody, StreamEnd, error_in_trailers};
use crate::error_body::{accepted_type, message_and_type};
use crate::failure::Failure;
use crate::limits::RESPONSE_BYTES_MAX;
use crate::prelude;

/// The content type of an error's body that contains what X-Ray is to get.
const ERROR_WITH_CAUSE: &str = "application/vnd.aws.lambda.error.cause+json";

/// Takes what the runtime posts about the invocation `id`, which the state has allowed.
pub(super) async fn post(
    api: Rc<RuntimeApi>,
    id: &str,
    kind: PostKind,
    request: Request<Incoming>,
) -> Whole {
    let posting = Posting { api, id: Some(id.to_owned()) };
    match kind {
        PostKind::Response => response(posting, request).await,
        PostKind::Error => error(posting, request).await,
    }
}

/// A post that has begun. If it is dropped before its end, because the connection is not served any
/// more, it counts as truncated.
struct Posting {
    api: Rc<RuntimeApi>,
    id: Option<String>,
}

impl Posting {
    fn answer(&self, answer: Answer) {
        if let Some(id) = &self.id {
            self.api.answer(id, answer);
        }
    }

    /// Ends the post. Returns `response`, unless the invocation has been given up meanwhile.
    fn end(mut self, response: Whole) -> Whole {
        match self.id.take().map(|id| self.api.posted(&id)) {
            Some(Err(refused)) => responses::refused(refused),
            Some(Ok(())) | None => response,
        }
    }

    fn end_with(self, answer: Answer, response: Whole) -> Whole {
        self.answer(answer);
        self.end(response)
    }
}

impl Drop for Posting {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.api.answer(&id, Answer::Failed(Failure::Truncated));
            // The invocation may have been given up, which is then all there is to it.
            let _ = self.api.posted(&id);
        }
    }
}

async fn response(posting: Posting, request: Request<Incoming>) -> Whole {
    let (head, body) = request.into_parts();
    let content_type = text(&head.headers, header::CONTENT_TYPE.as_str());
    let is_stream = match head.headers.get("lambda-runtime-function-response-mode") {
        // Go's runtime names no mode: its streams are told by their content type.
        None => content_type.as_deref().is_some_and(prelude::is_http_response),
        Some(mode) if mode.is_empty() => false,
        Some(mode) if mode == "streaming" => true,
        Some(_) => {
            posting.answer(Answer::Failed(Failure::BadResponseMode));
            let _ = receive::drain(body).await;
            return posting.end(responses::invalid_response_mode());
        }
    };
    if is_stream {
        return stream(posting, content_type, body).await;
    }
    let Received { body, trailers } = match receive(body, RESPONSE_BYTES_MAX).await {
        Ok(received) => received,
        Err(not_received) => return not_whole(posting, not_received),
    };
    let answer = match trailers.as_ref().and_then(error_in_trailers) {
        Some(error) => Answer::Failed(error.into()),
        None => Answer::Buffered { content_type, body },
    };
    posting.end_with(answer, responses::accepted())
}

async fn stream(posting: Posting, content_type: Option<String>, body: Incoming) -> Whole {
    let (body, ended) = StreamBody::new(body);
    posting.answer(Answer::Stream { content_type, body });
    let is_whole = match ended.await {
        Ok(StreamEnd::Complete) => true,
        Ok(StreamEnd::Truncated) | Err(_) => false,
        Ok(StreamEnd::Abandoned(rest)) => receive::drain(rest).await.is_ok(),
    };
    posting.end(if is_whole { responses::accepted() } else { responses::truncated() })
}

async fn error(posting: Posting, request: Request<Incoming>) -> Whole {
    let (head, body) = request.into_parts();
    let body = match receive(body, RESPONSE_BYTES_MAX).await {
        Ok(received) => received.body,
        Err(not_received) => return not_whole(posting, not_received),
    };
    let error_type = text(&head.headers, "lambda-runtime-function-error-type");
    let error_type = accepted_type(error_type.as_deref()).to_owned();
    let content_type = text(&head.headers, header::CONTENT_TYPE.as_str());
    let body = match content_type.as_deref() {
        Some(ERROR_WITH_CAUSE) => without_cause(body),
        _ => body,
    };
    let failure = Failure::Function { error_type, body };
    posting.end_with(Answer::Failed(failure), responses::accepted())
}

fn not_whole(posting: Posting, reason: NotReceived) -> Whole {
    let (failure, response) = match reason {
        NotReceived::TooLarge { size_bytes } => {
            (Failure::TooLarge { size_bytes }, responses::too_large())
        }
        NotReceived::Truncated => (Failure::Truncated, responses::truncated()),
    };
    posting.end_with(Answer::Failed(failure), response)
}

/// Returns an error without the part that is for X-Ray. A body that is no such error is returned
/// as it is.
fn without_cause(body: Bytes) -> Bytes {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct WithCause {
        error_message: String,
        error_type: String,
    }
    match serde_json::from_slice::<WithCause>(&body) {
        Ok(error) => message_and_type(&error.error_message, &error.error_type),
        Err(_) => body,
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
