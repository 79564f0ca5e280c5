//! One invocation: an instance, a request in, a reply out.
//!
//! The guest runs inside the connection's own task, polled by whoever waits for its reply: a guest that does not wait runs
//! through in one poll, and a client that goes away drops it. No task, no channel between tasks. Owns no fds.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use abi::board::{Reason, Reuse};
use abi::invocation_id::InvocationId;
use abi::problem::Problem;
use abi::spool::Stream;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{Request, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::error::Elapsed;
use wasmtime::{GcHeapOutOfMemory, PoolConcurrencyLimitError};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::WasiBody;

use super::command::{HeadError, LocalRedirect};
use super::cpu_time::{self, CpuTimeExceeded};
use super::engine::Module;
use super::instances::Instance;
use super::let_others::waited_for_a_turn;
use super::limits::Refused;
use super::reply::{GuestBody, ReplyBody};
use super::{command, http02, http03, trap};
use crate::admission::{self, Full};
use crate::connection::request_body::RequestBody;
use crate::facts::Facts;
use crate::functions::Function;
use crate::trace::Trace;
use crate::worker::{RunningInvocation, Worker};

/// A reply's bytes that are held back in the hope that the guest ends with them, so that they can be sent whole.
pub(super) const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// What the log says of a function whose instances are not reused, once.
const HOLDS_REQUEST: &str = "[its instance is not used again although reuse=N allows it: it still holds its request, as those of \
                             JavaScript and Python do until they collect garbage; `sockhop inspect` counts how often]";
/// The same for a guest that computes, and only lets others run now and then.
const GATHERED_FOR_MAX: Duration = Duration::from_millis(100);

/// What the log says of a failure at most.
pub(super) const FAILURE_BYTES_MAX: usize = 4 * 1024;

/// Why an invocation failed. Decides the status while the reply's head has not left; after that the reply is cut.
///
/// Its text is the public client's, so nothing that the guest wrote is in it. That is in [`Failure::logged`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("function {function:?} ran into its time limit of {limit:?}")]
    TimedOut { function: String, limit: Duration },
    #[error("function {function:?} used up its processor time of {limit:?}")]
    OutOfCpuTime { function: String, limit: Duration },
    #[error("function {function:?} ran into its memory limit of {limit_bytes} bytes")]
    OutOfMemory { function: String, limit_bytes: u64 },
    #[error("function {function:?} ran into its limit of {limit} table elements")]
    OutOfTable { function: String, limit: u32 },
    #[error(
        "function {function:?} ran into its limit of {limit_bytes} bytes held for it: \
         headers, requests, bodies and other resources that it does not let go of"
    )]
    OutOfHeld { function: String, limit_bytes: usize },
    #[error("function {function:?} ended with exit code {code}; its log has what it wrote to stderr")]
    Exited { function: String, code: i32 },
    #[error("function {function:?} trapped; its log has the reason")]
    Trapped { function: String, reason: String, frames: Vec<String> },
    #[error("function {function:?} ended without a reply")]
    NoReply { function: String },
    #[error("function {function:?} answered with an error; its log has it")]
    Refused { function: String, code: String },
    #[error("function {function:?} made a reply that HTTP does not allow; its log has the reason")]
    BadReply { function: String, reason: String },
    #[error(
        "the body that function {function:?} made broke off, or is not as long as its head says; \
         its log has the reason"
    )]
    BrokenBody { function: String, reason: String },
    #[error("function {function:?} runs {limit} requests at a time, and no more wait; try again")]
    FunctionFull { function: String, limit: u32 },
    #[error("function {function:?} runs as many requests on this worker as one function may; try again")]
    ShareFull { function: String },
    #[error("this worker runs as many requests of your address as one address may have; try again")]
    AddressFull,
    #[error("this worker runs as many invocations as it can; try again")]
    NodeFull,
}

impl Failure {
    /// The same for the function's log and for whoever deploys it, with what the guest said.
    pub(super) fn logged(&self) -> String {
        match self {
            Self::Trapped { reason, .. } => format!("trap: {reason}"),
            Self::Refused { function, code: reason } => {
                format!("function {function:?} answered with an error: {reason}")
            }
            Self::BadReply { function, reason } => {
                format!("function {function:?} made a reply that HTTP does not allow: {reason}")
            }
            Self::BrokenBody { function, reason } => format!(
                "the body that function {function:?} made broke off, or is not as long as its head says: {reason}"
            ),
            other => other.to_string(),
        }
    }
}

