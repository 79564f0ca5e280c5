//! Requests that are answered before they are run: they become jobs of the node's. And where their
//! clients ask how far such a job is.
//!
//! A request takes no place of its function here: it is read, handed to the engine, and answered
//! once the engine has it for sure. What the worker holds meanwhile is bounded. The attempts to do
//! the job are invocations of their own. Owns no fds.

mod prefer;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;

use abi::catalogue::CatalogueView;
use abi::choice::{ACTIVE, Choice, Selector};
use abi::job::{JobId, Progress, Refused, STATUS_PATH, Submission};
use abi::limits::{JOB_ANSWER_TIMEOUT, JOB_BODY_BYTES_MAX, JOB_HELD_BYTES_PER_WORKER_MAX};
use abi::outcome::Reason;
use abi::problem::Problem;
use abi::route::domain_prefix;
use abi::spool::Stream;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER, VARY};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use tokio::time::timeout;

use super::account::Account;
use super::{Pipeline, ReplyBody, RequestSource};
use crate::run::body::BodyError;

/// Says which preference was applied (RFC 7240 3).
static PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// How many characters an id has.
const ID_BYTES: usize = 36;

/// What a client asks for that no function answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Its request is to become a job.
    Job,
    /// How far a job is. `None` if that is no id of one.
    Progress(Option<JobId>),
}

/// The function that a request is for, by the catalogue that has routed it.
#[derive(Clone, Copy)]
pub(super) struct For<'a> {
    pub(super) catalogue: &'a CatalogueView,
    pub(super) choice: Choice,
    pub(super) selector: Selector,
    /// The part of the request's path that named the function.
    pub(super) prefix: Option<&'a HeaderValue>,
}

impl For<'_> {
    /// Returns what a client asks for with `request`. Returns `None` if its function answers that.
    pub(super) fn asked(&self, request: &Request<()>) -> Option<Asked> {
        let Self { catalogue, choice, .. } = self;
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if is_read
            && let Some((mount, id)) = status_address(request.uri().path())
            && mount == self.domain_prefix(request)
            && catalogue
                .function(choice.function)
                .is_some_and(|of| catalogue.specs_of(of).any(|spec| spec.respond_async))
        {
            return Some(Asked::Progress(id.parse().ok()));
        }
        let (_, _, spec) = catalogue.chosen(*choice)?;
        (spec.respond_async
            && request.uri().path().starts_with('/')
            && prefer::prefers_async(request.headers()))
        .then_some(Asked::Job)
    }

    /// Returns what all paths to the function begin with that it sees itself.
    fn domain_prefix(&self, request: &Request<()>) -> &str {
        let host = request.headers().get(HOST).filter(|_| self.prefix.is_none());
        let host = host.and_then(|host| host.to_str().ok());
        host.and_then(|host| domain_prefix(self.catalogue, host, request.uri().path()))
            .unwrap_or_default()
    }

    /// Returns what is called, as it stands behind an `@`.
    fn alias_or_version(&self) -> Option<String> {
        let function = self.catalogue.function(self.choice.function)?;
        match self.selector {
            Selector::Alias(at) => {
                let name = function.aliases.get(at)?.name.as_str();
                (name != ACTIVE).then(|| name.to_owned())
            }
            Selector::Version(at) => Some(format!("v{}", function.versions.get(at)?.number)),
        }
    }
}

/// Splits the path of a job's status into what stands before it and the job's id.
fn status_address(path: &str) -> Option<(&str, &str)> {
    let (before, id) = path.split_at_checked(path.len().checked_sub(ID_BYTES)?)?;
    Some((before.strip_suffix(STATUS_PATH)?, id))
}

/// The bytes that a worker holds of requests that become jobs.
#[derive(Default)]
pub(super) struct Held(Cell<usize>);

/// The share of one request in them.
struct Share<'a> {
    held: &'a Cell<usize>,
    bytes: usize,
}

impl Share<'_> {
    /// Adds so many bytes. Returns whether there is room for them.
    fn add(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.held.set(self.held.get() + bytes);
        self.held.get() <= JOB_HELD_BYTES_PER_WORKER_MAX
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.held.set(self.held.get() - self.bytes);
    }
}

impl Pipeline {
    /// Answers a client that asks for something that no function answers.
    ///
    /// # Errors
    /// The problem, if it does not get that.
    pub(super) async fn answer_asked(
        &self,
        asked: Asked,
        of: For<'_>,
        request: Request<()>,
        source: &impl RequestSource,
        account: &Account,
    ) -> Result<Response<ReplyBody>, Problem> {
        match asked {
            Asked::Job => self.make_job(of, request, source, account).await,
            Asked::Progress(job) => self.progress(of, job).await,
        }
    }

