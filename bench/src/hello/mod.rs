//! The `hello` command: sockhop and its peers, side by side, on the smallest function there is.
//!
//! One server is alive at a time, on core 0, with the client on core 1; a round visits each once, so that
//! whatever slows the machine down for a while slows all of them. Each visit starts the server afresh: an
//! idle server still ticks, and a fresh process has a fresh memory layout, which is part of the spread.
//! Processes and their files belong to `server`; this module holds one `Server` at a time.

mod result;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::HelloArguments;
use crate::environment::Environment;
use crate::load::{self, Load};
use crate::process_tree;
use crate::server::{self, Kind, Server};
use result::{Comparison, Measured, Missing, Round, Settings};

/// Where the client runs.
const LOAD_CORE: usize = 1;
/// What every server must answer; nginx is configured with it, and the guest has it built in.
pub const BODY: &[u8] = b"Hello, world!";

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No component to serve.
    #[error("the component {} is not a file; build the guests (tests/guests), or say --component", path.display())]
    Component {
        /// As given.
        path: PathBuf,
    },
    /// Nothing to measure at all.
    #[error(
        "none of sockhop, wasmtime and nginx was found; install one, or say where: --sockhop-bin, --wasmtime, --nginx"
    )]
    Nothing,
    /// Something else answers.
    #[error(
        "{name} answers `{body}` with status {status} instead of 200 and the hello body; is the component the hello guest?"
    )]
    Answer {
        /// Which server.
        name: &'static str,
        /// Its status.
        status: u16,
        /// The start of its body.
        body: String,
    },
    /// A server did not start.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// The load failed as a whole.
    #[error(transparent)]
    Load(#[from] load::Error),
    /// The server died under load, or /proc is not there.
    #[error("cannot tell the CPU time of {name} ({source})")]
    CpuTime {
        /// Which server.
        name: &'static str,
        /// Why.
        source: process_tree::Error,
    },
    /// No report file.
    #[error("cannot write {} ({source}); does its folder exist?", path.display())]
    Write {
        /// As given.
        path: PathBuf,
        /// What the kernel or serde said.
        source: std::io::Error,
    },
}

impl From<server::ChildError> for Error {
    fn from(error: server::ChildError) -> Self {
        Self::Server(error.into())
    }
}

/// The command.
pub fn command(arguments: &HelloArguments) -> Result<(), Error> {
    let environment = Environment::look();
    let component = arguments
        .component
        .canonicalize()
        .ok()
        .filter(|path| path.is_file())
        .ok_or_else(|| Error::Component { path: arguments.component.clone() })?;
    let (kinds, missing) = find(arguments);
    if kinds.is_empty() {
        return Err(Error::Nothing);
    }
    let load = Load {
        connections: arguments.connections,
        rate: None,
        warmup: Duration::from_secs_f64(arguments.warmup_seconds),
        window: Duration::from_secs_f64(arguments.seconds),
        keep_alive: true,
        core: Some(LOAD_CORE),
        expected_body: Some(BODY.to_vec()),
    };
    let mut servers: Vec<Measured> = kinds.iter().map(Measured::new).collect();
    for round in 1..=arguments.rounds {
        for (kind, measured) in kinds.iter().zip(&mut servers) {
            let started = kind.start(&component)?;
            measured.rounds.push(visit(kind.name(), &started, &load)?);
            if measured.commands.is_empty() {
                measured.commands.clone_from(&started.commands);
            }
            drop(started);
            eprintln!("round {round}/{}: {}", arguments.rounds, measured.last_line());
        }
    }
    let settings = Settings {
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        warmup_seconds: arguments.warmup_seconds,
        connections: arguments.connections,
        server_core: server::SERVER_CORE,
        load_core: LOAD_CORE,
    };
    let comparison = Comparison::new(environment, settings, servers, missing);
    print!("{comparison}");
    arguments.json.as_ref().map_or(Ok(()), |path| write(path, &comparison))
}

fn write(path: &PathBuf, comparison: &Comparison) -> Result<(), Error> {
    let error = |source| Error::Write { path: path.clone(), source };
    let json = serde_json::to_string_pretty(comparison).map_err(|source| error(source.into()))?;
    std::fs::write(path, json + "\n").map_err(error)
}

/// What is there to compare, and what is not.
fn find(arguments: &HelloArguments) -> (Vec<Kind>, Vec<Missing>) {
    let (mut kinds, mut missing) = (Vec::new(), Vec::new());
    let beside =
        || std::env::current_exe().ok().and_then(|path| server::find(Some(&path.with_file_name("sockhop")), "sockhop"));
    let sockhop = match &arguments.sockhop_bin {
        Some(folder) => server::find(Some(&folder.join("sockhop")), "sockhop"),
        None => beside().or_else(|| server::find(None, "sockhop")),
    };
    match sockhop {
        Some(binary) => kinds.push(Kind::Sockhop { binary }),
        None => missing.push(Missing { name: "sockhop", option: "--sockhop-bin" }),
    }
    match server::find(arguments.wasmtime.as_deref(), "wasmtime") {
        Some(binary) => kinds.extend([false, true].map(|tuned| Kind::Wasmtime { binary: binary.clone(), tuned })),
        None => missing.push(Missing { name: "wasmtime", option: "--wasmtime" }),
    }
    match server::find(arguments.nginx.as_deref(), "nginx") {
        Some(binary) => kinds.push(Kind::Nginx { binary }),
        None => missing.push(Missing { name: "nginx", option: "--nginx" }),
    }
    (kinds, missing)
}

/// Loads one server once.
fn visit(name: &'static str, server: &Server, load: &Load) -> Result<Round, Error> {
    let fetched = server.target.fetch().map_err(load::Error::from)?;
    if fetched.status != 200 || fetched.body != BODY {
        let body = String::from_utf8_lossy(&fetched.body).chars().take(80).collect();
        return Err(Error::Answer { name, status: fetched.status, body });
    }
    let cpu_time = || process_tree::cpu_time(server.child.id()).map_err(|source| Error::CpuTime { name, source });
    let before = cpu_time()?;
    let report = load::run(&server.target, load)?;
    let cpu = cpu_time()?.saturating_sub(before);
    Ok(Round::new(report, cpu, fetched.wire_bytes))
}
