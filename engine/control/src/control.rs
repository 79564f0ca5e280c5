//! What handlers of the control API work with. Owns no fds.

use std::net::SocketAddr;
use std::sync::Arc;

use acme::Acme;
use api::status::{NodeStatus, WorkerStatus};
use fleet::dispatch::Shared;
use fleet::workers::supervise::Command;
use host::listen::Url;
use logs::Logs;
use state::server::Server;
use tokio::sync::mpsc::Sender;
use tokio::sync::{oneshot, watch};

use crate::cron::Cron;
use crate::deploys::Deploys;
use crate::functions::{ChangeError, Functions};
use crate::jobs::Jobs;
use crate::life::Life;
use crate::metrics::memory;

/// Everything a handler needs.
#[derive(Debug)]
pub struct Control {
    pub functions: Arc<Functions>,
    pub cron: Arc<Cron>,
    pub jobs: Arc<Jobs>,
    pub deploys: Arc<Deploys>,
    pub supervisor: Sender<Command>,
    pub shared: Arc<Shared>,
    pub logs: Arc<Logs>,
    /// Who answers about functions' state.
    pub state: Server,
    pub listeners: Vec<Url>,
    /// What orders certificates. `None` if none are ordered.
    pub acme: Option<Arc<Acme>>,
    pub admin: Option<SocketAddr>,
    pub lambda_api: Option<SocketAddr>,
    /// What this host does not let native functions have, a sentence each.
    pub native_limits: Vec<String>,
    /// When the node started, in seconds since 1970.
    pub started_s: u64,
    pub life: watch::Receiver<Life>,
}

impl Control {
    /// Returns what there is to say of the node as a whole.
    pub(crate) fn node(&self) -> NodeStatus {
        let url = |address: &SocketAddr| format!("http://{address}");
        let listing = &self.functions.listing;
        NodeStatus {
            pid: std::process::id(),
            version: abi::BUILD_ID.to_owned(),
            listeners: self.listeners.iter().map(ToString::to_string).collect(),
            admin: self.admin.as_ref().map(url),
            lambda_api: self.lambda_api.as_ref().map(url),
            path_routes: self.shared.names.load().paths,
            native_limits: self.native_limits.clone(),
            generation: listing.generation(),
            functions: listing.count(),
            compilations: listing.compilations(),
            draining: self.is_draining(),
            store_away: self.functions.follower.store().away(),
            started_s: self.started_s,
            cron: self.cron.status(),
            jobs: self.jobs.status(),
        }
    }

    /// Returns whether the node is on its way out.
    pub(crate) fn is_draining(&self) -> bool {
        *self.life.borrow() != Life::Serving
    }

    /// Returns what there is to say of each worker.
    ///
    /// # Errors
    /// [`ChangeError::Stopping`] when there is no supervisor any more.
    pub(crate) async fn workers(&self) -> Result<Vec<WorkerStatus>, ChangeError> {
        let (answer, workers) = oneshot::channel();
        let status = Command::Status { answer };
        self.supervisor.send(status).await.map_err(|_| ChangeError::Stopping)?;
        let mut workers = workers.await.map_err(|_| ChangeError::Stopping)?;
        for worker in &mut workers {
            worker.memory_bytes = worker.pid.and_then(memory::resident_bytes);
        }
        Ok(workers)
    }
}
