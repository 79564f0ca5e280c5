//! SIGHUP: the settings are read again, and what can change is taken over by the log, the shards and every worker.
//!
//! What is wrong is logged and changes nothing. Owns no fds.

use abi::message::Settings as OfWorkers;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::log;
use crate::settings::{Mistakes, Resolved, Settings, Sources};
use crate::workers::supervise::Command;

/// What workers are told of the settings, but for the function that one is for.
pub(crate) fn of_workers(settings: &Settings, shared_workers: usize) -> OfWorkers {
    let millis = |duration: humantime::Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    OfWorkers {
        only_function: None,
        shared_rows: u16::try_from(shared_workers).unwrap_or(u16::MAX),
        domain: settings.domain.clone(),
        head_timeout_ms: millis(settings.head_timeout),
        idle_timeout_ms: millis(settings.idle_timeout),
        write_timeout_ms: millis(settings.write_timeout),
        log_filter: settings.log.to_string(),
    }
}

/// Resolves the settings on a thread of its own: a file that cannot be read yet must not hold the supervisor up, nor the end.
async fn read_aside(sources: &Sources) -> anyhow::Result<Result<Resolved, Mistakes>> {
    let (sources, (read, result)) = (sources.clone(), oneshot::channel());
    // Nobody waits for it any more only when the node stops.
    std::thread::Builder::new().name("settings".into()).spawn(move || drop(read.send(sources.resolve())))?;
    Ok(result.await?)
}

/// Has each `hangup` change the node that was started with `resolved`, until the node stops.
pub(crate) async fn at_each(
    mut hangup: Signal,
    sources: Sources,
    mut resolved: Resolved,
    shared_workers: usize,
    supervisor: UnboundedSender<Command>,
) {
    while hangup.recv().await.is_some() {
        if sources.file.is_none() {
            tracing::warn!(
                "SIGHUP has the configuration read again, and there is none: the node runs without --config"
            );
            continue;
        }
        let Ok(newer) = read_aside(&sources).await else {
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
        let settings = of_workers(&now.settings, shared_workers);
        let (done, taken) = oneshot::channel();
        let command = Command::Reconfigure { settings, drain_timeout: *now.settings.drain_timeout, done };
        if supervisor.send(command).is_err() || taken.await.is_err() {
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