impl From<&Failure> for Reason {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::TimedOut { .. } => Self::Timeout,
            Failure::OutOfCpuTime { .. } => Self::CpuTime,
            Failure::OutOfMemory { .. } | Failure::OutOfHeld { .. } => Self::Memory,
            Failure::OutOfTable { .. } => Self::TableElements,
            Failure::Exited { .. } => Self::Exit,
            Failure::Trapped { .. } => Self::Trap,
            Failure::NoReply { .. }
            | Failure::Refused { .. }
            | Failure::BadReply { .. }
            | Failure::BrokenBody { .. } => Self::Reply,
            Failure::FunctionFull { .. } => Self::Queue,
            Failure::ShareFull { .. } | Failure::AddressFull | Failure::NodeFull => Self::Worker,
        }
    }
}

impl From<&Failure> for Problem {
    fn from(failure: &Failure) -> Self {
        let status = match failure {
            Failure::TimedOut { .. } | Failure::OutOfCpuTime { .. } => 504,
            Failure::FunctionFull { .. } | Failure::AddressFull => 429,
            Failure::ShareFull { .. } | Failure::NodeFull => 503,
            _ => 500,
        };
        Self::new(status, failure.to_string())
    }
}

/// The whole of a guest's run, see [`call`].
type Run = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// A guest in the middle of its invocation. Dropping it ends the guest.
pub(crate) struct Guest {
    running: Option<(Run, RunningInvocation)>,
    /// Processor time so far.
    used: Duration,
    /// When its time limit passes, as the board tells it.
    deadline_ms: u64,
    id: InvocationId,
    facts: Rc<Facts>,
    worker: Rc<Worker>,
}

impl Guest {
    /// Runs the guest until it waits or ends. After the end: nothing more.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some((future, running)) = &mut self.running else { return Poll::Ready(Ok(())) };
        running.guest_has_thread_until(self.deadline_ms);
        let before = self.used;
        let ended = cpu_time::measured(&mut self.used, || future.as_mut().poll(cx));
        running.guest_left_thread(self.used.saturating_sub(before));
        self.facts.cpu.set(self.used);
        let ended = std::task::ready!(ended);
        self.facts.goes_on.set(false);
        running.log_after(self.id, &self.facts);
        // Its place is free again here; its instance is kept, or unmade once the reply has left or another is to be made.
        self.running = None;
        Poll::Ready(ended)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.running.is_none()
    }

    /// Unmakes its instance, if it has ended and its instance serves no other.
    pub(super) fn unmake(&self) {
        if self.has_ended() {
            self.worker.spent.unmake();
        }
    }
}

/// Runs `function` on `request`, which came at `now` ([`abi::board::now_us`]), and returns the head of its reply, with a body that drives the guest further.
///
/// # Errors
/// [`Failure`] when the guest fails before its reply's head has left.
pub(crate) async fn run(
    worker: &Rc<Worker>,
    function: Rc<Function>,
    request: Request<RequestBody>,
    (id, trace): (InvocationId, Option<Trace>),
    now: u64,
    facts: &Rc<Facts>,
) -> Result<Response<ReplyBody>, Failure> {
    let (running, begun_us) = admission::admit(worker, &function, now, facts).await.map_err(|full| match full {
        Full::Function => {
            Failure::FunctionFull { function: function.name.to_string(), limit: function.limits.concurrency_max }
        }
        Full::Share => Failure::ShareFull { function: function.name.to_string() },
        Full::Address => Failure::AddressFull,
        Full::Node => Failure::NodeFull,
    })?;
    facts.admitted(begun_us);
    let head_only = request.method() == http::Method::HEAD;
    // The replies of those that have served may still wait for their batch; their memory is warm, and the next to be used.
    worker.spent.unmake();
    let (reply, mut replied) = oneshot::channel();
    let call = call(Rc::clone(worker), Rc::clone(&function), request, reply, (id, trace), Rc::clone(facts));
    let deadline_ms = (begun_us / 1000).saturating_add(u64::from(function.limits.timeout_ms));
    let (running, facts_of_guest) = (Some::<(Run, _)>((Box::pin(call), running)), Rc::clone(facts));
    let worker_of_guest = Rc::clone(worker);
    let mut guest =
        Guest { running, used: Duration::ZERO, deadline_ms, id, facts: facts_of_guest, worker: worker_of_guest };

    let name = || function.name.to_string();
    let replied = poll_fn(|cx| {
        let ended = guest.poll(cx);
        Poll::Ready(match (replied.try_recv(), ended) {
            // Failed before anything has left, so the client can still be told.
            (_, Poll::Ready(Err(failure))) => Err(failure),
            (Ok(Ok(response)), _) => return Poll::Ready(Ok(Ok(response))),
            (Ok(Err(code)), _) => Ok(Err(Failure::Refused { function: name(), code })),
            (Err(_), Poll::Ready(Ok(()))) => Ok(Err(Failure::NoReply { function: name() })),
            // The guest dropped its response-outparam and still runs: see how it ends.
            (Err(TryRecvError::Empty | TryRecvError::Closed), Poll::Pending) => return Poll::Pending,
        })
    })
    .await?;
    let reply = match replied.and_then(|response| check_head(&function, response)) {
        Ok(response) => {
            let (head, body) = response.into_parts();
            // What is not sent is not waited for either.
            let bodiless = head_only
                || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
                || head.extensions.get::<LocalRedirect>().is_some();
            match gather(GuestBody::new(Arc::clone(&function.name), guest, body, bodiless)).await {
                Ok(body) => check_length(&function, &head, &body, bodiless).map(|()| Response::from_parts(head, body)),
                Err(failure @ Failure::BrokenBody { .. }) => Err(failure),
                // The call has logged its own.
                Err(failure) => return Err(failure),
            }
        }
        Err(failure) => Err(failure),
    };
    reply.inspect_err(|failure| tell(worker, &function, id, failure, facts))
}

