//! The `jobs` command: how soon asynchronous invocations run, and how many a second, by the control
//! API and by `Prefer: respond-async`.
//!
//! In each round a fresh node has one function that says hello. First jobs are sent one after
//! another, some while apart, each to a path of its own, by which the function's log tells when it
//! ran. Then clients submit as fast as they are answered, and it is waited until all that was
//! submitted was run: the rate that counts is that of jobs that were run, over all of that time.
//! Clients and node share the machine's cores. Holds no file descriptor; `server` has the node,
//! `client` the sockets.

mod record;
mod result;

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::alone::{Error, Provenance};
use crate::cli::JobsArguments;
use crate::client::RequestMix;
use crate::load::{self, Load};
use crate::metrics::Source;
use crate::series::{self, Better, Series};
use crate::server::{self, Node};
use crate::target::{Request, Session, Target};
use crate::{interrupt, output};
use record::Began;
use result::{Jobs, Settings};

const FUNCTION: &str = "hello";
const BODY: &[u8] = b"hello";
/// How far apart single jobs are sent: each has run by then.
const APART: Duration = Duration::from_millis(10);
/// How long the last jobs may take to run.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a node that was just started is left alone.
const SETTLED: Duration = Duration::from_millis(300);

/// How a job is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By the control API, over TCP.
    Control,
    /// By a client that does not wait for the function.
    Prefer,
}

impl Way {
    const ALL: [Self; 2] = [Self::Control, Self::Prefer];

    fn name(self) -> &'static str {
        match self {
            Self::Control => "control API",
            Self::Prefer => "respond-async",
        }
    }

    /// Where it is sent, and how, so that the function sees the path `/rest`.
    fn submission(self, node: &Node, rest: &str) -> Result<(Target, Request), Error> {
        let post = Request::post(BODY.to_vec());
        match self {
            Self::Control => {
                let url = format!("{}/v1/functions/{FUNCTION}/invocations/{rest}", node.admin()?);
                let header = format!("authorization: Bearer {}", node.token()?);
                Ok((Target::parse(&url)?, post.with_header(&header)))
            }
            Self::Prefer => {
                let target = node.target(FUNCTION)?.with_query(rest)?;
                Ok((target, post.with_header("prefer: respond-async")))
            }
        }
    }
}

/// The command.
pub fn command(arguments: &JobsArguments) -> Result<(), Error> {
    let component = output::component(&arguments.component)?;
    let binary =
        server::find_sockhop(arguments.sockhop_bin.as_deref()).ok_or(server::Error::NoSockhop)?;
    let settings = Settings {
        rounds: arguments.rounds.rounds,
        seconds: arguments.rounds.seconds,
        single: arguments.single,
        cores: arguments.cores.clone(),
    };
    let mut jobs = Jobs { provenance: Provenance::of(&binary), settings, series: Vec::new() };
    for round in 0..arguments.rounds.rounds {
        let folder = tempfile_in_scratch()?;
        let options = ["--admin", "127.0.0.1:0"];
        let data = folder.path().join("data");
        let node = Node::start_on(&arguments.cores, &binary, &options, data)?;
        let deployed = node.deploy_with(&component, FUNCTION, &["--respond-async"])?;
        if round == 0 {
            jobs.provenance.commands = vec![node.child.command().to_owned(), deployed];
        }
        thread::sleep(SETTLED);
        for way in Way::ALL {
            single(&node, way, arguments.single, &mut jobs.series)?;
        }
        for &clients in &arguments.clients {
            for way in Way::ALL {
                interrupt::check()?;
                many(&node, way, clients, arguments, &mut jobs)?;
            }
        }
        eprintln!("round {} of {}", round + 1, arguments.rounds.rounds);
        output::write(arguments.json.as_deref(), &jobs)?;
    }
    jobs.finish();
    output::show(&jobs);
    Ok(output::write(arguments.json.as_deref(), &jobs)?)
}

fn tempfile_in_scratch() -> Result<tempfile::TempDir, Error> {
    Ok(server::scratch("jobs").map_err(server::Error::from)?)
}

