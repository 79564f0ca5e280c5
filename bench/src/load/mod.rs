//! The `load` command: runs the client once and reports. Every other command also measures by this.
//! Holds no file descriptor; the client's sockets only exist during `client::run`.

mod command;

use std::time::Duration;

use crate::client::{self, Plan, Protocol, Rate, RequestMix};
use crate::cpu;
use crate::report::Report;
use crate::server::LOAD_CORE;
use crate::target::{self, Target};
pub use command::command;

/// A load failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not usable, or there is no server.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// The method or a header is not usable.
    #[error(transparent)]
    Request(#[from] target::RequestError),
    /// The client failed.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// There is no such core.
    #[error(transparent)]
    Cpu(#[from] cpu::Error),
    /// The report cannot be written as JSON.
    #[error("cannot write the report as JSON ({0})")]
    Json(#[from] serde_json::Error),
    /// The body cannot be read.
    #[error("cannot read the body from {} ({source})", path.display())]
    Body {
        /// The path as given.
        path: std::path::PathBuf,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// There are many functions, but one URL.
    #[error(
        "{functions} functions need a URL with `{{}}` in its path, where the number goes: http://HOST/hello-{{}}/"
    )]
    NoPlace {
        /// The URL as given.
        functions: u32,
    },
    /// There is no TLS to shake hands for.
    #[error("handshakes are TLS's, and {authority} is asked by http://; want https://")]
    NoTls {
        /// Host and port.
        authority: String,
    },
    /// The URL is none in HTTP/2.
    #[error("HTTP/2 has no such URL: {path}; percent-encode what is unusual in it")]
    NoMessage {
        /// Path and query.
        path: String,
    },
    /// Every request failed.
    #[error("not one good reply came within the window; the errors above say what came instead")]
    NothingGood,
}

/// The settings of a load.
#[derive(Debug, Clone)]
pub struct Load {
    /// What is spoken on connections.
    pub protocol: Protocol,
    /// Whether TLS sessions are resumed.
    pub resumes: bool,
    /// Connections at a time.
    pub connections: u32,
    /// The rate of an open loop. `None` for a closed loop.
    pub rate: Option<Rate>,
    /// The load before the window.
    pub warmup: Duration,
    /// The measured window.
    pub window: Duration,
    /// The share of requests that leave their connection open: 1 for all, 0 for one request on each
    /// connection.
    pub kept_share: f64,
    /// The time limit of a request.
    pub timeout: Duration,
    /// The client's cores, with a thread on each. If there are none, it has one thread on any core.
    pub cores: Vec<usize>,
    /// Whether its threads never sleep.
    pub spin: bool,
}

impl Load {
    /// Returns a closed loop on kept connections, from the core where clients run beside a measured
    /// server.
    pub fn closed(connections: u32, warmup_seconds: f64, seconds: f64) -> Self {
        Self {
            protocol: Protocol::Http1,
            resumes: false,
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

/// Returns a body to send. 251 is a prime, so no buffer's length is a multiple of it, and bytes
/// that are shifted by a whole buffer do not look right.
pub fn payload(bytes: usize) -> Vec<u8> {
    (0..251).cycle().take(bytes).collect()
}

/// Loads a target once, on the client's own threads, so that the caller is not pinned.
pub fn run(
    target: &Target,
    mix: RequestMix,
    payload_bytes: Option<usize>,
    load: &Load,
) -> Result<Report, Error> {
    run_live(target, mix, payload_bytes, load, false)
}

/// The same. With `live`, the progress is shown on a terminal.
fn run_live(
    target: &Target,
    mix: RequestMix,
    payload_bytes: Option<usize>,
    load: &Load,
    live: bool,
) -> Result<Report, Error> {
    let tls = target.tls(load.protocol.name(), load.resumes)?;
    match load.protocol {
        Protocol::Handshakes if tls.is_none() => {
            return Err(Error::NoTls { authority: target.authority().to_owned() });
        }
        Protocol::Http2 { .. } if mix.get(0).message.is_none() => {
            return Err(Error::NoMessage { path: target.path().to_owned() });
        }
        _ => {}
    }
    let plan = Plan {
        address: target.resolve()?,
        protocol: load.protocol,
        tls,
        mix,
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
