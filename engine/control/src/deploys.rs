//! The deploys under way that can be asked about: a client sends an id of its own with the file, in
//! the header [`ID_HEADER`], and asks by it at `GET /v1/deploys/ID`. Bounded; owns no fds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::deploys::ID_HEADER;
use axum::http::HeaderMap;
use uuid::Uuid;

use crate::functions::Progress;

/// How many deploys at a time can be asked about. Others are made all the same.
const DEPLOYS_MAX: usize = 64;

/// The deploys under way that can be asked about.
#[derive(Debug, Default)]
pub struct Deploys(Mutex<HashMap<Uuid, Arc<Progress>>>);

/// A deploy under way, which can be asked about until this is dropped.
pub(crate) struct Underway {
    deploys: Arc<Deploys>,
    /// None if nobody asked for it, or it cannot be asked about.
    id: Option<Uuid>,
    pub(crate) progress: Arc<Progress>,
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            lock(&self.deploys.0).remove(&id);
        }
    }
}

impl Deploys {
    /// Begins a deploy under the id that `headers` have. An id that another deploy has stays that
    /// one's, and this one cannot be asked about.
    pub(crate) fn begin(self: &Arc<Self>, headers: &HeaderMap) -> Underway {
        let progress = Arc::new(Progress::default());
        let id =
            headers.get(ID_HEADER).and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
        let mut deploys = lock(&self.0);
        let id = id.filter(|id| {
            let room = deploys.len() < DEPLOYS_MAX;
            match deploys.entry(*id) {
                Entry::Vacant(entry) if room => {
                    entry.insert(Arc::clone(&progress));
                    true
                }
                _ => false,
            }
        });
        Underway { deploys: Arc::clone(self), id, progress }
    }

    /// Returns how far the deploy with this id is. Returns `None` if there is none under way.
    pub(crate) fn find(&self, id: &Uuid) -> Option<Arc<Progress>> {
        lock(&self.0).get(id).cloned()
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::functions::Phase;

    fn with_id(id: &str) -> HeaderMap {
        HeaderMap::from_iter([(ID_HEADER.parse().unwrap(), id.parse().unwrap())])
    }

    #[test]
    fn a_deploy_can_be_asked_about_while_it_lasts() {
        let deploys = Arc::new(Deploys::default());
        let id = Uuid::now_v7();
        let underway = deploys.begin(&with_id(&id.to_string()));
        underway.progress.enter(Phase::Trying);
        let described = deploys.find(&id).unwrap().describe(|_| 0, Instant::now());
        assert_eq!(described.phase, api::deploys::DeployPhase::Trying);
        drop(deploys.begin(&with_id(&id.to_string())));
        assert!(deploys.find(&id).is_some(), "another one with its id takes nothing from it");
        drop(underway);
        assert!(lock(&deploys.0).is_empty());
    }

    #[test]
    fn no_client_can_have_the_node_remember_more() {
        let deploys = Arc::new(Deploys::default());
        let nobody = [HeaderMap::new(), with_id("me"), with_id(&"1".repeat(10_000))];
        assert!(nobody.iter().all(|headers| deploys.begin(headers).id.is_none()));
        let begin = |_| deploys.begin(&with_id(&Uuid::now_v7().to_string()));
        let many: Vec<Underway> = (0..DEPLOYS_MAX + 3).map(begin).collect();
        assert_eq!(many.iter().filter(|underway| underway.id.is_some()).count(), DEPLOYS_MAX);
        assert_eq!(lock(&deploys.0).len(), DEPLOYS_MAX);
        drop(many);
        assert!(lock(&deploys.0).is_empty());
    }
}
