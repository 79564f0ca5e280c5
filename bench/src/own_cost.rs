//! The `client` command: what the load generator itself can do, beside wrk on the same core.
//!
//! Against a server that does nothing and against nginx, in turn, closed loop: the rate, and the
//! CPU time that the client spends on a request. Where the client is the bottleneck, the second
//! sets the first; where the server is, the second says how far the client is from being one. Holds
//! no file descriptor; `server` has the processes.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::Serialize;

use crate::cli::ClientArguments;
use crate::client::RequestMix;
use crate::environment::Environment;
use crate::load::{self, Load};
use crate::series::{self, Better, Series};
use crate::server::{self, Kind, LOAD_CORE, Program, SERVER_CORE, Server, Serving};
use crate::target::{self, Request};
use crate::{output, stats};

/// Both servers reply with it.
const BODY: &[u8] = b"Hello, world!";
const OURS: &str = "sockhop-bench";
const SPINNING: &str = "sockhop-bench --spin";
const WRK: &str = "wrk";
const RATE: &str = "rate";
const CPU: &str = "client CPU a request";
/// Of wrk's rate, what ours should be at least.
const WANTED: f64 = 1.3;
const CONFIDENCE: f64 = 0.95;

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server did not start.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// A request.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// The load failed as a whole.
    #[error(transparent)]
    Load(#[from] load::Error),
    /// wrk did.
    #[error("wrk did not work ({status}): {output}")]
    Wrk {
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it printed.
        output: String,
    },
    /// The kernel does not say.
    #[error("cannot tell the CPU time of wrk ({0})")]
    Usage(#[from] nix::Error),
    /// No report file.
    #[error(transparent)]
    Output(#[from] output::Error),
}

/// Everything.
#[derive(Debug, Serialize)]
struct OwnCost {
    environment: Environment,
    connections: u32,
    rounds: u32,
    seconds: f64,
    /// Scenarios are servers here, and servers clients.
    series: Vec<Series>,
    warnings: Vec<String>,
}

/// What one client did in one window.
struct Visit {
    rate: f64,
    cpu_us: f64,
    saturated: bool,
    failed: u64,
}

/// The command.
pub fn command(arguments: &ClientArguments) -> Result<(), Error> {
    let environment = Environment::look();
    let mut warnings = environment.warnings();
    let wrk = server::find(None, WRK);
    let mut kinds = vec![Kind::Null];
    kinds.extend(server::find(None, "nginx").map(|binary| Kind::Nginx { binary }));
    for (name, there) in [(WRK, wrk.is_some()), ("nginx", kinds.len() > 1)] {
        if !there {
            warnings.push(format!("{name} was not found; scripts/install-peers gets it"));
        }
    }
    let serving = Serving {
        component: "none".into(),
        program: Program::Component,
        script: None,
        fixed: BODY.to_vec(),
        functions: 1,
        options: Vec::new(),
        tls: false,
    };
    let mut series = Vec::new();
    for kind in &kinds {
        let server = kind.prepare(&serving)?.start()?;
        for round in 1..=arguments.rounds.rounds {
            for (client, spin) in [(OURS, false), (SPINNING, true)] {
                add(&mut series, round, &kind.name(), client, &ours(&server, arguments, spin)?);
            }
            if let Some(wrk) = &wrk {
                add(&mut series, round, &kind.name(), WRK, &theirs(wrk, &server, arguments)?);
            }
        }
    }
    let failed: u64 = series.iter().map(|series| series.failed).sum();
    if failed > 0 {
        warnings.push(format!("{failed} requests failed"));
    }
    let cost = OwnCost {
        environment,
        connections: arguments.connections,
        rounds: arguments.rounds.rounds,
        seconds: arguments.rounds.seconds,
        series,
        warnings,
    };
    output::show(&cost);
    Ok(output::write(arguments.json.as_deref(), &cost)?)
}

fn ours(server: &Server, arguments: &ClientArguments, spin: bool) -> Result<Visit, Error> {
    let load = Load { spin, ..Load::closed(arguments.connections, 0.0, arguments.rounds.seconds) };
    let mix = RequestMix::one(server.target().prepare(&Request::get(), Some(BODY.to_vec())));
    let report = load::run(server.target(), mix, None, &load)?;
    // The window is the whole run, as it is wrk's.
    let cpu = report.client_busy_percent / 100.0 * arguments.rounds.seconds * 1e6;
    Ok(Visit {
        rate: report.requests_per_second,
        cpu_us: cpu / report.requests_in_run.max(1) as f64,
        saturated: report.client_saturated,
        failed: report.errors.total(),
    })
}

fn theirs(
    wrk: &std::path::Path,
    server: &Server,
    arguments: &ClientArguments,
) -> Result<Visit, Error> {
    let children = || -> Result<i64, nix::Error> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        Ok((usage.user_time() + usage.system_time()).num_microseconds())
    };
    // It takes whole seconds only.
    let seconds = Duration::from_secs_f64(arguments.rounds.seconds.ceil()).as_secs();
    let mut command = Command::new(wrk);
    command.args(["--threads", "1", "--connections", &arguments.connections.to_string()]);
    command
        .arg("--duration")
        .arg(format!("{seconds}s"))
        .arg(format!("http://{}/", server.target().authority()));
    let before = children()?;
    let (status, output) = server::run(WRK, LOAD_CORE, command).map_err(server::Error::from)?;
    let cpu = children()? - before;
    let (Some((requests, rate)), true) = (parse(&output), status.success()) else {
        return Err(Error::Wrk { status, output });
    };
    let cpu_us = cpu as f64 / requests.max(1.0);
    let saturated = cpu_us * rate > 0.95e6;
    let failed = u64::from(output.contains("Socket errors") || output.contains("Non-2xx"));
    Ok(Visit { rate, cpu_us, saturated, failed })
}

/// How many requests, and how many per second, of what wrk prints.
fn parse(output: &str) -> Option<(f64, f64)> {
    let requests =
        output.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())?;
    let rate =
        output.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok())?;
    Some((requests, rate))
}

