//! The account of one invocation: what is counted and logged about it when it is over. Owns no fds.

use std::rc::Rc;
use std::time::Duration;

use abi::board::{LATENCY_BOUNDS_US, now_us};
use abi::catalogue::CatalogueView;
use abi::choice::{Choice, Selector};
use abi::invocation_id::InvocationId;
use abi::message::AccessLog;
use abi::outcome::{Outcome, ReplyEnd};
use abi::spool::{Arrival, Invocation, Record};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method};

use super::access::{self, Access};
use super::{Destination, Exchange, Pipeline};
use crate::counters::FunctionSlot;
use crate::facts::{Facts, Parts};
use crate::spool::time_us;
use crate::trace::RecordedSpan;

/// One request from its head to the last byte of its reply.
pub(crate) struct Account {
    pub(crate) id: InvocationId,
    /// When its head was complete, by [`now_us`].
    pub(super) begun_us: u64,
    /// Where its function is counted. `None` if there is no such function.
    pub(super) slot: Option<FunctionSlot>,
    pub(super) facts: Rc<Facts>,
    /// For the invocation's record in the log.
    chosen: Option<Chosen>,
    arrived: Option<Arrived>,
    /// For its line in the access log, if there is one.
    access: Option<Box<Access>>,
}

/// The version that was chosen, and the request for it. Shares the request's bytes.
struct Chosen {
    catalogue: Rc<CatalogueView>,
    choice: Choice,
    selector: Selector,
    method: Method,
    prefix: Option<HeaderValue>,
    path: Option<PathAndQuery>,
}

impl Chosen {
    /// Returns the alias that the version was called by. Returns an empty string if it was called
    /// by its own name.
    fn alias(&self) -> &str {
        let Selector::Alias(alias) = self.selector else { return "" };
        let function = self.catalogue.function(self.choice.function);
        function.and_then(|function| function.aliases.get(alias)).map_or("", |alias| &alias.name)
    }

    fn request(&self) -> abi::spool::Request<'_> {
        abi::spool::Request {
            method: self.method.as_str(),
            prefix: self
                .prefix
                .as_ref()
                .and_then(|prefix| prefix.to_str().ok())
                .unwrap_or_default(),
            path: self.path.as_ref().map_or("", PathAndQuery::path),
        }
    }
}

/// When the connection arrived whose first request this is, by [`now_us`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) accepted_us: u64,
    pub(crate) received_us: u64,
}

/// The sizes of a request's body and of its reply.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
}

impl Account {
    /// Opens the account of a request that has just arrived.
    pub(crate) fn open(pipeline: &Pipeline, exchange: &Exchange) -> Self {
        let request = &exchange.request;
        let counters = &pipeline.shared().counters;
        let found = match &exchange.destination {
            Destination::Function { catalogue, choice, selector } => Some(Chosen {
                catalogue: Rc::clone(catalogue),
                choice: *choice,
                selector: *selector,
                method: request.method().clone(),
                prefix: exchange.prefix.clone(),
                path: request.uri().path_and_query().cloned(),
            }),
            Destination::Problem(_) | Destination::Secure(_) => None,
        };
        let chosen = found.as_ref().and_then(|found| found.catalogue.chosen(found.choice));
        let slot = chosen.map(|(function, ..)| FunctionSlot::from(function));
        // Marks the slot as used, and begins its counters anew if another function had it: from
        // here on the engine sees the invocation in flight.
        let _ = slot.and_then(|slot| counters.function(slot));
        let access = chosen.filter(|_| pipeline.settings().access_log != AccessLog::Off).map(
            |(function, version, _)| {
                let alias = found.as_ref().map_or("", Chosen::alias);
                Box::new(Access::note((function, version, alias), request, exchange.client))
            },
        );
        let (facts, arrived) = (Rc::<Facts>::default(), exchange.arrived);
        facts.client_places.set(exchange.client_places);
        Self {
            id: InvocationId::new(),
            begun_us: now_us(),
            slot,
            facts,
            chosen: found,
            arrived,
            access,
        }
    }

    /// Closes the account: the last byte of the reply has left, or no more bytes will be sent.
    pub(crate) fn close(self, pipeline: &Pipeline, reply: ReplyEnd, moved: Moved) {
        let Some(slot) = self.slot else { return };
        let now = now_us();
        let duration_us = now.saturating_sub(self.begun_us);
        let sent_bytes = moved.sent_bytes;
        if let Some(counts) = pipeline.shared().counters.function(slot) {
            counts.outcomes.count(reply.class());
            counts.latency.record(&LATENCY_BOUNDS_US, duration_us);
            counts.sent_bytes.add(sent_bytes);
        }
        self.log(pipeline, reply, moved, now);
        if let Some(access) = self.access {
            let (cut, duration) =
                (!matches!(reply, ReplyEnd::Whole(_)), Duration::from_micros(duration_us));
            let end = access::End { status: reply.status(), cut, sent_bytes, duration };
            if let Some(line) = access.line(pipeline.settings().access_log, self.id, &end) {
                pipeline.shared().log.put(line);
            }
        }
    }

    /// Writes the invocation's record to the log. The invocation was over at `now`.
    fn log(&self, pipeline: &Pipeline, reply: ReplyEnd, moved: Moved, now: u64) {
        let (Some(spool), Some(chosen)) = (pipeline.shared().log.spool(), &self.chosen) else {
            return;
        };
        let Some((function, version, _)) = chosen.catalogue.chosen(chosen.choice) else { return };
        // Both clocks are read once, `now` right before this. Every time in the record is the time
        // of day now, less an interval by the clock that is never set.
        let (time_us, facts) = (time_us(), &self.facts);
        let time_of = |at: u64| time_us.saturating_sub(now.saturating_sub(at));
        let Parts { queue_us, instantiate_us, run_us } = facts.parts(self.begun_us, now);
        spool.put(&Record::Invocation(Invocation {
            id: self.id,
            started_us: time_of(self.begun_us),
            duration_us: now.saturating_sub(self.begun_us),
            cpu_us: u64::try_from(facts.cpu.get().as_micros()).unwrap_or(u64::MAX),
            memory_bytes: facts.memory_bytes.get() as u64,
            status: reply.status().unwrap_or(0),
            received_bytes: moved.received_bytes,
            sent_bytes: moved.sent_bytes,
            queue_us,
            instantiate_us,
            run_us,
            outcome: Outcome::new(reply, facts.reason.get()),
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
            trace: facts.trace().map(RecordedSpan::record),
        }));
    }
}
