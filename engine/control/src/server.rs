//! The control API's wire: HTTP/1.1 and JSON on a Unix socket that only the node's user can open,
//! and with `--admin` over TCP, where all under `/v1` needs the token. The [`dashboard`], which is a
//! client of it, is at `/`.
//!
//! Which paths there are, [`api::endpoints`] lists; each of the [handlers](crate::handlers) says
//! what its own take. Errors are JSON with `error`. Owns the socket, and removes its file when the
//! node stops.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use api::endpoints::{
    AddCron, CancelJob, Deploy, GetBundle, GetDeploy, GetFunction, GetInvocation, GetJob, GetLogs,
    GetOpenApi, GetStateValue, GetStatus, GetTop, GetVersion, INVOKE_PATHS, ListAliases, ListCron,
    ListDomains, ListFunctions, ListJobs, ListRemoved, ListSecrets, ListStateEntries,
    ListStateKeys, ListVersions, RemoveAlias, RemoveCron, RemoveDomain, RemoveFunction,
    RemoveSecret, RemoveStateKey, RestoreFunction, RetryJob, RollBack, RunCron, SUBMIT_PATHS,
    SetAlias, SetDomain, SetOptions, SetProjectCron, SetSecret, SetStateEntries, SetStateValue,
};
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{any, get, post};
use host::socket_file;
use lambda_api::sigv4::Credential;
use tokio::net::UnixListener;

use crate::control::Control;
use crate::handlers::{
    bundles, cron, deploys, domains, functions, health, invoke::invoke, jobs, kv, logs, secrets,
    top, versions,
};
use crate::lambda::Node;
use crate::names;
use crate::routes::{Router, Routes as _};
use crate::tcp::{self, Admin};

/// The access key id of the API as AWS Lambda has it.
const LAMBDA_KEY_ID: &str = "sockhop";

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

/// The ways in from elsewhere, each of which needs the token.
#[derive(Debug, Default)]
pub struct Remote {
    /// That of this API.
    pub admin: Option<Admin>,
    /// That of the API as AWS Lambda has it.
    pub lambda: Option<Admin>,
}

/// Serves the API until the process ends.
pub async fn serve(listener: UnixListener, remote: Remote, control: Arc<Control>) {
    let Remote { admin, lambda } = remote;
    if let Some(lambda) = lambda {
        let credential = Credential::new(LAMBDA_KEY_ID, lambda.token.as_str());
        let node = Node { control: Arc::clone(&control) };
        let router = lambda_api::router(node, lambda_api::Settings::new(credential));
        let connections_max = tcp::LAMBDA_CONNECTIONS_MAX;
        tokio::spawn(tcp::serve(lambda, connections_max, router, control.life.clone()));
    }
    let open = axum::Router::new()
        .route("/metrics", get(health::metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .merge(dashboard::router())
        .with_state(Arc::clone(&control));
    let changes = Router::new()
        .serve(RestoreFunction, functions::restore)
        .serve(GetBundle, bundles::program)
        .serve(ListVersions, versions::versions)
        .serve(GetVersion, versions::version)
        .serve(SetOptions, deploys::set_options)
        .serve(RollBack, versions::roll_back)
        .serve(ListAliases, versions::aliases)
        .serve(SetAlias, versions::set_alias)
        .serve(RemoveAlias, versions::remove_alias)
        .serve(ListStateKeys, kv::keys)
        .serve(GetStateValue, kv::value)
        .serve(SetStateValue, kv::set)
        .serve(RemoveStateKey, kv::remove)
        .serve(ListStateEntries, kv::entries)
        .serve(SetStateEntries, kv::set_entries)
        .serve(SetDomain, domains::set)
        .serve(RemoveDomain, domains::remove)
        .serve(AddCron, cron::add)
        .serve(SetProjectCron, cron::set_project)
        .serve(RemoveCron, cron::remove)
        .serve(RunCron, cron::run);
    // What receives files and secrets has limits of its own; what is merged behind the layer keeps
    // axum's.
    let named = Router::new()
        .serve(GetFunction, functions::inspect)
        .serve(Deploy, deploys::deploy)
        .serve(RemoveFunction, functions::remove)
        .serve(ListSecrets, secrets::list)
        .serve(SetSecret, secrets::set)
        .serve(RemoveSecret, secrets::remove)
        .layer(DefaultBodyLimit::disable())
        .merge(changes)
        .layer(middleware::from_fn(names::check));
    let route = |router: Router, path: &&str| router.route(path, any(invoke));
    let calls = INVOKE_PATHS.iter().fold(Router::new(), route);
    let route = |router: Router, path: &&str| router.route(path, post(jobs::submit));
    let calls = SUBMIT_PATHS.iter().fold(calls, route);
    let guarded = Router::new()
        .serve(GetStatus, functions::status)
        .serve(GetTop, top::top)
        .serve(GetLogs, logs::logs)
        .serve(GetInvocation, logs::invocation)
        .serve(GetDeploy, deploys::progress)
        .serve(ListFunctions, functions::list)
        .serve(ListRemoved, functions::removed)
        .serve(ListDomains, domains::list)
        .serve(ListCron, cron::list)
        .serve(ListJobs, jobs::list)
        .serve(GetJob, jobs::show)
        .serve(CancelJob, jobs::cancel)
        .serve(RetryJob, jobs::retry)
        .serve(GetOpenApi, functions::open_api)
        .merge(calls)
        .layer(DefaultBodyLimit::disable())
        .merge(named);
    let (guarded, life) = (guarded.with_state(Arc::clone(&control)), control.life.clone());
    if let Some(admin) = admin {
        let guarded = guarded
            .clone()
            .layer(middleware::from_fn_with_state(Arc::clone(&admin.token), tcp::check));
        let connections_max = tcp::CONTROL_CONNECTIONS_MAX;
        tokio::spawn(tcp::serve(admin, connections_max, open.clone().merge(guarded), life));
    }
    if let Err(error) = axum::serve(listener, open.merge(guarded)).await {
        tracing::error!("the control API has ended: {error}");
    }
}
