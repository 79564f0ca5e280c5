//! What a node knows of all domains. Pure; owns no fds.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::domain::Domain;
use serde::{Deserialize, Serialize};

use super::object::{DomainRoute, Place, folder_of};
use crate::node_copy::Copied;

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

/// What the copy on this node's disk has.
#[derive(Serialize, Deserialize)]
pub(super) struct Written {
    /// The key of each object, its tag, and its contents as they are in the store.
    domains: Vec<(String, String, String)>,
}

impl Copied for Known {
    const FILE: &'static str = "domains";
    const WHAT: &'static str = "domains";
    type Written = Written;

    fn to_written(&self) -> Result<Written, serde_json::Error> {
        let mut domains = Vec::new();
        for (of, objects) in &self.0 {
            for (id, held) in objects {
                let Some(route) = &held.route else { continue };
                let place = Place { of: of.clone(), id: id.clone() };
                let json = String::from_utf8_lossy(&route.to_json()?).into_owned();
                domains.push((place.key(), held.tag.clone(), json));
            }
        }
        Ok(Written { domains })
    }

    fn of_written(written: Written) -> Self {
        let mut known = Self::default();
        for (key, tag, json) in written.domains {
            let Some(place) = Place::of_key(&key) else { continue };
            let Ok(route) = DomainRoute::read(&place, json.as_bytes()) else { continue };
            known.insert(place, Held { tag, route: Some(Arc::new(route)) });
        }
        known
    }
}
