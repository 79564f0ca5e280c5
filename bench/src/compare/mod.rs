//! Rounds over several servers: what `hello` and `echo` have in common.
//!
//! One server is alive at a time, on core 0, with the client on core 1; a round visits each once, so that
//! whatever slows the machine down for a while slows all of them. Each visit starts the server afresh: an
//! idle server still ticks, and a fresh process has a fresh memory layout, which is part of the spread.
//! Processes and their files belong to `server`; this module holds one `Server` at a time.

mod peers;
mod result;
mod table;

use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::load::{self, Load};
use crate::output;
use crate::process_tree;
use crate::server::{self, Kind, LOAD_CORE, Server};
use result::Round;
pub use result::{Comparison, Measured, Missing, Settings, Spread};

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing to measure at all.
    #[error("none of the servers was found; install one, or say where: --sockhop-bin, --wasmtime, --nginx")]
    Nothing,
    /// Something else answers.
    #[error(
        "{name} answers `{body}` with status {status} instead of 200 and the expected body; is {} the right component?",
        component.display()
    )]
    Answer {
        /// Which server.
        name: &'static str,
        /// Its status.
        status: u16,
        /// The start of its body.
        body: String,
        /// What it serves.
        component: PathBuf,
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
    /// No component, or no report file.
    #[error(transparent)]
    Output(#[from] output::Error),
}

/// What to compare, and how.
#[derive(Debug)]
pub struct Contest {
    /// The servers.
    pub kinds: Vec<Kind>,
    /// Those that were not found.
    pub missing: Vec<Missing>,
    /// What they serve.
    pub component: PathBuf,
    /// How they are loaded, the body of every reply included.
    pub load: Load,
    /// What the report calls it.
    pub measure: &'static str,
    /// In each, every server is visited once.
    pub rounds: u32,
}

impl Contest {
    /// Runs all rounds and reports, as JSON to a file as well.
    pub fn run(self, json: Option<&Path>) -> Result<(), Error> {
        let comparison = self.rounds()?;
        print!("{comparison}");
        Ok(output::write(json, &comparison)?)
    }

    /// Runs all rounds.
    pub fn rounds(self) -> Result<Comparison, Error> {
        let environment = Environment::look();
        if self.kinds.is_empty() {
            return Err(Error::Nothing);
        }
        let mut servers: Vec<Measured> = self.kinds.iter().map(Measured::new).collect();
        for round in 1..=self.rounds {
            for (kind, measured) in self.kinds.iter().zip(&mut servers) {
                let started = kind.start(&self.component, self.measure)?;
                measured.rounds.push(self.visit(kind.name(), &started)?);
                if measured.commands.is_empty() {
                    measured.commands.clone_from(&started.commands);
                }
                drop(started);
                eprintln!("round {round}/{}: {}", self.rounds, measured.last_line());
            }
        }
        let settings = Settings {
            measure: self.measure,
            rounds: self.rounds,
            seconds: self.load.window.as_secs_f64(),
            warmup_seconds: self.load.warmup.as_secs_f64(),
            connections: self.load.connections,
            keep_alive: self.load.keep_alive,
            payload_bytes: self.load.post.as_ref().map(Vec::len),
            server_core: server::SERVER_CORE,
            load_core: LOAD_CORE,
        };
        Ok(Comparison::new(environment, settings, servers, self.missing))
    }

    /// Loads one server once.
    fn visit(&self, name: &'static str, server: &Server) -> Result<Round, Error> {
        let fetched = server.target.fetch(self.load.post.as_deref()).map_err(load::Error::from)?;
        if fetched.status != 200 || self.load.expected_body.as_ref().is_some_and(|body| *body != fetched.body) {
            let body = String::from_utf8_lossy(&fetched.body).chars().take(80).collect();
            return Err(Error::Answer { name, status: fetched.status, body, component: self.component.clone() });
        }
        let cpu_time = || process_tree::cpu_time(server.child.id()).map_err(|source| Error::CpuTime { name, source });
        let before = cpu_time()?;
        let report = load::run(&server.target, &self.load)?;
        let cpu = cpu_time()?.saturating_sub(before);
        Ok(Round::new(report, cpu, fetched.wire_bytes))
    }
}
