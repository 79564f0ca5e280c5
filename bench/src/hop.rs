//! The `hop` command: what a connection's way from the engine's accept to the worker's first byte
//! takes, by the node's own account. How many connections a second takes beside nginx, the scenario
//! `connections` of `peers` says. Holds no file descriptor; `server` has the node, `client` the
//! sockets.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::alone::{Error, Provenance, expect_ok};
use crate::cli::{HopArguments, Rounds};
use crate::client::{Rate, RequestMix};
use crate::load::{self, Load};
use crate::metrics::{Histogram, Quantile};
use crate::output;
use crate::report::Report;
use crate::server::{self, Instances, Node};
use crate::target::Request;

const FUNCTION: &str = "hello";
const HISTOGRAM: &str = "sockhop_hop_seconds";

/// Everything.
#[derive(Debug, Serialize)]
struct Hop {
    #[serde(flatten)]
    provenance: Provenance,
    /// One entry a kind of load.
    hops: Vec<Hops>,
}

/// Hops under one load.
#[derive(Debug, Serialize)]
struct Hops {
    load: String,
    count: f64,
    p50: Option<Quantile>,
    p99: Option<Quantile>,
    histogram: Histogram,
    report: Report,
}

/// The command.
pub fn command(arguments: &HopArguments) -> Result<(), Error> {
    let component = output::component(&arguments.component)?;
    let binary =
        server::find_sockhop(arguments.sockhop_bin.as_deref()).ok_or(server::Error::NoSockhop)?;
    let mut provenance = Provenance::of(&binary);
    let Rounds { warmup_seconds, seconds, .. } = arguments.rounds;
    let saturation =
        Load { kept_share: 0.0, ..Load::closed(arguments.connections, warmup_seconds, seconds) };
    let hops = hops(&binary, &component, &saturation, arguments.rate, &mut provenance)?;

    let hop = Hop { provenance, hops };
    output::show(&hop);
    Ok(output::write(arguments.json.as_deref(), &hop)?)
}

/// Both loads on one node.
fn hops(
    binary: &Path,
    component: &Path,
    saturation: &Load,
    rate: u64,
    provenance: &mut Provenance,
) -> Result<Vec<Hops>, Error> {
    let node = Node::start_with(binary, &["--admin", "127.0.0.1:0"])?;
    let deployed = node.deploy(component, FUNCTION, Instances::Reuse)?;
    provenance.commands = vec![node.child.command().to_owned(), deployed];
    let target = node.target(FUNCTION)?;
    let fetched = target.fetch(&Request::get())?;
    expect_ok(FUNCTION, &fetched)?;
    let mix = RequestMix::one(target.prepare(&Request::get(), Some(fetched.body)));
    let low = Load { rate: Some(Rate::steady(rate)), ..saturation.clone() };
    let mut all = Vec::new();
    for (name, load) in
        [(format!("{rate} connections/s"), &low), ("saturation".to_owned(), saturation)]
    {
        // The histogram counts the warm-up too, so it has a load of its own, before the first
        // reading.
        load::run(
            &target,
            mix.clone(),
            None,
            &Load {
                window: load.warmup.max(Duration::from_millis(100)),
                warmup: Duration::ZERO,
                ..load.clone()
            },
        )?;
        let before = Histogram::of(&node, HISTOGRAM)?;
        let report = load::run(
            &target,
            mix.clone(),
            None,
            &Load { warmup: Duration::ZERO, ..load.clone() },
        )?;
        let histogram = Histogram::of(&node, HISTOGRAM)?.since(&before);
        let errors = report.errors.total();
        if errors > 0 {
            provenance.warnings.push(format!("{name}: {errors} requests failed"));
        }
        if report.client_was_robbed() {
            provenance.warnings.push(format!("{name}: other programs ran on the client's core"));
        }
        let (p50, p99) = (histogram.quantile(0.5), histogram.quantile(0.99));
        eprintln!("hops at {name}: {}", report.rate());
        all.push(Hops { load: name, count: histogram.count(), p50, p99, histogram, report });
    }
    Ok(all)
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nfrom accept to the worker's first byte, by {HISTOGRAM} of /metrics; one request a connection"
        )?;
        writeln!(
            f,
            "a histogram knows the bucket a value is in; ~ stands before a guess within it\n"
        )?;
        writeln!(f, "{:<24}{:>10}{:>26}{:>26}{:>12}", "load", "hops", "p50 µs", "p99 µs", "req/s")?;
        for Hops { load, count, p50, p99, report, .. } in &self.hops {
            let rate = report.requests_per_second;
            writeln!(
                f,
                "{load:<24}{count:>10.0}{:>26}{:>26}{rate:>12.0}",
                shown(p50.as_ref()),
                shown(p99.as_ref())
            )?;
        }
        write!(f, "{}", self.provenance)
    }
}

fn shown(quantile: Option<&Quantile>) -> String {
    match quantile {
        None => "none".to_owned(),
        Some(Quantile { above_us, at_most_us: None, .. }) => format!("> {above_us:.0}"),
        Some(Quantile { above_us, at_most_us: Some(at_most), about_us }) => {
            format!("~{about_us:.0} ({above_us:.0}..{at_most:.0})")
        }
    }
}
