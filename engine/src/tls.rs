//! What the processes that end TLS work by: read at the start, and again whenever it has changed.
//! Owns the sealed memory of the newest until the supervisor has it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use certificates::{Keeper, Sources};
use fleet::workers::supervise::Command;
use secrets::KeyFile;
use settings::Settings;
use tokio::sync::mpsc::Sender;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Reads the certificates for the first time. Returns what edges are sent, and what looks for
/// changes.
///
/// # Errors
/// What cannot be used, as a sentence for the terminal.
pub(crate) fn open(settings: &Settings, key: &KeyFile) -> anyhow::Result<(Arc<OwnedFd>, Keeper)> {
    let sources = Sources {
        certificate: settings.tls_cert.clone(),
        key: settings.tls_key.clone(),
        folder: settings.tls_dir.clone(),
        data: settings.data.clone(),
    };
    // Tickets are sealed with a key that follows from it, so that all nodes that have it open them.
    let keeper = Keeper::open(sources, key.get_or_make()?, SystemTime::now())?;
    if keeper.uses_own() {
        tracing::warn!(
            "https:// clients get a certificate for localhost that the node has signed itself, \
             which they do not trust; --tls-cert, --tls-key and --tls-dir name others"
        );
    }
    let sealed = keeper.current().seal().context("the certificates cannot be passed on")?;
    Ok((Arc::new(sealed), keeper))
}

/// Sends the edges what has changed, until the node stops.
pub(crate) async fn keep_up(mut keeper: Keeper, supervisor: Sender<Command>) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        // Files may be on a disk that does not answer.
        let looked = tokio::task::spawn_blocking(move || {
            let has_changed = keeper.look(SystemTime::now());
            let sealed = has_changed.then(|| keeper.current().seal());
            (keeper, sealed)
        });
        let Ok((same, sealed)) = looked.await else { return };
        keeper = same;
        match sealed {
            None => {}
            Some(Ok(sealed)) => {
                tracing::info!("the certificates have changed");
                let certificates = Arc::new(sealed);
                if supervisor.send(Command::Certificates { certificates }).await.is_err() {
                    return;
                }
            }
            Some(Err(error)) => tracing::error!("{error}; TLS goes on with what it had"),
        }
    }
}
