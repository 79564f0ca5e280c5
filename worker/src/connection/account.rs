//! The account of one invocation: what is counted and told of it when it is over. Owns no fds.

use std::rc::Rc;
use std::time::Duration;

use abi::board::{LATENCY_BOUNDS_US, Outcome, now_us};
use abi::catalogue::CatalogueView;
use abi::choice::{Choice, Meant};
use abi::invocation_id::InvocationId;
use abi::message::AccessLog;
use abi::spool::{Arrival, Invocation, Record};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method};

use super::access::{self, Access};
use super::service::{Destination, Routed};
use crate::facts::{Facts, Parts};
use crate::functions::Place;
use crate::spool::time_us;
use crate::trace::Entered;
use crate::worker::Worker;

/// One request from its head to the last byte of its reply.
pub(super) struct Account {
    pub(super) id: InvocationId,
    /// When its head was there, by [`now_us`].
    pub(super) begun_us: u64,
    /// Where its function is counted; none when there is no such function.
    pub(super) place: Option<Place>,
    pub(super) facts: Rc<Facts>,
    /// For the invocation's record in the log.
    chosen: Option<Chosen>,
    arrived: Option<Arrived>,
    /// For its line in the access log, if there is one.
    access: Option<Box<Access>>,
}

/// What was asked of which version. Shares the request's bytes.
struct Chosen {
    catalogue: Rc<CatalogueView>,
    choice: Choice,
    meant: Meant,
    method: Method,
    prefix: Option<HeaderValue>,
    path: Option<PathAndQuery>,
}

impl Chosen {
    /// The alias that the version was called by; empty when it was called by its own name.
    fn alias(&self) -> &str {
        let Meant::Alias(alias) = self.meant else { return "" };
        let function = self.catalogue.function(self.choice.function);
        function.and_then(|function| function.aliases.get(alias)).map_or("", |alias| &alias.name)
    }

    fn request(&self) -> abi::spool::Request<'_> {
        abi::spool::Request {
            method: self.method.as_str(),
            prefix: self.prefix.as_ref().and_then(|prefix| prefix.to_str().ok()).unwrap_or_default(),
            path: self.path.as_ref().map_or("", PathAndQuery::path),
        }
    }
}

/// When a connection came that begins with the request, by [`now_us`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    pub(super) accepted_us: u64,
    pub(super) received_us: u64,
}

/// What became of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It has left whole, with this status.
    Whole(u16),
    /// It had this status, and not all of it has left.
    Cut(u16),
    /// There was none: the client had gone.
    Nothing,
}

/// Bytes of a request's body and of its reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
}

impl Account {
    /// Opens the account of a request that has just come.
    pub(super) fn open(worker: &Worker, routed: &Routed, arrived: Option<Arrived>) -> Self {
        let request = &routed.message.request;
        let found = match &routed.destination {
            Destination::Function { catalogue, choice, meant } => Some(Chosen {
                catalogue: Rc::clone(catalogue),
                choice: *choice,
                meant: *meant,
                method: request.method().clone(),
                prefix: routed.message.prefix.clone(),
                path: request.uri().path_and_query().cloned(),
            }),
            Destination::Problem(_) => None,
        };
        let chosen = found.as_ref().and_then(|found| found.catalogue.chosen(found.choice));
        let place = chosen.map(|(function, ..)| Place::from(function));
        // From here on the engine sees it in flight.
        let _ = place.and_then(|place| worker.counts(place));
        let alias = found.as_ref().map_or("", Chosen::alias);
        let access = chosen
            .filter(|_| worker.settings.borrow().access_log != AccessLog::Off)
            .map(|(function, version, _)| Box::new(Access::note((function, version, alias), request, routed.origin)));
        let facts = Rc::default();
        Self { id: InvocationId::new(), begun_us: now_us(), place, facts, chosen: found, arrived, access }
    }

    /// Closes it: the last byte that is sent has left, or nothing more will.
    pub(super) fn close(self, worker: &Worker, sent: Sent, moved: Moved) {
        let Some(place) = self.place else { return };
        let now = now_us();
        let duration_us = now.saturating_sub(self.begun_us);
        let (outcome, status) = match sent {
            Sent::Whole(status) | Sent::Cut(status) => (Outcome::Status(status), Some(status)),
            Sent::Nothing => (Outcome::NoReply, None),
        };
        let sent_bytes = moved.sent_bytes;
        if let Some(counts) = worker.counts(place) {
            counts.outcomes.count(outcome.index());
            counts.latency.record(&LATENCY_BOUNDS_US, duration_us);
            counts.sent_bytes.add(sent_bytes);
        }
        self.log(worker, sent, moved, now);
        if let Some(access) = self.access {
            let (cut, duration) = (!matches!(sent, Sent::Whole(_)), Duration::from_micros(duration_us));
            let end = access::End { status, cut, sent_bytes, duration };
            access
                .line(worker.settings.borrow().access_log, self.id, &end)
                .into_iter()
                .for_each(|line| worker.log.put(line));
        }
    }

    /// Logs the invocation, which is over at `now`.
    fn log(&self, worker: &Worker, sent: Sent, moved: Moved, now: u64) {
        let (Some(spool), Some(chosen)) = (worker.log.spool(), &self.chosen) else { return };
        let Some((function, version, _)) = chosen.catalogue.chosen(chosen.choice) else { return };
        // Intervals by the clock that is never set, from one look at the time of day.
        let (time_now, facts) = (time_us(), &self.facts);
        let time_of = |at: u64| time_now.saturating_sub(now.saturating_sub(at));
        let (status, outcome) = match (sent, facts.reason.get()) {
            (Sent::Nothing, None) => (0, "client-gone"),
            (Sent::Nothing, Some(reason)) => (0, reason.name()),
            (Sent::Whole(status) | Sent::Cut(status), Some(reason)) => (status, reason.name()),
            (Sent::Cut(status), None) => (status, "cut"),
            (Sent::Whole(status), None) => (status, "ok"),
        };
        let Parts { queue_us, instantiate_us, run_us } = facts.parts(self.begun_us, now);
        spool.put(&Record::Invocation(Invocation {
            id: self.id,
            started_us: time_of(self.begun_us),
            duration_us: now.saturating_sub(self.begun_us),
            cpu_us: u64::try_from(facts.cpu.get().as_micros()).unwrap_or(u64::MAX),
            memory_bytes: facts.memory_bytes.get() as u64,
            status,
            received_bytes: moved.received_bytes,
            sent_bytes: moved.sent_bytes,
            queue_us,
            instantiate_us,
            run_us,
            outcome,
            function: function.name.as_str(),
            version: &version.id_text(),
            number: version.number.to_native(),
            alias: chosen.alias(),
            request: chosen.request(),
            goes_on: facts.record(now),
            arrival: self.arrived.map(|arrived| Arrival {
                accepted_us: time_of(arrived.accepted_us),
                received_us: time_of(arrived.received_us),
            }),
            trace: facts.trace().map(Entered::record),
        }));
    }
}
