//! Schedules: which functions are rung when, on all nodes of a store, and which nodes ring.
//!
//! Each schedule is an object of its own: [`object`] says which. [`known`] is what this node knows of
//! all of them. A node that rings leaves an empty object, and writes it again every so often, so that
//! all nodes can tell who rings; nothing is decided by it. Owns no fds.

mod known;
mod object;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use abi::limits::STORED_OBJECT_BYTES_MAX;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use host::fault::Fault;
use tokio::sync::Mutex;

use self::known::{Held, Known};
use self::object::{FOLDER, Place, key};
pub use self::object::{RingingNode, Source, StoredSchedule};
use crate::error::StoreError;
use crate::node_copy::NodeCopy;
use crate::objects::{Answer, Listed, Objects, REQUESTS_AT_ONCE, checked};

/// Schedules of one store.
pub const SCHEDULES_MAX: usize = 1000;
/// How often a node says that it rings.
pub const SAY_INTERVAL: Duration = Duration::from_secs(60);
/// For how long it counts as one that does, once it has said so.
const SAID_FOR: Duration = Duration::from_secs(5 * 60);

/// Why a schedule is not added or removed.
#[derive(Debug, thiserror::Error)]
pub enum SchedulesError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no schedule {0:?}; `sockhop cron list` shows those there are")]
    Unknown(String),
    #[error("the store has {SCHEDULES_MAX} schedules, and can have no more; remove some")]
    TooMany,
}

impl SchedulesError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Unknown(_) => Fault::NOT_FOUND,
            Self::TooMany => Fault::CONFLICT,
        }
    }
}

/// All schedules, by their ids.
pub type All = BTreeMap<String, Arc<StoredSchedule>>;

/// What a node knows at a time.
#[derive(Debug, Default)]
struct State {
    known: Known,
    all: Arc<All>,
    /// The nodes that ring, each with when it has said so last, by the store's clock.
    nodes: BTreeMap<RingingNode, SystemTime>,
}

/// The schedules of a store.
#[derive(Debug)]
pub struct Schedules {
    objects: Arc<dyn Objects>,
    copy: NodeCopy<Known>,
    state: RwLock<State>,
    /// One change or reading at a time.
    changing: Mutex<()>,
}

impl Schedules {
    /// Returns the schedules of a store, of which none is read yet. `cache` is the folder of the
    /// node's copy.
    pub fn new(objects: Arc<dyn Objects>, cache: &Path) -> Self {
        let copy = NodeCopy::new(cache, objects.name());
        Self { objects, copy, state: RwLock::default(), changing: Mutex::default() }
    }

