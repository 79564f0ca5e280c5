//! The `load` command: runs the client once and reports. Also what `compare` runs for each measurement.
//! Holds no file descriptor; the client's sockets live and die inside `client::run`.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::cli::LoadArguments;
use crate::client::{self, Plan};
use crate::cpu;
use crate::report::Report;
use crate::target::{self, Target};

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable URL or no server there.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// The load itself.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// No such core.
    #[error(transparent)]
    Cpu(#[from] cpu::Error),
    /// Serde.
    #[error("cannot write the report as JSON ({0})")]
    Json(#[from] serde_json::Error),
}

/// How to load a target.
#[derive(Debug, Clone)]
pub struct Load {
    /// Connections at a time.
    pub connections: u32,
    /// Requests per second of an open loop; closed without.
    pub rate: Option<NonZeroU64>,
    /// Before the window.
    pub warmup: Duration,
    /// The window.
    pub window: Duration,
    /// Many requests a connection, or one.
    pub keep_alive: bool,
    /// Where the client runs.
    pub core: Option<usize>,
    /// The body of every request, which makes it a POST.
    pub post: Option<Vec<u8>>,
    /// The body every reply must have.
    pub expected_body: Option<Vec<u8>>,
}

/// A body to send. 251 is a prime: no buffer's length is a multiple of it, so bytes that went astray by a
/// whole buffer do not look right.
pub fn payload(bytes: usize) -> Vec<u8> {
    (0..251).cycle().take(bytes).collect()
}

/// Loads a target once, on a thread of its own so that the caller stays unpinned.
pub fn run(target: &Target, load: &Load) -> Result<Report, Error> {
    let plan = Plan {
        address: target.resolve()?,
        request: target.request(load.keep_alive, load.post.as_deref()),
        expected_body: load.expected_body.clone(),
        keep_alive: load.keep_alive,
        connections: load.connections,
        rate: load.rate,
        warmup: load.warmup,
        window: load.window,
    };
    let record = match load.core {
        Some(core) => cpu::on_core(core, || client::run(&plan))??,
        None => client::run(&plan)?,
    };
    Ok(Report::of(&record, load.window, load.post.as_ref().map(Vec::len)))
}

/// The command.
pub fn command(arguments: &LoadArguments) -> Result<(), Error> {
    let target = Target::parse(&arguments.url)?;
    let post = arguments.post_bytes.map(|bytes| payload(bytes as usize));
    let expected_body = match (&arguments.expect_body, &post) {
        _ if arguments.any_body => None,
        (Some(body), _) => Some(body.clone().into_bytes()),
        (None, Some(body)) => Some(body.clone()),
        (None, None) => Some(target.fetch(None)?.body),
    };
    let load = Load {
        connections: arguments.connections,
        rate: arguments.rate,
        warmup: Duration::from_secs_f64(arguments.warmup_seconds),
        window: Duration::from_secs_f64(arguments.seconds),
        keep_alive: !arguments.no_keep_alive,
        core: arguments.core,
        post,
        expected_body,
    };
    let report = run(&target, &load)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
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
