//! What the store has of functions, as this node read it last. Owns the repository.

use std::sync::{Arc, Mutex, PoisonError};

use store::contents::{Contents, Function};
use store::error::StoreError;
use store::repository::Repository;

use super::gate::Turn;
use super::store_state::StoreState;

/// The repository, and its contents as they were read last.
#[derive(Debug)]
pub(super) struct StoreView {
    pub(super) repository: Arc<Repository>,
    pub(super) state: StoreState,
    /// Held for a copy or an assignment only, and together with no other lock.
    contents: Mutex<Arc<Contents>>,
}

impl StoreView {
    /// Returns the view of a repository that had `contents` when it was read, unless it is `away`.
    pub(super) fn new(
        repository: Repository,
        contents: Contents,
        away: Option<&StoreError>,
    ) -> Self {
        let state = StoreState::new(repository.name(), away);
        let contents = Mutex::new(Arc::new(contents));
        Self { repository: Arc::new(repository), state, contents }
    }

    /// Returns what the store had when it was read last.
    pub(super) fn contents(&self) -> Arc<Contents> {
        Arc::clone(&self.contents.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the whole store. What has not changed since the last time is not read again.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(super) async fn read_all(&self) -> Result<Contents, StoreError> {
        self.repository.read_all(&self.contents()).await
    }

    /// Reads one function anew, since another node may have changed it. Returns `None` if there is
    /// no such function.
    ///
    /// # Errors
    /// When the store does not answer, or cannot be made ready to be written to.
    pub(super) async fn read_function(
        &self,
        name: &str,
    ) -> Result<Option<Arc<Function>>, StoreError> {
        self.repository.prepare().await?;
        let function = self.repository.read_function(name, &self.contents()).await?;
        Ok((!function.is_empty()).then_some(function))
    }

    /// Notes what the store has now.
    pub(super) fn replace(&self, _: &Turn, contents: Contents) {
        *self.contents.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(contents);
    }

    /// Notes what the store has of one function now; `None` if it has nothing any more.
    pub(super) fn put(&self, _: &Turn, name: &str, function: Option<Arc<Function>>) {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = Arc::make_mut(&mut contents);
        match function {
            Some(function) => drop(contents.insert(name.to_owned(), function)),
            None => drop(contents.remove(name)),
        }
    }
}
