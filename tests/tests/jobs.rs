//! Asynchronous invocations: kept before they are answered, run at least once, tried again, given up
//! and kept as dead letters, and none lost, whatever ends.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use harness::aws::Aws;
use harness::client::request;
use harness::disk::SmallDisk;
use harness::running::{kill_now, records};
use harness::{Node, native, wait, wat};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);

/// Submits a job by the command, and returns its id.
fn submit(node: &Node, name: &str, arguments: &[&str]) -> String {
    let said = node.cli(&[&["invoke", name, "--async"], arguments].concat()).expect_code(0).stdout;
    said.trim().to_owned()
}

/// Sends a request to the control API. Returns the status, the head and the body of the answer, if all
/// of that has come.
fn try_ask(
    data: &Path,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<(u16, String, String)> {
    let mut stream = UnixStream::connect(data.join("control.sock")).ok()?;
    let headers = [headers, &[("connection", "close")]].concat();
    // Who refuses a request does so before it has all of it.
    let _ = stream.write_all(&request(method, target, &headers, body));
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_owned(), body.to_owned()))
}

/// The same of a node that answers.
#[track_caller]
fn ask(
    data: &Path,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String, String) {
    try_ask(data, method, target, headers, body).unwrap()
}

/// Checks that a job is refused for now.
#[track_caller]
fn expect_refused(node: &Node, name: &str, why: &str) {
    let target = format!("/v1/functions/{name}/invocations");
    let (status, head, body) = ask(node.data(), "POST", &target, &[], b"");
    assert!(status == 503 && head.contains("retry-after: ") && body.contains(why), "{head} {body}");
}

/// Submits a job over a connection that may break off. Returns its id, if that came.
fn try_submit(data: &Path, name: &str, path: &str, body: &[u8]) -> Option<String> {
    let target = format!("/v1/functions/{name}/invocations{path}");
    let (_, _, body) =
        try_ask(data, "POST", &target, &[], body).filter(|(status, ..)| *status == 202)?;
    let submitted: Value = serde_json::from_str(&body).ok()?;
    Some(submitted["id"].as_str()?.to_owned())
}

fn shown(node: &Node, id: &str) -> Value {
    records(&node.cli(&["jobs", "show", id, "--json"]).expect_code(0).stdout).remove(0)
}

/// Returns a job once it is in a state.
fn until(node: &Node, id: &str, state: &str) -> Value {
    let what = format!("the job is {state}");
    wait::for_value(&what, SOON, || shown(node, id), |job| job["state"] == state)
}

fn listed(node: &Node, arguments: &[&str]) -> Vec<Value> {
    let all = [&["jobs", "list", "--json", "--limit", "1000"], arguments].concat();
    records(&node.cli(&all).expect_code(0).stdout)
}

/// Deploys a function that writes its environment, with the request's headers, to its log.
fn deploy_environment(node: &Node, name: &str) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("environment.wasm");
    fs::write(&file, wat::whole("environment")).unwrap();
    let file = file.to_str().unwrap();
    node.cli(&["deploy", file, "--name", name, "--no-trial"]).expect_code(0);
}

/// Returns what the last invocation of a function has had of a variable, once it is logged.
fn told(node: &Node, name: &str, variable: &str) -> String {
    let start = format!("{variable}=");
    wait::until("the environment is logged", SOON, || {
        let printed = node.cli(&["logs", name, "--json", "--limit", "1000"]).stdout;
        let value = |line: &Value| {
            let pairs = line["text"].as_str()?.to_owned();
            Some(pairs.split('\0').find_map(|pair| pair.strip_prefix(&start))?.to_owned())
        };
        records(&printed).iter().rev().find_map(value)
    })
}

