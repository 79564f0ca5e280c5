//! The `load` command: runs the client once and reports. Also what every other command runs for
//! each measurement. Holds no file descriptor; the client's sockets live and die inside
//! `client::run`.

mod command;

use std::time::Duration;

use crate::client::{self, Asks, Plan, Rate};
use crate::cpu;
use crate::report::Report;
use crate::server::LOAD_CORE;
use crate::target::{self, Target};
pub use command::command;

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable URL or no server there.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// No usable method or header.
    #[error(transparent)]
    Request(#[from] target::RequestError),
    /// The load itself.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// No such core.
    #[error(transparent)]
    Cpu(#[from] cpu::Error),
    /// Serde.
    #[error("cannot write the report as JSON ({0})")]
    Json(#[from] serde_json::Error),
    /// No body.
    #[error("cannot read the body from {} ({source})", path.display())]
    Body {
        /// As given.
        path: std::path::PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Many functions, one URL.
    #[error(
        "{functions} functions need a URL with `{{}}` in its path, where the number goes: http://HOST/hello-{{}}/"
    )]
    NoPlace {
        /// As given.
        functions: u32,
    },
    /// Everything failed.
    #[error("not one good reply came within the window; the errors above say what came instead")]
    NothingGood,
}

/// How to load a target.
#[derive(Debug, Clone)]
pub struct Load {
    /// Connections at a time.
    pub connections: u32,
    /// Of an open loop; closed without.
    pub rate: Option<Rate>,
    /// Before the window.
    pub warmup: Duration,
    /// The window.
    pub window: Duration,
    /// Of all requests, the share that leaves its connection open: 1 for all, 0 for one request a
    /// connection.
    pub kept_share: f64,
    /// How long a request may take.
    pub timeout: Duration,
    /// Where the client runs, a thread on each; without any, one thread anywhere.
    pub cores: Vec<usize>,
    /// Whether its threads never sleep.
    pub spin: bool,
}

impl Load {
    /// A closed loop on connections that stay, from where clients run beside a server that is
    /// measured.
    pub fn closed(connections: u32, warmup_seconds: f64, seconds: f64) -> Self {
        Self {
            connections,
            rate: None,
            warmup: Duration::from_secs_f64(warmup_seconds),
            window: Duration::from_secs_f64(seconds),
            kept_share: 1.0,
            timeout: client::TIMEOUT,
            cores: vec![LOAD_CORE],
            spin: false,
        }
    }
}

/// A body to send. 251 is a prime: no buffer's length is a multiple of it, so bytes that went
/// astray by a whole buffer do not look right.
pub fn payload(bytes: usize) -> Vec<u8> {
    (0..251).cycle().take(bytes).collect()
}

/// Loads a target once, on threads of the client's own so that the caller stays unpinned.
pub fn run(
    target: &Target,
    asks: Asks,
    payload_bytes: Option<usize>,
    load: &Load,
) -> Result<Report, Error> {
    run_live(target, asks, payload_bytes, load, false)
}

/// The same; if wanted, shows on a terminal how far it is.
fn run_live(
    target: &Target,
    asks: Asks,
    payload_bytes: Option<usize>,
    load: &Load,
    live: bool,
) -> Result<Report, Error> {
    let plan = Plan {
        address: target.resolve()?,
        asks,
        kept_share: load.kept_share,
        connections: load.connections,
        rate: load.rate.clone(),
        warmup: load.warmup,
        window: load.window,
        timeout: load.timeout,
        cores: load.cores.clone(),
        spin: load.spin,
    };
    let record = client::run(&plan, live)?;
    let rates = load.rate.as_ref().filter(|rate| !rate.is_steady()).map_or_else(Vec::new, |rate| {
        rate.stretches(&plan.window()).iter().map(client::Stretch::name).collect()
    });
    Ok(Report::of(&record, rates, payload_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_counts_up_and_starts_again() {
        let body = payload(600);
        assert_eq!(body.len(), 600);
        assert!(body.iter().enumerate().all(|(index, &byte)| usize::from(byte) == index % 251));
    }
}