/// Holds a reply's head to what HTTP and the function's limits allow. (The guest's own view of headers has refused the
/// malformed and the forbidden ones already.)
fn check_head(function: &Function, response: Response<WasiBody>) -> Result<Response<WasiBody>, Failure> {
    let bad = |reason: String| Err(Failure::BadReply { function: function.name.to_string(), reason });
    if response.status().is_informational() {
        return bad(format!("a status of {} is not a reply", response.status().as_u16()));
    }
    let bytes: usize = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let limit = function.limits.reply_head_bytes_max;
    if bytes > usize::try_from(limit).unwrap_or(usize::MAX) {
        return bad(format!("its headers have {bytes} bytes, and may have {limit}"));
    }
    let mut lengths = response.headers().get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(_), Some(_)) => bad("it has more than one Content-Length".to_owned()),
        (Some(length), None) if length.to_str().ok().and_then(|text| text.parse::<u64>().ok()).is_none() => {
            bad("its Content-Length is not a number".to_owned())
        }
        _ => Ok(response),
    }
}

/// A body that is whole must be as long as its head says.
fn check_length(function: &Function, head: &Parts, body: &ReplyBody, bodiless: bool) -> Result<(), Failure> {
    let ReplyBody::Whole(bytes) = body else { return Ok(()) };
    let declared = head.headers.get(CONTENT_LENGTH).filter(|_| !bodiless);
    let declared = declared.and_then(|declared| declared.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|declared| declared != bytes.len()) {
        let reason = "its Content-Length is not its length".to_owned();
        return Err(Failure::BadReply { function: function.name.to_string(), reason });
    }
    Ok(())
}

/// Takes what the guest has of its body by now. A guest that ends soon, with a small reply, gives it whole; that it had to
/// let others run meanwhile, after a turn of 2 ms, makes no stream of it.
async fn gather(body: GuestBody) -> Result<ReplyBody, Failure> {
    let mut body = body;
    let mut gathered = Vec::<Bytes>::new();
    let mut length = 0;
    let mut began = None;
    poll_fn(|cx| {
        let _ = waited_for_a_turn();
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
                    let waits = waited_for_a_turn() && since < GATHERED_FOR_MAX;
                    return if waits { Poll::Pending } else { Poll::Ready(Ok(false)) };
                }
            }
        }
    })
    .await
    .map(|ended| {
        if ended {
            ReplyBody::Whole(concat(gathered, length))
        } else {
            body.put_before(gathered);
            ReplyBody::Guest(Box::new(body))
        }
    })
}

fn concat(mut parts: Vec<Bytes>, length: usize) -> Bytes {
    match parts.len() {
        0 => Bytes::new(),
        1 => parts.swap_remove(0),
        _ => {
            let mut whole = Vec::with_capacity(length);
            parts.iter().for_each(|part| whole.extend_from_slice(part));
            whole.into()
        }
    }
}

/// Where a guest's reply goes: its head with the body to come, or the error that it answered with instead.
pub(super) type Reply = oneshot::Sender<Result<Response<WasiBody>, String>>;

