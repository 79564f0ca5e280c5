//! One visit of one server: it is started, measured and ended. Holds one `Server` at a time, and
//! the idle connections while their memory is measured.

use std::time::{Duration, Instant};

use super::scenario::{Measure, Scenario};
use super::{Error, Settings};
use crate::client::{Ask, Asks, Rate};
use crate::environment::{Moment, Neighbours};
use crate::load::{self, Load};
use crate::report::Report;
use crate::series::Better;
use crate::server::{Child, Kind, Prepared, Server, Serving};
use crate::target::{Request, Session, Target};
use crate::{process_tree, quiet};

/// Connections beside those on which latency is measured.
const BESIDE_CONNECTIONS: u32 = 4;
const WARMING_REQUESTS: u32 = 100;
/// How long a server must do nothing before its memory is looked at.
const QUIET: Duration = Duration::from_millis(500);

/// One value.
#[derive(Debug, Clone, Copy)]
pub struct Value {
    pub measure: &'static str,
    pub unit: &'static str,
    pub better: Better,
    pub value: f64,
    /// Whether the client was the bottleneck.
    pub client_saturated: bool,
    /// Requests of the load that failed in its window.
    pub failed: u64,
}

/// All that one visit found.
#[derive(Debug, Default)]
pub struct Visit {
    pub values: Vec<Value>,
    /// Every load's report, with its measure's name.
    pub reports: Vec<(&'static str, Report)>,
    /// What else ran meanwhile.
    pub neighbours: Neighbours,
    /// The commands the server was started with.
    pub commands: Vec<String>,
}

/// What is needed for it.
pub struct Visitor<'a> {
    pub scenario: &'a Scenario,
    pub settings: &'a Settings,
    /// Behind the function's URL.
    pub query: &'a str,
    pub request: Request,
    /// What every reply must be.
    pub expected: Vec<u8>,
    /// What the functions call, if they call something: it is no part of what is measured, and no
    /// neighbour either.
    pub upstream: Option<&'a Child>,
}

