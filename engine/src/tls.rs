//! What the processes that end TLS work by: read at the start, and again whenever it has changed.
//! Owns the sealed memory of the newest until the supervisor has it.

use std::future::pending;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use abi::certificates::{Certificate, Certificates, CertificatesError};
use acme::{Held, Shown};
use certificates::{Keeper, Sources};
use fleet::workers::supervise::Command;
use secrets::KeyFile;
use settings::Settings;
use tokio::sync::mpsc::Sender;
use tokio::sync::{oneshot, watch};

use crate::reconfigure::aside;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What is ordered by ACME, if that is switched on.
pub(crate) type Ordered = Option<Orders>;

/// What is held of it, and whom to tell that edges have it.
pub(crate) struct Orders {
    pub(crate) held: watch::Receiver<Arc<Held>>,
    pub(crate) shown: Shown,
}

/// Reads the certificates for the first time. `has_acme` is whether others are ordered besides.
///
/// # Errors
/// What cannot be used, as a sentence for the terminal.
pub(crate) fn open(settings: &Settings, key: &KeyFile, has_acme: bool) -> anyhow::Result<Keeper> {
    let sources = Sources {
        certificate: settings.tls_cert.clone(),
        key: settings.tls_key.clone(),
        folder: settings.tls_dir.clone(),
        data: settings.data.clone(),
    };
    // Tickets are sealed with a key that follows from it, so that all nodes that have it open them.
    let keeper = Keeper::open(sources, key.get_or_make()?, SystemTime::now())?;
    if keeper.uses_own() && !has_acme {
        tracing::warn!(
            "https:// clients get a certificate for localhost that the node has signed itself, \
             which they do not trust; --tls-cert, --tls-key and --tls-dir name others, and \
             --acme-email has them ordered"
        );
    }
    Ok(keeper)
}

/// Seals all that edges are sent.
///
/// # Errors
/// When there are too many certificates, or memory runs out.
pub(crate) fn seal(keeper: &Keeper, ordered: &Ordered) -> Result<Arc<OwnedFd>, CertificatesError> {
    let whole = held(ordered).map_or_else(|| keeper.current().clone(), |held| with(keeper, &held));
    Ok(Arc::new(whole.seal()?))
}

/// Returns the operator's certificates, and behind them those that were ordered: what the operator
/// has brought for a name wins.
fn with(keeper: &Keeper, held: &Held) -> Certificates {
    let mut whole = keeper.current().clone();
    whole.by_name.extend(held.certificates.iter().map(|certificate| Certificate {
        names: certificate.names.clone(),
        chain: certificate.chain.clone(),
        key: certificate.key.pkcs8_der().to_vec(),
    }));
    whole.challenges.extend(held.challenges.iter().map(|challenge| Certificate {
        names: vec![challenge.name.clone()],
        chain: vec![challenge.certificate.clone()],
        key: challenge.key.pkcs8_der().to_vec(),
    }));
    whole
}

/// Sends the edges what has changed, until the node stops.
pub(crate) async fn keep_up(mut keeper: Keeper, mut ordered: Ordered, supervisor: Sender<Command>) {
    // Edges start with what was sealed before. What has changed since then comes below.
    report(&ordered, None);
    loop {
        let has_changed = tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {
                // Files may be on a disk that does not answer.
                let looked = aside("certificates", move || {
                    let has_changed = keeper.look(SystemTime::now());
                    (keeper, has_changed)
                });
                let (same, has_changed) = match looked.await {
                    Ok(looked) => looked,
                    Err(error) => {
                        tracing::error!("certificates are not looked at any more: {error}");
                        return;
                    }
                };
                keeper = same;
                has_changed
            }
            () = changed(&mut ordered) => true,
        };
        if !has_changed {
            continue;
        }
        let held = held(&ordered);
        match seal(&keeper, &ordered) {
            Ok(certificates) => {
                tracing::info!("the certificates have changed");
                let (done, sent) = oneshot::channel();
                let command = Command::Certificates { certificates, done };
                if supervisor.send(command).await.is_err() || sent.await.is_err() {
                    return;
                }
                report(&ordered, held);
            }
            Err(error) => tracing::error!("{error}; TLS goes on with what it had"),
        }
    }
}

fn held(ordered: &Ordered) -> Option<Arc<Held>> {
    ordered.as_ref().map(|orders| Arc::clone(&orders.held.borrow()))
}

/// Says what edges end TLS with, besides the operator's certificates.
fn report(ordered: &Ordered, held: Option<Arc<Held>>) {
    if let Some(orders) = ordered {
        orders.shown.report(held.unwrap_or_default());
    }
}

/// Resolves when something else is ordered than before. Nothing is lost if it is dropped before.
async fn changed(ordered: &mut Ordered) {
    if let Some(orders) = ordered
        && orders.held.changed().await.is_ok()
    {
        return;
    }
    pending().await
}
