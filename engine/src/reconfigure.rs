//! SIGHUP: the settings are read again, and what can change is taken over by the log, the shards
//! and every worker.
//!
//! What is wrong is logged and changes nothing. Owns no fds.

use std::sync::Arc;

use abi::message::Settings as OfWorkers;
use abi::names::Names;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use fleet::core::admit::ConnectionLimits;
use fleet::dispatch::Shared;
use fleet::workers::supervise::Command;
use host::log;
use settings::{Resolved, Settings, Sources};

/// What workers are told of the settings, but for what each is for.
pub(crate) fn of_workers(settings: &Settings, fixed: &Fixed) -> OfWorkers {
    let millis =
        |duration: humantime::Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    OfWorkers {
        only_function: None,
        shared_rows: u16::try_from(fixed.shared_workers).unwrap_or(u16::MAX),
        address_seed: fixed.address_seed,
        names: names(settings),
        https_redirect: settings.https_redirect,
        trusted_proxies: settings.trusted_proxies.clone(),
        head_timeout_ms: millis(settings.head_timeout),
        idle_timeout_ms: millis(settings.idle_timeout),
        write_timeout_ms: millis(settings.write_timeout),
        access_log: settings.access_log.into(),
        logs: settings.logs.is_on(),
        guest_stderr: settings.guest_log == log::Guest::Stderr,
        trace_sample: if settings.otlp_endpoint.is_some() { settings.otlp_sample.0 } else { 0 },
        log_filter: settings.log.to_string(),
        native_sandbox: settings.native_sandbox.into(),
        native_cores: fixed.cores.clone(),
    }
}

/// By which names functions are found besides the catalogue's domains.
pub(crate) fn names(settings: &Settings) -> Names {
    Names { domain: settings.domain.clone(), paths: settings.path_routes.is_on() }
}

/// How many connections shards take.
pub(crate) fn of_shards(settings: &Settings) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: settings.connections_max,
        per_address_max: settings.connections_per_address_max,
        proxies: settings.trusted_proxies.clone(),
        head_timeout: *settings.head_timeout,
    }
}

/// What workers are told besides, and does not change.
#[derive(Debug, Clone)]
pub(crate) struct Fixed {
    pub(crate) cores: Vec<u16>,
    pub(crate) shared_workers: usize,
    pub(crate) address_seed: u64,
}

/// Calls `read` on a thread of its own: a file that cannot be read yet must not hold the supervisor
/// up, nor the end.
///
/// # Errors
/// When there can be no thread, or `read` has panicked.
pub(crate) async fn aside<T: Send + 'static>(
    name: &str,
    read: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let (done, result) = oneshot::channel();
    // Nobody waits for it any more only when the node stops.
    std::thread::Builder::new().name(name.into()).spawn(move || drop(done.send(read())))?;
    Ok(result.await?)
}

/// Has each `hangup` change the node that was started with `resolved`, until the node stops.
pub(crate) async fn at_each(
    mut hangup: Signal,
    sources: Sources,
    mut resolved: Resolved,
    (fixed, shared, supervisor): (Fixed, Arc<Shared>, Sender<Command>),
) {
    while hangup.recv().await.is_some() {
        if sources.file.is_none() {
            tracing::warn!(
                "SIGHUP has the configuration read again, and there is none: the node runs without --config"
            );
            continue;
        }
        let again = sources.clone();
        let Ok(newer) = aside("settings", move || again.resolve()).await else {
            tracing::error!("the settings stay as they were: no thread could read them");
            continue;
        };
        let (now, change) = match newer.and_then(|newer| resolved.take_over(&newer)) {
            Ok(taken_over) => taken_over,
            Err(mistakes) => {
                let mistakes = mistakes.to_string().replace("\n  ", "; ");
                tracing::error!("the settings stay as they were: {mistakes}");
                continue;
            }
        };
        log::change_filter(&now.settings.log);
        shared.limits.store(Arc::new(of_shards(&now.settings)));
        let settings = of_workers(&now.settings, &fixed);
        let (done, taken) = oneshot::channel();
        let command =
            Command::Reconfigure { settings, drain_timeout: *now.settings.drain_timeout, done };
        if supervisor.send(command).await.is_err() || taken.await.is_err() {
            // The node stops.
            return;
        }
        match change.has_waiting() {
            true => tracing::warn!("configuration re-read: {change}"),
            false => tracing::info!("configuration re-read: {change}"),
        }
        resolved = now;
    }
}
