//! One visit of one server: the server is started, measured and ended. Holds one `Server` at a
//! time, and the idle connections while their memory is measured.

use std::time::{Duration, Instant};

use super::scenario::{Measure, Scenario, Way};
use super::{Error, Settings};
use crate::client::{PreparedRequest, Protocol, Rate, RequestMix};
use crate::environment::{Moment, Neighbours};
use crate::load::{self, Load};
use crate::report::Report;
use crate::series::Better;
use crate::server::{Child, Kind, Prepared, Server, Serving};
use crate::target::{Request, Session, Target};
use crate::{process_tree, quiet};

/// User and system time of a server's processes for a request, its name in the tables.
pub const CPU: &str = "CPU a request";
/// The other connections while latency is measured beside them.
const BESIDE_CONNECTIONS: u32 = 4;
const WARMING_REQUESTS: u32 = 100;
/// How long a server must be idle before its memory is read.
const QUIET: Duration = Duration::from_millis(500);

/// A value of a measure.
#[derive(Debug, Clone, Copy)]
pub struct Value {
    pub measure: &'static str,
    pub unit: &'static str,
    pub better: Better,
    pub value: f64,
    /// Whether the client was the bottleneck.
    pub client_saturated: bool,
    /// The requests of the load that failed in its window.
    pub failed: u64,
}

/// The results of a visit.
#[derive(Debug, Default)]
pub struct Visit {
    pub values: Vec<Value>,
    /// The report of every load, with the name of its measure.
    pub reports: Vec<(&'static str, Report)>,
    /// The other programs that ran meanwhile.
    pub neighbours: Neighbours,
    /// The commands that started the server.
    pub commands: Vec<String>,
}

/// The settings of a visit.
pub struct Visitor<'a> {
    pub scenario: &'a Scenario,
    pub settings: &'a Settings,
    /// The query after the function's URL.
    pub query: &'a str,
    pub request: Request,
    /// The reply that every request must get.
    pub expected: Vec<u8>,
    /// The server that the functions call, if any. It is not measured, and is not a neighbour
    /// either.
    pub upstream: Option<&'a Child>,
}

