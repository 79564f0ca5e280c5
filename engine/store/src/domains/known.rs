//! What a node knows of all domains, and its copy of that on its own disk, for a start while the
//! store is away. The store is authoritative, and the copy may be lost. Owns no fds between calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use abi::domain::Domain;
use serde::{Deserialize, Serialize};

use super::object::{DomainRoute, Place, folder_of};
use crate::error::StoreError;
use crate::objects::checked;

/// The name of the copy in the cache folder.
const FILE: &str = "domains";

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) tag: String,
    /// `None` if it is not understood.
    pub(super) route: Option<Arc<DomainRoute>>,
}

/// All objects, by the host and the prefix, and by their ids. Nodes that add the same at once leave
/// several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known(BTreeMap<String, BTreeMap<String, Held>>);

impl Known {
    pub(super) fn insert(&mut self, place: Place, held: Held) {
        self.0.entry(place.of).or_default().insert(place.id, held);
    }

    pub(super) fn remove(&mut self, place: &Place) {
        if let Some(objects) = self.0.get_mut(&place.of) {
            objects.remove(&place.id);
            if objects.is_empty() {
                self.0.remove(&place.of);
            }
        }
    }

    pub(super) fn get(&self, place: &Place) -> Option<&Held> {
        self.0.get(&place.of)?.get(&place.id)
    }

    /// Returns all objects of a domain, the oldest first.
    pub(super) fn objects<'a>(
        &'a self,
        domain: &Domain,
    ) -> impl Iterator<Item = (Place, &'a Held)> + use<'a> {
        let of = folder_of(domain);
        let objects = self.0.get(&of).into_iter().flatten();
        objects.map(move |(id, held)| (Place { of: of.clone(), id: id.clone() }, held))
    }

    /// Returns where all objects are.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let of = |(of, objects): (&String, &BTreeMap<String, Held>)| {
            let place = |id: &String| Place { of: of.clone(), id: id.clone() };
            objects.keys().map(place).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of)
    }

    /// Returns how many domains there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the route of each domain that has one: of several objects, the oldest that can be
    /// read counts, on all nodes.
    pub(super) fn routes(&self) -> BTreeMap<Domain, Arc<DomainRoute>> {
        let routes = self.0.values().filter_map(|objects| {
            let route = objects.values().find_map(|held| held.route.as_ref())?;
            Some((route.domain.clone(), Arc::clone(route)))
        });
        routes.collect()
    }
}

/// The file of the copy.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    path: PathBuf,
    /// The store that the domains are of.
    store: String,
}

#[derive(Serialize, Deserialize)]
struct Written {
    store: String,
    /// The key of each object, its tag, and its contents as they are in the store.
    domains: Vec<(String, String, String)>,
}

impl Copy {
    pub(super) fn new(folder: &Path, store: String) -> Self {
        Self { path: folder.join(FILE), store }
    }

    /// Reads the copy. Returns `None` if there is none that can be used, or it is of another store.
    pub(super) fn read(&self) -> Option<Known> {
        match checked::read_file::<Written>(&self.path).transpose()? {
            Ok(written) if written.store == self.store => Some(known(written)),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!("this node's copy of the store's domains is set aside: {error}");
                None
            }
        }
    }

    pub(super) fn write(&self, known: &Known) -> Result<(), StoreError> {
        let failed = |error: serde_json::Error| StoreError::io("write", &self.path)(error.into());
        let mut domains = Vec::new();
        for (of, objects) in &known.0 {
            for (id, held) in objects {
                let Some(route) = &held.route else { continue };
                let place = Place { of: of.clone(), id: id.clone() };
                let json = route.to_json().map_err(failed)?;
                let json = String::from_utf8_lossy(&json).into_owned();
                domains.push((place.key(), held.tag.clone(), json));
            }
        }
        let written = Written { store: self.store.clone(), domains };
        checked::write_file(&self.path, &written)
    }
}

fn known(written: Written) -> Known {
    let mut known = Known::default();
    for (key, tag, json) in written.domains {
        let Some(place) = Place::of_key(&key) else { continue };
        let Ok(route) = DomainRoute::read(&place, json.as_bytes()) else { continue };
        known.insert(place, Held { tag, route: Some(Arc::new(route)) });
    }
    known
}
