//! What a node knows of all schedules, and its copy of that on its own disk, for a start while the
//! store is away. The store is authoritative, and the copy may be lost. Owns no fds between calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::All;
use super::object::StoredSchedule;
use crate::error::StoreError;
use crate::objects::checked;

/// The name of the copy in the cache folder.
const FILE: &str = "cron";

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) tag: String,
    /// `None` if it is not understood.
    pub(super) schedule: Option<Arc<StoredSchedule>>,
}

/// All objects, by the ids of their schedules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known(BTreeMap<String, Held>);

impl Known {
    pub(super) fn insert(&mut self, id: String, held: Held) {
        self.0.insert(id, held);
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    pub(super) fn get(&self, id: &str) -> Option<&Held> {
        self.0.get(id)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns all schedules that can be read.
    pub(super) fn all(&self) -> All {
        let read = |(id, held): (&String, &Held)| Some((id.clone(), held.schedule.clone()?));
        self.0.iter().filter_map(read).collect()
    }
}

/// The file of the copy.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    path: PathBuf,
    /// The store that the schedules are of.
    store: String,
}

#[derive(Serialize, Deserialize)]
struct Written {
    store: String,
    /// Each id with its object's tag and the schedule.
    schedules: Vec<(String, String, StoredSchedule)>,
}

impl Copy {
    pub(super) fn new(folder: &Path, store: String) -> Self {
        Self { path: folder.join(FILE), store }
    }

    /// Reads the copy. Returns `None` if there is none that can be used, or it is of another store.
    pub(super) fn read(&self) -> Option<Known> {
        match checked::read_file::<Written>(&self.path).transpose()? {
            Ok(written) if written.store == self.store => {
                let fits =
                    |(id, _, schedule): &(String, String, StoredSchedule)| schedule.id() == *id;
                let held =
                    |(id, tag, schedule)| (id, Held { tag, schedule: Some(Arc::new(schedule)) });
                Some(Known(written.schedules.into_iter().filter(fits).map(held).collect()))
            }
            Ok(_) => None,
            Err(error) => {
                tracing::warn!("this node's copy of the store's schedules is set aside: {error}");
                None
            }
        }
    }

    pub(super) fn write(&self, known: &Known) -> Result<(), StoreError> {
        let written = |(id, held): (&String, &Held)| {
            Some((id.clone(), held.tag.clone(), held.schedule.as_deref()?.clone()))
        };
        let schedules = known.0.iter().filter_map(written).collect();
        checked::write_file(&self.path, &Written { store: self.store.clone(), schedules })
    }
}
