//! The result of `memory`, as figures, text and JSON. Holds no file descriptor.

use std::fmt;

use serde::Serialize;

use crate::alone::Provenance;
use crate::smaps::Sample;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// The conditions of the measurement.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// The settings.
    pub settings: Settings,
    /// The steps of each node. The first of each is the baseline of the others.
    pub nodes: Vec<Vec<Step>>,
    /// The difference that each step makes, in the same order, without the baselines.
    pub added: Vec<Added>,
}

/// The settings of a run.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// The functions of one file.
    pub functions: u32,
    /// The functions of distinct files.
    pub distinct: u32,
    /// The bytes of each file.
    pub component_bytes: usize,
    /// How long nothing may change before each reading.
    pub quiet_seconds: f64,
    /// The node's core.
    pub server_core: usize,
}

/// A reading of a node at rest.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// The step before it.
    pub what: &'static str,
    /// The functions that were deployed since the baseline.
    pub functions: u32,
    /// The worker's memory.
    pub worker: Sample,
    /// The engine's memory.
    pub engine: Sample,
    /// Whether the node had come to rest.
    pub settled: bool,
    /// How long that took.
    pub waited_seconds: f64,
}

/// Bytes for each function, of the worker unless it says otherwise. Negative if memory was given
/// back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Added {
    /// The step.
    pub what: &'static str,
    /// Anonymous memory, and the process's part of shared memory.
    pub kept: f64,
    /// File pages.
    pub file: f64,
    /// All resident memory.
    pub rss: f64,
    /// Anonymous and shared memory of the engine.
    pub engine_kept: f64,
}

impl Added {
    fn between(before: &Step, after: &Step) -> Self {
        let each =
            |from: u64, to: u64| (to as f64 - from as f64) / f64::from(after.functions.max(1));
        Self {
            what: after.what,
            kept: each(before.worker.kept(), after.worker.kept()),
            file: each(before.worker.rss_file, after.worker.rss_file),
            rss: each(before.worker.rss, after.worker.rss),
            engine_kept: each(before.engine.kept(), after.engine.kept()),
        }
    }
}

impl Memory {
    pub fn new(mut provenance: Provenance, settings: Settings, nodes: Vec<Vec<Step>>) -> Self {
        let warnings = &mut provenance.warnings;
        let (mut added, mut huge) = (Vec::new(), false);
        for steps in &nodes {
            if let Some((baseline, others)) = steps.split_first() {
                added.extend(others.iter().map(|step| Added::between(baseline, step)));
            }
            huge |= steps.iter().any(|step| step.worker.huge > 0);
            for step in steps.iter().filter(|step| !step.settled) {
                warnings.push(format!(
                    "{}: the node had not come to rest after {:.0} s",
                    step.what, step.waited_seconds
                ));
            }
        }
        if huge {
            warnings.push(
                "part of the worker's memory is in huge pages, which come 2 MiB at a time: more functions make it finer"
                    .to_owned(),
            );
        }
        Self { provenance, settings, nodes, added }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { component_bytes, quiet_seconds, server_core, .. } = self.settings;
        writeln!(
            f,
            "\nmemory of one worker, functions of {component_bytes} bytes; node on core {server_core}, looked at after {quiet_seconds} s of rest"
        )?;
        writeln!(
            f,
            "KiB; kept is Pss_Anon + Pss_Shmem of /proc/PID/smaps_rollup, file is RssFile of /proc/PID/status\n"
        )?;
        writeln!(
            f,
            "{:<42}{:>10}{:>10}{:>10}{:>10}{:>10}{:>13}",
            "step", "functions", "kept", "file", "Rss", "huge", "engine kept"
        )?;
        let kib = |bytes: u64| bytes / 1024;
        for step in self.nodes.iter().flatten() {
            let Step { what, functions, worker, engine, .. } = step;
            writeln!(
                f,
                "{what:<42}{functions:>10}{:>10}{:>10}{:>10}{:>10}{:>13}",
                kib(worker.kept()),
                kib(worker.rss_file),
                kib(worker.rss),
                kib(worker.huge),
                kib(engine.kept())
            )?;
        }
        writeln!(
            f,
            "\n{:<42}{:>10}{:>10}{:>10}{:>10}{:>10}{:>13}",
            "bytes a function", "", "kept", "file", "Rss", "", "engine kept"
        )?;
        for Added { what, kept, file, rss, engine_kept } in &self.added {
            writeln!(
                f,
                "{what:<42}{:>10}{kept:>10.0}{file:>10.0}{rss:>10.0}{:>10}{engine_kept:>13.0}",
                "", ""
            )?;
        }
        write!(f, "{}", self.provenance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(functions: u32, bytes: u64, settled: bool) -> Step {
        let worker = Sample {
            rss: 3 * bytes,
            pss: 3 * bytes,
            pss_anonymous: bytes,
            pss_shmem: bytes,
            rss_file: bytes,
            huge: 0,
        };
        Step { what: "x", functions, worker, engine: worker, settled, waited_seconds: 1.0 }
    }

    #[test]
    fn what_was_added_is_shared_among_the_functions() {
        let added = Added::between(&step(0, 1000, true), &step(10, 1500, true));
        assert_eq!(
            added,
            Added { what: "x", kept: 100.0, file: 50.0, rss: 150.0, engine_kept: 100.0 }
        );
        assert_eq!(Added::between(&step(0, 1000, true), &step(10, 500, true)).file, -50.0);
    }

    #[test]
    fn a_restless_node_is_warned_of() {
        let settings = Settings {
            functions: 10,
            distinct: 0,
            component_bytes: 1,
            quiet_seconds: 1.0,
            server_core: 0,
        };
        let nodes = vec![vec![step(0, 1, true), step(10, 2, false)]];
        let memory =
            Memory::new(Provenance::of(std::path::Path::new("/no/such/file")), settings, nodes);
        assert_eq!(memory.added.len(), 1);
        assert!(
            memory.provenance.warnings.iter().any(|warning| warning.contains("not come to rest"))
        );
    }
}
