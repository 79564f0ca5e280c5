//! From a request to its reply: find the function, hold the body to its limit, run it. Owns no fds.

use std::rc::Rc;

use abi::board::{Reason, now_us};
use abi::catalogue::{CatalogueView, Output};
use abi::choice::{Choice, Meant};
use abi::head::Framing;
use abi::invocation_id::InvocationId;
use abi::problem::{self, Problem};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::Addresses;
use super::account::Account;
use super::encode::Asked;
use super::incoming::BodyError;
use super::message::Message;
use super::origin::Origin;
use super::redirect::{LOCAL_REDIRECTS_MAX, redirected};
use super::request_body::RequestBody;
use super::wire::SharedWire;
use crate::trace::Trace;
use crate::wasm::command::LocalRedirect;
use crate::wasm::engine::Module;
use crate::wasm::invocation;
use crate::wasm::reply::ReplyBody;
use crate::worker::Worker;

/// Where a request goes.
pub(super) enum Destination {
    /// A function of the catalogue that routed it.
    Function { catalogue: Rc<CatalogueView>, choice: Choice, meant: Meant },
    /// No function: the answer is the node's own.
    Problem(Problem),
}

/// A request, and where it goes.
pub(super) struct Routed {
    pub(super) message: Message,
    pub(super) origin: Origin,
    pub(super) framing: Framing,
    pub(super) destination: Destination,
}

impl Routed {
    pub(super) fn asked(&self) -> Asked {
        self.message.asked
    }
}

/// Answers a request: with the function's reply, or with the node's own error.
pub(super) async fn answer(
    worker: &Rc<Worker>,
    routed: Routed,
    wire: &SharedWire,
    account: &Account,
) -> Response<ReplyBody> {
    run(worker, routed, wire, account).await.unwrap_or_else(|problem| problem_response(&problem, account.id))
}

async fn run(
    worker: &Rc<Worker>,
    routed: Routed,
    wire: &SharedWire,
    account: &Account,
) -> Result<Response<ReplyBody>, Problem> {
    let Routed { message: Message { mut request, .. }, origin, framing, destination } = routed;
    let (catalogue, choice) = match destination {
        Destination::Function { catalogue, choice, .. } => (catalogue, choice),
        Destination::Problem(problem) => {
            worker.count_refused(problem.status);
            return Err(problem);
        }
    };
    let sample = worker.settings.borrow().trace_sample;
    let trace = Trace::enter(&mut request, account.id, sample).map(|(trace, entered)| {
        account.facts.entered(entered);
        trace
    });
    let count = |reason| {
        account.facts.reason.set(Some(reason));
        account.place.into_iter().for_each(|place| worker.count_reason(place, reason));
    };
    let too_large = |error: BodyError| {
        count(Reason::RequestBody);
        Problem::new(413, error.to_string())
    };
    let function = worker.functions.get(&catalogue, choice).await.map_err(|error| {
        count(Reason::Module);
        tracing::error!("{error}");
        Problem::new(500, error.told())
    })?;
    wire.lock().incoming.limit(function.limits.request_body_bytes_max).map_err(too_large)?;
    if let Module::Command(_) = function.module
        && let Ok(local) = wire.lock().socket().local_addr()
    {
        request.extensions_mut().insert(Addresses { client: origin, local });
    }
    let may_redirect = matches!(function.module, Module::Command(_)) && function.output == Output::Cgi;
    let mut head = may_redirect.then(|| request.clone());
    let mut request = request.map(|()| match framing {
        Framing::None => RequestBody::none(),
        Framing::Length(length) => RequestBody::on(wire, Some(length)),
        Framing::Chunked => RequestBody::on(wire, None),
    });
    let mut came_us = account.begun_us;
    for _ in 0..=LOCAL_REDIRECTS_MAX {
        let id = (account.id, trace.clone());
        let reply = invocation::run(worker, Rc::clone(&function), request, id, came_us, &account.facts).await;
        // Whatever the guest made of a body that was cut off under it: the client has to know why.
        let reply = match wire.lock().incoming.failure() {
            Some(error @ BodyError::TooLarge { .. }) => return Err(too_large(error)),
            Some(error @ BodyError::Stalled { .. }) => {
                count(Reason::RequestBody);
                return Err(Problem::new(408, error.to_string()));
            }
            Some(BodyError::Malformed) => return Err(Problem::new(400, BodyError::Malformed.to_string())),
            _ => reply.map_err(|failure| Problem::from(&failure))?,
        };
        let target = reply.extensions().get::<LocalRedirect>();
        let next = target.zip(head.as_ref()).and_then(|(LocalRedirect(target), head)| redirected(head, target));
        let Some(next) = next else { return Ok(reply) };
        head = Some(next.clone());
        request = next.map(|()| RequestBody::none());
        came_us = now_us();
    }
    count(Reason::Reply);
    let name = &function.name;
    Err(Problem::new(
        500,
        format!("function {name:?} made more than {LOCAL_REDIRECTS_MAX} local redirects of one request"),
    ))
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
