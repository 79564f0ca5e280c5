//! What hyper calls for each request: find the function, run it, and put the node's mark on the reply. Owns no fds.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use abi::invocation_id::InvocationId;
use abi::problem::{self, Problem};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, EXPECT, HOST, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::exchange::{Destination, Exchange};
use super::request_body::RequestBody;
use crate::wasm::invocation::{self, Failure};
use crate::wasm::reply::ReplyBody;
use crate::worker::Worker;

static INVOCATION_ID: HeaderName = HeaderName::from_static(problem::INVOCATION_ID_HEADER);
static FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// One connection's service.
pub(super) struct Service {
    pub(super) worker: Rc<Worker>,
    pub(super) exchange: Rc<Exchange>,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Tracked>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (worker, exchange) = (Rc::clone(&self.worker), Rc::clone(&self.exchange));
        Box::pin(async move {
            let id = InvocationId::new();
            let mut response = match answer(&worker, exchange.take_destination(), request, id).await {
                Ok(response) => response,
                Err(problem) => problem_response(&problem, id),
            };
            if let Ok(value) = HeaderValue::from_bytes(&id.text()) {
                response.headers_mut().insert(INVOCATION_ID.clone(), value);
            }
            Ok(response.map(|body| Tracked { body, exchange }))
        })
    }
}

async fn answer(
    worker: &Rc<Worker>,
    destination: Option<Destination>,
    mut request: Request<Incoming>,
    id: InvocationId,
) -> Result<Response<ReplyBody>, Problem> {
    let (catalogue, index, prefix_length) = match destination {
        Some(Destination::Function { catalogue, index, prefix_length }) => (catalogue, index, prefix_length),
        Some(Destination::Problem(problem)) => return Err(problem),
        None => return Err(Problem::new(500, "the node lost track of this request; please report it")),
    };
    let expects_continue = request.headers().contains_key(EXPECT);
    prepare(&mut request, prefix_length)?;
    let function = worker.functions.get(&catalogue, index).await.map_err(|error| {
        tracing::error!("{error}");
        Problem::new(500, error.to_string())
    })?;
    let request = request.map(RequestBody::new);
    let response = invocation::run(worker, function, request, id).await.map_err(|failure| Problem::from(&failure))?;
    if expects_continue && matches!(response.body(), ReplyBody::Guest(_)) {
        // A guest that answers before it has the whole body: hyper sends `100 Continue` only ahead of a reply's head, so
        // give it the turn to do so first.
        tokio::task::yield_now().await;
    }
    Ok(response)
}

/// Makes the request what the function should see: its own path, and where it is mounted.
fn prepare(request: &mut Request<Incoming>, prefix_length: usize) -> Result<(), Problem> {
    // HTTP/1.0 may come without a host; a component is promised one.
    if !request.headers().contains_key(HOST) {
        request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    }
    request.headers_mut().remove(&FORWARDED_PREFIX);
    if prefix_length == 0 {
        return Ok(());
    }
    let unfit = || Problem::new(400, "the request's target is not a path");
    let whole = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let (prefix, rest) = whole.split_at_checked(prefix_length).ok_or_else(unfit)?;
    let prefix = HeaderValue::from_str(prefix).map_err(|_| unfit())?;
    let rest = match rest.as_bytes().first() {
        Some(b'/') => Bytes::copy_from_slice(rest.as_bytes()),
        _ => Bytes::from(format!("/{rest}")),
    };
    let path = PathAndQuery::from_maybe_shared(rest).map_err(|_| unfit())?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.path_and_query = Some(path);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| unfit())?;
    request.headers_mut().insert(FORWARDED_PREFIX.clone(), prefix);
    Ok(())
}

fn problem_response(problem: &Problem, id: InvocationId) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Whole(problem.body(id).into()));
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    if problem.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(problem::RETRY_AFTER_S));
    }
    response
}

/// A reply's body that says when hyper is done with it.
pub(super) struct Tracked {
    body: ReplyBody,
    exchange: Rc<Exchange>,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.exchange.reply_made();
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
