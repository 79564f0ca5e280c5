//! The `peers` command: measures sockhop and every peer that is installed, in the same rounds, with
//! the same guest, load and cores.
//!
//! One server runs at a time, on core 0, with the client on other cores. A round visits each server
//! once, so that whatever slows the machine down for a while slows all of them, and each round
//! begins with another server. Each visit starts the server anew: an idle server still ticks, and a
//! new process has a new memory layout, which is part of the spread. A step that takes long and is
//! done once in a server's life, such as deploying, is done once before the rounds. Processes and
//! their files belong to `server`.

mod chart;
mod results;
mod scenario;
mod table;
mod visit;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::cli::PeersArguments;
use crate::environment::{Binary, Environment};
use crate::server::{self, Kind, Prepared, Program, Serving};
use crate::target::{self, Request};
use crate::{interrupt, load, output};
use results::Results;
pub use scenario::Measure;
use scenario::{SCENARIOS, Scenario, UPSTREAM_MS};
pub use table::{ratio, value};
use visit::Visitor;

/// The peers cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such scenario.
    #[error("there is no scenario `{name}`; there are: {all}")]
    Scenario {
        /// The name as given.
        name: String,
        /// The names of the scenarios.
        all: String,
    },
    /// No server was found.
    #[error(
        "none of the servers `{0}` is here; see scripts/install-peers, or say where: --sockhop-bin, --peers-dir, --spin"
    )]
    Nothing(String),
    /// A server answers differently from the others.
    #[error(
        "it answers with status {status} and {bytes} bytes (`{body}`) instead of 200 and what the others answer"
    )]
    Answer {
        /// Its status.
        status: u16,
        /// The length of its body.
        bytes: usize,
        /// The start of its body.
        body: String,
    },
    /// A server did not start.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// A request failed.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// The load failed as a whole.
    #[error(transparent)]
    Load(#[from] load::Error),
    /// The server ended under load, or /proc cannot be read.
    #[error(transparent)]
    Process(#[from] crate::process_tree::Error),
    /// Its memory does not come to rest.
    #[error(transparent)]
    Quiet(#[from] crate::quiet::Error),
    /// Its memory cannot be read.
    #[error(transparent)]
    Memory(#[from] crate::smaps::Error),
    /// There are more connections than files that may be open.
    #[error(transparent)]
    OpenFiles(#[from] crate::client::OpenFilesError),
    /// There is no component, or the report cannot be written.
    #[error(transparent)]
    Output(#[from] output::Error),
    /// A signal stopped the command.
    #[error(transparent)]
    Interrupted(#[from] interrupt::Error),
}

/// The settings of the rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    /// The rounds. In each, every server is visited once.
    pub rounds: u32,
    /// The rounds in which memory is measured: it varies little, and takes long.
    pub memory_rounds: u32,
    /// The length of each window.
    pub seconds: f64,
    /// The load before each window.
    pub warmup_seconds: f64,
    /// The functions while their memory is measured.
    pub functions: u32,
    /// The functions of the scenario `zipf`.
    pub zipf_functions: u32,
    /// The idle connections while their memory is measured.
    pub idle_connections: u32,
    /// The servers' core.
    pub server_core: usize,
    /// The client's cores.
    pub client_cores: Vec<usize>,
    /// Whether the client never sleeps.
    pub spin: bool,
    /// The measures.
    #[serde(skip)]
    pub measures: Vec<Measure>,
}

/// The command.
pub fn command(arguments: &PeersArguments) -> Result<(), Error> {
    let scenarios = chosen(&arguments.scenarios)?;
    let environment = Environment::look();
    let found = arguments.places().look();
    let wanted =
        |kind: &Kind| arguments.servers.is_empty() || arguments.servers.contains(&kind.name());
    let kinds: Vec<Kind> = found.kinds.into_iter().filter(wanted).collect();
    if kinds.is_empty() {
        return Err(Error::Nothing(arguments.servers.join(",")));
    }
    let settings = arguments.settings();
    let mut results = Results::new(environment, settings.clone(), found.missing);
    for kind in &kinds {
        results.server(
            kind.name(),
            kind.version(),
            kind.binaries().iter().map(|path| Binary::look(path)).collect(),
        );
    }
    for scenario in &scenarios {
        let guest = scenario.file(&arguments.guests, &arguments.native_guests);
        run(scenario, &kinds, &settings, &guest, &mut results)?;
        // The results are written after each scenario: the next may be interrupted.
        output::write(arguments.json.as_deref(), &results)?;
    }
    results.finish();
    output::show(&results);
    output::write(arguments.json.as_deref(), &results)?;
    if let Some(folder) = &arguments.charts {
        chart::write(folder, &results)?;
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<Scenario>, Error> {
    if names.is_empty() {
        return Ok(SCENARIOS.to_vec());
    }
    let all = || SCENARIOS.map(|scenario| scenario.name).join(", ");
    let find = |name: &String| SCENARIOS.iter().find(|scenario| scenario.name == name).copied();
    names
        .iter()
        .map(|name| find(name).ok_or_else(|| Error::Scenario { name: name.clone(), all: all() }))
        .collect()
}

/// Runs all rounds of one scenario.
fn run(
    scenario: &Scenario,
    kinds: &[Kind],
    settings: &Settings,
    guest: &std::path::Path,
    results: &mut Results,
) -> Result<(), Error> {
    let site = match scenario.program {
        Program::Static { bytes } => Some(server::site(bytes)?),
        _ => None,
    };
    let component = match &site {
        Some(site) => site.path().to_owned(),
        None => output::component(guest)?,
    };
    // The upstream runs as long as the scenario.
    let upstream = if scenario.upstream {
        Some(server::upstream(Duration::from_millis(UPSTREAM_MS))?)
    } else {
        None
    };
    let (mut query, mut options) = (scenario.query.to_owned(), Vec::new());
    if let Some((_, target)) = &upstream {
        let authority = target.authority();
        query = format!("?stream=1&url=http%3A%2F%2F{}%2F", authority.replace(':', "%3A"));
        let connections = scenario.connections.to_string();
        options = [
            "--allow-outbound",
            authority,
            "--concurrency",
            &connections,
            "--outbound-requests",
            &connections,
        ]
        .map(str::to_owned)
        .to_vec();
    }
    let request = scenario.body().map_or_else(Request::get, Request::post);
    let functions = if scenario.zipf { settings.zipf_functions } else { 1 };
    let mut serving = Serving {
        component,
        program: scenario.program,
        script: scenario.script,
        fixed: Vec::new(),
        functions,
        options,
        tls: scenario.is_secure(),
    };
    results.scenario(scenario.name, scenario.about);
    eprintln!("{}: {}", scenario.name, scenario.about);

    let mut ready: Vec<(&Kind, Prepared)> = Vec::new();
    let upstream = upstream.as_ref().map(|(child, _)| child);
    let mut visitor =
        Visitor { scenario, settings, query: &query, request, expected: Vec::new(), upstream };
    for kind in kinds.iter().filter(|kind| scenario.concerns(kind)) {
        if let Some(why) = scenario.bars(kind) {
            results.bar(scenario.name, kind.name(), why.to_owned());
            continue;
        }
        // Servers that run functions come first. The reply of the first of them is the one that
        // all others must give.
        if serving.fixed.is_empty() && !kind.runs_functions() {
            results.bar(
                scenario.name,
                kind.name(),
                "no server is here that could say what it should reply".to_owned(),
            );
            continue;
        }
        let prepared = kind.prepare(&serving).map_err(Error::from).and_then(|prepared| {
            if serving.fixed.is_empty() {
                let server = prepared.start()?;
                let fetched =
                    server.target().with_query(&query)?.fetch(&server.request(&visitor.request))?;
                if fetched.status != 200 || fetched.body.is_empty() {
                    let body = String::from_utf8_lossy(&fetched.body).chars().take(80).collect();
                    return Err(Error::Answer {
                        status: fetched.status,
                        bytes: fetched.body.len(),
                        body,
                    });
                }
                serving.fixed = fetched.body;
            }
            Ok(prepared)
        });
        match prepared {
            Ok(prepared) => ready.push((kind, prepared)),
            Err(error) => give_up(scenario, kind, error, results)?,
        }
    }
    visitor.expected.clone_from(&serving.fixed);
    for round in 0..settings.rounds {
        // Each round begins with another server, so that the order gives none an advantage.
        let first = round as usize % ready.len().max(1);
        ready.rotate_left(first);
        let mut failed = Vec::new();
        for (index, (kind, prepared)) in ready.iter().enumerate() {
            interrupt::check()?;
            // A server may fail in one disturbed moment, but not twice in a row.
            match visitor.visit(prepared).or_else(|_| {
                interrupt::check().map_err(Error::from).and_then(|()| visitor.visit(prepared))
            }) {
                Ok(visit) => results.add(scenario.name, &kind.name(), round, visit),
                Err(error) => failed.push((index, error)),
            }
            if visitor.measures(Measure::Memory) && round < settings.memory_rounds {
                match visitor.memory(kind, &serving, prepared) {
                    Ok(visit) => results.add(scenario.name, &kind.name(), round, visit),
                    Err(Error::Interrupted(error)) => return Err(error.into()),
                    Err(error) => results.warn(format!(
                        "{}, {}: memory not measured: {error}",
                        scenario.name,
                        kind.name()
                    )),
                }
            }
        }
        for (index, error) in failed.into_iter().rev() {
            let (kind, _) = ready.remove(index);
            give_up(scenario, kind, error, results)?;
        }
        let back = first.min(ready.len());
        ready.rotate_right(back);
    }
    Ok(())
}

/// A server that fails is a result; the others still count.
fn give_up(
    scenario: &Scenario,
    kind: &Kind,
    error: Error,
    results: &mut Results,
) -> Result<(), Error> {
    if interrupt::check().is_err() {
        return Err(error);
    }
    eprintln!("{}, {}: {error}", scenario.name, kind.name());
    results.fail(scenario.name, &kind.name(), &error);
    Ok(())
}

impl PeersArguments {
    fn settings(&self) -> Settings {
        Settings {
            rounds: self.rounds.rounds,
            memory_rounds: self.memory_rounds,
            seconds: self.rounds.seconds,
            warmup_seconds: self.rounds.warmup_seconds,
            functions: self.functions,
            zipf_functions: self.zipf_functions,
            idle_connections: self.idle_connections,
            server_core: server::SERVER_CORE,
            client_cores: self.client_cores.clone(),
            spin: self.spin,
            measures: self.measures.clone(),
        }
    }

    fn places(&self) -> server::Places {
        let named = |text: &String| match text.split_once('=') {
            Some((label, folder)) => (Some(label.to_owned()), PathBuf::from(folder)),
            None => (None, PathBuf::from(text)),
        };
        server::Places {
            sockhop: self.sockhop_bin.iter().map(named).collect(),
            peers: self.peers_dir.clone(),
            spin: self.spin_bin.clone(),
        }
    }
}
