//! Metrics as Prometheus reads them: the OpenMetrics text format 1.0, written by the library
//! `prometheus-client`. For scrapers that know only Prometheus' own text format, [`super::format`]
//! makes that of it.
//!
//! Names are `sockhop_*`, with base units. A function has series once it was called, and of
//! outcomes and reasons those that there were. Pure; owns no fds.

use std::fmt::Error;

use abi::board::{HOP_BOUNDS_US, LATENCY_BOUNDS_US, ORIGINS, REFUSED_STATUSES, REUSES, add_counts};
use abi::outcome::{CLASSES, Reason};
use api::status::{NodeStatus, WorkerState, WorkerStatus};
use database::Counted;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::families::Families;
use crate::cron::tally::Tally;
use crate::jobs::tally::Reading as JobsReading;
use fleet::metrics::reading::{FunctionReading, Reading, WorkerTally};
use logs::LogsReading;
use logs::traces::TracesReading;
use state::{Bucket, Reading as StateReading, Usage};

/// Everything that is counted.
#[derive(Debug)]
pub struct Exposition {
    pub node: NodeStatus,
    pub workers: Vec<WorkerStatus>,
    pub reading: Reading,
    pub engine_memory_bytes: Option<u64>,
    /// Connections for which no worker is free now.
    pub parked: usize,
    pub logs: LogsReading,
    /// None without an endpoint for spans.
    pub traces: Option<TracesReading>,
    pub(crate) cron: Tally,
    pub(crate) jobs: JobsReading,
    /// Of functions' keys and values.
    pub(crate) state: StateReading,
}

/// Writes it as text.
///
/// # Errors
/// None that can be mended: writing to memory does not fail.
pub fn write(exposition: Exposition) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("sockhop");
    registry.register_collector(Box::new(exposition));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut families = Families(encoder);
        self.node(&mut families)?;
        self.dispatch(&mut families)?;
        self.workers_now(&mut families)?;
        self.workers_ever(&mut families)?;
        self.logs(&mut families)?;
        self.traces(&mut families)?;
        self.cron(&mut families)?;
        self.jobs(&mut families)?;
        self.state(&mut families)?;
        self.databases(&mut families)?;
        self.functions(&mut families)
    }
}