/// The guest's whole run: instance made or taken, handler called, instance kept or unmade.
async fn call(
    worker: Rc<Worker>,
    function: Rc<Function>,
    request: Request<RequestBody>,
    reply: Reply,
    (id, trace): (InvocationId, Option<Trace>),
    facts: Rc<Facts>,
) -> Result<(), Failure> {
    let mut instance = function.kept.take(&function, id, &worker.log);
    instance.store.data_mut().belong_to(trace);
    worker.row().counts.instances.count(instance.origin() as usize);
    worker.standby.called(&function);
    let run = async {
        match &function.module {
            Module::Http02(pre) => http02::handle(&mut instance, pre, request, reply, &facts).await,
            // Boxed, as every invocation would have room for the largest.
            Module::Http03(pre) => Box::pin(http03::handle(&mut instance, pre, request, reply, &facts)).await,
            Module::Command(pre) => {
                Box::pin(command::handle(&mut instance, pre, &function, request, reply, &facts)).await
            }
        }
    };
    let ended = tokio::time::timeout(function.timeout, run).await;
    facts.ended();
    facts.memory_bytes.set(instance.store.data().limits.memory_bytes());
    if let Ok(Ok(())) = ended {
        if let Some(reuse) = function.kept.give_back(instance, &worker.spent) {
            worker.count_reuse(function.place, reuse);
            if reuse == Reuse::Request && function.kept.is_first_to_hold() {
                worker.log.line(&function.name, id, Stream::Node, HOLDS_REQUEST.as_bytes());
            }
        }
        return Ok(());
    }
    let Some(failure) = failure(&function, &instance, ended) else { return Ok(()) };
    tell(&worker, &function, id, &failure, &facts);
    Err(failure)
}

/// Why what an instance did came to no good end; none when it did, or the guest says so.
pub(super) fn failure(
    function: &Function,
    instance: &Instance,
    ended: Result<wasmtime::Result<()>, Elapsed>,
) -> Option<Failure> {
    let name = || function.name.to_string();
    let error = match ended {
        Ok(Ok(())) => return None,
        Err(_) => return Some(Failure::TimedOut { function: name(), limit: function.timeout }),
        Ok(Err(error)) => error,
    };
    if error.is::<PoolConcurrencyLimitError>() {
        return Some(Failure::NodeFull);
    }
    if error.is::<CpuTimeExceeded>() {
        let limit = Duration::from_millis(u64::from(function.limits.cpu_time_ms));
        return Some(Failure::OutOfCpuTime { function: name(), limit });
    }
    if error.is::<http03::BadReply>() {
        return Some(Failure::BadReply { function: name(), reason: error.to_string() });
    }
    if let Some(reason) = error.downcast_ref::<HeadError>() {
        return Some(Failure::BadReply { function: name(), reason: reason.to_string() });
    }
    // Of the heap's growth the limiter is not asked where a heap cannot grow at all.
    if error.is::<GcHeapOutOfMemory<()>>() {
        let limit_bytes = function.limits.memory_bytes_max;
        return Some(Failure::OutOfMemory { function: name(), limit_bytes });
    }
    Some(match (error.downcast_ref::<I32Exit>(), instance.store.data().limits.refused()) {
        (Some(I32Exit(0)), _) => return None,
        (Some(I32Exit(code)), _) => Failure::Exited { function: name(), code: *code },
        (None, Some(Refused::Memory)) => {
            Failure::OutOfMemory { function: name(), limit_bytes: function.limits.memory_bytes_max }
        }
        (None, Some(Refused::TableElements)) => {
            Failure::OutOfTable { function: name(), limit: function.limits.table_elements_max }
        }
        (None, Some(Refused::Held)) => {
            Failure::OutOfHeld { function: name(), limit_bytes: instance.store.data().held_bytes_max() }
        }
        (None, None) => {
            Failure::Trapped { function: name(), reason: trap::reason(&error), frames: trap::frames(&error) }
        }
    })
}

/// Counts how an invocation failed, and tells the function's log.
fn tell(worker: &Worker, function: &Function, id: InvocationId, failure: &Failure, facts: &Facts) {
    let mut text = failure.logged();
    // The guest may have written any of it.
    text.truncate(text.floor_char_boundary(FAILURE_BYTES_MAX));
    worker.count_reason(function.place, failure.into());
    facts.reason.set(Some(failure.into()));
    let line = |text: &str| worker.log.line(&function.name, id, Stream::Node, text.as_bytes());
    line(&format!("[{text}]"));
    if let Failure::Trapped { frames, .. } = failure {
        frames.iter().for_each(|frame| line(frame));
    }
}

/// Lets a guest whose reply is complete finish what it is still doing, on its own time limit.
pub(crate) fn linger(mut guest: Guest) {
    if !guest.has_ended() {
        guest.facts.goes_on.set(true);
        // Its reply is complete: nobody is left to be told how it ends but the log.
        tokio::task::spawn_local(async move { drop(poll_fn(|cx| guest.poll(cx)).await) });
    }
}
