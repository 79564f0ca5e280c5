//! The node counts what happens: the counts are exact after known requests, never decrease, and are
//! shown only to those who may see them.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use harness::client::{head, request};
use harness::process::signal;
use harness::running::kill_now;
use harness::{Connection, Node, NodeBuilder, Reply, wait};
use nix::sys::signal::Signal;

const SOON: Duration = Duration::from_secs(5);

/// One reading of `/metrics`: the series with their labels, as in the text.
#[derive(Debug, Clone, PartialEq)]
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Parses the format strictly: every sample belongs to the family that is described before it,
    /// and no sample appears twice.
    fn parse(text: &str) -> Self {
        let (mut samples, mut family) = (BTreeMap::new(), String::new());
        let body = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end: {text}"));
        for line in body.lines() {
            if let Some(described) = line.strip_prefix("# ") {
                let mut words = described.split(' ');
                let (kind, name) = (words.next().unwrap(), words.next().unwrap());
                assert!(
                    ["HELP", "TYPE", "UNIT"].contains(&kind) && name.starts_with("sockhop_"),
                    "{line}"
                );
                name.clone_into(&mut family);
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(series.starts_with(&family), "{line} is not of {family}");
            let before = samples.insert(series.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "twice: {line}");
        }
        Self(samples)
    }

    fn get(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    /// Returns the sum of all series of a name.
    fn sum(&self, name: &str) -> f64 {
        let of = |series: &str| series.split('{').next() == Some(name);
        self.0.iter().filter(|(series, _)| of(series)).map(|(_, value)| value).sum()
    }

    /// Checks that no counter and no bucket is less than before.
    fn expect_no_less_than(&self, before: &Self) {
        for (series, value) in &before.0 {
            let name = series.split('{').next().unwrap();
            if ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end)) {
                assert!(
                    self.get(series) >= *value,
                    "{series} fell from {value} to {}",
                    self.get(series)
                );
            }
        }
    }
}

fn admin_node() -> Node {
    Node::build().option("--admin", "127.0.0.1:0").start()
}

fn admin(node: &Node) -> SocketAddr {
    let url = node.status().node.admin.unwrap();
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// Sends a request to the admin listener. Its replies have no invocation id, so they are read as
/// plain answers.
fn ask(
    admin: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
) -> harness::answer::Answer {
    let mut connection = Connection::open(admin);
    let token = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("connection", "close"), ("accept", "application/openmetrics-text")];
    headers.extend(token.as_deref().map(|token| ("authorization", token)));
    connection.send(request(method, path, &headers, b""));
    harness::answer::Answer::read(method, &connection.rest())
}

fn metrics(admin: SocketAddr) -> Metrics {
    let answer = ask(admin, "GET", "/metrics", None);
    assert_eq!(answer.status, Some(200), "{answer:?}");
    assert!(
        answer.all("content-type").any(|kind| kind.starts_with("application/openmetrics-text")),
        "{answer:?}"
    );
    Metrics::parse(&answer.text())
}

/// Waits until `wanted` accepts the metrics. Some counters change a moment after the client has its
/// reply.
fn until(admin: SocketAddr, what: &str, wanted: impl Fn(&Metrics) -> bool) -> Metrics {
    wait::for_value(what, SOON, || metrics(admin), wanted)
}

fn of(function: &str, status: &str) -> String {
    format!("sockhop_requests_total{{function=\"{function}\",status=\"{status}\"}}")
}

