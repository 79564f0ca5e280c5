//! The legs of a session, and which of them a stream takes. Owns no fds above those of its legs.
//!
//! A host's streams take one leg until a worker refuses one of them, because another worker runs
//! its function. From then on so much more of the target decides ([`Depth`]), for that host's part
//! alone.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use abi::origin::Origin;
use abi::problem::Problem;
use tokio::sync::{OnceCell, Semaphore};

use super::Sessions;
use super::leg::{Leg, Refusal};
use super::target::{Depth, Target};

/// The ways that a session knows. The one that was used least lately makes room.
const WAYS_MAX: usize = 16;
/// The legs that it may have at a time: one lives on for as long as its streams.
const LEGS_MAX: usize = 32;

/// The legs of a session.
#[derive(Debug)]
pub(super) struct Legs {
    places: Arc<Semaphore>,
    ways: RefCell<HashMap<(Depth, String), Way>>,
    /// Counts uses.
    clock: Cell<u64>,
}

#[derive(Debug)]
struct Way {
    /// Streams that come while it is being opened wait for it.
    leg: Rc<OnceCell<Rc<Leg>>>,
    used: u64,
}

impl Default for Legs {
    fn default() -> Self {
        let (ways, clock) = Default::default();
        Self { places: Arc::new(Semaphore::new(LEGS_MAX)), ways, clock }
    }
}

/// A leg, and how it was found.
pub(super) struct Found {
    pub(super) leg: Rc<Leg>,
    depth: Depth,
}

impl Legs {
    /// Returns the leg that `target` takes, which is opened if there is none.
    ///
    /// # Errors
    /// The answer of whoever refuses it.
    pub(super) async fn get(
        &self,
        sessions: &Sessions,
        origin: Origin,
        target: &Target,
    ) -> Result<Found, Refusal> {
        let known = |depth: &Depth| self.ways.borrow().contains_key(&target.key(*depth));
        let depth = Depth::ALL.into_iter().find(known).unwrap_or(Depth::Authority);
        let way = self.way(target.key(depth));
        match way.get_or_try_init(|| self.open(sessions, origin, target)).await {
            Ok(leg) => Ok(Found { leg: Rc::clone(leg), depth }),
            Err(refusal) => {
                self.forget_way(&target.key(depth), &way);
                Err(refusal)
            }
        }
    }

    async fn open(
        &self,
        sessions: &Sessions,
        origin: Origin,
        target: &Target,
    ) -> Result<Rc<Leg>, Refusal> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let why = "the connection has requests for too many functions at once";
            return Err(Refusal::Problem(Problem::new(429, why.to_owned())));
        };
        Leg::open(sessions, origin, target, place).await
    }

    /// Notes that the worker of a leg does not run the function of `target`.
    pub(super) fn refused(&self, target: &Target, found: &Found) {
        let key = target.key(found.depth.deeper());
        // Another stream may have learned it meanwhile, and a route may have changed: the deepest
        // way is made anew.
        if key.0 == found.depth || !self.ways.borrow().contains_key(&key) {
            self.ways.borrow_mut().remove(&key);
            self.way(key);
        }
    }

    /// Returns whether there is a leg, or may be.
    pub(super) fn is_any(&self) -> bool {
        !self.ways.borrow().is_empty()
    }

    /// Closes all legs, once the streams that they have are over.
    pub(super) fn close(&self) {
        self.ways.borrow_mut().clear();
    }

    /// Forgets a leg that takes no streams any more.
    pub(super) fn forget(&self, leg: &Rc<Leg>) {
        let is_other = |way: &Way| way.leg.get().is_none_or(|known| !Rc::ptr_eq(known, leg));
        self.ways.borrow_mut().retain(|_, way| is_other(way));
    }

    fn forget_way(&self, key: &(Depth, String), leg: &Rc<OnceCell<Rc<Leg>>>) {
        let mut ways = self.ways.borrow_mut();
        if ways.get(key).is_some_and(|way| Rc::ptr_eq(&way.leg, leg) && !leg.initialized()) {
            ways.remove(key);
        }
    }

    /// Returns the way of a key, and notes its use.
    fn way(&self, key: (Depth, String)) -> Rc<OnceCell<Rc<Leg>>> {
        let used = self.clock.get() + 1;
        self.clock.set(used);
        let mut ways = self.ways.borrow_mut();
        if !ways.contains_key(&key) && ways.len() >= WAYS_MAX {
            let oldest = ways.iter().min_by_key(|(_, way)| way.used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| ways.remove(&oldest));
        }
        let way = ways.entry(key).or_insert_with(|| Way { leg: Rc::default(), used });
        way.used = used;
        Rc::clone(&way.leg)
    }
}
