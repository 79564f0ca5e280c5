//! One invocation: an instance, a request in, a reply out.
//!
//! The guest runs inside the connection's own task, polled by whoever waits for its reply: a guest that does not wait runs
//! through in one poll, and a client that goes away drops it. No task, no channel between tasks. Owns no fds.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use abi::invocation_id::InvocationId;
use abi::problem::Problem;
use bytes::Bytes;
use hyper::{Request, Response};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use wasmtime::PoolConcurrencyLimitError;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::instances::Instance;
use super::reply::{GuestBody, ReplyBody};
use crate::connection::request_body::RequestBody;
use crate::functions::Function;
use crate::worker::{RunningInvocation, Worker};

/// A reply's bytes that are held back in the hope that the guest ends with them, so that they can be sent whole.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// Why an invocation failed. Decides the status while the reply's head has not left; after that the reply is cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("function {function:?} ran into its time limit of {limit:?}")]
    TimedOut { function: String, limit: Duration },
    #[error("function {function:?} ran into its memory limit of {limit_bytes} bytes")]
    OutOfMemory { function: String, limit_bytes: usize },
    #[error("function {function:?} trapped; its log has the reason")]
    Trapped { function: String, reason: String },
    #[error("function {function:?} ended without a reply")]
    NoReply { function: String },
    #[error("function {function:?} answered with an error: {code}")]
    Refused { function: String, code: String },
    #[error("function {function:?} made a reply that HTTP does not allow: {reason}")]
    BadReply { function: String, reason: String },
    #[error("this worker runs as many invocations as it can; try again")]
    NodeFull,
}

impl From<&Failure> for Problem {
    fn from(failure: &Failure) -> Self {
        let status = match failure {
            Failure::TimedOut { .. } => 504,
            Failure::NodeFull => 503,
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
}

impl Guest {
    /// Runs the guest until it waits or ends. After the end: nothing more.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some((future, _)) = &mut self.running else { return Poll::Ready(Ok(())) };
        let ended = std::task::ready!(future.as_mut().poll(cx));
        // Its instance is free again here, before the reply is even written.
        self.running = None;
        Poll::Ready(ended)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.running.is_none()
    }
}

/// Runs `function` on `request` and returns the head of its reply, with a body that drives the guest further.
///
/// # Errors
/// [`Failure`] when the guest fails before its reply's head has left.
pub(crate) async fn run(
    worker: &Rc<Worker>,
    function: Rc<Function>,
    request: Request<RequestBody>,
    id: InvocationId,
) -> Result<Response<ReplyBody>, Failure> {
    let running = worker.invocation_begun().ok_or(Failure::NodeFull)?;
    let head_only = request.method() == http::Method::HEAD;
    let name = Rc::clone(&function);
    let (reply, mut replied) = oneshot::channel();
    let call = call(Rc::clone(worker), function, request, reply, id);
    let mut guest = Guest { running: Some((Box::pin(call), running)) };

    let response = poll_fn(|cx| {
        let ended = guest.poll(cx);
        match (replied.try_recv(), ended) {
            // Failed before anything has left, so the client can still be told.
            (_, Poll::Ready(Err(failure))) => Poll::Ready(Err(failure)),
            (Ok(Ok(response)), _) => Poll::Ready(Ok(response)),
            (Ok(Err(code)), _) => {
                Poll::Ready(Err(Failure::Refused { function: name.name.to_string(), code: code.to_string() }))
            }
            (Err(TryRecvError::Empty), Poll::Pending) => Poll::Pending,
            (Err(_), Poll::Ready(Ok(()))) => Poll::Ready(Err(Failure::NoReply { function: name.name.to_string() })),
            // The guest dropped its response-outparam and still runs: see how it ends.
            (Err(TryRecvError::Closed), Poll::Pending) => Poll::Pending,
        }
    })
    .await?;

    let bad = |reason: &str| Failure::BadReply { function: name.name.to_string(), reason: reason.to_owned() };
    if response.status().is_informational() {
        return Err(bad("a status of 1xx is not a reply"));
    }
    let (head, body) = response.into_parts();
    let body = gather(guest, body, head_only).await?;
    if let (ReplyBody::Whole(bytes), false) = (&body, head_only || head.status == http::StatusCode::NOT_MODIFIED) {
        let declared = head.headers.get(http::header::CONTENT_LENGTH);
        if declared.is_some_and(|declared| declared.as_bytes() != bytes.len().to_string().as_bytes()) {
            return Err(bad("its Content-Length is not its length"));
        }
    }
    Ok(Response::from_parts(head, body))
}

/// Takes what the guest has of its body by now. A guest that ends soon, with a small reply, gives it whole.
async fn gather(guest: Guest, body: HyperOutgoingBody, head_only: bool) -> Result<ReplyBody, Failure> {
    let mut body = GuestBody::new(guest, body, head_only);
    let mut gathered = Vec::<Bytes>::new();
    let mut length = 0;
    poll_fn(|cx| {
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
                Poll::Pending => return Poll::Ready(Ok(false)),
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

type Reply = oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>;

/// The guest's whole run: instance made or taken, handler called, instance kept or unmade.
async fn call(
    worker: Rc<Worker>,
    function: Rc<Function>,
    request: Request<RequestBody>,
    reply: Reply,
    id: InvocationId,
) -> Result<(), Failure> {
    let mut instance = function.kept.take(&function, id, &worker.log);
    let run = async {
        let Instance { store, proxy, .. } = &mut instance;
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
        let outparam = store.data_mut().http().new_response_outparam(reply)?;
        let made = match proxy.take() {
            Some(made) => made,
            None => function.module.instantiate_async(&mut *store).await?,
        };
        proxy.insert(made).wasi_http_incoming_handler().call_handle(store, request, outparam).await
    };
    let ended = tokio::time::timeout(function.timeout, run).await;
    let name = || function.name.to_string();
    let failure = match ended {
        Ok(Ok(())) => {
            function.kept.give_back(instance);
            return Ok(());
        }
        Err(_) => Failure::TimedOut { function: name(), limit: function.timeout },
        Ok(Err(error)) if error.is::<PoolConcurrencyLimitError>() => Failure::NodeFull,
        Ok(Err(_)) if instance.store.data().limits.memory_refused => {
            Failure::OutOfMemory { function: name(), limit_bytes: function.memory_bytes_max }
        }
        Ok(Err(error)) => Failure::Trapped { function: name(), reason: format!("{error:#}") },
    };
    let text = match &failure {
        Failure::Trapped { reason, .. } => format!("[trap: {}]", reason.replace('\n', " ")),
        other => format!("[{other}]"),
    };
    worker.log.line(&function.name, id, "node", &text);
    Err(failure)
}

/// Lets a guest whose reply is complete finish what it is still doing, on its own time limit.
pub(crate) fn linger(mut guest: Guest) {
    if !guest.has_ended() {
        // Its reply has been sent: nobody is left to be told how it ends but the log, which `call` writes.
        tokio::task::spawn_local(async move { drop(poll_fn(|cx| guest.poll(cx)).await) });
    }
}