#[test]
fn counts_are_those_of_the_requests_that_were_made() {
    let node = admin_node();
    let admin = admin(&node);
    node.deploy("hello", "hello", &[]);
    node.deploy("hello", "never", &[]);
    node.deploy("status", "status", &[]);
    node.deploy("panic", "panic", &[]);
    node.deploy("echo", "echo", &["--request-body", "10B"]);
    node.deploy("sleep", "sleep", &["--timeout", "100ms"]);
    node.deploy("spin", "spin", &["--cpu-time", "50ms", "--timeout", "20s"]);
    let mut sent = 0;
    let mut kept = node.connect();
    for _ in 0..7 {
        kept.get("/hello/").expect_hello();
    }
    for _ in 0..3 {
        node.get("/hello/").expect_hello();
    }
    for (code, count) in [(204, 1), (302, 2), (404, 3), (503, 4)] {
        for _ in 0..count {
            assert_eq!(node.get(&format!("/status/?code={code}")).status(), code);
            sent += 1;
        }
    }
    node.get("/panic/").expect_problem(500);
    node.connect()
        .exchange_unread(&request("POST", "/echo/", &[], b"longer than ten"))
        .expect_problem(413);
    node.get("/sleep/?ms=5000").expect_problem(504);
    node.get("/spin/").expect_problem(504);
    node.get("/nothing/").expect_problem(404);
    kept.get("/nothing/").expect_problem(404);
    let mut malformed = node.connect();
    malformed.send("GET /hello/ HTTP/1.1\r\n\r\n");
    malformed.reply().expect_problem(400);

    let all = 10.0 + f64::from(sent) + 4.0;
    let read =
        until(admin, "everything is counted", |read| read.sum("sockhop_requests_total") == all);
    assert_eq!(read.get(&of("hello", "2xx")), 10.0);
    for (class, count) in [("2xx", 1.0), ("3xx", 2.0), ("4xx", 3.0), ("5xx", 4.0)] {
        assert_eq!(read.get(&of("status", class)), count, "{class}");
    }
    assert_eq!(read.get("sockhop_failures_total{function=\"panic\",reason=\"trap\"}"), 1.0);
    for (function, limit) in [("echo", "request-body"), ("sleep", "timeout"), ("spin", "cpu-time")]
    {
        let series =
            format!("sockhop_limits_hit_total{{function=\"{function}\",limit=\"{limit}\"}}");
        assert_eq!(read.get(&series), 1.0, "{series}");
    }
    assert_eq!(
        (read.sum("sockhop_limits_hit_total"), read.sum("sockhop_failures_total")),
        (3.0, 1.0)
    );
    assert_eq!(read.get("sockhop_refused_total{by=\"engine\",status=\"404\"}"), 1.0);
    assert_eq!(read.get("sockhop_refused_total{by=\"worker\",status=\"404\"}"), 1.0);
    assert_eq!(read.get("sockhop_refused_total{by=\"engine\",status=\"400\"}"), 1.0);

    // 3 and 14 connections with one request each, the one that was kept, and the two that were
    // refused.
    assert_eq!(read.sum("sockhop_connections_accepted_total"), 20.0);
    assert_eq!(read.sum("sockhop_hops_total"), 18.0);
    assert_eq!(read.sum("sockhop_worker_connections_taken_total"), 18.0);
    assert!(
        read.sum("sockhop_hop_seconds_count") <= 18.0
            && read.sum("sockhop_hop_seconds_count") > 0.0
    );
    assert_eq!(read.sum("sockhop_worker_connections"), 1.0);
    let instances = read.sum("sockhop_instances_total");
    assert_eq!(instances, read.sum("sockhop_worker_requests_total"));
    assert!(read.sum("sockhop_cold_loads_total") >= 5.0);
    assert!(read.sum("sockhop_worker_resident_memory_bytes") > 1e6);
    assert!(read.get("sockhop_engine_resident_memory_bytes") > 1e6);
    assert!(!read.0.keys().any(|series| series.contains("\"never\"")), "it was never called");
    drop(kept);
    node.stop();
}

#[test]
fn histograms_add_up_and_tell_how_long_it_took() {
    let node = admin_node();
    let admin = admin(&node);
    node.deploy("sleep", "sleep", &[]);
    for _ in 0..4 {
        assert_eq!(node.get("/sleep/?ms=30").text(), "slept 30 ms");
    }
    let bucket = |le: &str| {
        format!("sockhop_request_duration_seconds_bucket{{le=\"{le}\",function=\"sleep\"}}")
    };
    let read = until(admin, "all are counted", |read| read.get(&bucket("+Inf")) == 4.0);
    assert_eq!(read.get("sockhop_request_duration_seconds_count{function=\"sleep\"}"), 4.0);
    assert_eq!(read.get(&bucket("0.02")), 0.0);
    assert_eq!(read.get(&bucket("10.0")), 4.0);
    let sum = read.get("sockhop_request_duration_seconds_sum{function=\"sleep\"}");
    assert!((0.12..20.0).contains(&sum), "{sum}");
    let bytes = read.get("sockhop_sent_bytes_total{function=\"sleep\"}");
    assert!((4.0 * 100.0..4.0 * 400.0).contains(&bytes), "{bytes}");
    node.stop();
}

