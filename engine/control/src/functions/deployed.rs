//! A version that was made, as whoever deployed it hears of it. Pure; owns no fds.

use std::sync::Arc;

use api::deploys::{DeployedVersion, VersionBefore};
use api::difference::changes;
use store::manifest::Manifest;

use crate::answers;

/// A version that was made.
#[derive(Debug)]
pub struct Deployed {
    pub(super) version: Arc<Manifest>,
    /// What was active, if anything was.
    pub(super) before: Option<Arc<Manifest>>,
    /// Whether some of its options are those of `before` because nothing else was asked for.
    pub(super) options_kept: bool,
    /// What was set right in its files, and what may not work.
    pub(super) notes: Vec<String>,
}

impl Deployed {
    /// Returns the version that was made.
    pub(crate) fn version(&self) -> Arc<Manifest> {
        Arc::clone(&self.version)
    }

    /// Returns the answer to whoever has deployed it.
    pub(crate) fn describe(&self) -> DeployedVersion {
        let before = self.before.as_deref();
        let version = answers::version(&self.version);
        let changed = before.map(|before| changes(&answers::version(before), &version));
        DeployedVersion {
            before: before.map(|before| VersionBefore {
                version: before.version.clone(),
                number: before.number,
                artefact: before.artefact.clone(),
                artefact_bytes: before.artefact_bytes,
            }),
            options_kept: self.options_kept,
            notes: self.notes.clone(),
            changed: changed.unwrap_or_default(),
            version,
        }
    }
}
