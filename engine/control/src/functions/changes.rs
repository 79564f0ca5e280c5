//! What every change of what is deployed works with. Owns no fds.

use std::sync::Arc;

use store::contents::{Contents, Function};

use super::error::ChangeError;
use super::gate::{ChangeGate, Turn};
use super::publication::Publication;
use super::store_view::StoreView;

/// The turn to change, the store, and what is served of it.
///
/// A change reads its function anew, writes to the store, and publishes, all of it in its turn.
/// Locks are taken in this order: the turn for a trial, which only deploys take, the turn to
/// change, and then one of the others, which are held for an assignment and never together.
#[derive(Debug, Clone)]
pub(super) struct Changes {
    pub(super) gate: Arc<ChangeGate>,
    pub(super) stored: Arc<StoreView>,
    pub(super) publication: Arc<Publication>,
}

impl Changes {
    /// Reads the function `name` from the store.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`] when the store does not have it, or does not answer.
    pub(super) async fn function(&self, name: &str) -> Result<Arc<Function>, ChangeError> {
        let function = self.stored.read_function(name).await?;
        function.ok_or_else(|| ChangeError::Unknown(name.to_owned()))
    }

    /// Ends a change of the function `name`, which the store has as `changed` now, and returns when
    /// every worker serves by `served`.
    ///
    /// # Errors
    /// When it cannot be published. The store has it all the same.
    pub(super) async fn end(
        &self,
        turn: &Turn,
        name: &str,
        changed: Option<Arc<Function>>,
        served: Contents,
    ) -> Result<(), ChangeError> {
        self.stored.put(turn, name, changed);
        self.publication.publish(turn, served).await
    }
}