#[test]
fn what_runs_and_what_waits_shows_while_it_does() {
    let node = admin_node();
    let admin = admin(&node);
    node.deploy(
        "sleep",
        "sleep",
        &["--concurrency", "1", "--queue", "1", "--queue-timeout", "30s"],
    );
    let begin = || {
        let mut connection = node.connect();
        connection.send(head("GET", "/sleep/?ms=1500", &[]));
        connection
    };
    let mut both = [begin(), begin()];
    let (running, waiting) =
        ("sockhop_in_flight{function=\"sleep\"}", "sockhop_queue_depth{function=\"sleep\"}");
    until(admin, "one runs and one waits", |read| {
        read.get(running) == 1.0 && read.get(waiting) == 1.0
    });
    node.get("/sleep/?ms=1").expect_problem(429);
    until(admin, "the refusal is counted", |read| {
        read.get("sockhop_limits_hit_total{function=\"sleep\",limit=\"queue\"}") == 1.0
    });
    both.iter_mut().for_each(|connection| assert_eq!(connection.reply().status(), 200));
    until(admin, "none is left", |read| read.get(running) + read.get(waiting) == 0.0);
    // A client that leaves gets no reply, and is counted as having left.
    drop(begin());
    until(admin, "the client that left", |read| read.get(&of("sleep", "none")) == 1.0);
    node.stop();
}

#[test]
fn no_counter_falls_when_workers_are_killed() {
    let node = admin_node();
    let admin = admin(&node);
    node.deploy("hello", "hello", &[]);
    node.deploy("hello", "alone", &["--isolation", "process"]);
    let both = || {
        (0..6).for_each(|_| node.get("/hello/").expect_hello());
        (0..4).for_each(|_| node.get("/alone/").expect_hello());
    };
    let counted = |times: f64| {
        until(admin, "all are counted", |read| {
            (read.get(&of("hello", "2xx")), read.get(&of("alone", "2xx")))
                == (6.0 * times, 4.0 * times)
        })
    };
    both();
    let before = counted(1.0);
    let workers = node.status().workers;
    workers.iter().for_each(|worker| kill_now(worker.pid));
    // The counts hold at every moment from the kill to the new workers.
    wait::until("all workers are new", SOON, || {
        metrics(admin).expect_no_less_than(&before);
        let now = node.status().workers;
        now.iter().all(|worker| worker.restarts == 1 && worker.state == "ready").then_some(())
    });
    let after = metrics(admin);
    assert_eq!(after.sum("sockhop_worker_restarts_total"), workers.len() as f64);
    both();
    counted(2.0).expect_no_less_than(&after);
    node.stop();
}

#[test]
fn a_removed_functions_numbers_go_with_it_and_nobody_else_gets_them() {
    let node = admin_node();
    let admin = admin(&node);
    node.deploy("hello", "first", &[]);
    (0..5).for_each(|_| node.get("/first/").expect_hello());
    until(admin, "five are counted", |read| read.get(&of("first", "2xx")) == 5.0);
    // The counts of a function continue with its next version.
    node.deploy("hello", "first", &[]);
    (0..2).for_each(|_| node.get("/first/").expect_hello());
    until(admin, "seven are counted", |read| read.get(&of("first", "2xx")) == 7.0);
    node.cli(&["remove", "first"]).expect_code(0);
    assert!(!metrics(admin).0.keys().any(|series| series.contains("\"first\"")));
    // It gets the slot that is free.
    node.deploy("hello", "second", &[]);
    node.get("/second/").expect_hello();
    until(admin, "one is counted", |read| read.get(&of("second", "2xx")) == 1.0);
    node.deploy("hello", "first", &[]);
    (0..3).for_each(|_| node.get("/first/").expect_hello());
    let read = until(admin, "three are counted", |read| read.get(&of("first", "2xx")) == 3.0);
    assert_eq!(read.sum("sockhop_requests_total"), 4.0);
    assert_eq!(read.sum("sockhop_worker_requests_total"), 11.0, "the node's own numbers go on");
    node.stop();
}

