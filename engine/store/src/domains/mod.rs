//! Domains: which hosts, and which of their paths, are for which function, on all nodes of a store.
//!
//! Each route is an object of its own, which never changes: [`object`] says which. Stores have no
//! conditional writes, so a node that adds a route writes its object and then looks for another one
//! of the same domain. One that is for something else was there first, or comes at the same time:
//! the node takes its own away again. So of two nodes that add at once at most one is told that it
//! has, and perhaps none; and where a crash leaves two objects, all nodes go by the older one. One
//! that is for the same may be about to be taken away again, if it is new: then the node has one of
//! its own beside it. [`known`] is what this node knows of all of them. Owns no fds.

mod known;
mod object;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use abi::domain::Domain;
use abi::limits::{DOMAINS_MAX, STORED_OBJECT_BYTES_MAX};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use host::clock;
use host::fault::Fault;
use tokio::sync::Mutex;

use self::known::{Held, Known};
pub use self::object::{DomainRoute, Target};
use self::object::{FOLDER, Place};
use crate::error::StoreError;
use crate::node_copy::NodeCopy;
use crate::objects::{Answer, Listed, Objects, REQUESTS_AT_ONCE, checked};

/// Longer than adding a domain takes.
const ADD_MAX: Duration = Duration::from_secs(55 * 60);

/// Why a domain is not added or removed.
#[derive(Debug, thiserror::Error)]
pub enum DomainsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the domain {domain} is for {there:?} already, so it cannot be for {wanted:?}; to change that: `sockhop domain remove {domain}`, then add it again"
    )]
    Taken { domain: Domain, there: String, wanted: String },
    #[error(
        "what the store has of the domain {domain} is not understood, another build may have written it: `sockhop domain remove {domain}` removes it"
    )]
    Unfit { domain: Domain },
    #[error("there is no domain {0}; `sockhop domain list` shows those there are")]
    Unknown(Domain),
    #[error("the store has {DOMAINS_MAX} domains, and can have no more; remove some")]
    TooMany,
}

impl DomainsError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Unknown(_) => Fault::NOT_FOUND,
            Self::Taken { .. } | Self::Unfit { .. } | Self::TooMany => Fault::CONFLICT,
        }
    }
}

/// The routes of all domains.
pub type Routes = BTreeMap<Domain, Arc<DomainRoute>>;

/// What a node knows at a time.
#[derive(Debug, Default)]
struct State {
    known: Known,
    routes: Arc<Routes>,
    /// From when on nobody is about to take each object away again.
    settled: BTreeMap<Place, Instant>,
}

/// The domains of a store.
#[derive(Debug)]
pub struct Domains {
    objects: Arc<dyn Objects>,
    copy: NodeCopy<Known>,
    state: RwLock<State>,
    /// One change or reading at a time.
    changing: Mutex<()>,
}

impl Domains {
    /// Returns the domains of a store, of which none is read yet. `cache` is the folder of the
    /// node's copy.
    pub fn new(objects: Arc<dyn Objects>, cache: &Path) -> Self {
        let copy = NodeCopy::new(cache, objects.name());
        Self { objects, copy, state: RwLock::default(), changing: Mutex::default() }
    }

