//! Removing old versions that nothing names. Owns no fds.

use std::sync::Arc;

use store::retention::{Retention, versions};

use super::changes::Changes;
use super::error::ChangeError;
use super::gate::Turn;

/// Removes old versions.
#[derive(Debug)]
pub(super) struct Pruning {
    pub(super) changes: Changes,
    /// Which versions go.
    pub(super) retention: Arc<Retention>,
}

impl Pruning {
    /// Removes the versions of the function `name` that no alias holds and that are neither among
    /// its newest nor young, by the policy of the node that keeps most. What cannot be removed now
    /// goes another time.
    ///
    /// # Errors
    /// When the store does not answer, or the change cannot be published.
    pub(super) async fn prune(&self, turn: &Turn, name: &str) -> Result<(), ChangeError> {
        let Changes { stored, publication, .. } = &self.changes;
        let Some(function) = stored.read_function(name).await? else { return Ok(()) };
        // Most deploys make nothing too old. By the last verdict, which is not old itself, they
        // need not ask the store.
        let nothing_goes = |verdict| versions::to_remove(&function, verdict).is_empty();
        if self.retention.last().as_ref().is_some_and(nothing_goes) {
            return Ok(());
        }
        let gone = versions::to_remove(&function, &self.retention.look().await?);
        if gone.is_empty() {
            return Ok(());
        }
        let mut changed = function.as_ref().clone();
        for version in &gone {
            stored.repository.prune(version).await?;
            changed.drop_version(&version.version);
        }
        tracing::info!("function {name:?}: old versions are removed ({})", gone.len());
        let served = publication.with(name, &changed);
        publication.forget_unused(turn, &served).await;
        self.changes.end(turn, name, Some(Arc::new(changed)), served).await
    }
}
