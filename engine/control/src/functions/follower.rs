//! What a node does to have what other nodes deploy, and to forget what nobody has any more. Owns
//! no fds.

use std::sync::Arc;
use std::time::Instant;

use secrets::Secrets;
use store::contents::Contents;
use store::domains::Domains;
use store::known::Known;
use store::removed::KEPT_FOR;
use store::retention::Retention;
use store::schedules::Schedules;

use super::changes::Changes;
use super::error::ChangeError;
use super::servable;
use super::store_state::StoreState;

/// Follows the store.
#[derive(Debug)]
pub struct Follower {
    pub(super) changes: Changes,
    pub(super) secrets: Arc<Secrets>,
    pub(super) domains: Arc<Domains>,
    pub(super) schedules: Arc<Schedules>,
    pub(super) retention: Arc<Retention>,
}

/// What is remembered on this node's disk of the store, for a start while that is away.
#[derive(Debug)]
pub struct Memory {
    pub(super) known: Known,
    /// What was written last.
    pub(super) written: Option<Arc<Contents>>,
}

impl Follower {
    /// Returns whether the store is there.
    pub(crate) fn store(&self) -> &StoreState {
        &self.changes.stored.state
    }

    /// Makes the store one that can be written to, and clears away what a crash left unfinished.
    /// For a start, before anything else is written.
    pub(super) async fn prepare(&self) -> Result<(), ChangeError> {
        let repository = &self.changes.stored.repository;
        match repository.prepare().await {
            // Whoever changes something has it prepared then.
            Err(error) if error.is_away() => {
                tracing::debug!("the store is not prepared yet: {error}")
            }
            prepared => {
                prepared?;
                // Other nodes are to know from the start what this one keeps.
                if let Err(error) = self.retention.look().await {
                    tracing::warn!("other nodes see later what this one keeps: {error}");
                }
            }
        }
        Ok(repository.clear_unfinished().await?)
    }

    /// Returns the hint that the store has changed, which is another one after every change.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn hint(&self) -> Result<Option<Vec<u8>>, ChangeError> {
        Ok(self.changes.stored.repository.hint().await?)
    }

    /// Returns whether this node knows of any function in the store.
    pub(crate) fn has_any(&self) -> bool {
        !self.changes.stored.contents().is_empty()
    }

    /// Takes over what other nodes have changed in the store, and returns when every worker serves
    /// it. What cannot be served here is logged, and is as it was before.
    ///
    /// # Errors
    /// When the store does not answer, or the change cannot be published.
    pub(crate) async fn catch_up(&self) -> Result<(), ChangeError> {
        let Changes { gate, stored, publication } = &self.changes;
        let cache = &publication.cache;
        // Compiled before the turn: no change on this node waits for what others have deployed.
        let new = stored.read_all().await?;
        servable::compile(cache, &new, &publication.served()).await;
        let turn = gate.enter().await?;
        let contents = stored.read_all().await?;
        self.secrets.refresh().await?;
        self.domains.refresh().await?;
        self.schedules.refresh().await?;
        let (changed, modules) = servable::servable(cache, &contents, &publication.served());
        stored.replace(&turn, contents);
        if publication.is_served(&changed) {
            return Ok(());
        }
        publication.make_ready(modules).await;
        publication.publish(&turn, changed).await?;
        publication.forget_unused(&turn, &publication.served()).await;
        Ok(())
    }

    /// Writes what is known of the store to this node's disk, unless that has it.
    pub(crate) async fn remember(&self, memory: &mut Memory) {
        self.secrets.remember().await;
        self.domains.remember().await;
        self.schedules.remember().await;
        let contents = self.changes.stored.contents();
        if memory.written.as_ref().is_some_and(|it| Arc::ptr_eq(it, &contents) || *it == contents) {
            return;
        }
        let (known, writing) = (memory.known.clone(), Arc::clone(&contents));
        match tokio::task::spawn_blocking(move || known.write(&writing)).await {
            Ok(Ok(())) => memory.written = Some(contents),
            Ok(Err(error)) => {
                tracing::warn!(
                    "should the store be away at the next start, what is new is missing: {error}"
                );
            }
            // The node stops.
            Err(_) => {}
        }
    }

    /// Clears away what no function has any more. Not while another engine serves from the same
    /// folders.
    pub(crate) async fn clear_unused(&self) {
        let Changes { gate, stored, publication } = &self.changes;
        let (turn, repository) = (gate.wait().await, &stored.repository);
        let before = stored.contents();
        let cleared = async {
            repository.prepare().await?;
            repository.clear_removed(KEPT_FOR, Instant::now()).await?;
            repository.remove_unused_artefacts(&before, Instant::now()).await
        };
        if let Err(error) = cleared.await {
            tracing::warn!("unused files stay in the store: {error}");
        }
        publication.forget_unused(&turn, &publication.served()).await;
    }
}