    /// Returns all schedules, as they were read last.
    pub fn all(&self) -> Arc<All> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner).all)
    }

    /// Returns the nodes that have said lately that they ring.
    pub fn ringing(&self) -> Vec<RingingNode> {
        let now = SystemTime::now();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        // A time ahead of this node's clock is lately, too.
        let lately = |said: &SystemTime| now.duration_since(*said).is_ok_and(|it| it > SAID_FOR);
        let nodes = state.nodes.iter().filter(|(_, said)| !lately(said));
        nodes.map(|(node, _)| node.clone()).collect()
    }

    /// Reads all schedules for the first time: from the store, or from the node's copy while the
    /// store is away.
    ///
    /// # Errors
    /// When the store cannot be read. If it is away, the node has what its copy has.
    pub async fn load(&self) -> Result<(), StoreError> {
        self.set(self.copy.load().await, None);
        self.refresh().await
    }

    /// Writes the node's copy, unless it already has the schedules as they are now.
    pub async fn remember(&self) {
        self.copy.remember(|| self.known()).await;
    }

    /// Reads what has changed in the store since the last call. An object that is not understood is
    /// logged once, and counts for nothing.
    ///
    /// # Errors
    /// When the store cannot be read. What was read before stays then.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _lock = self.changing.lock().await;
        self.refresh_locked().await.map(drop)
    }

    /// Adds a schedule, or changes the policies of the one that it is already. Returns it as it is
    /// now. The caller tells other nodes.
    ///
    /// # Errors
    /// When there are too many, and when the store does not take it.
    pub async fn add(
        &self,
        schedule: StoredSchedule,
    ) -> Result<(String, Arc<StoredSchedule>), SchedulesError> {
        let _lock = self.changing.lock().await;
        let known = self.refresh_locked().await?;
        self.put(&known, schedule).await
    }

    /// Has the schedules of `function` that its project has be `wanted`, and no others. Returns them
    /// as they are now, and the ids of those that went. The caller tells other nodes.
    ///
    /// # Errors
    /// The same. What was done already stays done.
    pub async fn set_project(
        &self,
        function: &str,
        wanted: Vec<StoredSchedule>,
    ) -> Result<(Vec<(String, Arc<StoredSchedule>)>, Vec<String>), SchedulesError> {
        let _lock = self.changing.lock().await;
        self.refresh_locked().await?;
        let mut there = Vec::new();
        for schedule in wanted {
            there.push(self.put(&self.known(), schedule).await?);
        }
        let is_old = |(id, held): &(&String, &Arc<StoredSchedule>)| {
            held.target.function == function
                && held.source == Source::Project
                && !there.iter().any(|(kept, _)| kept == *id)
        };
        let all = self.all();
        let old: Vec<String> = all.iter().filter(is_old).map(|(id, _)| id.clone()).collect();
        for id in &old {
            self.delete(id).await?;
        }
        Ok((there, old))
    }

    /// Removes a schedule. Returns it, if it can be read. The caller tells other nodes.
    ///
    /// # Errors
    /// [`SchedulesError::Unknown`] when there is none, and when the store does not do it.
    pub async fn remove(&self, id: &str) -> Result<Option<Arc<StoredSchedule>>, SchedulesError> {
        let _lock = self.changing.lock().await;
        let held = self.refresh_locked().await?.get(id).cloned();
        let held = held.ok_or_else(|| SchedulesError::Unknown(id.to_owned()))?;
        self.delete(id).await?;
        Ok(held.schedule)
    }

    /// Tells all nodes that `node` rings.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn say_ringing(&self, node: &RingingNode) -> Result<(), StoreError> {
        self.objects.put(&node.key(), Vec::new()).await?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.nodes.insert(node.clone(), SystemTime::now());
        Ok(())
    }

    /// Tells all nodes that `node` does not ring any more.
    ///
    /// # Errors
    /// The same; they find it out by themselves then.
    pub async fn say_silent(&self, node: &RingingNode) -> Result<(), StoreError> {
        self.objects.delete(&node.key()).await
    }

    async fn put(
        &self,
        known: &Known,
        mut schedule: StoredSchedule,
    ) -> Result<(String, Arc<StoredSchedule>), SchedulesError> {
        let id = schedule.id();
        match known.get(&id) {
            Some(Held { schedule: Some(there), .. }) => {
                schedule.created_ms = there.created_ms;
                if schedule.is_like(there) {
                    return Ok((id, Arc::clone(there)));
                }
            }
            Some(_) => {}
            None if known.count() >= SCHEDULES_MAX => return Err(SchedulesError::TooMany),
            None => {}
        }
        let unfit = |error: serde_json::Error| StoreError::Unfit {
            key: key(&id),
            reason: error.to_string(),
        };
        let object = checked::seal(&schedule.to_json().map_err(unfit)?);
        self.objects.put(&key(&id), object).await?;
        let schedule = Arc::new(schedule);
        let mut known = self.known();
        // Its tag is the store's to say: the next look reads it again.
        let held = Held { tag: String::new(), schedule: Some(Arc::clone(&schedule)) };
        known.insert(id.clone(), held);
        self.set(known, None);
        Ok((id, schedule))
    }

    async fn delete(&self, id: &str) -> Result<(), StoreError> {
        self.objects.delete(&key(id)).await?;
        let mut known = self.known();
        known.remove(id);
        self.set(known, None);
        Ok(())
    }

    async fn refresh_locked(&self) -> Result<Known, StoreError> {
        let (before, mut known) = (self.known(), Known::default());
        let mut nodes = BTreeMap::new();
        let mut reads: Vec<Answer<'_, Option<(String, Held)>>> = Vec::new();
        for listed in self.objects.list(FOLDER, "").await? {
            match Place::of_key(&listed.key) {
                Some(Place::Node(node)) => drop(nodes.insert(node, listed.modified)),
                Some(Place::Schedule(id)) => match before.get(&id) {
                    Some(held) if held.tag == listed.tag => known.insert(id, held.clone()),
                    _ => reads.push(Box::pin(self.read(id, listed))),
                },
                None => {}
            }
        }
        let mut reads = stream::iter(reads).buffer_unordered(REQUESTS_AT_ONCE);
        while let Some(read) = reads.try_next().await? {
            // `None` was removed meanwhile.
            if let Some((id, held)) = read {
                known.insert(id, held);
            }
        }
        drop(reads);
        // Objects that are not listed any more are gone only if this is still the same store.
        self.objects.verify().await?;
        self.set(known.clone(), Some(nodes));
        Ok(known)
    }

    async fn read(&self, id: String, listed: Listed) -> Result<Option<(String, Held)>, StoreError> {
        let at = &listed.key;
        let parse = |json: &[u8]| StoredSchedule::read(&id, json);
        let read = checked::get_as(&*self.objects, at, STORED_OBJECT_BYTES_MAX, parse).await?;
        let Some(read) = read else { return Ok(None) };
        let read = read.inspect_err(|error| tracing::error!("a schedule is not rung: {error}"));
        Ok(Some((id, Held { tag: listed.tag, schedule: read.ok().map(Arc::new) })))
    }

    fn known(&self) -> Known {
        self.state.read().unwrap_or_else(PoisonError::into_inner).known.clone()
    }

    /// Notes what is known. The schedules stay the same in memory if they are the same.
    fn set(&self, known: Known, nodes: Option<BTreeMap<RingingNode, SystemTime>>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.known != known {
            let all = known.all();
            if *state.all != all {
                state.all = Arc::new(all);
            }
            state.known = known;
        }
        if let Some(nodes) = nodes {
            state.nodes = nodes;
        }
    }
}
