//! What a node knows of all schedules. Pure; owns no fds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::All;
use super::object::StoredSchedule;
use crate::node_copy::Copied;

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

/// What the copy on this node's disk has.
#[derive(Serialize, Deserialize)]
pub(super) struct Written {
    /// Each id with its object's tag and the schedule.
    schedules: Vec<(String, String, StoredSchedule)>,
}

impl Copied for Known {
    const FILE: &'static str = "cron";
    const WHAT: &'static str = "schedules";
    type Written = Written;

    fn to_written(&self) -> Result<Written, serde_json::Error> {
        let written = |(id, held): (&String, &Held)| {
            Some((id.clone(), held.tag.clone(), held.schedule.as_deref()?.clone()))
        };
        Ok(Written { schedules: self.0.iter().filter_map(written).collect() })
    }

    fn of_written(written: Written) -> Self {
        let fits = |(id, _, schedule): &(String, String, StoredSchedule)| schedule.id() == *id;
        let held = |(id, tag, schedule)| (id, Held { tag, schedule: Some(Arc::new(schedule)) });
        Self(written.schedules.into_iter().filter(fits).map(held).collect())
    }
}