impl Visitor<'_> {
    /// Measures a server.
    pub fn visit(&self, prepared: &Prepared) -> Result<Visit, Error> {
        let started = Instant::now();
        let server = prepared.start()?;
        self.check(&server, &self.target(&server)?)?;
        let start = started.elapsed();
        let mut visit = Visit { commands: server.commands.clone(), ..Visit::default() };
        if self.measures(Measure::Start) {
            visit.add("start", "ms", Better::Lower, start.as_secs_f64() * 1e3);
        }
        let upstream =
            || self.upstream.map_or(Ok(Duration::ZERO), |child| process_tree::cpu_time(child.id()));
        let ours = || Ok::<_, Error>(server.cpu_time()? + upstream()?);
        let (before, used) = (Moment::now(), ours()?);
        if self.measures(Measure::Latency) {
            self.latency(&server, &mut visit)?;
        }
        if self.measures(Measure::Rate) {
            self.rate(&server, &mut visit)?;
        }
        let used = ours()?.saturating_sub(used);
        visit.neighbours = before.and_then(|moment| moment.until_now(used)).unwrap_or_default();
        Ok(visit)
    }

    /// Returns whether a measure is both requested and part of the scenario.
    pub fn measures(&self, measure: Measure) -> bool {
        self.scenario.measures.contains(&measure) && self.settings.measures.contains(&measure)
    }

    fn target(&self, server: &Server) -> Result<Target, Error> {
        Ok(server.target().with_query(self.query)?)
    }

    /// Returns an error unless the server answers as the others do.
    fn check(&self, server: &Server, target: &Target) -> Result<(), Error> {
        let fetched = target.fetch(&server.request(&self.request))?;
        if fetched.status != 200 || fetched.body != self.expected {
            let body = String::from_utf8_lossy(&fetched.body).chars().take(80).collect();
            return Err(Error::Answer { status: fetched.status, bytes: fetched.body.len(), body });
        }
        Ok(())
    }

    fn mix(&self, server: &Server) -> Result<RequestMix, Error> {
        let request = server.request(&self.request);
        let prepare = |target: &Target| -> Result<PreparedRequest, Error> {
            Ok(target.with_query(self.query)?.prepare(&request, Some(self.expected.clone())))
        };
        let mix: Result<Vec<PreparedRequest>, Error> = server.targets.iter().map(prepare).collect();
        let Some(mix) = RequestMix::zipf(mix?, 1.0) else {
            unreachable!("every server has a target")
        };
        Ok(mix)
    }

    fn load(&self, connections: u32) -> Load {
        let Settings { warmup_seconds, seconds, .. } = *self.settings;
        let (protocol, resumes) = match self.scenario.way {
            Way::Plain => (Protocol::Http1, false),
            Way::Tls { resumes } => (Protocol::Http1, resumes),
            Way::Http2 { streams } => (Protocol::Http2 { streams }, false),
            Way::Handshakes => (Protocol::Handshakes, false),
        };
        Load {
            protocol,
            resumes,
            kept_share: self.scenario.kept_share,
            cores: self.settings.client_cores.clone(),
            spin: self.settings.spin,
            ..Load::closed(connections, warmup_seconds, seconds)
        }
    }

    fn payload_bytes(&self) -> Option<usize> {
        self.request.body.as_ref().map(Vec::len)
    }

    /// Measures at saturation.
    fn rate(&self, server: &Server, visit: &mut Visit) -> Result<(), Error> {
        let (before, load) = (server.cpu_time()?, self.load(self.scenario.connections));
        let report = load::run(server.target(), self.mix(server)?, self.payload_bytes(), &load)?;
        let cpu = server.cpu_time()?.saturating_sub(before).as_secs_f64() * 1e6;
        visit.add_of(&report, "rate", "requests/s", Better::Higher, report.requests_per_second);
        visit.add_of(&report, "saturated p50", "µs", Better::Lower, report.latency.p50_us);
        visit.add_of(&report, "saturated p99", "µs", Better::Lower, report.latency.p99_us);
        // The CPU time is that of the whole run, and so are the requests: the warm-up is work, too.
        let each = cpu / report.requests_in_run.max(1) as f64;
        visit.add_of(&report, CPU, "µs", Better::Lower, each);
        if load.resumes {
            let resumed = report.handshakes.resumed_percent();
            visit.add_of(&report, "resumed", "%", Better::Higher, resumed);
        }
        visit.reports.push(("rate", report));
        Ok(())
    }

    /// Measures latency at a rate that all servers can hold, from the intended send.
    fn latency(&self, server: &Server, visit: &mut Visit) -> Result<(), Error> {
        let load = Load {
            rate: Some(Rate::steady(self.scenario.latency_rate)),
            ..self.load(self.scenario.latency_connections)
        };
        let run = || {
            Ok::<_, Error>(load::run(
                server.target(),
                self.mix(server)?,
                self.payload_bytes(),
                &load,
            )?)
        };
        let report = match self.scenario.beside {
            None => run()?,
            Some(query) => {
                let beside = server.target().with_query(query)?;
                let expected = beside.fetch(&self.request)?;
                let mix = RequestMix::one(beside.prepare(&self.request, Some(expected.body)));
                let other = self.load(BESIDE_CONNECTIONS);
                std::thread::scope(|scope| {
                    let other = scope.spawn(|| load::run(&beside, mix, None, &other));
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

    /// Measures the memory that connections and functions add to a server at rest.
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
        if functions > 1 && (kind.runs_functions() || matches!(kind, Kind::Workerd { .. })) {
            let many = kind.prepare(&Serving { functions, ..serving.clone() })?;
            let server = many.start()?;
            self.warm(&self.target(&server)?)?;
            for target in &server.targets {
                self.check(&server, target)?;
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

/// Returns the bytes of a server at rest.
fn at_rest(server: &Server) -> Result<f64, Error> {
    let Some(first) = server.children.first() else { unreachable!("every server has a process") };
    quiet::wait(first.id(), QUIET, || Ok(server.memory()?))?;
    Ok(server.memory()? as f64)
}

impl Visit {
    /// Returns a value that does not come from a load.
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

    /// Returns a value of a load.
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

    /// Returns the number of requests that failed in all loads.
    pub fn errors(&self) -> u64 {
        self.reports.iter().map(|(_, report)| report.errors.total() + report.errors_in_warmup).sum()
    }
}
