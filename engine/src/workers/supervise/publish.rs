//! Changing what is served: seats first, then every worker, then the shards; and telling whoever waits.
//!
//! The order is the point: no worker gets a connection that was routed by a catalogue it has not got before.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use abi::catalogue::{ArchivedIsolation, CatalogueView};
use abi::limits::WORKERS_MAX;
use abi::message::ToWorker;
use tokio::sync::oneshot;

use super::seat::{Seat, State};
use super::{PUBLISH_TIMEOUT, PublishError, Supervisor};
use crate::dispatch::{Pool, Snapshot, WorkerHandle};

/// Somebody who waits for a catalogue to be served by everywhere.
pub(super) struct Publishing {
    generation: u64,
    deadline: Instant,
    done: oneshot::Sender<Result<(), PublishError>>,
}

impl Supervisor {
    /// Begins to serve by another catalogue: seats first, then every worker, then (see `swap_snapshot`) the shards.
    pub(super) fn publish(
        &mut self,
        catalogue: Arc<OwnedFd>,
        view: Arc<CatalogueView>,
        done: oneshot::Sender<Result<(), PublishError>>,
    ) {
        let isolated: HashSet<&str> = view
            .get()
            .functions
            .iter()
            .filter(|function| function.isolation == ArchivedIsolation::Process)
            .map(|function| function.name.as_str())
            .collect();
        let wanted = self.plan.cores.len() + isolated.len();
        if wanted > WORKERS_MAX {
            let _ = done.send(Err(PublishError::TooManyWorkers { wanted }));
            return;
        }
        let mut missing: HashSet<String> = isolated.into_iter().map(str::to_owned).collect();
        for seat in self.seats.values_mut() {
            if let Pool::Function(name) = &seat.pool {
                let wanted = missing.remove(name);
                if !wanted && !seat.retiring {
                    seat.retire(self.plan.drain_timeout);
                } else if wanted && seat.retiring {
                    // It has been told to leave; another takes its place.
                    missing.insert(name.clone());
                }
            }
        }
        self.seats.retain(|_, seat| !(seat.retiring && matches!(seat.state, State::Resting { .. })));
        for (at, name) in missing.into_iter().enumerate() {
            let core = self.plan.cores[at % self.plan.cores.len()];
            self.add_seat(Pool::Function(name), core);
        }
        for seat in self.seats.values().filter(|seat| !seat.retiring) {
            if let State::Running { link, said_hello: true, .. } = &seat.state {
                link.send(ToWorker::Catalogue, Some(Arc::clone(&catalogue)));
            }
        }
        let generation = view.generation();
        self.catalogue = (catalogue, view);
        self.publishing.push(Publishing { generation, deadline: Instant::now() + PUBLISH_TIMEOUT, done });
        self.move_on(Instant::now());
    }

    /// Lets the shards decide by the newest catalogue once it is in every worker's queue: no worker then gets a
    /// connection that was routed by a catalogue it has not got before.
    pub(super) fn swap_snapshot(&mut self, now: Instant) {
        let newest = self.catalogue.1.generation();
        if self.shared.snapshot.load().catalogue.generation() == newest {
            return;
        }
        let overdue = self.publishing.iter().any(|publishing| now >= publishing.deadline);
        let mut all_flushed = true;
        for seat in self.seats.values_mut() {
            let flushed = !matches!(&seat.state, State::Running { link, .. } if !link.is_flushed());
            if !flushed && overdue {
                tracing::error!("the worker on core {} reads no messages any more; it is killed", seat.core);
                seat.kill();
            }
            all_flushed &= flushed;
        }
        if all_flushed {
            self.store_snapshot(Arc::clone(&self.catalogue.1));
        }
    }

    /// The workers have changed.
    pub(super) fn update_snapshot(&self) {
        self.store_snapshot(Arc::clone(&self.shared.snapshot.load().catalogue));
    }

    fn store_snapshot(&self, catalogue: Arc<CatalogueView>) {
        let mut workers: HashMap<Pool, Vec<Arc<WorkerHandle>>> = HashMap::new();
        for seat in self.seats.values().filter(|seat| !seat.retiring) {
            if let State::Running { link, applied: Some(_), .. } = &seat.state {
                workers.entry(seat.pool.clone()).or_default().push(Arc::clone(&link.handle));
            }
        }
        self.shared.snapshot.store(Arc::new(Snapshot { catalogue, workers }));
    }

    /// Answers those who wait for a catalogue that every worker now serves by.
    pub(super) fn settle_publishing(&mut self, now: Instant) {
        let shards = self.shared.snapshot.load().catalogue.generation();
        let behind = |generation: u64| {
            let serves = |seat: &Seat| matches!(seat.state, State::Running { applied: Some(applied), .. } if applied >= generation);
            shards < generation || self.seats.values().any(|seat| !seat.retiring && !serves(seat))
        };
        let waiting = std::mem::take(&mut self.publishing);
        let mut still = Vec::new();
        for publishing in waiting {
            if !behind(publishing.generation) {
                let _ = publishing.done.send(Ok(()));
            } else if now >= publishing.deadline {
                let _ = publishing.done.send(Err(PublishError::Slow));
            } else {
                still.push(publishing);
            }
        }
        self.publishing = still;
    }
}
