//! One invocation: it is admitted and run, and its reply is gathered as far as it is ready.
//!
//! The guest runs inside the edge's task and is polled by the task that waits for its reply: a
//! guest that does not wait runs to its end in one poll, and a client that goes away drops it.
//! There is no other task and no channel between tasks. Owns no fds.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use abi::problem::Problem;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::timeout;

use super::Pipeline;
use super::account::Account;
use super::admission::{self, Admitted};
use super::functions::Function;
use super::guest::Guest;
use super::reply::{PendingBody, ReplyBody};
use crate::origin::Origin;
use crate::run::body::{GuestBody, RequestBody};
use crate::run::failure::{Failure, report};
use crate::run::thread::ThreadTime;
use crate::run::yield_round::take_yielded;
use crate::run::{Call, ChangesProtocol, GATHERED_BYTES_MAX, LocalRedirect};
use crate::trace::Trace;

/// The longest time that bytes are held back for a guest that computes and yields only now and
/// then.
const GATHERED_FOR_MAX: Duration = Duration::from_millis(100);

/// A request to run.
pub(super) struct Request {
    pub(super) request: http::Request<RequestBody>,
    pub(super) origin: Origin,
    pub(super) trace: Option<Trace>,
    /// When it arrived, by [`abi::board::now_us`].
    pub(super) came_us: u64,
}

/// Runs `function` on a request. Returns the head of its reply, with a body that drives the guest
/// on.
///
/// # Errors
/// The problem for the client, if the request was not admitted or failed before the reply's head
/// has left.
pub(super) async fn run(
    pipeline: &Rc<Pipeline>,
    function: &Rc<Function>,
    request: Box<Request>,
    account: &Account,
) -> Result<Response<ReplyBody>, Problem> {
    let facts = &account.facts;
    let (admitted, begun_us) = admission::admit(pipeline, function, request.came_us, facts)
        .await
        .map_err(|full| full.problem(&function.spec))?;
    facts.admitted(begun_us);
    let reply = start(pipeline, function, request, account, admitted, begun_us).await;
    reply.map_err(|failure| Problem::from(&failure))
}

async fn start(
    pipeline: &Rc<Pipeline>,
    function: &Rc<Function>,
    request: Box<Request>,
    account: &Account,
    admitted: Admitted,
    begun_us: u64,
) -> Result<Response<ReplyBody>, Failure> {
    let Request { request, origin, trace, .. } = *request;
    let (id, facts) = (account.id, &account.facts);
    let head_only = request.method() == http::Method::HEAD;
    // The instances that have served may still wait until their replies have left. Dropping them
    // now frees memory that is warm, which the next instance uses.
    pipeline.drop_retired();
    // A channel, because a guest may reply long before its run ends.
    let (reply, mut replied) = oneshot::channel();
    let facts_of_call = Rc::clone(facts);
    let call = Box::new(Call { id, request, origin, trace, reply, facts: facts_of_call });
    let run = run_limited(Rc::clone(pipeline), Rc::clone(function), call);
    let deadline_ms = (begun_us / 1000).saturating_add(u64::from(function.spec.limits.timeout_ms));
    let mut guest = Guest {
        running: Some((Box::pin(run), admitted)),
        function: Rc::clone(function),
        time: ThreadTime { used: Duration::ZERO, deadline_ms },
        id,
        facts: Rc::clone(facts),
        pipeline: Rc::clone(pipeline),
    };

    let name = || function.spec.name.to_string();
    let replied = poll_fn(|cx| {
        let ended = guest.poll(cx);
        Poll::Ready(match (replied.try_recv(), ended) {
            // Nothing has left yet, so the client can still get an error.
            (_, Poll::Ready(Err(failure))) => Err(failure),
            (Ok(Ok(response)), _) => return Poll::Ready(Ok(Ok(response))),
            (Ok(Err(code)), _) => Ok(Err(Failure::Refused { function: name(), code })),
            (Err(_), Poll::Ready(Ok(()))) => Ok(Err(Failure::NoReply { function: name() })),
            // The guest dropped the sender of the reply and still runs: its end decides.
            (Err(TryRecvError::Empty | TryRecvError::Closed), Poll::Pending) => {
                return Poll::Pending;
            }
        })
    })
    .await?;
    let reply = match replied.and_then(|response| check_head(function, response)) {
        Ok((response, declared)) => {
            let (head, body) = response.into_parts();
            // A body that is not sent is not waited for either.
            let bodiless = head_only
                || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
                || head.extensions.get::<LocalRedirect>().is_some();
            let body = match body {
                // Its guest has nothing more to do, and whoever sends it need not read it.
                GuestBody::File(part) if !bodiless => ReplyBody::File(part),
                body => {
                    let name = Arc::clone(&function.spec.name);
                    gather(PendingBody::new(name, guest, body, bodiless)).await?
                }
            };
            check_length(function, declared.filter(|_| !bodiless), &body)
                .map(|()| Response::from_parts(head, body))
        }
        Err(failure) => Err(failure),
    };
    reply.inspect_err(|failure| report(pipeline.shared(), &function.spec, id, failure, facts))
}

