//! The `state` command: what keys and values cost a function, beside a native program that asks
//! Redis, and one with SQLite inside, in the same rounds and by the same requests.
//!
//! One of them runs at a time, on one core, with the client on another, and is started anew in each
//! round, with nothing in it. A request has operations in its body, and each is asked for in four
//! ways: many one after another in one request, timed by who does them; one a request, from one
//! client; the same from many; and a run of them a request, from many. Processes belong to
//! `server`.

mod result;
mod subject;

use crate::alone::Error;
use crate::cli::{Rounds, StateArguments};
use crate::client::{PreparedRequest, RequestMix};
use crate::environment::Moment;
use crate::load::{self, Load};
use crate::report::Report;
use crate::series::{self, Better, Series};
use crate::server::{self, Server};
use crate::target::{Request, Session};
use crate::{interrupt, output};
use result::{Settings, State};
use serde_json::{Value, json};
use subject::Subject;

/// How often an operation is done in the request that times it: reads take microseconds, and writes
/// may take milliseconds.
const TIMED_READS: u32 = 5000;
const TIMED_WRITES: u32 = 300;
/// How long a run of operations in one request is.
const RUN: u32 = 20;
/// A value: what a session or a small record takes.
const VALUE_BYTES: usize = 100;

/// An operation, on a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Get,
    Set,
    Increment,
}

impl Operation {
    const ALL: [Self; 3] = [Self::Get, Self::Set, Self::Increment];

    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Increment => "increment",
        }
    }

    fn of(self, key: &str) -> Value {
        match self {
            Self::Get => json!(["get", key]),
            Self::Set => json!(["set", key, "x".repeat(VALUE_BYTES)]),
            Self::Increment => json!(["increment", format!("n-{key}"), 1]),
        }
    }

    fn timed(self) -> u32 {
        if self == Self::Get { TIMED_READS } else { TIMED_WRITES }
    }

    /// What a request of it must be answered with. Counters differ.
    fn answer(self) -> Option<Vec<u8>> {
        let value = match self {
            Self::Get => json!("x".repeat(VALUE_BYTES)),
            Self::Set => Value::Null,
            Self::Increment => return None,
        };
        Some(json!([{ "ok": value }]).to_string().into_bytes())
    }
}

/// The command.
pub fn command(arguments: &StateArguments) -> Result<(), Error> {
    let component = output::component(&arguments.component)?;
    let binary =
        server::find_sockhop(arguments.sockhop_bin.as_deref()).ok_or(server::Error::NoSockhop)?;
    let (subjects, missing) = subject::look(&binary, &component, arguments);
    let settings = Settings {
        rounds: arguments.rounds.rounds,
        seconds: arguments.rounds.seconds,
        warmup_seconds: arguments.rounds.warmup_seconds,
        clients: arguments.clients,
        server_core: server::SERVER_CORE,
        load_core: server::LOAD_CORE,
    };
    let mut state = State::new(&binary, settings, &subjects, missing);
    for round in 0..arguments.rounds.rounds {
        for at in 0..subjects.len() {
            interrupt::check()?;
            // Each round begins with another, so that the order gives none an advantage.
            let subject = &subjects[(round as usize + at) % subjects.len()];
            eprintln!("round {} of {}: {}", round + 1, arguments.rounds.rounds, subject.name());
            let server = subject.start()?;
            visit(&server, subject, arguments, &mut state)?;
        }
        // Written after each round: the next may be interrupted.
        output::write(arguments.json.as_deref(), &state)?;
    }
    state.finish();
    output::show(&state);
    Ok(output::write(arguments.json.as_deref(), &state)?)
}

fn visit(
    server: &Server,
    subject: &Subject,
    arguments: &StateArguments,
    state: &mut State,
) -> Result<(), Error> {
    state.started(subject.name(), &server.commands);
    let keys: Vec<String> = (0..arguments.clients).map(|number| format!("k-{number}")).collect();
    for key in &keys {
        ask(server, subject, &Operation::Set.of(key))?;
    }
    let (before, used) = (Moment::now(), server.cpu_time()?);
    for operation in Operation::ALL {
        let visit = Visit { server, subject, operation, rounds: &arguments.rounds };
        visit.timed(state)?;
        for (count, clients) in [(1, 1), (1, arguments.clients), (RUN, arguments.clients)] {
            visit.load(&keys, count, clients, state)?;
        }
    }
    let used = server.cpu_time()?.saturating_sub(used);
    let neighbours = before.and_then(|moment| moment.until_now(used)).unwrap_or_default();
    if neighbours.are_felt() {
        state.warn(format!("{}: other programs ran meanwhile", subject.name()));
    }
    Ok(())
}