impl Visitor<'_> {
    /// Measures a server.
    pub fn visit(&self, prepared: &Prepared) -> Result<Visit, Error> {
        let started = Instant::now();
        let server = prepared.start()?;
        self.check(&self.target(&server)?)?;
        let start = started.elapsed();
        let mut visit = Visit { commands: server.commands.clone(), ..Visit::default() };
        if self.wants(Measure::Start) {
            visit.add("start", "ms", Better::Lower, start.as_secs_f64() * 1e3);
        }
        let upstream =
            || self.upstream.map_or(Ok(Duration::ZERO), |child| process_tree::cpu_time(child.id()));
        let ours = || Ok::<_, Error>(server.cpu_time()? + upstream()?);
        let (before, used) = (Moment::now(), ours()?);
        if self.wants(Measure::Latency) {
            self.latency(&server, &mut visit)?;
        }
        if self.wants(Measure::Rate) {
            self.rate(&server, &mut visit)?;
        }
        let used = ours()?.saturating_sub(used);
        visit.neighbours = before.and_then(|moment| moment.until_now(used)).unwrap_or_default();
        Ok(visit)
    }

    /// Whether a measure is both wanted and part of the scenario.
    pub fn wants(&self, measure: Measure) -> bool {
        self.scenario.measures.contains(&measure) && self.settings.measures.contains(&measure)
    }

    fn target(&self, server: &Server) -> Result<Target, Error> {
        Ok(server.target().with_query(self.query)?)
    }

    /// An error unless it answers as the others do.
    fn check(&self, target: &Target) -> Result<(), Error> {
        let fetched = target.fetch(&self.request)?;
        if fetched.status != 200 || fetched.body != self.expected {
            let body = String::from_utf8_lossy(&fetched.body).chars().take(80).collect();
            return Err(Error::Answer { status: fetched.status, bytes: fetched.body.len(), body });
        }
        Ok(())
    }

    fn asks(&self, server: &Server) -> Result<Asks, Error> {
        let ask = |target: &Target| -> Result<Ask, Error> {
            Ok(target.with_query(self.query)?.ask(&self.request, Some(self.expected.clone())))
        };
        let asks: Result<Vec<Ask>, Error> = server.targets.iter().map(ask).collect();
        let Some(asks) = Asks::zipf(asks?, 1.0) else { unreachable!("every server has a target") };
        Ok(asks)
    }

    fn load(&self, connections: u32) -> Load {
        let Settings { warmup_seconds, seconds, .. } = *self.settings;
        Load {
            kept_share: self.scenario.kept_share,
            cores: self.settings.client_cores.clone(),
            spin: self.settings.spin,
            ..Load::closed(connections, warmup_seconds, seconds)
        }
    }

    fn payload_bytes(&self) -> Option<usize> {
        self.request.body.as_ref().map(Vec::len)
    }

    /// At saturation.
    fn rate(&self, server: &Server, visit: &mut Visit) -> Result<(), Error> {
        let (before, load) = (server.cpu_time()?, self.load(self.scenario.connections));
        let report = load::run(server.target(), self.asks(server)?, self.payload_bytes(), &load)?;
        let cpu = server.cpu_time()?.saturating_sub(before).as_secs_f64() * 1e6;
        visit.add_of(&report, "rate", "requests/s", Better::Higher, report.requests_per_second);
        visit.add_of(&report, "saturated p50", "µs", Better::Lower, report.latency.p50_us);
        visit.add_of(&report, "saturated p99", "µs", Better::Lower, report.latency.p99_us);
        // All of the run's time, and all of its requests: warm-up is work, too.
        let each = cpu / report.requests_in_run.max(1) as f64;
        visit.add_of(&report, "CPU a request", "µs", Better::Lower, each);
        visit.reports.push(("rate", report));
        Ok(())
    }

    /// At a rate that all can hold, from the intended send.
    fn latency(&self, server: &Server, visit: &mut Visit) -> Result<(), Error> {
        let load = Load {
            rate: Some(Rate::steady(self.scenario.latency_rate)),
            ..self.load(self.scenario.latency_connections)
        };
        let run = || {
            Ok::<_, Error>(load::run(
                server.target(),
                self.asks(server)?,
                self.payload_bytes(),
                &load,
            )?)
        };
        let report = match self.scenario.beside {
            None => run()?,
            Some(query) => {
                let beside = server.target().with_query(query)?;
                let expected = beside.fetch(&self.request)?;
                let asks = Asks::one(beside.ask(&self.request, Some(expected.body)));
                let other = self.load(BESIDE_CONNECTIONS);
                std::thread::scope(|scope| {
                    let other = scope.spawn(|| load::run(&beside, asks, None, &other));
                    let report = run()?;
                    let other =
                        other.join().unwrap_or(Err(crate::client::Error::Panicked.into()))?;
                    visit.add_of(
                        &other,
                        "rate beside",
                        "requests/s",
                        Better::Higher,
                        other.requests_per_second,
                    );
                    visit.reports.push(("beside", other));
                    Ok::<_, Error>(report)
                })?
            }
        };
        let felt = *report.felt();
        visit.add_of(&report, "p50", "µs", Better::Lower, felt.p50_us);
        visit.add_of(&report, "p99", "µs", Better::Lower, felt.p99_us);
        visit.reports.push(("latency", report));
        Ok(())
    }

    /// What connections and functions add to a server at rest.
    pub fn memory(
        &self,
        kind: &Kind,
        serving: &Serving,
        prepared: &Prepared,
    ) -> Result<Visit, Error> {
        let mut visit = Visit::default();
        let one = {
            let server = prepared.start()?;
            let target = self.target(&server)?;
            self.warm(&target)?;
            let alone = at_rest(&server)?;
            crate::client::allow_open_files(self.settings.idle_connections)?;
            let mut idle = Vec::new();
            for _ in 0..self.settings.idle_connections {
                crate::interrupt::check()?;
                let mut session = Session::open(&target)?;
                session.exchange(&target.bytes(&self.request, true))?;
                idle.push(session);
            }
            let beside = at_rest(&server)?;
            let each = (beside - alone) / f64::from(self.settings.idle_connections.max(1));
            visit.add("memory at rest", "MiB", Better::Lower, alone / 1_048_576.0);
            visit.add("memory a connection", "KiB", Better::Lower, each / 1024.0);
            alone
        };
        let functions = self.settings.functions;
        if functions > 1 && (kind.runs_components() || matches!(kind, Kind::Workerd { .. })) {
            let many = kind.prepare(&Serving { functions, ..serving.clone() })?;
            let server = many.start()?;
            self.warm(&self.target(&server)?)?;
            for target in &server.targets {
                self.check(target)?;
            }
            let each = (at_rest(&server)? - one) / f64::from(functions - 1);
            visit.add("memory a function", "KiB", Better::Lower, each / 1024.0);
        }
        Ok(visit)
    }

    fn warm(&self, target: &Target) -> Result<(), Error> {
        let mut session = Session::open(target)?;
        for _ in 0..WARMING_REQUESTS {
            session.exchange(&target.bytes(&self.request, true))?;
        }
        Ok(())
    }
}

/// Bytes, once it does nothing.
fn at_rest(server: &Server) -> Result<f64, Error> {
    let Some(first) = server.children.first() else { unreachable!("every server has a process") };
    quiet::wait(first.id(), QUIET, || Ok(server.memory()?))?;
    Ok(server.memory()? as f64)
}

impl Visit {
    /// A value that comes from no load.
    fn add(&mut self, measure: &'static str, unit: &'static str, better: Better, value: f64) {
        self.values.push(Value {
            measure,
            unit,
            better,
            value,
            client_saturated: false,
            failed: 0,
        });
    }

    /// A value that a load gave.
    fn add_of(
        &mut self,
        report: &Report,
        measure: &'static str,
        unit: &'static str,
        better: Better,
        value: f64,
    ) {
        let (client_saturated, failed) = (report.client_saturated, report.errors.total());
        self.values.push(Value { measure, unit, better, value, client_saturated, failed });
    }

    /// Requests that failed in any load.
    pub fn errors(&self) -> u64 {
        self.reports.iter().map(|(_, report)| report.errors.total() + report.errors_in_warmup).sum()
    }
}
