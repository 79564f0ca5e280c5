//! The control API's wire: HTTP/1.1 and JSON on a Unix socket that only the node's user can open,
//! and with `--admin` over TCP, where all under `/v1` needs the token.
//!
//! ```text
//! GET    /v1/status
//! GET    /v1/top
//! GET    /v1/functions
//! GET    /v1/functions/NAME
//! PUT    /v1/functions/NAME           multipart: `options` (JSON, first), `artefact` (the file); with ?activate=false it is only
//!                                     kept, with trial=false it is asked nothing.
//!                                     What `options` leave out is as the active version has it, but for `unset` (a list of
//!                                     options), or the default with `fresh_options: true`
//! GET    /v1/deploys/ID               how far the deploy is that came with the header `sockhop-deploy-id: ID`, see [`deploys`]
//! DELETE /v1/functions/NAME           it can be restored for a day, but with ?for-good=true
//! POST   /v1/functions/NAME/restore   {"id": "..."}, or without for what was removed last
//! GET    /v1/removed                  what can be restored
//! ...    /v1/functions/NAME/secrets      see [`secrets`]
//! ANY    /v1/functions/NAME/invoke/PATH?QUERY      NAME may be NAME@ALIAS or NAME@VERSION
//! GET    /v1/logs?QUERY, /v1/invocations/ID      see `logs`
//! GET    /v1/openapi.json     what of this is under /v1, as an OpenAPI document
//! GET    /metrics, /healthz, /readyz
//! ```
//! Errors are JSON with `error`. Owns the socket, and removes its file when the node stops.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use abi::board;
use abi::reference::split;
use api::endpoint::Endpoint;
use api::endpoints::{
    Deploy, GetDeploy, GetFunction, GetInvocation, GetLogs, GetOpenApi, GetStatus, GetTop,
    INVOKE_PATHS, ListFunctions, ListRemoved, ListSecrets, RemoveFunction, RemoveSecret,
    RestoreFunction, SetSecret,
};
use api::errors::ErrorAnswer;
use api::functions::{InspectedFunction, Reuse};
use api::removed::{RemoveQuery, Restore};
use api::status::{NodeStatus, Status, WorkerStatus};
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, middleware};
use tokio::net::UnixListener;
use tokio::sync::mpsc::Sender;
use tokio::sync::{oneshot, watch};

use super::Life;
use super::deploys::{self, Deploys};
use super::functions::{ChangeError, Functions};
use super::invoke::{self, InvokeError};
use super::routes::{Answered, QueryOf, Router, Routes as _};
use super::tcp::{self, Admin};
use super::versions_api::read;
use super::{deploy, health, logs, names, secrets, top, versions_api};
use crate::metrics::memory;
use ::logs::Logs;
use fleet::dispatch::Shared;
use fleet::workers::supervise::Command;
use host::socket_file;

/// Everything a handler needs.
#[derive(Debug)]
pub struct Control {
    pub functions: Arc<Functions>,
    pub deploys: Arc<Deploys>,
    pub supervisor: Sender<Command>,
    pub shared: Arc<Shared>,
    pub logs: Arc<Logs>,
    pub listeners: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
    /// When the node started, in seconds since 1970.
    pub started_s: u64,
    pub life: watch::Receiver<Life>,
}

/// Why the control socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the control socket {path:?} cannot be opened: {source}{hint}")]
pub struct SocketError {
    path: PathBuf,
    source: io::Error,
    hint: &'static str,
}

