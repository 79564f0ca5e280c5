//! Setting and removing secrets of functions. Owns no fds.

use std::sync::Arc;

use api::secrets::ListedSecret;
use secrets::{SecretError, Secrets};

use super::changes::Changes;
use super::error::ChangeError;
use super::gate::Turn;

/// Changes secrets.
#[derive(Debug)]
pub struct SecretChanges {
    pub(super) changes: Changes,
    pub(super) secrets: Arc<Secrets>,
}

impl SecretChanges {
    /// Sets a secret, and returns when no request begins without it any more. The function may come
    /// later.
    ///
    /// # Errors
    /// When the secret cannot be so, or the store does not answer.
    pub(crate) async fn set(&self, name: &str, key: &str, value: &[u8]) -> Result<(), ChangeError> {
        abi::name::check(name)?;
        let turn = self.changes.gate.enter().await?;
        let stored = &self.changes.stored;
        let is_there = stored.read_function(name).await?.is_some();
        self.secrets.set(name, is_there, key, value).await?;
        if is_there && stored.read_function(name).await?.is_none() {
            // Another node has removed the function meanwhile, perhaps without seeing this secret.
            self.secrets.remove(name, key).await?;
            return Err(
                SecretError::Removed { function: name.to_owned(), key: key.to_owned() }.into()
            );
        }
        tracing::info!("secret {key} of function {name:?} is set");
        self.publish(&turn, name).await
    }

    /// Removes a secret, and returns when no request begins with it any more.
    ///
    /// # Errors
    /// When there is no such secret, or the store does not answer.
    pub(crate) async fn remove(&self, name: &str, key: &str) -> Result<(), ChangeError> {
        abi::name::check(name)?;
        let turn = self.changes.gate.enter().await?;
        self.changes.stored.repository.prepare().await?;
        self.secrets.remove(name, key).await?;
        tracing::info!("secret {key} of function {name:?} is removed");
        self.publish(&turn, name).await
    }

    /// Returns the keys of a function's secrets.
    ///
    /// # Errors
    /// When that cannot be the name of a function.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<ListedSecret>, ChangeError> {
        abi::name::check(name)?;
        Ok(self.secrets.list(name))
    }

    async fn publish(&self, turn: &Turn, name: &str) -> Result<(), ChangeError> {
        let Changes { stored, publication, .. } = &self.changes;
        stored.repository.note_change().await;
        // A function that is to come gets them with its first catalogue.
        if publication.served().contains_key(name) {
            publication.publish_again(turn).await?;
        }
        Ok(())
    }
}
