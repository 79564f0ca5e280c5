//! The turn to ring: the data folder's [lock and file](super::settled), and with NATS the
//! [lease](Lease) that all nodes share, too. Owns what those own.

use std::collections::BTreeMap;
use std::io;

use store::error::StoreError;

use super::Cron;
use super::lease::{self, Lease};
use super::settled::Settled;

/// The turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    locked: Settled,
    /// Among all nodes.
    lease: Option<Lease>,
}

/// Why what is settled was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The file: this node is the only one, and rings all the same.
    #[error("after a restart ticks may be rung twice, or be missed: {0}")]
    File(StoreError),
    /// NATS: nothing may be rung.
    #[error("nothing is rung: {0}")]
    Lease(#[from] lease::WriteError),
}

impl Turn {
    /// Waits until no other engine on this data folder rings, and with NATS no other node.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub(super) async fn wait(cron: &Cron) -> io::Result<Self> {
        let data = cron.plan.data.clone();
        let locked = tokio::task::spawn_blocking(move || Settled::wait(&data));
        let locked = locked.await.map_err(io::Error::other)??;
        let lease = match &cron.plan.nats {
            Some(nats) => {
                Some(Lease::wait(nats, &cron.plan.node, |host| cron.lock().holder = host).await)
            }
            None => None,
        };
        Ok(Self { locked, lease })
    }

    /// Returns whether nodes take turns by NATS, and need not be told otherwise.
    pub(super) fn is_shared(&self) -> bool {
        self.lease.is_some()
    }

    /// Returns up to which tick each schedule is settled, as it was written last.
    pub(super) fn read(&self) -> BTreeMap<String, u64> {
        match &self.lease {
            Some(lease) => lease.settled().clone(),
            None => self.locked.read(),
        }
    }

    /// Returns whether something is to be written, though nothing has changed.
    pub(super) fn is_due(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::is_due)
    }

    /// Writes what is settled.
    ///
    /// # Errors
    /// [`WriteError`] says what may be rung.
    pub(super) async fn write(&mut self, settled: BTreeMap<String, u64>) -> Result<(), WriteError> {
        if let Some(lease) = &mut self.lease {
            return Ok(lease.write(settled).await?);
        }
        match tokio::task::spawn_blocking(self.locked.writer(settled)).await {
            Ok(written) => written.map_err(WriteError::File),
            // The node stops.
            Err(_) => Ok(()),
        }
    }

    /// Lets another node ring at once.
    pub(super) async fn end(self) {
        if let Some(lease) = self.lease {
            lease.end().await;
        }
    }
}
