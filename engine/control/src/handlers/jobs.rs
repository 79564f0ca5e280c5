//! Asynchronous invocations. Owns no fds.
//!
//! ```text
//! POST   /v1/functions/NAME/invocations/PATH?QUERY   NAME may be NAME@ALIAS or NAME@VERSION
//! GET    /v1/jobs?function=NAME&state=dead&limit=9
//! GET    /v1/jobs/ID
//! DELETE /v1/jobs/ID
//! POST   /v1/jobs/ID/retry
//! ```

use std::sync::Arc;

use abi::limits::JOB_BODY_BYTES_MAX;
use abi::reference::split;
use api::endpoint::Endpoint;
use api::endpoints::{GetJob, ListJobs, RetryJob, SubmitJob};
use api::jobs::{CALLBACK_HEADER, METHOD_HEADER, Submitted};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jobs::JobId;

use crate::control::Control;
use crate::failed::{Failed, bad_request};
use crate::jobs::{JobError, Submission, Target};
use crate::names;
use crate::routes::{Answered, QueryOf};
use crate::token;

pub(crate) async fn submit(
    State(control): State<Arc<Control>>,
    request: Request<Body>,
) -> Result<Response, Failed> {
    let (head, body) = request.into_parts();
    // The path as it came: what is behind the name is the function's.
    let whole = head.uri.path_and_query().map_or("", |path| path.as_str());
    let unfit = || bad_request("expected /v1/functions/NAME/invocations/PATH");
    let (name, rest) = whole
        .strip_prefix("/v1/functions/")
        .and_then(|rest| rest.split_once("/invocations"))
        .ok_or_else(unfit)?;
    names::check_called(name).map_err(bad_request)?;
    let (function, reference) = split(name);
    control.functions.listing.find(function, reference).await?;
    let path = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    let mut headers = head.headers;
    let method = headers.remove(METHOD_HEADER);
    let method = method.as_ref().map_or(Ok(Method::POST), |it| Method::from_bytes(it.as_bytes()));
    let method = method.map_err(bad_request)?;
    let callback = headers.remove(CALLBACK_HEADER).map(|url| url.as_bytes().to_vec());
    let callback = callback.map(String::from_utf8).transpose().map_err(bad_request)?;
    let body = Limited::new(body, JOB_BODY_BYTES_MAX).collect().await.map_err(|error| {
        match error.downcast_ref::<LengthLimitError>() {
            Some(_) => Failed::from(JobError::BodyTooLarge),
            None => bad_request(error),
        }
    })?;
    // On the Unix socket nothing has taken the token out.
    headers.remove(token::HEADER);
    let (reference, body) = (reference.map(str::to_owned), body.to_bytes().into());
    let request = abi::job::Submission::new(reference, &method, &path, &headers, body);
    let submission = Submission { target: Target::Function, callback, request };
    let id = control.jobs.submit_and_wait(function, submission).await?.to_string();
    let submitted: <SubmitJob as Endpoint>::Answer = Submitted { id };
    let place = [(LOCATION, GetJob::at(&submitted.id).path().to_owned())];
    Ok((StatusCode::ACCEPTED, place, Json(submitted)).into_response())
}

pub(crate) async fn list(
    State(control): State<Arc<Control>>,
    QueryOf(query): QueryOf<ListJobs>,
) -> Answered<ListJobs> {
    Ok(Json(control.jobs.list(query).await?))
}

pub(crate) async fn show(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
) -> Answered<GetJob> {
    Ok(Json(control.jobs.show(read(&id)?).await?))
}

pub(crate) async fn cancel(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failed> {
    control.jobs.cancel(read(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn retry(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
) -> Answered<RetryJob> {
    Ok(Json(control.jobs.retry(read(&id)?).await?))
}

fn read(id: &str) -> Result<JobId, Failed> {
    id.parse().map_err(|_| bad_request(format!("{id:?} is no id of an asynchronous invocation")))
}