/// Sends jobs one after another, and finds out when each has run.
fn single(node: &Node, way: Way, count: u32, series: &mut Vec<Series>) -> Result<(), Error> {
    let name = |number: u32| format!("{}-{number}", way.name().replace(' ', "-"));
    let (first, _) = way.submission(node, "")?;
    let mut session = Session::open(&first)?;
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    for number in 0..count {
        interrupt::check()?;
        let (target, request) = way.submission(node, &name(number))?;
        let bytes = target.bytes(&request, true);
        let (at, begun) = (SystemTime::now(), Instant::now());
        let fetched = session.exchange(&bytes)?;
        answered.push(begun.elapsed());
        if fetched.status != 202 {
            let body = String::from_utf8_lossy(&fetched.body).into_owned();
            return Err(Error::Jobs(format!("one is answered with {}: {body}", fetched.status)));
        }
        sent.push(at);
        thread::sleep(APART);
    }
    // Written within 100 ms, and at once for who asks.
    let log = node.ask(&["logs", FUNCTION, "--json", "--since", "1h"])?;
    let began = Began::read(&log);
    let mut waited = Vec::new();
    for (number, at) in (0..count).zip(sent) {
        let path = format!("/{FUNCTION}/{}", name(number));
        let Some(ran) = began.at(&path) else {
            return Err(Error::Jobs(format!("{path} has not run {APART:?} after it was sent")));
        };
        waited.push(ran.duration_since(at).unwrap_or_default());
    }
    for (measure, times) in
        [("sent until it runs", waited), ("sent until it is answered", answered)]
    {
        for (percent, value) in result::percentiles(times) {
            let measure = format!("{measure}, one at a time: {percent}");
            let value = value.as_secs_f64() * 1e3;
            series::add(series, ("one", way.name()), (&measure, "ms", Better::Lower), value);
        }
    }
    Ok(())
}

/// What the node has counted.
struct Counted {
    submitted: f64,
    done: f64,
    failed: f64,
    kept: f64,
}

impl Counted {
    fn read(metrics: &Source) -> Result<Self, Error> {
        let attempts = |outcome| metrics.sum("sockhop_jobs_attempts_total", &[outcome]);
        Ok(Self {
            submitted: metrics.sum("sockhop_jobs_submitted_total", &[])?,
            done: attempts("outcome=\"ok\"")?,
            failed: attempts("outcome=\"failed\"")?,
            kept: metrics.sum("sockhop_jobs", &[])?,
        })
    }
}

/// Has clients submit as fast as they are answered, and waits until all was run.
fn many(
    node: &Node,
    way: Way,
    clients: u32,
    arguments: &JobsArguments,
    jobs: &mut Jobs,
) -> Result<(), Error> {
    let (target, request) = way.submission(node, "")?;
    let mix = RequestMix::one(target.prepare(&request, None));
    let load = Load { cores: Vec::new(), ..Load::closed(clients, 0.0, arguments.rounds.seconds) };
    let metrics = Source::of(node)?;
    let before = Counted::read(&metrics)?;
    let begun = Instant::now();
    let report = load::run(&target, mix, None, &load)?;
    let submitting = begun.elapsed();
    let at_end = Counted::read(&metrics)?;
    let after = loop {
        interrupt::check()?;
        let now = Counted::read(&metrics)?;
        if now.kept == 0.0 || begun.elapsed() > submitting + PATIENCE {
            break now;
        }
        thread::sleep(LOOK_INTERVAL);
    };
    let all = begun.elapsed();
    let (submitted, done) = (after.submitted - before.submitted, after.done - before.done);
    let (name, scenario) = (way.name(), format!("{clients} clients"));
    let mut add = |measure, unit, better, value| {
        series::add(&mut jobs.series, (&scenario, name), (measure, unit, better), value);
    };
    let seconds = submitting.as_secs_f64();
    add("answered with 202", "/s", Better::Higher, report.requests_per_second);
    add("run meanwhile", "/s", Better::Higher, (at_end.done - before.done) / seconds);
    add("run, until the last has", "/s", Better::Higher, done / all.as_secs_f64());
    add("the last runs after", "s", Better::Lower, (all - submitting).as_secs_f64());
    add("until it is answered: p99", "ms", Better::Lower, report.latency.p99_us / 1e3);
    let answered = report.requests_in_run as f64;
    add("lost", "jobs", Better::Lower, (submitted.max(answered) - done).max(0.0));
    let failed = (after.failed - before.failed) + report.errors.total() as f64;
    if failed > 0.0 {
        let warning = format!("{name}, {scenario}: {failed} submissions or attempts failed");
        jobs.provenance.warnings.push(warning);
    }
    Ok(())
}