type Label = [(&'static str, String); 1];
type Labels = [(&'static str, String); 2];

fn worker(row: usize) -> Label {
    [("worker", row.to_string())]
}

impl Exposition {
    fn node(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let node = &self.node;
        let info = [("version", node.version.as_str())];
        families
            .family("build", "The build that runs", None, MetricType::Info)?
            .encode_info(&info)?;
        families.gauge_alone(
            "start_time",
            "When the node started, since 1970",
            Some(Unit::Seconds),
            node.started_s,
        )?;
        let away = u64::from(node.store_away.is_some());
        families.gauge_alone("store_away", "Whether the store cannot be reached", None, away)?;
        families.gauge_alone(
            "draining",
            "Whether the node is stopping",
            None,
            u64::from(node.draining),
        )?;
        families.gauge_alone(
            "functions",
            "Functions that are deployed",
            None,
            node.functions as u64,
        )?;
        families.counter_alone("compilations", "Runs of the compiler", node.compilations)?;
        match self.engine_memory_bytes {
            Some(bytes) => families.gauge_alone(
                "engine_resident_memory",
                "Memory of the engine",
                Some(Unit::Bytes),
                bytes,
            ),
            None => Ok(()),
        }
    }

    fn dispatch(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let dispatch = &self.reading.dispatch;
        let accepted =
            dispatch.accepted.iter().map(|(core, count)| ([("shard", core.to_string())], *count));
        families.counters(
            "connections_accepted",
            "Connections that a shard has accepted",
            accepted,
        )?;
        let hops = dispatch.hops.iter().map(|(row, hops)| (worker(*row), *hops));
        families.counters("hops", "Connections given to a worker", hops)?;
        families.counter_alone(
            "parked",
            "Connections for which no worker was free at once",
            dispatch.parked,
        )?;
        families.gauge_alone(
            "connections_parked",
            "Those that wait for one now",
            None,
            self.parked as u64,
        )?;
        let mut by_workers = [0; REFUSED_STATUSES.len()];
        self.reading.workers.values().for_each(|tally| add_counts(&mut by_workers, &tally.refused));
        let refused = [("engine", dispatch.refused), ("worker", by_workers)].into_iter().flat_map(
            |(by, counts)| {
                let label = move |status: u16| -> Labels {
                    [("by", by.to_owned()), ("status", status.to_string())]
                };
                REFUSED_STATUSES
                    .into_iter()
                    .zip(counts)
                    .map(move |(status, count)| (label(status), count))
            },
        );
        families.counters(
            "refused",
            "Requests refused before they were any function's",
            refused.filter(some),
        )
    }

    fn workers_now(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let info = self.workers.iter().map(|status| {
            let labels = [
                ("worker", status.index.to_string()),
                ("core", status.core.to_string()),
                ("pool", status.pool.clone()),
            ];
            (labels, 1)
        });
        families.gauges("worker_pool", "Where a worker runs, and whose it is", None, info)?;
        let each = |of: fn(&WorkerStatus) -> u64| {
            self.workers.iter().map(move |status| (worker(status.index), of(status)))
        };
        let ready = each(|status| u64::from(status.state == WorkerState::Ready));
        families.gauges("worker_ready", "Whether the worker serves", None, ready)?;
        let open = each(|status| status.connections_open);
        families.gauges("worker_connections", "Connections that it has", None, open)?;
        let in_flight = each(|status| status.in_flight);
        families.gauges("worker_in_flight", "Invocations that it runs", None, in_flight)?;
        families.gauges(
            "worker_modules",
            "Modules that it has loaded",
            None,
            each(|status| status.modules),
        )?;
        let memory = self
            .workers
            .iter()
            .filter_map(|status| Some((worker(status.index), status.memory_bytes?)));
        families.gauges(
            "worker_resident_memory",
            "Memory of its process",
            Some(Unit::Bytes),
            memory,
        )
    }

    fn workers_ever(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let each = |of: fn(&WorkerTally) -> u64| {
            self.reading.workers.iter().map(move |(row, tally)| (worker(*row), of(tally)))
        };
        let taken = each(|tally| tally.connections_taken);
        families.counters(
            "worker_connections_taken",
            "Connections that have come to a worker",
            taken,
        )?;
        let returns = each(|tally| tally.returns);
        families.counters("returns", "Connections that a worker gave back for another", returns)?;
        let requests = each(|tally| tally.requests);
        families.counters("worker_requests", "Invocations that a worker has begun", requests)?;
        let loads = each(|tally| tally.cold_loads);
        families.counters("cold_loads", "Modules loaded because a function was called", loads)?;
        let restarts = each(|tally| tally.restarts);
        families.counters("worker_restarts", "Processes that ended unasked", restarts)?;
        let instances = self.reading.workers.iter().flat_map(|(row, tally)| {
            let label = |origin: &str| -> Labels {
                [("worker", row.to_string()), ("origin", origin.to_owned())]
            };
            ORIGINS
                .into_iter()
                .zip(tally.instances)
                .map(move |(origin, count)| (label(origin), count))
        });
        families.counters("instances", "Instances taken for invocations", instances)?;
        let hops = self.reading.workers.iter().map(|(row, tally)| (worker(*row), &tally.hop));
        let help = "From accept to the worker's first request, where that had arrived by then";
        families.histograms("hop", help, &HOP_BOUNDS_US, hops)
    }

    fn logs(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let each = |of: fn(&WorkerTally) -> u64| {
            self.reading.workers.iter().map(move |(row, tally)| (worker(*row), of(tally)))
        };
        families.counters(
            "log_records",
            "Invocations that were logged",
            each(|tally| tally.log_records),
        )?;
        families.counters("log_lines", "Lines that were logged", each(|tally| tally.log_lines))?;
        let dropped = each(|tally| tally.log_dropped);
        families.counters(
            "log_dropped",
            "Invocations and lines that could not be logged",
            dropped,
        )?;
        families.counters(
            "log_written_bytes",
            "Bytes written to the spool",
            each(|tally| tally.log_bytes),
        )?;
        let logs = &self.logs;
        for (name, help, count) in [
            ("log_segments_sealed", "Segments of the log that were ended", logs.sealed),
            ("log_segments_shipped", "Segments that the store has taken", logs.shipped),
            ("log_shipped_bytes", "Bytes of these, as they are in the store", logs.shipped_bytes),
            ("log_ship_failures", "Tries to ship that failed", logs.failures),
            ("log_segments_lost", "Segments dropped because the spool was full", logs.lost),
            ("log_damaged", "Places in segments where a record was torn or damaged", logs.damaged),
        ] {
            families.counter_alone(name, help, count)?;
        }
        let (segments, bytes) = (logs.waiting.segments, logs.waiting.bytes);
        families.gauge_alone(
            "log_spool_segments",
            "Segments on this node's disk",
            None,
            segments,
        )?;
        families.gauge_alone("log_spool", "What they take there", Some(Unit::Bytes), bytes)
    }

    fn traces(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let Some(TracesReading { exported, dropped }) = &self.traces else { return Ok(()) };
        families.counter_alone(
            "spans_exported",
            "Spans that --otlp-endpoint has taken",
            *exported,
        )?;
        let dropped =
            dropped.iter().map(|(reason, count)| ([("reason", (*reason).to_owned())], *count));
        families.counters("spans_dropped", "Spans that were lost, by why", dropped)
    }

    fn cron(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let Tally { runs, left_out, late_ms } = &self.cron;
        let labels = |function: &str, key: &'static str, value: &str| -> Labels {
            [("function", function.to_owned()), (key, value.to_owned())]
        };
        let rings = u64::from(self.node.cron.rings);
        families.gauge_alone("cron_rings", "Whether this node rings by schedules", None, rings)?;
        let counts = runs.iter().map(|((function, outcome), count)| {
            (labels(function, "outcome", outcome.name()), *count)
        });
        families.counters(
            "cron_runs",
            "Functions rung by schedules, by what came of it",
            counts,
        )?;
        let counts = left_out
            .iter()
            .map(|((function, why), count)| (labels(function, "reason", why.name()), *count));
        families.counters(
            "cron_left_out",
            "Ticks of schedules that were not rung, by why",
            counts,
        )?;
        let late = late_ms.iter().map(|(function, late_ms)| {
            ([("function", function.clone())], late_ms.saturating_mul(1000))
        });
        families.seconds("cron_late", "How late these runs have begun, all together", late)
    }

    fn jobs(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let JobsReading { tally, depths, oldest_ms, database: _ } = &self.jobs;
        let states = depths.iter().flat_map(|(function, depth)| {
            let states =
                [("queued", depth.queued), ("running", depth.running), ("dead", depth.dead)];
            states.map(|(state, count)| -> (Labels, u64) {
                ([("function", function.clone()), ("state", state.to_owned())], count as u64)
            })
        });
        families.gauges("jobs", "Asynchronous invocations that are kept", None, states)?;
        families.gauge_alone(
            "jobs_oldest_age",
            "Age of the oldest that is no dead letter",
            Some(Unit::Seconds),
            oldest_ms / 1000,
        )?;
        let of = |counts: &std::collections::BTreeMap<String, u64>| -> Vec<(Label, u64)> {
            let of =
                |(function, count): (&String, &u64)| ([("function", function.clone())], *count);
            counts.iter().map(of).collect()
        };
        families.counters("jobs_submitted", "Those that were submitted", of(&tally.submitted))?;
        let refused = tally.refused.iter().map(|((function, why), count)| -> (Labels, u64) {
            ([("function", function.clone()), ("reason", why.name().to_owned())], *count)
        });
        families.counters("jobs_refused", "Submissions that were not kept, by why", refused)?;
        let attempts = tally.attempts.iter().map(|((function, outcome), count)| -> (Labels, u64) {
            let outcome = outcome.name().to_owned();
            ([("function", function.clone()), ("outcome", outcome)], *count)
        });
        families.counters("jobs_attempts", "Attempts, by what came of them", attempts)?;
        families.counters(
            "jobs_retries",
            "Attempts but for the first of each",
            of(&tally.retries),
        )?;
        families.counters("jobs_dead_letters", "Those that were given up", of(&tally.dead))?;
        let waited = of(&tally.waited_ms).into_iter();
        let waited = waited.map(|(labels, ms)| (labels, ms.saturating_mul(1000)));
        families.seconds(
            "jobs_waited",
            "How long they have waited for their first attempts",
            waited,
        )
    }

    fn state(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let StateReading { reads, writes, failures, database, buckets } = &self.state;
        let operations = [("read", *reads), ("write", *writes)]
            .map(|(kind, count)| ([("operation", kind)], count));
        families.counters("kv_operations", "Operations on keys and values", operations)?;
        let failures = failures.iter().map(|(why, count)| ([("reason", *why)], *count));
        families.counters("kv_failures", "Those that were not done, by why", failures)?;
        if database.is_none() {
            return Ok(());
        }
        let each = |of: fn(&Usage) -> u64| {
            buckets.iter().map(move |(bucket, usage)| {
                let (kind, name) = match bucket {
                    Bucket::Function(name) => ("function", name),
                    Bucket::Shared(name) => ("shared", name),
                };
                let labels: Labels = [("kind", kind.to_owned()), ("bucket", name.clone())];
                (labels, of(usage))
            })
        };
        families.gauges("kv_keys", "Keys in a bucket", None, each(|usage| usage.keys))?;
        let bytes = each(|usage| usage.bytes);
        let help = "Keys and values in a bucket";
        families.gauges("kv_size", help, Some(Unit::Bytes), bytes)
    }

    /// The databases of this node.
    fn databases(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let databases = [("kv", self.state.database), ("jobs", self.jobs.database)];
        let databases = databases.into_iter().filter_map(|(name, counted)| Some((name, counted?)));
        let databases: Vec<(&str, Counted)> = databases.collect();
        let each = |of: fn(&Counted) -> u64| {
            databases.iter().map(move |(name, counted)| ([("database", *name)], of(counted)))
        };
        families.counters("database_reads", "Tasks that read", each(|of| of.reads))?;
        families.counters("database_writes", "Tasks that may write", each(|of| of.writes))?;
        let commits = each(|of| of.commits);
        families.counters("database_commits", "Transactions, of many tasks each", commits)?;
        let seconds = each(|of| of.commit_us);
        families.seconds("database_commit", "How long these took, all together", seconds)?;
        let failed = each(|of| of.failed);
        families.counters("database_failures", "Tasks that the database could not do", failed)
    }

    fn functions(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let functions = &self.reading.functions;
        let name = |function: &FunctionReading| -> Label { [("function", function.name.clone())] };
        let by = |function: &FunctionReading, key: &'static str, value: &str| -> Labels {
            [("function", function.name.clone()), (key, value.to_owned())]
        };
        let requests = functions.iter().flat_map(|function| {
            let counts = CLASSES.into_iter().zip(function.tally.outcomes);
            counts.map(move |(outcome, count)| (by(function, "status", outcome), count))
        });
        let help = "Invocations that are over, by the class of their status; none if the client \
                    had gone before";
        families.counters("requests", help, requests.filter(some))?;
        let latencies = functions.iter().map(|function| (name(function), &function.tally.latency));
        let help = "From a request's head to the last byte of its reply";
        families.histograms("request_duration", help, &LATENCY_BOUNDS_US, latencies)?;
        let sent = functions.iter().map(|function| (name(function), function.tally.sent_bytes));
        families.counters("sent_bytes", "Bytes of replies that have left, heads included", sent)?;
        let in_flight = functions.iter().map(|function| (name(function), function.in_flight));
        families.gauges("in_flight", "Invocations that run now", None, in_flight)?;
        let queued = functions.iter().map(|function| (name(function), function.queued));
        families.gauges("queue_depth", "Requests that wait for their turn now", None, queued)?;
        let reasons = |label: &'static str, limit: bool| {
            functions.iter().flat_map(move |function| {
                let counts = Reason::ALL.into_iter().zip(function.tally.reasons);
                let counts =
                    counts.filter(move |(reason, count)| reason.is_limit() == limit && *count > 0);
                counts.map(move |(reason, count)| (by(function, label, reason.name()), count))
            })
        };
        families.counters(
            "limits_hit",
            "Invocations that ran into a limit",
            reasons("limit", true),
        )?;
        families.counters(
            "failures",
            "Invocations that failed otherwise",
            reasons("reason", false),
        )?;
        let reuses = functions.iter().flat_map(|function| {
            let counts = REUSES.into_iter().zip(function.tally.reuses);
            counts.map(move |(outcome, count)| (by(function, "outcome", outcome), count))
        });
        let help =
            "With reuse=N, instances that have served a request: kept for another, or why not";
        families.counters("instance_reuse", help, reuses.filter(some))
    }
}

fn some<L>((_, count): &(L, u64)) -> bool {
    *count > 0
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