    async fn make_job(
        &self,
        of: For<'_>,
        mut request: Request<()>,
        source: &impl RequestSource,
        account: &Account,
    ) -> Result<Response<ReplyBody>, Problem> {
        let (function, _, spec) = of.catalogue.chosen(of.choice).ok_or_else(unavailable)?;
        let refused = |reason, problem| {
            account.facts.reason.set(Some(reason));
            if let Some(slot) = account.slot {
                self.shared.counters.count_reason(slot, reason);
            }
            problem
        };
        let body_bytes_max =
            spec.limits.request_body_bytes_max.to_native().min(JOB_BODY_BYTES_MAX as u64);
        let mut share = Share { held: &self.jobs.0, bytes: 0 };
        let body = read(source, body_bytes_max, &mut share).await;
        let body = body.map_err(|failure| match failure {
            ReadError::Full => refused(Reason::Worker, Problem::new(503, WORKER_FULL)),
            ReadError::Body(error @ BodyError::TooLarge { .. }) => {
                refused(Reason::RequestBody, Problem::new(413, error.to_string()))
            }
            ReadError::Body(error @ BodyError::Stalled { .. }) => {
                refused(Reason::RequestBody, Problem::new(408, error.to_string()))
            }
            ReadError::Body(error) => Problem::new(400, error.to_string()),
        })?;
        prefer::take(request.headers_mut());
        let location = location(of, &request);
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let (method, headers) = (request.method(), request.headers());
        let submission = Submission::new(of.alias_or_version(), method, path, headers, body);
        submission
            .check()
            .map_err(|why| Problem::new(431, format!("the request cannot become a job: {why}")))?;
        drop(request);
        let kept = answered(self.shared.state.submit(&function.name, submission)).await;
        let kept = kept.unwrap_or_else(|| Err(Refused::Unavailable(LATE.to_owned())));
        let job = kept.map_err(|why| {
            let (problem, why) = match why {
                Refused::Full(why) => (Problem::new(503, why.clone()), why),
                Refused::Unavailable(why) => (unavailable(), why),
                Refused::Denied => (unavailable(), "it takes no jobs any more".to_owned()),
            };
            let line = format!("[no job was made of the request: {why}]");
            self.shared.log.line(&function.name, account.id, Stream::Node, line.as_bytes());
            refused(Reason::Queue, problem)
        })?;
        Ok(accepted(job, &location))
    }

    async fn progress(
        &self,
        of: For<'_>,
        job: Option<JobId>,
    ) -> Result<Response<ReplyBody>, Problem> {
        let unknown = || Problem::new(404, "the function has no such job, or no longer");
        let (job, function) =
            job.zip(of.catalogue.function(of.choice.function)).ok_or_else(unknown)?;
        let known = answered(self.shared.state.progress(&function.name, job)).await;
        let known = known.and_then(Result::ok).ok_or_else(unavailable)?;
        Ok(told(job, known.ok_or_else(unknown)?))
    }
}

/// What a client is told if the worker has no room for its request.
const WORKER_FULL: &str = "too many requests become jobs at the same time; try again";
/// What the log is told if the engine takes too long.
const LATE: &str = "the engine has not answered in time, and may have it all the same";

fn unavailable() -> Problem {
    Problem::new(503, "the node cannot keep jobs, or know of them, at the moment; try again")
}

/// Returns what the engine answers. Returns `None` if it takes too long.
async fn answered<T>(answer: impl Future<Output = T>) -> Option<T> {
    timeout(JOB_ANSWER_TIMEOUT, answer).await.ok()
}

/// Why a request's body was not read.
enum ReadError {
    Body(BodyError),
    /// The worker holds as much as it may.
    Full,
}

/// Reads a request's body, of at most `bytes_max` bytes.
async fn read(
    source: &impl RequestSource,
    bytes_max: u64,
    share: &mut Share<'_>,
) -> Result<Vec<u8>, ReadError> {
    source.limit(bytes_max).map_err(ReadError::Body)?;
    let (mut body, mut bytes) = (pin!(source.body()), Vec::new());
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        // Trailers are not kept: few functions see them anyway.
        let Ok(data) = frame.map_err(ReadError::Body)?.into_data() else { continue };
        if !share.add(data.len()) {
            return Err(ReadError::Full);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Returns what stands before a job's id where its client asks about it.
fn location(of: For<'_>, request: &Request<()>) -> String {
    let prefix = of.prefix.and_then(|prefix| prefix.to_str().ok());
    [prefix.unwrap_or_else(|| of.domain_prefix(request)), STATUS_PATH].concat()
}

/// Returns the reply to a request that has become a job.
fn accepted(job: JobId, location: &str) -> Response<ReplyBody> {
    let mut reply = json(&serde_json::json!({ "id": job.to_string() }));
    *reply.status_mut() = StatusCode::ACCEPTED;
    let headers = reply.headers_mut();
    headers.insert(&PREFERENCE_APPLIED, HeaderValue::from_static(prefer::RESPOND_ASYNC));
    headers.insert(VARY, HeaderValue::from_static("prefer"));
    if let Ok(location) = HeaderValue::try_from(format!("{location}{job}")) {
        headers.insert(LOCATION, location);
    }
    reply
}

/// Returns the reply about a job.
fn told(job: JobId, progress: Progress) -> Response<ReplyBody> {
    let Progress { state, attempts, status } = progress;
    let mut reply = json(&serde_json::json!({
        "id": job.to_string(),
        "state": state.name(),
        "attempts": attempts,
        "status": status,
    }));
    if !state.is_final() {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}

fn json(value: &serde_json::Value) -> Response<ReplyBody> {
    let mut reply = Response::new(ReplyBody::Whole(Bytes::from(format!("{value}\n"))));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