/// An operation that is asked of a server.
struct Visit<'a> {
    server: &'a Server,
    subject: &'a Subject,
    operation: Operation,
    rounds: &'a Rounds,
}

impl Visit<'_> {
    /// Has it done many times in one request, timed by who does it.
    fn timed(&self, state: &mut State) -> Result<(), Error> {
        let Self { server, subject, operation, .. } = *self;
        let timed = json!(["time", operation.timed(), operation.of("k-0")]);
        let nanoseconds = ask(server, subject, &timed)?.as_f64().unwrap_or_default();
        self.add(state, "one after another", "µs", Better::Lower, nanoseconds / 1e3);
        Ok(())
    }

    /// Has it done `count` times in each request, from so many clients, each with a key of its own.
    fn load(
        &self,
        keys: &[String],
        count: u32,
        clients: u32,
        state: &mut State,
    ) -> Result<(), Error> {
        let Self { server, subject, operation, rounds } = *self;
        let request = |key: &String| -> PreparedRequest {
            let one = operation.of(key);
            let body = if count == 1 { one } else { json!(["repeat", count, one]) };
            let request = Request::post(json!([body]).to_string().into_bytes());
            server.target().prepare(&request, operation.answer())
        };
        let mix = RequestMix::zipf(keys.iter().map(request).collect(), 0.0);
        let Some(mix) = mix else { unreachable!("there is a client") };
        let load = Load::closed(clients, rounds.warmup_seconds, rounds.seconds);
        let before = server.cpu_time()?;
        let report = load::run(server.target(), mix, None, &load)?;
        // Comes when what was asked for at the end of the load is done, too.
        ask(server, subject, &Operation::Get.of("k-0"))?;
        let cpu = server.cpu_time()?.saturating_sub(before).as_secs_f64() * 1e6;
        let errors = report.errors.total();
        if errors > 0 {
            let (subject, operation) = (subject.name(), operation.name());
            state.warn(format!("{subject}, {operation}: {errors} requests failed"));
        }
        let Report { requests_per_second: rate, latency, client_saturated, .. } = report;
        match (count, clients) {
            (1, 1) => self.add(
                state,
                "one a request, one client: p50",
                "µs",
                Better::Lower,
                latency.p50_us,
            ),
            (1, _) => {
                self.add(state, "one a request, many clients", "/s", Better::Higher, rate)
                    .client_saturated |= client_saturated;
                self.add(state, "the same: p99", "µs", Better::Lower, latency.p99_us);
                let each = cpu / report.requests_in_run.max(1) as f64;
                self.add(state, "the same: CPU of each", "µs", Better::Lower, each)
            }
            _ => {
                self.add(state, "runs, many clients", "/s", Better::Higher, rate * f64::from(count))
            }
        };
        Ok(())
    }

    fn add<'a>(
        &self,
        state: &'a mut State,
        measure: &str,
        unit: &str,
        better: Better,
        value: f64,
    ) -> &'a mut Series {
        let of = (self.operation.name(), self.subject.name());
        series::add(&mut state.series, of, (measure, unit, better), value)
    }
}

/// Has an operation done. Returns what came of it.
fn ask(server: &Server, subject: &Subject, operation: &Value) -> Result<Value, Error> {
    let target = server.target();
    let request = Request::post(json!([operation]).to_string().into_bytes());
    let fetched = Session::open(target)?.exchange(&target.bytes(&request, true))?;
    let outcomes: Vec<Value> = serde_json::from_slice(&fetched.body).unwrap_or_default();
    match outcomes.first().and_then(|outcome| outcome.get("ok")) {
        Some(value) if fetched.status == 200 => Ok(value.clone()),
        _ => Err(Error::State {
            server: subject.name().to_owned(),
            status: fetched.status,
            body: String::from_utf8_lossy(&fetched.body).chars().take(200).collect(),
        }),
    }
}