/// Runs the guest within its time limit. Reports its failure here, even after the reply has left.
async fn run_limited(
    pipeline: Rc<Pipeline>,
    function: Rc<Function>,
    call: Box<Call>,
) -> Result<(), Failure> {
    let (id, facts, limit) = (call.id, Rc::clone(&call.facts), function.runner.time_limit());
    let run = Rc::clone(&function.runner).call(call);
    // The call has taken the instance that was ready.
    pipeline.standby.called(&function.runner);
    let ended = timeout(limit, run).await.unwrap_or_else(|_| {
        facts.ended();
        Err(Failure::TimedOut { function: function.spec.name.to_string(), limit })
    });
    ended.inspect_err(|failure| report(pipeline.shared(), &function.spec, id, failure, &facts))
}

/// Checks a reply's head against HTTP and the function's limits, and returns it with the length
/// that it declares. (The guest's own view of headers has refused malformed and forbidden headers
/// already.)
fn check_head(
    function: &Function,
    response: Response<GuestBody>,
) -> Result<(Response<GuestBody>, Option<u64>), Failure> {
    let bad = |reason: String| {
        Err(Failure::BadReply { function: function.spec.name.to_string(), reason })
    };
    let changes = response.extensions().get::<ChangesProtocol>().is_some();
    if response.status().is_informational() && !changes {
        return bad(format!("a status of {} is not a reply", response.status().as_u16()));
    }
    let bytes: usize =
        response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let limit = function.spec.limits.reply_head_bytes_max;
    if bytes > usize::try_from(limit).unwrap_or(usize::MAX) {
        return bad(format!("its headers have {bytes} bytes, and may have {limit}"));
    }
    let mut lengths = response.headers().get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(_), Some(_)) => bad("it has more than one Content-Length".to_owned()),
        (Some(length), None) => match length.to_str().ok().and_then(|text| text.parse().ok()) {
            Some(declared) => Ok((response, Some(declared))),
            None => bad("its Content-Length is not a number".to_owned()),
        },
        (None, _) => Ok((response, None)),
    }
}

/// Checks that a whole body is as long as its head has declared, if it has.
fn check_length(
    function: &Function,
    declared: Option<u64>,
    body: &ReplyBody,
) -> Result<(), Failure> {
    let ReplyBody::Whole(bytes) = body else { return Ok(()) };
    if declared.is_some_and(|declared| declared != bytes.len() as u64) {
        let reason = "its Content-Length is not its length".to_owned();
        return Err(Failure::BadReply { function: function.spec.name.to_string(), reason });
    }
    Ok(())
}

/// Gathers what the guest has written of its body so far. A guest that ends soon, with a small
/// reply, gives it whole; a guest that only yields in between, after 2 ms on the thread, does not
/// make the reply a stream. A failure has been reported.
async fn gather(body: PendingBody) -> Result<ReplyBody, Failure> {
    let mut body = body;
    let mut gathered = Vec::<Bytes>::new();
    let mut length = 0;
    let mut began = None;
    poll_fn(|cx| {
        // Forget what earlier polls have set: only this one's matters.
        let _ = take_yielded();
        loop {
            match body.poll_next(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        length += data.len();
                        gathered.push(data);
                        if length > GATHERED_BYTES_MAX {
                            return Poll::Ready(Ok(false));
                        }
                    }
                    Err(trailers) => {
                        body.put_back(trailers);
                        return Poll::Ready(Ok(false));
                    }
                },
                Poll::Ready(Some(Err(failure))) => return Poll::Ready(Err(failure)),
                Poll::Ready(None) => return Poll::Ready(Ok(true)),
                Poll::Pending => {
                    let since = began.get_or_insert_with(Instant::now).elapsed();
                    let waits = take_yielded() && since < GATHERED_FOR_MAX;
                    return if waits { Poll::Pending } else { Poll::Ready(Ok(false)) };
                }
            }
        }
    })
    .await
    .map(|ended| {
        if ended {
            ReplyBody::Whole(concat(gathered))
        } else {
            body.put_before(gathered);
            ReplyBody::Pending(Box::new(body))
        }
    })
}

fn concat(mut parts: Vec<Bytes>) -> Bytes {
    // Most replies are in one piece, which need not be copied.
    if parts.len() == 1 { parts.swap_remove(0) } else { parts.concat().into() }
}