/// Returns how often each key was counted up in the bucket of the function `name`.
fn counts(node: &Node, name: &str) -> BTreeMap<String, u64> {
    let exported = node.cli(&["kv", "export", name]).expect_code(0).stdout;
    let count = |entry: &Value| {
        let value = BASE64_STANDARD.decode(entry["value"].as_str().unwrap()).unwrap();
        (
            entry["key"].as_str().unwrap().to_owned(),
            String::from_utf8(value).unwrap().parse().unwrap(),
        )
    };
    records(&exported).iter().map(count).collect()
}

/// The body by which the guest `keyvalue` counts up a key, and fails then if it is to fail.
fn count_up(key: &str, fails: bool) -> Vec<u8> {
    let mut steps = vec![json!(["increment", key, 1])];
    steps.extend(fails.then(|| json!(["no operation"])));
    json!(steps).to_string().into()
}

/// Submits jobs that each count up a key of their own, until told to stop: of the function `a`, and
/// each `failing`th of `b`, where it fails. Returns the keys of those that were answered with an
/// id, and the ids.
fn submit_until(
    stop: &AtomicBool,
    data: &Path,
    prefix: &str,
    done: &AtomicUsize,
    failing: usize,
) -> Vec<(String, String)> {
    let mut answered = Vec::new();
    for number in 1.. {
        if stop.load(Relaxed) {
            break;
        }
        let fails = number % failing == 0;
        let (function, key) = (if fails { "b" } else { "a" }, format!("{prefix}-{number}"));
        if let Some(id) = try_submit(data, function, "/2", &count_up(&key, fails)) {
            answered.push((format!("{function}-{key}"), id));
            done.fetch_add(1, Relaxed);
        }
    }
    answered
}

#[test]
fn a_job_runs_with_its_request_and_the_function_knows_which_it_is() {
    let node = Node::start();
    deploy_environment(&node, "shop");
    let arguments = ["--path", "/order?a=b", "-X", "PUT", "-H", "x-colour: green"];
    let id = submit(&node, "shop", &[&arguments[..], &["-d", "1 apple"]].concat());
    let job = until(&node, &id, "done");
    assert_eq!((&job["function"], &job["attempts"]), (&json!("shop"), &json!(1)), "{job}");
    assert_eq!(job["last"]["status"], 200);
    for (variable, value) in [
        ("HTTP_SOCKHOP_JOB", id.as_str()),
        ("HTTP_SOCKHOP_JOB_ATTEMPT", "1"),
        ("HTTP_X_COLOUR", "green"),
        ("REQUEST_METHOD", "PUT"),
        ("PATH_INFO", "/order"),
        ("QUERY_STRING", "a=b"),
        ("CONTENT_LENGTH", "7"),
    ] {
        assert_eq!(told(&node, "shop", variable), value, "{variable}");
    }
    let invocation = job["last"]["invocation"].as_str().unwrap();
    let log = node.cli(&["logs", invocation]).expect_code(0).stdout;
    assert!(log.contains("PUT") && log.contains("/order"), "{log}");
    let printed = node.cli(&["jobs", "list"]).expect_code(0).stdout;
    assert!(printed.contains(&id) && printed.contains("done"), "{printed}");
    let by_default = submit(&node, "shop@v1", &[]);
    assert_eq!(until(&node, &by_default, "done")["function"], "shop");
    assert_eq!(told(&node, "shop", "REQUEST_METHOD"), "POST");
    assert_eq!(listed(&node, &["shop", "--state", "done"]).len(), 2);
    assert!(listed(&node, &["other"]).is_empty() && listed(&node, &["--state", "dead"]).is_empty());
    node.stop();
}

