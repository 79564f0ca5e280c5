//! The task that keeps certificates: it looks at the store again and again, hands over what is
//! there, and orders what is due, one at a time. Owns no fds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use host::clock;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::attempt::{self, Done};
use crate::copy::Copy;
use crate::error::AcmeError;
use crate::outcome::Blame;
use crate::place::Place;
use crate::plan::{self, Next, World};
use crate::shelf::{Content, View};
use crate::status::{NameStatus, Wanted};
use crate::work::Work;

/// How often what is over is removed from the store.
const CLEAR_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// How long to wait for a node that orders the same, if the store is looked at less often.
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// The status of all names.
pub(crate) type Status = Arc<Mutex<Vec<NameStatus>>>;

/// An attempt that has ended: the name, and the view with what was written.
type Ended = (String, View, Done);

/// The task's state.
pub(crate) struct Keeper {
    work: Arc<Work>,
    status: Status,
    copy: Copy,
    /// What the copy on disk has.
    copied: Vec<u8>,
    view: View,
    /// What keeps this node from looking what is to be done.
    blind: Option<AcmeError>,
    /// What has kept this node from ordering, and how many times in a row it did.
    of_node: Option<AcmeError>,
    failures: u32,
    /// This node does not order before.
    order_after: Instant,
    cleared: Option<Instant>,
}

impl Keeper {
    /// Begins with the node's copy, so that there are certificates while the store is away.
    pub(crate) fn new(work: Arc<Work>, status: Status) -> Self {
        let copy = Copy::new(&work.settings.data.join("cache"), work.shelf.objects.name());
        let view = copy.read(&work.shelf);
        work.publish(&view);
        Self {
            copied: copy.contents(&view),
            work,
            status,
            copy,
            view,
            blind: None,
            of_node: None,
            failures: 0,
            order_after: Instant::now(),
            cleared: None,
        }
    }

    /// Goes on until nobody wants anything any more: `wanted` is closed.
    pub(crate) async fn run(mut self, mut wanted: watch::Receiver<Vec<String>>) {
        // At most one. A task of its own, so that neither waits for the other's I/O.
        let mut running: JoinSet<Ended> = JoinSet::new();
        loop {
            let looked = Instant::now();
            let names = Wanted::of(&wanted.borrow_and_update().clone());
            self.refresh().await;
            let mut pause = self.work.settings.interval;
            match self.next(&names) {
                Next::Order(name) if self.blind.is_none() && running.is_empty() => {
                    match self.order_after.checked_duration_since(Instant::now()) {
                        Some(hold) => pause = pause.min(hold),
                        None => self.begin(name, &mut running),
                    }
                }
                Next::WaitUntil(due_ms) => {
                    let left_ms = due_ms.saturating_sub(clock::unix_ms());
                    pause = pause.min(Duration::from_millis(left_ms));
                }
                Next::WrongClock => self.blind = Some(AcmeError::WrongClock),
                Next::Order(_) | Next::Nothing => {}
            }
            self.report(&names);
            tokio::select! {
                Some(ended) = running.join_next() => {
                    match ended {
                        Ok((name, view, done)) => {
                            self.view.put_all(view);
                            self.take(&name, done);
                        }
                        Err(error) => {
                            tracing::error!("an order has ended badly, please report it: {error}");
                            self.order_after = Instant::now() + BUSY_PAUSE_MAX;
                        }
                    }
                    self.report(&names);
                }
                changed = wanted.changed() => if changed.is_err() { return },
                () = sleep(pause) => {}
            }
            // However much happens, the store is not asked more often than this.
            sleep_until(looked + self.work.policy.pause_min).await;
        }
    }

    fn next(&self, names: &Wanted) -> Next {
        let ca = &self.work.shelf.ca;
        let (held, (attempts, authority)) = (self.view.held(ca), self.view.attempts(ca));
        let world = World {
            wanted: &names.names,
            held: &held,
            attempts: &attempts,
            authority: &authority,
            seed: self.work.seed,
        };
        plan::next(world, clock::unix_ms())
    }

    fn begin(&self, name: String, running: &mut JoinSet<Ended>) {
        let (work, mut view) = (Arc::clone(&self.work), self.view.clone());
        running.spawn(async move {
            let done = attempt::attempt(&work, &mut view, &name).await;
            (name, view, done)
        });
    }

    /// Takes what came of an attempt.
    fn take(&mut self, name: &str, done: Done) {
        self.work.publish(&self.view);
        let (policy, now) = (self.work.policy, Instant::now());
        let of_node = match done {
            Done::Ordered => {
                tracing::info!("{name} has a new certificate");
                self.order_after = now;
                None
            }
            Done::Busy | Done::NotDue => {
                self.order_after = now + self.work.settings.interval.min(BUSY_PAUSE_MAX);
                None
            }
            Done::Failed(error, blame) => {
                tracing::warn!("no new certificate for {name}: {error}");
                self.order_after = now + policy.pause_min;
                Some(error).filter(|_| blame == Blame::Node)
            }
        };
        self.failures = if of_node.is_some() { self.failures.saturating_add(1) } else { 0 };
        self.order_after = self.order_after.max(now + policy.of_node().after(self.failures));
        self.of_node = of_node;
    }

    /// Reads the store, and hands over what is new.
    async fn refresh(&mut self) {
        let known = self.work.challenges.keys();
        match self.work.shelf.view(&self.view).await {
            Ok(view) => self.view = view,
            Err(error) => {
                // Once, however long it lasts.
                if self.blind.is_none() {
                    tracing::warn!("certificates stay as they are for now: {error}");
                }
                self.blind = Some(error.into());
                self.work.publish(&self.view);
                return;
            }
        }
        self.blind = None;
        for key in known.iter().filter(|key| !self.view.objects.contains_key(*key)) {
            self.work.challenges.forget(key);
        }
        for (key, (_, content)) in &self.view.objects {
            if let (Some(place), Content::Answer(answer)) = (Place::of(key), content)
                && answer.until_ms > clock::unix_ms()
            {
                self.work.challenges.learn(place, &answer.authorization);
            }
        }
        self.work.publish(&self.view);
        if self.cleared.is_none_or(|cleared| cleared.elapsed() >= CLEAR_INTERVAL) {
            self.cleared = Some(Instant::now());
            self.work.shelf.clear(&self.view, clock::unix_ms()).await;
        }
        self.remember().await;
    }

    /// Writes the node's copy, unless it has the certificates as they are.
    async fn remember(&mut self) {
        let contents = self.copy.contents(&self.view);
        if contents == self.copied {
            return;
        }
        self.copied.clone_from(&contents);
        let copy = self.copy.clone();
        // When the node stops, nobody reads it.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || copy.write(&contents)).await {
            tracing::warn!(
                "should the store be away at the next start, new certificates are missing: {error}"
            );
        }
    }

    fn report(&self, names: &Wanted) {
        let of = (&*self.work.shelf.ca, self.work.seed);
        let of_node = self.blind.as_ref().or(self.of_node.as_ref());
        let status = names.status(&self.view, of, of_node, clock::unix_ms());
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}
