//! The `cpu` command: how many requests the node serves in a second of CPU time, engine and worker
//! together, over the number of connections. A node whose figure falls as connections come has work
//! that grows with them. Holds no file descriptor; `server` has the node, `client` the sockets.

use serde::Serialize;
use std::fmt;

use crate::alone::{Error, Provenance, expect_ok};
use crate::cli::{CpuArguments, Rounds};
use crate::client::RequestMix;
use crate::load::{self, Load};
use crate::report::Report;
use crate::series::{Better, Series};
use crate::server::{self, Instances, LOAD_CORE, Node, SERVER_CORE};
use crate::stats::Spread;
use crate::target::Request;
use crate::{output, process_tree};

const FUNCTION: &str = "hello";

/// Everything.
#[derive(Debug, Serialize)]
struct CpuCost {
    #[serde(flatten)]
    provenance: Provenance,
    seconds: f64,
    warmup_seconds: f64,
    reuse: bool,
    server_core: usize,
    load_core: usize,
    /// One entry a number of connections.
    rows: Vec<Row>,
    /// The same as `compare` reads it.
    series: Vec<Series>,
    /// The least median of all rows, in parts of the largest: 1 is flat.
    least_to_largest: f64,
}

/// One number of connections.
#[derive(Debug, Serialize)]
struct Row {
    connections: u32,
    /// Good replies per second of user and system time of the node's processes.
    requests_per_cpu_second: Spread,
    requests_per_second: Spread,
    rounds: Vec<Visit>,
}

/// One window; CPU time and requests are of warm-up and window together.
#[derive(Debug, Serialize)]
struct Visit {
    cpu_seconds: f64,
    requests: u64,
    report: Report,
}

/// The command.
pub fn command(arguments: &CpuArguments) -> Result<(), Error> {
    let component = output::component(&arguments.component)?;
    let binary =
        server::find_sockhop(arguments.sockhop_bin.as_deref()).ok_or(server::Error::NoSockhop)?;
    let mut provenance = Provenance::of(&binary);
    let node = Node::start(&binary)?;
    let instances = if arguments.reuse { Instances::Reuse } else { Instances::Fresh };
    provenance.commands =
        vec![node.child.command().to_owned(), node.deploy(&component, FUNCTION, instances)?];
    let target = node.target(FUNCTION)?;
    let fetched = target.fetch(&Request::get())?;
    expect_ok(FUNCTION, &fetched)?;

    let mut visits: Vec<Vec<Visit>> = arguments.connections.iter().map(|_| Vec::new()).collect();
    for round in 1..=arguments.rounds.rounds {
        for (&connections, visits) in arguments.connections.iter().zip(&mut visits) {
            let Rounds { warmup_seconds, seconds, .. } = arguments.rounds;
            let load = Load::closed(connections, warmup_seconds, seconds);
            let mix = RequestMix::one(target.prepare(&Request::get(), Some(fetched.body.clone())));
            let before = process_tree::cpu_time(node.child.id())?;
            let report = load::run(&target, mix, None, &load)?;
            let used = process_tree::cpu_time(node.child.id())?.saturating_sub(before);
            let visit =
                Visit { cpu_seconds: used.as_secs_f64(), requests: report.requests_in_run, report };
            let rate = visit.requests_per_cpu_second();
            eprintln!(
                "round {round}: {connections} connections, {rate:.0} requests per CPU second"
            );
            visits.push(visit);
        }
    }
    let rows = arguments
        .connections
        .iter()
        .zip(visits)
        .map(|(&connections, rounds)| Row::of(connections, rounds));
    let cost = CpuCost::of(provenance, arguments, rows.collect());
    output::show(&cost);
    Ok(output::write(arguments.json.as_deref(), &cost)?)
}

impl Visit {
    fn requests_per_cpu_second(&self) -> f64 {
        if self.cpu_seconds > 0.0 { self.requests as f64 / self.cpu_seconds } else { 0.0 }
    }
}

impl Row {
    fn of(connections: u32, rounds: Vec<Visit>) -> Self {
        Self {
            connections,
            requests_per_cpu_second: Spread::of(rounds.iter().map(Visit::requests_per_cpu_second)),
            requests_per_second: Spread::of(
                rounds.iter().map(|visit| visit.report.requests_per_second),
            ),
            rounds,
        }
    }

    fn series(&self) -> Series {
        Series {
            scenario: format!("{} connections", self.connections),
            server: "sockhop".to_owned(),
            measure: "rate by CPU time".to_owned(),
            unit: "requests/s".to_owned(),
            better: Better::Higher,
            client_saturated: false,
            failed: self.rounds.iter().map(|visit| visit.report.errors.total()).sum(),
            rounds: self.rounds.iter().map(Visit::requests_per_cpu_second).collect(),
        }
    }
}

impl CpuCost {
    fn of(mut provenance: Provenance, arguments: &CpuArguments, rows: Vec<Row>) -> Self {
        for row in &rows {
            let reports = || row.rounds.iter().map(|visit| &visit.report);
            let errors: u64 =
                reports().map(|report| report.errors.total() + report.errors_in_warmup).sum();
            if errors > 0 {
                provenance
                    .warnings
                    .push(format!("{} connections: {errors} requests failed", row.connections));
            }
            if reports().any(Report::client_was_robbed) {
                provenance.warnings.push(format!(
                    "{} connections: other programs ran on the client's core",
                    row.connections
                ));
            }
        }
        Self {
            provenance,
            seconds: arguments.rounds.seconds,
            warmup_seconds: arguments.rounds.warmup_seconds,
            reuse: arguments.reuse,
            server_core: SERVER_CORE,
            load_core: LOAD_CORE,
            series: rows.iter().map(Row::series).collect(),
            least_to_largest: least_to_largest(
                rows.iter().map(|row| row.requests_per_cpu_second.median),
            ),
            rows,
        }
    }
}

/// The least in parts of the largest; of nothing, or of nothing but zeros, 0.
fn least_to_largest(values: impl IntoIterator<Item = f64>) -> f64 {
    let Spread { min, max, .. } = Spread::of(values);
    if max > 0.0 { min / max } else { 0.0 }
}

impl fmt::Display for CpuCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nrequests per second of CPU time, engine and worker; {} instances, connections kept alive, closed loop, windows of {} s after {} s; node on core {}, client on core {}",
            if self.reuse { "reused" } else { "fresh" },
            self.seconds,
            self.warmup_seconds,
            self.server_core,
            self.load_core
        )?;
        writeln!(f, "medians over the rounds, with their range\n")?;
        writeln!(f, "{:<14}{:>12}{:>19}{:>12}", "connections", "req/CPU s", "min..max", "req/s")?;
        for Row {
            connections,
            requests_per_cpu_second: Spread { median, min, max },
            requests_per_second,
            ..
        } in &self.rows
        {
            let range = format!("{min:.0}..{max:.0}");
            writeln!(
                f,
                "{connections:<14}{median:>12.0}{range:>19}{:>12.0}",
                requests_per_second.median
            )?;
        }
        writeln!(f, "\nthe least is {:.2} of the largest (1 is flat)", self.least_to_largest)?;
        write!(f, "{}", self.provenance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_is_one() {
        assert_eq!(least_to_largest([2.0, 2.0]), 1.0);
        assert_eq!(least_to_largest([1.0, 4.0, 2.0]), 0.25);
        assert_eq!(least_to_largest([]), 0.0);
    }
}