fn add(all: &mut Vec<Series>, round: u32, server: &str, client: &str, visit: &Visit) {
    eprintln!(
        "round {round}, {client} at {server}: {:.0} requests/s, {:.2} µs CPU each",
        visit.rate, visit.cpu_us
    );
    for (measure, unit, better, value) in
        [(RATE, "requests/s", Better::Higher, visit.rate), (CPU, "µs", Better::Lower, visit.cpu_us)]
    {
        let figure = series::add(all, (server, client), (measure, unit, better), value);
        figure.client_saturated |= visit.saturated;
        figure.failed += visit.failed;
    }
}

impl fmt::Display for OwnCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nthe client itself, {} connections kept alive, closed loop, one thread on core {LOAD_CORE}, servers on core {SERVER_CORE}; medians of {} rounds of {} s (least to most)\n",
            self.connections, self.rounds, self.seconds
        )?;
        writeln!(
            f,
            "| server | client | {RATE}, requests/s | {CPU}, µs | bottleneck |\n|---|---|---|---|---|"
        )?;
        let find = |series: &Series, server: &str, measure: &str| {
            self.series.iter().find(|it| {
                it.scenario == series.scenario && it.server == server && it.measure == measure
            })
        };
        let rates = || self.series.iter().filter(|series| series.measure == RATE);
        for series in rates() {
            let rate = series.spread();
            let cpu = find(series, &series.server, CPU).map_or(f64::NAN, |cpu| cpu.spread().median);
            writeln!(
                f,
                "| {} | {} | {:.0} ({:.0} to {:.0}) | {cpu:.2} | {} |",
                series.scenario,
                series.server,
                rate.median,
                rate.min,
                rate.max,
                if series.client_saturated { "client" } else { "server" }
            )?;
        }
        writeln!(f)?;
        for series in rates().filter(|series| series.server != WRK) {
            let Some(wrk) = find(series, WRK, RATE) else { continue };
            let (Some(own), Some(theirs)) =
                (find(series, &series.server, CPU), find(series, WRK, CPU))
            else {
                continue;
            };
            let shown = |ratio: Option<stats::Interval>| {
                ratio.map_or_else(
                    || "too few rounds".to_owned(),
                    |it| format!("{:.2} ({:.2} to {:.2})", it.ratio, it.low, it.high),
                )
            };
            writeln!(
                f,
                "{} at {}: rate {} of wrk's (wanted: {WANTED}); requests a CPU second {} of wrk's",
                series.server,
                series.scenario,
                shown(stats::paired(&wrk.rounds, &series.rounds, CONFIDENCE)),
                shown(stats::paired(&own.rounds, &theirs.rounds, CONFIDENCE)),
            )?;
        }
        writeln!(f, "\n{}", self.environment)?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_understood() {
        let text = "Running 3s test @ http://127.0.0.1:1/\n  1 threads and 32 connections\n  86440 requests in 3.05s, 13.27MB read\nRequests/sec:  28363.02\nTransfer/sec:      4.35MB\n";
        assert_eq!(parse(text), Some((86440.0, 28363.02)));
        assert_eq!(parse("unable to connect to 127.0.0.1:1 Connection refused\n"), None);
    }
}
