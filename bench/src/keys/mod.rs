//! The `keys` command: a node that keeps millions of keys in one bucket.
//!
//! They are imported as an operator would, by `sockhop kv import`. Then, with all of them there: how
//! large the file is and the engine, how soon a node answers that begins with them, after a stop and
//! after a crash, and how long `get` and `set` take by HTTP, alone and while every second key is
//! removed, while those are imported again, which shows whether their room is used anew, and while all
//! are removed at once. Owns the folder of the data; `server` has the node.

mod result;

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::alone::{Error, Provenance};
use crate::cli::KeysArguments;
use crate::client::{self, Rate, RequestMix};
use crate::load::{self, Load};
use crate::server::{self, LOAD_CORE, Node, SERVER_CORE};
use crate::smaps::Sample;
use crate::target::{Request, Session, Target};
use crate::{interrupt, output};
use result::{Felt, Keys, Settings};

const FUNCTION: &str = "keyvalue";
/// One that has a bucket of its own,
const OTHER: &str = "other";
/// and one that uses none.
const HELLO: &str = "hello";
/// A value: what a session or a small record takes, also as base64.
const VALUE: &str = "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4";
/// Keys of one request that removes some.
const REMOVED_AT_A_TIME: u32 = 1000;
/// Different keys that are asked for while latency is measured.
const ASKED: u32 = 1000;
const CONNECTIONS: u32 = 8;
const HELLO_CONNECTIONS: u32 = 32;
/// What something that takes as long as it takes is cut into.
const STEP_SECONDS: f64 = 1.0;

/// The command.
pub fn command(arguments: &KeysArguments) -> Result<(), Error> {
    let component = output::component(&arguments.component)?;
    let binary =
        server::find_sockhop(arguments.sockhop_bin.as_deref()).ok_or(server::Error::NoSockhop)?;
    let settings = Settings {
        keys: arguments.keys,
        value_bytes: VALUE.len() / 4 * 3,
        rate: arguments.rate,
        seconds: arguments.seconds,
        server_core: SERVER_CORE,
        load_core: LOAD_CORE,
    };
    let mut keys = Keys::new(Provenance::of(&binary), settings);
    let scratch = server::scratch("keys").map_err(server::Error::from)?;
    let data = scratch.path().join("data");
    let start = || Node::start_on(&[SERVER_CORE], &binary, &[], data.clone());
    let file = data.join("state/local.redb");

    let node = start()?;
    let most = arguments.keys.to_string();
    let options = ["--no-trial", "--kv-keys", &most, "--kv-size", "64GiB", "--kv-calls", "1000000"];
    let deployed = node.deploy_with(&component, FUNCTION, &options)?;
    node.deploy_with(&component, OTHER, &options)?;
    keys.provenance.commands = vec![node.child.command().to_owned(), deployed];
    node.deploy_with(&output::component(&arguments.hello)?, HELLO, &[])?;
    keys.add("engine's memory, empty", mebibytes(kept(&node)?), "MiB");
    keys.add("hello, nothing kept", hello(&node, arguments)?, "requests/s");
    let took = timed(|| import(&node, 0..arguments.keys))?;
    keys.add("imported in", took, "s");
    keys.add("imported", f64::from(arguments.keys) / took, "keys/s");
    keys.add("file", mebibytes(bytes_of(&file)), "MiB");
    keys.add("engine's memory", mebibytes(kept(&node)?), "MiB");
    keys.add("hello, all kept", hello(&node, arguments)?, "requests/s");
    keys.add("stopped in", timed(|| Ok(node.end(Signal::SIGTERM)?))?, "s");

    let node = restart(&start, "stop", &mut keys)?;
    // Something is under way, as it is in a crash.
    ask(&node, FUNCTION, &json!(["set", key(0), VALUE]))?;
    node.end(Signal::SIGKILL)?;
    let node = restart(&start, "crash", &mut keys)?;
    measure(&node, &file, arguments, &mut keys)?;
    node.end(Signal::SIGTERM)?;
    keys.add("file, all removed and stopped", mebibytes(bytes_of(&file)), "MiB");
    output::show(&keys);
    Ok(output::write(arguments.json.as_deref(), &keys)?)
}

/// Returns how many requests a second a function serves that uses no state.
fn hello(node: &Node, arguments: &KeysArguments) -> Result<f64, Error> {
    let target = node.target(HELLO)?;
    let mix = RequestMix::one(target.prepare(&Request::get(), None));
    let load = Load::closed(HELLO_CONNECTIONS, 1.0, arguments.seconds);
    Ok(load::run(&target, mix, None, &load)?.requests_per_second)
}

/// Starts a node that has the keys already.
fn restart(
    start: &impl Fn() -> Result<Node, server::Error>,
    after: &str,
    keys: &mut Keys,
) -> Result<Node, Error> {
    let begun = Instant::now();
    let node = start()?;
    keys.add(&format!("ready after a {after}"), begun.elapsed().as_secs_f64(), "s");
    ask(&node, FUNCTION, &json!(["get", key(1)]))?;
    keys.add(&format!("first key read after a {after}"), begun.elapsed().as_secs_f64(), "s");
    keys.add(&format!("engine's memory after a {after}"), mebibytes(kept(&node)?), "MiB");
    Ok(node)
}