/// Opens the control socket beside `path`, with mode 0600; it is found once that is
/// [published](socket_file::replace). The caller holds the data folder's lock.
///
/// # Errors
/// [`SocketError`] naming the path.
pub fn bind(path: &FilePath) -> Result<std::os::unix::net::UnixListener, SocketError> {
    let open = || {
        let beside = socket_file::beside(path)?;
        let listener = std::os::unix::net::UnixListener::bind(&beside)?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    open().map_err(|source: io::Error| {
        let too_long = source.kind() == io::ErrorKind::InvalidInput;
        let hint = if too_long {
            "; a socket's path has at most 107 bytes (unix(7)): use a shorter --data"
        } else {
            ""
        };
        SocketError { path: path.to_owned(), source, hint }
    })
}

impl Control {
    /// What is told of the node as a whole.
    pub(super) async fn node(&self) -> NodeStatus {
        let url = |address: &SocketAddr| format!("http://{address}");
        NodeStatus {
            pid: std::process::id(),
            version: abi::BUILD_ID.to_owned(),
            listeners: self.listeners.iter().map(url).collect(),
            admin: self.admin.as_ref().map(url),
            generation: self.functions.generation(),
            functions: self.functions.count().await,
            compilations: self.functions.compilations(),
            draining: self.is_draining(),
            store_away: self.functions.store().away(),
            started_s: self.started_s,
        }
    }

    /// Whether the node is on its way out.
    pub(super) fn is_draining(&self) -> bool {
        *self.life.borrow() != Life::Serving
    }

    /// What is told of the workers.
    pub(super) async fn workers(&self) -> Result<Vec<WorkerStatus>, Failed> {
        let (answer, workers) = oneshot::channel();
        let stopping = || Failed::from(ChangeError::Stopping);
        self.supervisor.send(Command::Status { answer }).await.map_err(|_| stopping())?;
        let mut workers = workers.await.map_err(|_| stopping())?;
        for worker in &mut workers {
            worker.memory_bytes = worker.pid.and_then(memory::resident_bytes);
        }
        Ok(workers)
    }
}

/// Serves the API until the process ends.
pub async fn serve(listener: UnixListener, admin: Option<Admin>, control: Arc<Control>) {
    let open = axum::Router::new()
        .route("/metrics", get(health::metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .with_state(Arc::clone(&control));
    let named = Router::new()
        .serve(GetFunction, inspect)
        .serve(Deploy, deploy::deploy)
        .serve(RemoveFunction, remove)
        .serve(RestoreFunction, restore)
        .serve(ListSecrets, secrets::list)
        .serve(SetSecret, secrets::set)
        .serve(RemoveSecret, secrets::remove)
        .layer(DefaultBodyLimit::disable())
        .merge(versions_api::routes())
        .layer(middleware::from_fn(names::check));
    let invoke = |router: Router, path: &&str| router.route(path, any(call));
    let calls = INVOKE_PATHS.iter().fold(Router::new(), invoke);
    let guarded = Router::new()
        .serve(GetStatus, status)
        .serve(GetTop, top::top)
        .serve(GetLogs, logs::logs)
        .serve(GetInvocation, logs::invocation)
        .serve(GetDeploy, deploys::progress)
        .serve(ListFunctions, list)
        .serve(ListRemoved, removed)
        .serve(GetOpenApi, open_api)
        .merge(calls)
        .layer(DefaultBodyLimit::disable())
        .merge(named);
    let (guarded, life) = (guarded.with_state(Arc::clone(&control)), control.life.clone());
    if let Some(admin) = admin {
        let guarded = guarded
            .clone()
            .layer(middleware::from_fn_with_state(Arc::clone(&admin.token), tcp::check));
        tokio::spawn(tcp::serve(admin, open.clone().merge(guarded), life));
    }
    if let Err(error) = axum::serve(listener, open.merge(guarded)).await {
        tracing::error!("the control API has ended: {error}");
    }
}

/// An error on its way to the client.
pub(super) struct Failed {
    pub(super) status: StatusCode,
    pub(super) error: String,
    pub(super) retry: bool,
}

impl Failed {
    pub(super) fn new(status: StatusCode, error: impl std::fmt::Display) -> Self {
        Self { status, error: error.to_string(), retry: false }
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        // A terminal's next prompt begins a line.
        let error = serde_json::to_string(&ErrorAnswer { error: self.error });
        let body = format!("{}\n", error.unwrap_or_default());
        let mut response =
            (self.status, [(CONTENT_TYPE, "application/json")], body).into_response();
        if self.retry {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static(abi::problem::RETRY_AFTER_S));
        }
        response
    }
}

impl From<ChangeError> for Failed {
    fn from(error: ChangeError) -> Self {
        let status =
            StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { retry: matches!(error, ChangeError::TakenOver), ..Self::new(status, error) }
    }
}

pub(super) fn bad_request(what: impl std::fmt::Display) -> Failed {
    Failed::new(StatusCode::BAD_REQUEST, what)
}

async fn status(State(control): State<Arc<Control>>) -> Answered<GetStatus> {
    Ok(Json(Status { node: control.node().await, workers: control.workers().await? }))
}

async fn list(State(control): State<Arc<Control>>) -> Answered<ListFunctions> {
    Ok(Json(control.functions.list().await))
}

async fn inspect(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Answered<GetFunction> {
    let function = control.functions.inspect(&name).await?;
    Ok(Json(InspectedFunction { reuse: reuse(&control, &name), ..function }))
}

/// What became of a function's instances that have served a request and may serve several; none
/// when there were none.
fn reuse(control: &Control, name: &str) -> Option<Reuse> {
    let reading = control.shared.metrics.read(&control.shared.snapshot.load().catalogue);
    let function = reading.functions.iter().find(|function| function.name == name)?;
    let count = |outcome: board::Reuse| function.tally.reuses[outcome as usize];
    let reuse = Reuse {
        kept: count(board::Reuse::Kept),
        memory: count(board::Reuse::Memory),
        request: count(board::Reuse::Request),
        room: count(board::Reuse::Room),
        served: count(board::Reuse::Served),
    };
    (reuse != Reuse::default()).then_some(reuse)
}

async fn removed(State(control): State<Arc<Control>>) -> Answered<ListRemoved> {
    Ok(Json(control.functions.removed().await?))
}

async fn open_api() -> Answered<GetOpenApi> {
    Ok(Json(api::openapi::document(abi::BUILD_ID)))
}

async fn remove(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    QueryOf(RemoveQuery { for_good }): QueryOf<RemoveFunction>,
) -> Result<Response, Failed> {
    // A client that leaves now has asked for it all the same: what is begun comes to an end.
    let removing = tokio::spawn(async move { control.functions.remove(&name, for_good).await });
    let removed: <RemoveFunction as Endpoint>::Answer =
        removing.await.unwrap_or(Err(ChangeError::Stopping))?;
    Ok(match removed {
        Some(removed) => Json(removed).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

async fn restore(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    body: axum::body::Bytes,
) -> Answered<RestoreFunction> {
    let Restore { id } = read(&body)?;
    let restoring =
        tokio::spawn(async move { control.functions.restore(&name, id.as_deref()).await });
    Ok(Json(restoring.await.unwrap_or(Err(ChangeError::Stopping))?))
}

async fn call(
    State(control): State<Arc<Control>>,
    request: Request<Body>,
) -> Result<Response, Failed> {
    let whole = request.uri().path_and_query().map_or("", |path| path.as_str());
    let unfit = || bad_request("expected /v1/functions/NAME/invoke/PATH");
    let (name, rest) = whole
        .strip_prefix("/v1/functions/")
        .and_then(|rest| rest.split_once("/invoke"))
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .ok_or_else(unfit)?;
    names::check_called(&name).map_err(bad_request)?;
    let (function, reference) = split(&name);
    control.functions.find(function, reference).await?;
    invoke::invoke(&control.supervisor, &name, &rest, request).await.map_err(|error| match error {
        InvokeError::Path(_) => bad_request(error),
        InvokeError::Connection(_) => Failed::new(StatusCode::BAD_GATEWAY, error),
    })
}