    /// Returns the routes of all domains, as they were read last.
    pub fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner).routes)
    }

    /// Returns the hosts that are names, each once: those that a certificate can be ordered for. A
    /// wildcard needs one that somebody brings.
    pub fn exact_hosts(&self) -> Vec<String> {
        let routes = self.routes();
        let exact = routes.keys().filter(|domain| !domain.is_wildcard());
        let mut hosts: Vec<String> = exact.map(|domain| domain.host().to_owned()).collect();
        // Domains are in the order of their hosts.
        hosts.dedup();
        hosts
    }

    /// Reads all domains for the first time: from the store, or from the node's copy while the store
    /// is away.
    ///
    /// # Errors
    /// When the store cannot be read. If it is away, the node has what its copy has.
    pub async fn load(&self) -> Result<(), StoreError> {
        self.set(self.copy.load().await);
        self.refresh().await
    }

    /// Writes the node's copy, unless it already has the domains as they are now.
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

    /// Has a domain be for `target`, if it is for nothing else. Returns its route, which may have
    /// been there. The caller tells other nodes.
    ///
    /// # Errors
    /// [`DomainsError::Taken`] when it is for something else, and when the store does not take it.
    pub async fn add(
        &self,
        domain: &Domain,
        target: Target,
    ) -> Result<Arc<DomainRoute>, DomainsError> {
        let _lock = self.changing.lock().await;
        let known = self.refresh_locked().await?;
        match self.routes().get(domain) {
            Some(there) if there.target != target => return Err(taken(there, &target)),
            Some(there) if self.is_settled(&known, there) => return Ok(Arc::clone(there)),
            Some(_) => {}
            None if known.objects(domain).next().is_some() => {
                return Err(DomainsError::Unfit { domain: domain.clone() });
            }
            None if known.count() >= DOMAINS_MAX => return Err(DomainsError::TooMany),
            None => {}
        }
        let place = Place::new(domain);
        let route = DomainRoute { domain: domain.clone(), target, added_ms: clock::unix_ms() };
        let unfit = |error: serde_json::Error| StoreError::Unfit {
            key: place.key(),
            reason: error.to_string(),
        };
        let object = checked::seal(&route.to_json().map_err(unfit)?);
        self.objects.put(&place.key(), object).await?;
        // What another node has written before is seen now, and it sees this one if it looks later.
        let known = self.refresh_locked().await?;
        let others = known.objects(domain).filter(|(other, _)| *other != place);
        let mut others = others.filter_map(|(_, held)| held.route.clone());
        let refused = match others.find(|other| other.target != route.target) {
            Some(other) => Some(taken(&other, &route.target)),
            None => (known.count() > DOMAINS_MAX).then_some(DomainsError::TooMany),
        };
        match refused {
            None => {
                self.settle(place);
                Ok(self.routes().get(domain).cloned().unwrap_or_else(|| Arc::new(route)))
            }
            Some(refused) => {
                self.delete(&place).await?;
                Err(refused)
            }
        }
    }

    /// Removes a domain, whatever it is for. Returns its route, if that can be read. The caller
    /// tells other nodes.
    ///
    /// # Errors
    /// [`DomainsError::Unknown`] when there is none, and when the store does not do it.
    pub async fn remove(&self, domain: &Domain) -> Result<Option<Arc<DomainRoute>>, DomainsError> {
        let _lock = self.changing.lock().await;
        let known = self.refresh_locked().await?;
        let route = self.routes().get(domain).cloned();
        let places: Vec<Place> = known.objects(domain).map(|(place, _)| place).collect();
        if places.is_empty() {
            return Err(DomainsError::Unknown(domain.clone()));
        }
        // The newest first: what counts meanwhile is what counted before.
        for place in places.iter().rev() {
            self.delete(place).await?;
        }
        Ok(route)
    }

    async fn delete(&self, place: &Place) -> Result<(), StoreError> {
        self.objects.delete(&place.key()).await?;
        let mut known = self.known();
        known.remove(place);
        self.set(known);
        Ok(())
    }

    async fn refresh_locked(&self) -> Result<Known, StoreError> {
        let (before, mut known) = (self.known(), Known::default());
        let mut reads: Vec<Answer<'_, Option<(Place, Held)>>> = Vec::new();
        for listed in self.objects.list(FOLDER, "").await? {
            let Some(place) = Place::of_key(&listed.key) else { continue };
            match before.get(&place) {
                // What was understood does not change.
                Some(held) if held.route.is_some() || held.tag == listed.tag => {
                    known.insert(place, held.clone());
                }
                _ => reads.push(Box::pin(self.read(place, listed))),
            }
        }
        let mut reads = stream::iter(reads).buffer_unordered(REQUESTS_AT_ONCE);
        while let Some(read) = reads.try_next().await? {
            // `None` was removed meanwhile.
            if let Some((place, held)) = read {
                known.insert(place, held);
            }
        }
        drop(reads);
        // Objects that are not listed any more are gone only if this is still the same store.
        self.objects.verify().await?;
        self.set(known.clone());
        Ok(known)
    }

    async fn read(
        &self,
        place: Place,
        listed: Listed,
    ) -> Result<Option<(Place, Held)>, StoreError> {
        let key = &listed.key;
        let parse = |json: &[u8]| DomainRoute::read(&place, json);
        let read = checked::get_as(&*self.objects, key, STORED_OBJECT_BYTES_MAX, parse).await?;
        let Some(read) = read else { return Ok(None) };
        let read = read.inspect_err(|error| tracing::error!("a domain is not served: {error}"));
        Ok(Some((place, Held { tag: listed.tag, route: read.ok().map(Arc::new) })))
    }

    fn known(&self) -> Known {
        self.state.read().unwrap_or_else(PoisonError::into_inner).known.clone()
    }

    /// Returns whether an object with this route is there to stay.
    fn is_settled(&self, known: &Known, route: &DomainRoute) -> bool {
        let (state, now) =
            (self.state.read().unwrap_or_else(PoisonError::into_inner), Instant::now());
        let mut same = known.objects(&route.domain).filter(|(_, held)| {
            held.route.as_ref().is_some_and(|other| other.target == route.target)
        });
        same.any(|(place, _)| state.settled.get(&place).is_some_and(|settled| *settled <= now))
    }

    /// Notes that this node does not take its object away again.
    fn settle(&self, place: Place) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.settled.insert(place, Instant::now());
    }

    /// Notes what is known. The routes stay the same in memory if they are the same.
    fn set(&self, known: Known) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.known != known {
            let later = Instant::now() + ADD_MAX;
            let settled = known.places().map(|place| {
                let settled = state.settled.get(&place).copied().unwrap_or(later);
                (place, settled)
            });
            let settled = settled.collect();
            state.settled = settled;
            let routes = known.routes();
            if *state.routes != routes {
                state.routes = Arc::new(routes);
            }
            state.known = known;
        }
    }
}

fn taken(there: &DomainRoute, wanted: &Target) -> DomainsError {
    DomainsError::Taken {
        domain: there.domain.clone(),
        there: there.target.to_string(),
        wanted: wanted.to_string(),
    }
}