#[test]
fn a_job_that_fails_is_tried_again_after_a_pause_and_then_kept_as_a_dead_letter() {
    let node = Node::start();
    node.deploy("status", "status", &["--job-attempts", "2", "--job-pause", "1s"]);
    let id = submit(&node, "status", &["--path", "/?code=500"]);
    let waiting = wait::for_value(
        "an attempt has failed",
        SOON,
        || shown(&node, &id),
        |job| job["attempts"] == 1 && job["state"] == "queued",
    );
    let pause =
        waiting["next_ms"].as_u64().unwrap() - waiting["last"]["began_ms"].as_u64().unwrap();
    assert!((800..=3000).contains(&pause), "{waiting}");
    let dead = until(&node, &id, "dead");
    assert_eq!((&dead["attempts"], &dead["last"]["status"]), (&json!(2), &json!(500)));
    let reason = dead["reason"].as_str().unwrap();
    assert!(reason.contains("2 attempts") && reason.contains("500"), "{reason}");
    assert!(node.stderr().contains("dead letter"), "{}", node.stderr());
    assert_eq!(listed(&node, &["status", "--state", "dead"]).len(), 1);
    let status = node.cli(&["status"]).expect_code(0).stdout;
    assert!(status.contains("1 dead letter"), "{status}");
    let (_, _, metrics) = ask(node.data(), "GET", "/metrics", &[], b"");
    for line in [
        "sockhop_jobs{function=\"status\",state=\"dead\"} 1",
        "sockhop_jobs_retries_total{function=\"status\"} 1",
        "sockhop_jobs_dead_letters_total{function=\"status\"} 1",
        "sockhop_jobs_attempts_total{function=\"status\",outcome=\"failed\"} 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    // It has all its attempts again.
    let said = node.cli(&["jobs", "retry", "--all", "status"]).expect_code(0).stdout;
    assert!(said.contains("1 dead letter"), "{said}");
    wait::for_value("it is tried again", SOON, || shown(&node, &id), |job| job["attempts"] == 1);
    assert_eq!(until(&node, &id, "dead")["attempts"], 2);
    node.cli(&["jobs", "cancel", &id]).expect_code(0);
    node.cli(&["jobs", "show", &id]).expect_error(&["no asynchronous invocation"]);
    node.cli(&["jobs", "retry", &id]).expect_error(&["no asynchronous invocation"]);
    node.stop();
}

#[test]
fn a_job_that_waits_can_be_hastened_or_removed_and_one_that_runs_cannot() {
    let node = Node::start();
    node.deploy("status", "status", &["--job-pause", "1h"]);
    node.deploy("sleep", "sleep", &[]);
    let failed = |attempts: u64, id: &str| {
        wait::for_value(
            "an attempt has failed",
            SOON,
            || shown(&node, id),
            |job| job["attempts"] == attempts && job["state"] == "queued",
        )
    };
    let id = submit(&node, "status", &["--path", "/?code=503", "-H", "x: y"]);
    failed(1, &id);
    node.cli(&["jobs", "retry", &id]).expect_code(0);
    failed(2, &id);
    node.cli(&["jobs", "cancel", &id]).expect_code(0);
    node.cli(&["jobs", "show", &id]).expect_error(&["no asynchronous invocation"]);
    let slow = submit(&node, "sleep", &["--path", "/?ms=5000"]);
    until(&node, &slow, "running");
    assert_eq!(listed(&node, &["--state", "running"])[0]["id"], slow.as_str());
    node.cli(&["jobs", "cancel", &slow]).expect_error(&["runs now"]);
    node.cli(&["jobs", "retry", &slow]).expect_error(&["runs now"]);
    until(&node, &slow, "done");
    node.cli(&["jobs", "cancel", &slow]).expect_error(&["is done"]);
    node.stop();
}

#[test]
fn a_full_queue_is_said_at_once_and_holds_up_no_other_function() {
    let node = Node::build().option("--jobs-max", "4").start();
    node.deploy("sleep", "sleep", &[]);
    node.deploy("hello", "hello", &[]);
    let slow: Vec<String> =
        (0..2).map(|_| submit(&node, "sleep", &["--path", "/?ms=3000"])).collect();
    expect_refused(&node, "sleep", "half of all");
    node.cli(&["invoke", "sleep", "--async"]).expect_error(&["half of all"]);
    let other = submit(&node, "hello", &[]);
    until(&node, &other, "done");
    for id in &slow {
        until(&node, id, "done");
    }
    until(&node, &submit(&node, "sleep", &["--path", "/?ms=1"]), "done");
    node.stop();
}

#[test]
fn jobs_of_a_function_that_was_removed_are_dead_letters_and_say_so() {
    let node = Node::start();
    node.deploy("status", "status", &["--job-pause", "1h"]);
    let id = submit(&node, "status", &["--path", "/?code=500"]);
    let tried = |job: &Value| job["attempts"] == 1;
    wait::for_value("an attempt has failed", SOON, || shown(&node, &id), tried);
    node.cli(&["remove", "status"]).expect_code(0);
    assert_eq!(shown(&node, &id)["state"], "queued");
    node.cli(&["jobs", "retry", &id]).expect_code(0);
    let dead = until(&node, &id, "dead");
    assert!(dead["reason"].as_str().unwrap().contains("status"), "{dead}");
    // When there is such a function again, it can be tried.
    node.deploy("hello", "status", &[]);
    node.cli(&["jobs", "retry", &id]).expect_code(0);
    until(&node, &id, "done");
    node.stop();
}

/// How many jobs the test of kills has at least: more, if somebody has the time.
fn load() -> usize {
    let asked = std::env::var("SOCKHOP_TEST_JOBS");
    asked.map_or(60, |asked| asked.parse().unwrap())
}

#[test]
fn kills_lose_no_job_that_was_answered() {
    let folder = TempDir::new().unwrap();
    let (rounds, clients) = if load() > 1000 { (20, 8) } else { (3, 3) };
    let half = load().div_ceil(rounds * 2);
    let start = || {
        let max = (4 * load() + 10_000).to_string();
        Node::build().data(folder.path()).option("--jobs-max", max).start()
    };
    let mut answered = Vec::new();
    for round in 0..rounds {
        let mut node = start();
        if round == 0 {
            let room = ["--kv-keys", "10000000", "--kv-size", "1GiB", "--job-pause", "1s"];
            let options = |more: &[&'static str]| [&room[..], more].concat();
            node.deploy("keyvalue", "a", &options(&["--job-attempts", "100"]));
            let to_letters = ["--job-attempts", "2", "--dead-letters", "letters"];
            node.deploy("keyvalue", "b", &options(&to_letters));
            // It does not understand them: each stays as a dead letter itself.
            node.deploy("keyvalue", "letters", &["--job-attempts", "1"]);
        }
        let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (data, worker) = (node.data().to_owned(), node.status().workers[0].pid);
        thread::scope(|scope| {
            let client = |client: usize| {
                let prefix = format!("{round}-{client}");
                let (stop, done, data) = (&stop, &done, &data);
                scope.spawn(move || submit_until(stop, data, &prefix, done, 10))
            };
            let clients: Vec<_> = (0..clients).map(client).collect();
            let progress = |more: usize| {
                let before = done.load(Relaxed);
                let some = || (done.load(Relaxed) >= before + more).then_some(());
                wait::until("jobs are answered", SOON, some);
            };
            progress(half);
            // Its jobs fail, or are lost on their way.
            kill_now(worker);
            progress(half + round);
            // At whatever of enqueues, attempts and their ends it is.
            node.kill_engine();
            stop.store(true, Relaxed);
            answered.extend(clients.into_iter().flat_map(|client| client.join().unwrap()));
        });
    }
    let node = start();
    let queued = || {
        let kept = listed(&node, &["--state", "queued"]);
        kept.len() + listed(&node, &["--state", "running"]).len()
    };
    let soon = SOON * u32::try_from(3 + load() / 1000).unwrap();
    wait::for_value("all jobs have run", soon, queued, |left| *left == 0);
    assert!(listed(&node, &["a", "--state", "dead"]).is_empty());
    let counts = counts(&node, "a");
    for (key, id) in &answered {
        let Some(key) = key.strip_prefix("a-") else {
            let (status, _, job) = ask(node.data(), "GET", &format!("/v1/jobs/{id}"), &[], b"");
            assert!(status == 200 && job.contains("\"dead\""), "the job {id} for {key}: {job}");
            continue;
        };
        assert!(counts.contains_key(key), "the job {id} for {key} is lost");
    }
    // Each dead letter has gone to the other function once.
    let letters = listed(&node, &["letters", "--state", "dead"]);
    let about: BTreeSet<&str> = letters.iter().map(|job| job["about"].as_str().unwrap()).collect();
    assert_eq!(about.len(), letters.len(), "{letters:?}");
    let failed = answered.iter().filter(|(key, _)| key.starts_with("b-")).count();
    let status = records(&node.cli(&["status", "--json"]).expect_code(0).stdout).remove(0);
    let dead = usize::try_from(status["node"]["jobs"]["dead"].as_u64().unwrap()).unwrap();
    assert!(dead % 2 == 0 && dead >= 2 * failed, "{dead} dead letters, {failed} failing jobs");
    // What was under way at a kill runs once more, and nothing else.
    let again: u64 = counts.values().map(|count| count - 1).sum();
    let runs = u64::try_from(rounds * 2 * 256).unwrap();
    assert!(again <= runs, "{again} of {} ran more than once", counts.len());
    println!(
        "{} answered, {} of them failing; {} run, {again} times once more; {dead} dead letters",
        answered.len(),
        failed,
        counts.len()
    );
    node.stop();
}

#[test]
fn a_job_that_traps_each_time_is_given_up_and_harms_nobody() {
    let node = Node::start();
    let options = ["--job-attempts", "3", "--job-pause", "1s"];
    node.deploy("panic", "panic", &options);
    node.deploy("hello", "hello", &[]);
    let workers = |node: &Node| node.status().workers.iter().map(|it| it.pid).collect::<Vec<_>>();
    let before = workers(&node);
    let poison: Vec<String> =
        ["/", "/after-head"].iter().map(|path| submit(&node, "panic", &["--path", path])).collect();
    let others: Vec<String> = (0..20).map(|_| submit(&node, "hello", &[])).collect();
    for id in &others {
        let job = until(&node, id, "done");
        assert_eq!(job["attempts"], 1, "{job}");
    }
    for id in &poison {
        let dead = until(&node, id, "dead");
        assert_eq!(dead["attempts"], 3, "{dead}");
    }
    node.get("/hello/").expect_hello();
    assert_eq!(workers(&node), before, "no worker has ended");
    node.stop();
}

#[test]
fn an_event_of_awss_tools_is_a_job_and_one_that_ends_its_process_is_given_up() {
    let (node, aws) = Aws::with_node();
    let options = ["--no-trial", "--job-attempts", "3", "--job-pause", "1s", "--report-lines"];
    native::deploy(&node, "lambda-events", "lambda", "poison", &options);
    let mut cli = aws.cli();
    for payload in [r#"{"exit":1}"#, r#"{"error":"no"}"#, r#"{"a":1}"#] {
        let event = "invoke --function-name poison --invocation-type Event answer.json";
        let called = cli.run(&format!("{event} --payload {payload}"));
        assert_eq!(called["StatusCode"], 202, "{called}");
    }
    let dead = wait::for_value(
        "both that fail are given up",
        SOON,
        || listed(&node, &["poison", "--state", "dead"]),
        |dead| dead.len() == 2,
    );
    assert!(dead.iter().all(|job| job["attempts"] == 3), "{dead:?}");
    assert_eq!(listed(&node, &["poison", "--state", "done"]).len(), 1);
    // As on AWS, an event has the same id at each attempt.
    let log = node.cli(&["logs", "poison", "--limit", "1000"]).expect_code(0).stdout;
    for job in &dead {
        let start = format!("START RequestId: {}", job["id"].as_str().unwrap());
        assert_eq!(log.matches(&start).count(), 3, "{start}: {log}");
    }
    node.stop();
}

#[test]
fn a_take_over_loses_no_job_and_runs_none_twice() {
    let mut old = Node::start();
    old.deploy("keyvalue", "a", &["--job-pause", "1s"]);
    old.deploy("sleep", "sleep", &[]);
    let slow = submit(&old, "sleep", &["--path", "/?ms=3000"]);
    until(&old, &slow, "running");
    let (stop, done, data) = (AtomicBool::new(false), AtomicUsize::new(0), old.data().to_owned());
    let (new, answered) = thread::scope(|scope| {
        let client = |client: usize| {
            let prefix = format!("{client}");
            let (stop, done, data) = (&stop, &done, &data);
            scope.spawn(move || submit_until(stop, data, &prefix, done, usize::MAX))
        };
        let clients: Vec<_> = (0..2).map(client).collect();
        let progress = || {
            let before = done.load(Relaxed);
            let some = || (done.load(Relaxed) >= before + 10).then_some(());
            wait::until("jobs are answered", SOON, some);
        };
        progress();
        let processes = old.processes();
        let new = old.successor(None);
        progress();
        old.expect_ended(&processes, SOON);
        progress();
        stop.store(true, Relaxed);
        let answered: Vec<_> =
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (new, answered)
    });
    assert_eq!(until(&new, &slow, "done")["attempts"], 1);
    let queued = || listed(&new, &["a", "--state", "queued"]).len();
    wait::for_value("all jobs have run", SOON, queued, |left| *left == 0);
    let running = || listed(&new, &["a", "--state", "running"]).len();
    wait::for_value("none runs any more", SOON, running, |left| *left == 0);
    let counts = counts(&new, "a");
    for (key, id) in &answered {
        let count = counts.get(key.strip_prefix("a-").unwrap());
        assert_eq!(count, Some(&1), "the job {id} for {key}");
    }
    new.stop();
}

/// Answers one request on `listener` with `status`. Returns its head and its body.
fn answer(listener: &TcpListener, status: u16) -> (String, Value) {
    let (stream, _) = listener.accept().unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let length = head.to_ascii_lowercase();
    let length = length.split("content-length: ").nth(1).unwrap().split_once('\r').unwrap().0;
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    let reply = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.get_mut().write_all(reply.as_bytes()).unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_url_is_told_what_came_of_a_job_until_it_has_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (node, allowed) = (Node::start(), address.to_string());
    let options = ["--job-attempts", "2", "--job-pause", "1s", "--allow-outbound", &allowed];
    node.deploy("hello", "hello", &options);
    node.deploy("status", "status", &["--job-attempts", "1"]);
    let url = format!("http://{address}/told?a=b");
    let id = submit(&node, "hello", &["--callback", &url]);
    let (head, first) = answer(&listener, 500);
    assert!(head.starts_with("POST /told?a=b HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("sockhop-job-attempt: 1"), "{head}");
    let (head, told) = answer(&listener, 204);
    assert!(head.contains("sockhop-job-attempt: 2"), "{head}");
    assert_eq!(first, told);
    for (key, value) in [
        ("id", json!(id)),
        ("function", json!("hello")),
        ("state", json!("done")),
        ("status", json!(200)),
        ("attempts", json!(1)),
        ("body", json!("Hello, world!")),
    ] {
        assert_eq!(told[key], value, "{key}: {told}");
    }
    // What a function may not reach, is not called for it.
    let id = submit(&node, "status", &["--path", "/?code=400", "--callback", &url]);
    let dead = wait::for_value(
        "neither is tried any more",
        SOON,
        || listed(&node, &["status", "--state", "dead"]),
        |dead| dead.len() == 2,
    );
    let of = |is: bool| dead.iter().find(|job| (job["id"] == id.as_str()) == is).unwrap();
    assert!(of(false)["reason"].as_str().unwrap().contains("public internet"), "{dead:?}");
    assert_eq!(of(false)["callback_to"], url.as_str());
    assert_eq!(of(true)["last"]["status"], 400);
    node.cli(&["invoke", "hello", "--async", "--callback", "ftp://a/"]).expect_error(&["ftp://a/"]);
    node.cli(&["invoke", "hello", "--callback", &url]).expect_code(2);
    node.stop();
}

#[test]
fn dead_letters_go_to_a_function_and_none_follows_from_those() {
    let folder = TempDir::new().unwrap();
    let start = || Node::build().data(folder.path()).start();
    let mut node = start();
    let options = ["--job-attempts", "1", "--dead-letters", "letters"];
    node.deploy("status", "shop", &options);
    let id = submit(&node, "shop", &["--path", "/?code=500"]);
    let dead = |node: &Node| listed(node, &["--state", "dead"]);
    let both = wait::for_value("both are given up", SOON, || dead(&node), |dead| dead.len() == 2);
    let letter = both.iter().find(|job| job["about"] == id.as_str()).unwrap();
    assert_eq!(letter["function"], "letters");
    assert!(letter["reason"].as_str().unwrap().contains("letters"), "{letter}");
    let letter = letter["id"].as_str().unwrap();
    let shown = node.cli(&["jobs", "show", letter]).expect_code(0).stdout;
    assert!(shown.contains(&id), "{shown}");
    // Whatever ends: it waits until there is such a function.
    deploy_environment(&node, "letters");
    node.kill_engine();
    let node = start();
    node.cli(&["jobs", "retry", "--all", "letters"]).expect_code(0);
    until(&node, letter, "done");
    assert_eq!(told(&node, "letters", "HTTP_SOCKHOP_JOB_ABOUT"), id);
    assert_eq!(told(&node, "letters", "HTTP_SOCKHOP_JOB"), letter);
    let left = dead(&node);
    assert!(left.len() == 1 && left[0]["id"] == id.as_str(), "{left:?}");
    node.stop();
}

#[test]
fn dead_letters_are_posted_to_a_url_with_their_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let folder = TempDir::new().unwrap();
    let start = || Node::build().data(folder.path()).start();
    let mut node = start();
    let url = format!("http://{address}/letters");
    let options = ["--job-attempts", "2", "--job-pause", "1s", "--dead-letters", &url];
    node.deploy("status", "shop", &[&options[..], &["--allow-outbound", &address]].concat());
    let request = ["--path", "/?code=500", "-X", "PUT", "-H", "x-colour: green", "-d", "1 apple"];
    let id = submit(&node, "shop", &request);
    let (_, first) = answer(&listener, 500);
    node.kill_engine();
    let node = start();
    let (head, told) = answer(&listener, 204);
    assert!(head.starts_with("POST /letters HTTP/1.1\r\n"), "{head}");
    assert_eq!(first, told);
    assert_eq!((&told["id"], &told["state"]), (&json!(id), &json!("dead")), "{told}");
    assert!(told["reason"].as_str().unwrap().contains("2 attempts have failed"), "{told}");
    let request = &told["request"];
    assert_eq!((&request["method"], &request["path"]), (&json!("PUT"), &json!("/?code=500")));
    assert_eq!(request["body"], "1 apple");
    let headers = request["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["x-colour", "green"])), "{told}");
    // What the function may not reach gets none of them.
    node.deploy("status", "shop", &["--unset", "allow-outbound"]);
    let id = submit(&node, "shop", &["--path", "/?code=500"]);
    let given_up = |dead: &Vec<Value>| dead.iter().any(|job| job["about"] == id.as_str());
    let list = || listed(&node, &["shop", "--state", "dead"]);
    let dead = wait::for_value("it is given up", SOON, list, given_up);
    let letter = dead.iter().find(|job| job["about"] == id.as_str()).unwrap();
    assert!(letter["reason"].as_str().unwrap().contains("public internet"), "{letter}");
    node.stop();
}

#[test]
fn a_full_disk_refuses_jobs_and_nothing_else() {
    let disk = SmallDisk::mount(64);
    let node = Node::build().data(&disk.path().join("data")).start();
    node.deploy("hello", "hello", &[]);
    until(&node, &submit(&node, "hello", &[]), "done");
    let filler = disk.fill();
    expect_refused(&node, "hello", "disk is full");
    node.get("/hello/").expect_hello();
    fs::remove_file(filler).unwrap();
    let id =
        wait::until("there is room again", SOON, || try_submit(node.data(), "hello", "/", b""));
    until(&node, &id, "done");
    node.stop();
}

#[test]
fn a_node_serves_without_its_database_and_says_why() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("jobs").join("local.redb");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "no database").unwrap();
    let node = Node::build().data(folder.path()).start();
    node.deploy("hello", "hello", &[]);
    expect_refused(&node, "hello", "damaged");
    node.get("/hello/").expect_hello();
    node.cli(&["invoke", "hello", "--async"]).expect_error(&["damaged"]);
    let unknown = "0198c5a0-0000-7000-8000-000000000000";
    for (method, target) in [
        ("GET", "/v1/jobs".to_owned()),
        ("GET", format!("/v1/jobs/{unknown}")),
        ("DELETE", format!("/v1/jobs/{unknown}")),
        ("POST", format!("/v1/jobs/{unknown}/retry")),
    ] {
        let (status, head, body) = ask(node.data(), method, &target, &[], b"");
        assert!(status == 503 && head.contains("retry-after: "), "{method} {target}: {head}");
        assert!(body.contains("damaged"), "{body}");
    }
    let said = node.stderr();
    assert!(said.contains("asynchronous invocations cannot be used"), "{said}");
    assert_eq!(fs::read(&file).unwrap(), b"no database");
    fs::remove_file(&file).unwrap();
    let id = wait::until("it is made anew", SOON, || try_submit(node.data(), "hello", "/", b""));
    until(&node, &id, "done");
    node.stop();
}

#[test]
fn what_is_no_job_is_refused() {
    let node = Node::with(&["hello"]);
    let status = |method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]| {
        ask(node.data(), method, target, headers, body).0
    };
    let of = |rest: &str| format!("/v1/functions/{rest}");
    let large = vec![b'x'; (1 << 20) + 1];
    let long = "x".repeat(60 * 1024);
    for (expected, target, headers, body) in [
        (404, of("none/invocations"), &[][..], &b""[..]),
        (404, of("hello@none/invocations"), &[], b""),
        (400, of("HELLO/invocations"), &[], b""),
        (400, of("hello@@/invocations"), &[], b""),
        (413, of("hello/invocations"), &[], &large),
        (400, of("hello/invocations"), &[("sockhop-method", "A B")], b""),
        (400, of("hello/invocations"), &[("sockhop-method", "CONNECT")], b""),
        (413, of("hello/invocations"), &[("a", &long), ("b", &long)], b""),
        (202, of("hello/invocations?a=b"), &[], b""),
        (202, of("hello/invocations/x/invocations"), &[("sockhop-method", "DELETE")], &large[1..]),
    ] {
        assert_eq!(status("POST", &target, headers, body), expected, "{target} {}", body.len());
    }
    assert_eq!(status("GET", &of("hello/invocations"), &[], b""), 405);
    for (expected, method, target) in [
        (400, "GET", "/v1/jobs/x"),
        (400, "DELETE", "/v1/jobs/6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        (404, "GET", "/v1/jobs/0198c5a0-0000-7000-8000-000000000000"),
        (404, "DELETE", "/v1/jobs/0198c5a0-0000-7000-8000-000000000000"),
        (404, "POST", "/v1/jobs/0198c5a0-0000-7000-8000-000000000000/retry"),
        (400, "GET", "/v1/jobs?state=gone"),
        (400, "GET", "/v1/jobs?limit=-1"),
        (200, "GET", "/v1/jobs?limit=0"),
        (200, "GET", "/v1/jobs?function=none"),
    ] {
        assert_eq!(status(method, target, &[], b""), expected, "{method} {target}");
    }
    node.cli(&["jobs", "show", "x"]).expect_code(2);
    node.cli(&["jobs", "retry"]).expect_code(2);
    node.stop();
}
