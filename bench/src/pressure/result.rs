//! The result of `pressure`, as figures, text and JSON. Holds no file descriptor.

use std::fmt;

use serde::Serialize;

use crate::alone::Provenance;
use crate::report::{Latency, Report};
use crate::smaps::Sample;

/// The limit on a healthy client's p99 beside a crowd, as a multiple of its p99 alone.
const WANTED: f64 = 3.0;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Pressure {
    /// The conditions of the measurement.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// The settings.
    pub settings: Settings,
    /// An entry for each crowd.
    pub rows: Vec<Row>,
}

/// The settings of a run.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// The healthy client's requests per second.
    pub rate: u64,
    /// The healthy client's connections, kept alive.
    pub connections: u32,
    /// The length of each window.
    pub seconds: f64,
    /// The load before each window.
    pub warmup_seconds: f64,
    /// The nodes' core.
    pub server_core: usize,
    /// The healthy client's core.
    pub load_core: usize,
    /// The crowd's core.
    pub crowd_core: usize,
}

/// The memory of a node.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Footprint {
    /// The worker's memory.
    pub worker: Sample,
    /// The memory of the process that ends TLS.
    pub edge: Sample,
    /// The engine's memory.
    pub engine: Sample,
    /// The buffers of all TCP sockets of the network namespace, at both ends of each connection.
    pub socket_buffers: Option<u64>,
}

/// The figures of one crowd.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The crowd.
    pub crowd: &'static str,
    /// The intended number: connections at a time, or resets per second.
    pub tried: u32,
    /// The number that was reached before the node answered 503.
    pub count: u32,
    /// The connections that the node had not ended at the end of the window.
    pub open_at_the_end: usize,
    /// Those of them with a reply of 200 that nobody reads.
    pub answered: usize,
    /// The connections that were opened again, or reset, in the window.
    pub happened: u64,
    /// The healthy client alone.
    pub alone: Report,
    /// The healthy client beside the crowd.
    pub beside: Report,
    /// The p99 of its latency alone, from the intended send.
    pub p50_ratio: f64,
    /// The same beside the crowd.
    pub p99_ratio: f64,
    /// The node's memory before the crowd.
    pub before: Footprint,
    /// The node's memory with the crowd.
    pub after: Footprint,
    /// The bytes that each connection adds.
    pub each: Each,
    /// Whether the node was at rest when its memory was read. `true` if it cannot be at rest beside
    /// this crowd.
    pub settled: bool,
}

/// Bytes for each connection.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Each {
    /// Resident memory of the worker.
    pub worker: f64,
    /// Resident memory of the process that ends TLS.
    pub edge: f64,
    /// Resident memory of the engine.
    pub engine: f64,
    /// The kernel's buffers at both ends.
    pub socket_buffers: Option<f64>,
}

impl Row {
    pub fn of(
        crowd: &'static str,
        [tried, count]: [u32; 2],
        [open_at_the_end, answered]: [usize; 2],
        happened: u64,
        [alone, beside]: [Report; 2],
        [before, after]: [Footprint; 2],
        settled: bool,
    ) -> Self {
        let ratio = |figure: fn(&Latency) -> f64| figure(beside.felt()) / figure(alone.felt());
        let each = |from: u64, to: u64| (to as f64 - from as f64) / f64::from(count.max(1));
        let buffers = before.socket_buffers.zip(after.socket_buffers);
        Self {
            p50_ratio: ratio(|latency| latency.p50_us),
            p99_ratio: ratio(|latency| latency.p99_us),
            each: Each {
                worker: each(before.worker.rss, after.worker.rss),
                edge: each(before.edge.rss, after.edge.rss),
                engine: each(before.engine.rss, after.engine.rss),
                socket_buffers: buffers.map(|(before, after)| each(before, after)),
            },
            crowd,
            tried,
            count,
            open_at_the_end,
            answered,
            happened,
            alone,
            beside,
            before,
            after,
            settled,
        }
    }
}

impl Pressure {
    pub fn new(mut provenance: Provenance, settings: Settings, rows: Vec<Row>) -> Self {
        let warnings = &mut provenance.warnings;
        for row in &rows {
            let mut warn = |what: String| warnings.push(format!("{}: {what}", row.crowd));
            if row.p99_ratio > WANTED {
                warn(format!(
                    "the p99 is {:.1} times that alone; wanted is at most {WANTED}",
                    row.p99_ratio
                ));
            }
            for (when, report) in [("alone", &row.alone), ("beside it", &row.beside)] {
                let errors = report.errors.total() + report.errors_in_warmup;
                if errors > 0 {
                    warn(format!("{errors} requests of the healthy client failed {when}"));
                }
                if report.client_was_robbed() {
                    warn(format!(
                        "other programs, or the crowd, ran on the healthy client's core {when}"
                    ));
                }
            }
            if row.count < row.tried {
                warn(format!(
                    "the node took {} of {} and answered 503 to the next; limits are its open files (ulimit -Hn) and --connections-max",
                    row.count, row.tried
                ));
            }
            if !row.settled {
                warn(
                    "the node had not come to rest, so what a connection adds is doubtful"
                        .to_owned(),
                );
            }
        }
        Self { provenance, settings, rows }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (alone, beside) = (self.alone.felt(), self.beside.felt());
        write!(
            f,
            "{:<24}{:>8}{:>8}{:>8}{:>9}",
            self.crowd, self.count, self.open_at_the_end, self.answered, self.happened
        )?;
        write!(
            f,
            "{:>9.0}{:>9.0}{:>9.0}{:>9.0}",
            alone.p50_us, beside.p50_us, alone.p99_us, beside.p99_us
        )?;
        write!(f, "{:>8.2}{:>8}", self.p99_ratio, self.beside.errors.total())?;
        if self.open_at_the_end > 0 {
            let Each { worker, edge, engine, .. } = self.each;
            write!(f, "{worker:>10.0}{edge:>10.0}{engine:>10.0}")?;
            if let Some(buffers) = self.each.socket_buffers {
                write!(f, "{buffers:>10.0}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings {
            rate,
            connections,
            seconds,
            warmup_seconds,
            server_core,
            load_core,
            crowd_core,
        } = self.settings;
        writeln!(
            f,
            "\na healthy client of {rate} requests/s on {connections} connections kept alive, open loop, windows of {seconds} s after {warmup_seconds} s, alone and beside a crowd; node on core {server_core}, client on core {load_core}, crowd on core {crowd_core}"
        )?;
        writeln!(
            f,
            "latency from the intended send; bytes a connection are differences of Rss, and of both ends' buffers\n"
        )?;
        write!(f, "{:<24}{:>8}{:>8}{:>8}{:>9}", "crowd", "of", "open", "200", "renewed")?;
        write!(f, "{:>9}{:>9}{:>9}{:>9}", "p50 µs", "beside", "p99 µs", "beside")?;
        writeln!(
            f,
            "{:>8}{:>8}{:>10}{:>10}{:>10}{:>10}",
            "ratio", "errors", "worker B", "edge B", "engine B", "kernel B"
        )?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        write!(f, "{}", self.provenance)
    }
}
