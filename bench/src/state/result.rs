//! The result of `state`, as text and JSON. Holds no file descriptor.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::subject::Subject;
use super::{RUN, VALUE_BYTES};
use crate::alone::Provenance;
use crate::peers::{ratio, value};
use crate::series::Series;

/// Who stands beside the others.
const OURS: &str = "sockhop";

/// The whole report, which `compare` reads.
#[derive(Debug, Serialize)]
pub struct State {
    #[serde(flatten)]
    provenance: Provenance,
    settings: Settings,
    servers: Vec<Version>,
    missing: Vec<&'static str>,
    pub series: Vec<Series>,
}

/// The settings of a run.
#[derive(Debug, Serialize)]
pub struct Settings {
    pub rounds: u32,
    pub seconds: f64,
    pub warmup_seconds: f64,
    /// Where there are many.
    pub clients: u32,
    pub server_core: usize,
    pub load_core: usize,
}

/// Who was measured.
#[derive(Debug, Serialize)]
struct Version {
    name: &'static str,
    version: Option<String>,
    /// How it was first started.
    commands: Vec<String>,
}

impl State {
    pub fn new(
        binary: &Path,
        settings: Settings,
        subjects: &[Subject],
        missing: Vec<&'static str>,
    ) -> Self {
        let version = |subject: &Subject| Version {
            name: subject.name(),
            version: subject.version(),
            commands: Vec::new(),
        };
        Self {
            provenance: Provenance::of(binary),
            settings,
            servers: subjects.iter().map(version).collect(),
            missing,
            series: Vec::new(),
        }
    }

    /// One has started by these commands.
    pub fn started(&mut self, name: &str, commands: &[String]) {
        if let Some(server) = self.servers.iter_mut().find(|server| server.name == name)
            && server.commands.is_empty()
        {
            server.commands = commands.to_vec();
        }
    }

    pub fn warn(&mut self, warning: String) {
        if !self.provenance.warnings.contains(&warning) {
            self.provenance.warnings.push(warning);
        }
    }

    /// After the last round: what all of them make doubtful.
    pub fn finish(&mut self) {
        let high = self.series.iter().filter(|series| series.spread().is_high());
        let high: Vec<String> = high
            .map(|series| format!("{} {} {}", series.server, series.scenario, series.measure))
            .collect();
        if !high.is_empty() {
            self.warn(format!("high spread over the rounds of {}", high.join("; ")));
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { rounds, seconds, clients, server_core, load_core, .. } = &self.settings;
        writeln!(
            f,
            "\nstate: values of {VALUE_BYTES} bytes; medians of {rounds} rounds (least to most), windows of {seconds} s; many clients are {clients}, runs have {RUN}; servers on core {server_core}, client on core {load_core}; ≥: the client was the bottleneck; \"is\": the ratio with its 95 % interval"
        )?;
        let mut measures: Vec<(&str, &str)> = Vec::new();
        for series in &self.series {
            let measure = (&*series.measure, &*series.unit);
            if !measures.contains(&measure) {
                measures.push(measure);
            }
        }
        for (measure, unit) in measures {
            writeln!(f, "\n### {measure}, {unit}\n")?;
            writeln!(f, "| operation | server | {unit} | {OURS} is |\n|---|---|---|---|")?;
            for operation in super::Operation::ALL.map(super::Operation::name) {
                let of =
                    |series: &&Series| series.measure == measure && series.scenario == operation;
                let rows: Vec<&Series> = self.series.iter().filter(of).collect();
                let ours = rows.iter().find(|row| row.server == OURS);
                for server in &self.servers {
                    let Some(row) = rows.iter().find(|row| row.server == server.name) else {
                        continue;
                    };
                    let (value, ratio) = (value(row), ratio(row, ours));
                    writeln!(f, "| {operation} | {} | {value} | {ratio} |", server.name)?;
                }
            }
        }
        writeln!(f)?;
        for missing in &self.missing {
            writeln!(f, "missing: {missing} was not found; scripts/install-peers gets it")?;
        }
        for Version { name, version, commands } in &self.servers {
            writeln!(f, "{name}: {}", version.as_deref().unwrap_or("see below"))?;
            commands.iter().try_for_each(|command| writeln!(f, "    {command}"))?;
        }
        write!(f, "{}", self.provenance)
    }
}