#[test]
fn the_api_over_tcp_needs_the_token_and_probes_do_not() {
    let data = tempfile::TempDir::new().unwrap();
    let start =
        || NodeBuilder::default().data(data.path()).option("--admin", "127.0.0.1:0").start();
    let node = start();
    let address = admin(&node);
    let file = data.path().join("admin.token");
    let token = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!((token.len(), mode & 0o777), (64, 0o600));
    let wrong = format!("{}{}", &token[1..], &token[..1]);
    for path in
        ["/v1/status", "/v1/functions", "/v1/functions/hello", "/v1/functions/hello/invoke/"]
    {
        for method in ["GET", "DELETE", "PUT"] {
            for shown in [None, Some(""), Some("x"), Some(&wrong), Some(&token[..63])] {
                let answer = ask(address, method, path, shown);
                assert_eq!(answer.status, Some(401), "{method} {path} {shown:?}: {answer:?}");
                assert!(!answer.text().contains(&token));
            }
        }
    }
    assert_eq!(ask(address, "GET", "/v1/status", Some(&token)).status, Some(200));
    for open in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(ask(address, "GET", open, None).status, Some(200), "{open}");
    }
    node.deploy("hello", "hello", &[]);

    // The commands take the token from the data folder or from the environment, and fail with a
    // wrong one.
    let url = format!("http://{address}");
    let list = |arguments: &[&str], token: Option<&str>| {
        let mut command = harness::node::sockhop();
        command
            .args(["list", "--json", "--node", &url])
            .args(arguments)
            .env_remove("SOCKHOP_TOKEN");
        if let Some(token) = token {
            command.env("SOCKHOP_TOKEN", token);
        }
        harness::Running::spawn(&mut command).finish(SOON)
    };
    let folder = data.path().to_str().unwrap();
    assert!(list(&["--data", folder], None).expect_code(0).stdout.contains("\"hello\""));
    assert!(list(&[], Some(&token)).expect_code(0).stdout.contains("\"hello\""));
    let refused = list(&[], Some(&wrong)).expect_code(1).stderr;
    assert!(
        refused.contains("the variable SOCKHOP_TOKEN") && refused.contains("admin.token"),
        "{refused}"
    );
    let answer = ask(address, "GET", "/v1/status", Some(&wrong)).text();
    assert!(
        answer.contains("this is not the node's token") && answer.ends_with("}\n"),
        "{answer:?}"
    );
    let other = tempfile::TempDir::new().unwrap();
    std::fs::write(other.path().join("admin.token"), &wrong).unwrap();
    let refused = list(&["--data", other.path().to_str().unwrap()], None).expect_code(1).stderr;
    assert!(
        refused.contains(other.path().to_str().unwrap()) && !refused.contains(&wrong),
        "{refused}"
    );
    let none = list(&["--data", "/nonexistent"], None).expect_code(1).stderr;
    assert!(none.contains("SOCKHOP_TOKEN"), "{none}");
    node.stop();
    // The next node uses the same token.
    let node = start();
    assert_eq!(ask(admin(&node), "GET", "/v1/status", Some(&token)).status, Some(200));
    node.stop();
}

/// A function sees the authorization of its callers, and never the node's token.
#[test]
fn invoke_gives_a_function_everything_but_the_token() {
    let node = admin_node();
    node.deploy("inspect", "inspect", &[]);
    let token = std::fs::read_to_string(node.data().join("admin.token")).unwrap();
    let (address, bearer) = (admin(&node), format!("Bearer {}", token.trim()));
    let seen = |headers: &[(&str, &str)]| {
        let mut connection = Connection::open(address);
        let headers = [headers, &[("connection", "close")]].concat();
        connection.send(request("GET", "/v1/functions/inspect/invoke/", &headers, b""));
        let answer = harness::answer::Answer::read("GET", &connection.rest());
        assert_eq!(answer.status, Some(200), "{answer:?}");
        let json: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
        assert!(!json.to_string().contains(token.trim()), "{json}");
        json["headers"].clone()
    };
    assert_eq!(seen(&[("authorization", &bearer), ("x-other", "1")])["x-other"][0], "1");
    let headers = seen(&[("sockhop-authorization", &bearer), ("authorization", "Bearer theirs")]);
    assert_eq!(headers["authorization"], serde_json::json!(["Bearer theirs"]));
    assert_eq!(
        seen(&[("sockhop-authorization", &bearer), ("authorization", &bearer)])["authorization"],
        serde_json::Value::Null
    );

    let url = format!("http://{address}");
    let ours = ["invoke", "inspect", "--header", "authorization: Bearer theirs"];
    for node_option in [&["--node", &url][..], &[]] {
        let mut command = harness::node::sockhop();
        command
            .args(ours)
            .args(node_option)
            .arg("--data")
            .arg(node.data())
            .env_remove("SOCKHOP_TOKEN");
        let said = harness::Running::spawn(&mut command).finish(SOON).expect_code(0).stdout;
        assert!(said.contains("Bearer theirs") && !said.contains(token.trim()), "{said}");
    }
    assert!(!node.stderr().contains(token.trim()));
    node.stop();
}