/// Latency, alone and while keys come and go.
fn measure(
    node: &Node,
    file: &Path,
    arguments: &KeysArguments,
    keys: &mut Keys,
) -> Result<(), Error> {
    let half = || (0..arguments.keys).step_by(2);
    let mut beside = |function, when: &str, work: &dyn Fn() -> Result<(), Error>| {
        let mut took = 0.0;
        let clients = Clients { node, function, keys: arguments.keys, rate: arguments.rate };
        let [get, set] = clients.beside(|| timed(work).map(|seconds| took = seconds))?;
        keys.add(when, took, "s");
        keys.add("file", mebibytes(bytes_of(file)), "MiB");
        keys.add("engine's memory", mebibytes(kept(node)?), "MiB");
        keys.felt("get meanwhile", &get);
        keys.felt("set meanwhile", &set);
        Ok::<_, Error>(())
    };
    beside(FUNCTION, "nothing else for", &|| {
        thread::sleep(Duration::from_secs_f64(arguments.seconds));
        Ok(())
    })?;
    beside(FUNCTION, "every second key removed in", &|| remove(node, half()))?;
    beside(FUNCTION, "those imported again in", &|| import(node, half()))?;
    // As the function is removed, others are asked.
    beside(OTHER, "removed with the function in", &|| {
        node.ask(&["remove", FUNCTION, "--with-state", "--yes"])?;
        Ok(())
    })
}

/// Clients that get and set, whatever happens meanwhile.
struct Clients<'a> {
    node: &'a Node,
    function: &'static str,
    keys: u32,
    rate: u64,
}

impl Clients<'_> {
    /// Has them do so while `work` is done. Returns what those that get have felt, and those that
    /// set.
    fn beside(&self, work: impl FnOnce() -> Result<(), Error>) -> Result<[Felt; 2], Error> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let get = scope.spawn(|| self.run(&done, |key| json!(["get", key])));
            let set = scope.spawn(|| self.run(&done, |key| json!(["set", key, VALUE])));
            let worked = work();
            done.store(true, Ordering::Relaxed);
            let panicked = || Err(load::Error::from(client::Error::Panicked).into());
            let felt = [get, set].map(|it| it.join().unwrap_or_else(|_| panicked()));
            worked?;
            let [get, set] = felt;
            Ok([get?, set?])
        })
    }

    fn run(&self, done: &AtomicBool, operation: fn(String) -> Value) -> Result<Felt, Error> {
        let target = self.node.target(self.function)?;
        let request = |number: u32| {
            // An odd one: the others are removed.
            let body = json!([operation(key((self.keys / ASKED * number) | 1))]);
            target.prepare(&Request::post(body.to_string().into_bytes()), None)
        };
        let mix = RequestMix::zipf((0..ASKED).map(request).collect(), 0.0);
        let Some(mix) = mix else { unreachable!("some keys are asked for") };
        let rate = Some(Rate::steady(self.rate.div_ceil(2)));
        let load = Load { rate, ..Load::closed(CONNECTIONS, 0.0, STEP_SECONDS) };
        let mut seconds = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let report = load::run(&target, mix.clone(), None, &load)?;
            seconds.push((*report.felt(), report.errors.total()));
        }
        Ok(Felt::of(&seconds))
    }
}

fn key(number: u32) -> String {
    format!("k-{number:08}")
}

/// Imports keys, as an operator does it.
fn import(node: &Node, numbers: impl Iterator<Item = u32>) -> Result<(), Error> {
    let write = |to: &mut dyn Write| -> io::Result<()> {
        for number in numbers {
            writeln!(to, "{{\"key\":\"{}\",\"value\":\"{VALUE}\"}}", key(number))?;
        }
        Ok(())
    };
    Ok(node.feed(&["kv", "import", FUNCTION], write)?)
}

/// Has the function remove keys, many in a request.
fn remove(node: &Node, mut numbers: impl Iterator<Item = u32>) -> Result<(), Error> {
    loop {
        interrupt::check()?;
        let part: Vec<String> =
            numbers.by_ref().take(REMOVED_AT_A_TIME as usize).map(key).collect();
        if part.is_empty() {
            return Ok(());
        }
        ask(node, FUNCTION, &json!(["delete-many", part]))?;
    }
}

/// Has an operation done. Returns what came of it.
fn ask(node: &Node, function: &str, operation: &Value) -> Result<Value, Error> {
    let target: Target = node.target(function)?;
    let request = Request::post(json!([operation]).to_string().into_bytes());
    let fetched = Session::open(&target)?.exchange(&target.bytes(&request, true))?;
    let outcomes: Vec<Value> = serde_json::from_slice(&fetched.body).unwrap_or_default();
    match outcomes.first().and_then(|outcome| outcome.get("ok")) {
        Some(value) if fetched.status == 200 => Ok(value.clone()),
        _ => Err(Error::State {
            server: "sockhop".to_owned(),
            status: fetched.status,
            body: String::from_utf8_lossy(&fetched.body).chars().take(200).collect(),
        }),
    }
}

fn timed(work: impl FnOnce() -> Result<(), Error>) -> Result<f64, Error> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64())
}

fn kept(node: &Node) -> Result<u64, Error> {
    Ok(Sample::of(node.child.id())?.kept())
}

fn bytes_of(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |file| file.len())
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