#[test]
fn a_node_that_drains_is_alive_and_not_ready() {
    let mut node = admin_node();
    let admin = admin(&node);
    node.deploy("sleep", "sleep", &[]);
    let mut connection = node.connect();
    connection.send(head("GET", "/sleep/?ms=2500", &[]));
    node.until_status("it runs", SOON, |status| status.in_flight() == 1);
    assert_eq!(ask(admin, "GET", "/readyz", None).status, Some(200));
    let processes = node.processes();
    node.terminate();
    let unready = wait::for_value(
        "it is not ready",
        SOON,
        || ask(admin, "GET", "/readyz", None),
        |answer| answer.status == Some(503),
    );
    assert!(unready.text().contains("stopping"), "{unready:?}");
    assert_eq!(ask(admin, "GET", "/healthz", None).status, Some(200));
    assert_eq!(metrics(admin).get("sockhop_draining"), 1.0);
    let reply: Reply = connection.reply();
    assert_eq!(reply.text(), "slept 2500 ms");
    node.expect_ended(&processes, SOON);
}

#[test]
fn a_node_without_workers_is_not_ready() {
    let node = admin_node();
    let admin = admin(&node);
    let ready = || ask(admin, "GET", "/readyz", None);
    // Stopped workers do not count as gone. Workers that are killed, also before they serve, do.
    let unready = wait::until("no worker is ready", SOON, || {
        for worker in node.status().workers.iter().filter(|worker| worker.pid != 0) {
            kill_if_there(worker.pid);
        }
        Some(ready()).filter(|answer| answer.status == Some(503))
    });
    assert!(unready.text().contains("no worker"), "{unready:?}");
    wait::for_value("it is ready again", Duration::from_secs(30), ready, |answer| {
        answer.status == Some(200)
    });
    node.stop();
}

/// Kills a worker, unless it has ended.
fn kill_if_there(pid: u32) {
    if harness::process::alive(pid) {
        signal(pid, Signal::SIGKILL);
    }
}

/// Waits until the access log has `wanted` lines, and returns them.
fn access_lines(node: &Node, wanted: usize) -> Vec<String> {
    let lines = || -> Vec<String> {
        let stderr = node.stderr();
        stderr
            .lines()
            .filter(|line| line.contains(" access ") || line.contains("\"access\""))
            .map(str::to_owned)
            .collect()
    };
    wait::for_value("all access lines", SOON, lines, |lines| lines.len() >= wanted)
}

#[test]
fn the_access_log_has_one_line_an_invocation_and_no_client_forges_one() {
    let node = Node::build().option("--access-log", "json").start();
    node.deploy("hello", "hello", &[]);
    node.deploy("sleep", "sleep", &[]);
    let reply = node.get("/hello/a%0a%22x?secret=1");
    let mut gone = node.connect();
    gone.send(head("GET", "/sleep/?ms=20000", &[]));
    node.until_status("it runs", SOON, |status| status.in_flight() == 1);
    drop(gone);
    node.get("/nothing/").expect_problem(404);
    let lines = access_lines(&node, 2);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let read = |line: &String| {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"))
    };
    let (hello, sleep) = (read(&lines[0]), read(&lines[1]));
    assert_eq!(
        (&hello["function"], &hello["method"], &hello["status"]),
        (&"hello".into(), &"GET".into(), &200.into())
    );
    assert_eq!((&hello["path"], &hello["cut"]), (&"/hello/a%0a%22x".into(), &false.into()));
    assert_eq!(hello["invocation"], reply.head.invocation_id());
    assert_eq!((&hello["number"], &hello["alias"]), (&1.into(), &"active".into()));
    assert!(
        hello["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")),
        "{hello}"
    );
    assert!(hello["sent_bytes"].as_u64().is_some_and(|bytes| bytes > 100), "{hello}");
    assert!(hello["duration_us"].as_u64().is_some_and(|duration| duration < 5_000_000), "{hello}");
    assert_eq!((&sleep["status"], &sleep["sent_bytes"]), (&serde_json::Value::Null, &0.into()));
    assert!(!node.stderr().contains("secret"));
    node.stop();

    let node = Node::build().option("--access-log", "text").start();
    node.deploy("hello", "hello", &[]);
    node.get("/hello/").expect_hello();
    let lines = access_lines(&node, 1);
    assert!(
        lines[0].contains("function=hello") && lines[0].contains(" path=\"/hello/\" status=200 "),
        "{lines:#?}"
    );
    node.stop();
    // There are no lines by default.
    let node = Node::with(&["hello"]);
    node.get("/hello/").expect_hello();
    assert_eq!(access_lines(&node, 0), [] as [String; 0]);
    node.stop();
}
