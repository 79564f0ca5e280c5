//! Metrics are served in the requested format, and Prometheus and promtool accept them.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::net::SocketAddr;
use std::time::Duration;

use harness::answer::Answer;
use harness::client::request;
use harness::prometheus::{Prometheus, promtool};
use harness::{Connection, Node, wait};

const SOON: Duration = Duration::from_secs(30);

/// Starts a node with some metrics, and returns the address of its admin listener.
fn node() -> (Node, SocketAddr) {
    let node = Node::build().option("--admin", "127.0.0.1:0").start();
    for guest in ["hello", "panic", "keyvalue", "sleep"] {
        node.deploy(guest, guest, &[]);
    }
    for _ in 0..3 {
        node.get("/hello/").expect_hello();
    }
    node.get("/panic/").expect_problem(500);
    node.cli(&["kv", "set", "keyvalue", "a", "b"]).expect_code(0);
    let job = node.cli(&["invoke", "sleep", "--async", "--path", "/?ms=1"]).expect_code(0).stdout;
    wait::until("the job is done", SOON, || {
        node.cli(&["jobs", "show", job.trim()]).stdout.contains("done").then_some(())
    });
    let admin = node.status().node.admin.unwrap();
    let admin = admin.strip_prefix("http://").unwrap().parse().unwrap();
    (node, admin)
}

fn metrics(admin: SocketAddr, accept: Option<&str>) -> Answer {
    let mut headers = vec![("connection", "close")];
    headers.extend(accept.map(|accept| ("accept", accept)));
    let mut connection = Connection::open(admin);
    connection.send(request("GET", "/metrics", &headers, b""));
    let answer = Answer::read("GET", &connection.rest());
    assert_eq!(answer.status, Some(200), "{answer:?}");
    answer
}

#[test]
fn metrics_come_in_the_format_that_was_asked_for() {
    let (node, admin) = node();
    for accept in
        [None, Some("*/*"), Some("text/plain;version=0.0.4"), Some("text/html, image/png")]
    {
        let answer = metrics(admin, accept);
        assert_eq!(
            answer.all("content-type").collect::<Vec<_>>(),
            ["text/plain; version=0.0.4; charset=utf-8"],
            "{accept:?}"
        );
        let text = answer.text();
        assert!(
            text.contains("# TYPE sockhop_build_info gauge\n") && !text.contains("# EOF"),
            "{accept:?}: {text}"
        );
        let checked = promtool(&answer.body);
        assert!(checked.status.success(), "{accept:?}: {checked:?}");
    }
    let answer = metrics(
        admin,
        Some("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"),
    );
    let kind: Vec<_> = answer.all("content-type").collect();
    assert_eq!(kind, ["application/openmetrics-text; version=1.0.0; charset=utf-8"]);
    assert!(answer.text().ends_with("# EOF\n"));
    node.stop();
}

#[test]
fn prometheus_scrapes_a_node_and_knows_what_it_has_counted() {
    let (node, admin) = node();
    let prometheus = Prometheus::scraping(admin);
    let value = |query: &str| {
        let data = prometheus.get(&format!("/api/v1/query?query={query}"));
        data["result"][0]["value"][1].as_str().map(str::to_owned)
    };
    let by_status = "sockhop_requests_total%7Bfunction=%22hello%22,status=%222xx%22%7D";
    wait::until("what was called is counted", SOON, || {
        value(by_status).filter(|count| count == "3")
    });
    for (query, expected) in [
        ("sockhop_request_duration_seconds_count%7Bfunction=%22hello%22%7D", "3"),
        ("sockhop_failures_total%7Bfunction=%22panic%22,reason=%22trap%22%7D", "1"),
        ("sockhop_kv_keys%7Bkind=%22function%22,bucket=%22keyvalue%22%7D", "1"),
        ("sockhop_kv_operations_total%7Boperation=%22write%22%7D", "1"),
        ("sockhop_kv_failures_total%7Breason=%22quota%22%7D", "0"),
        ("sockhop_database_commits_total%7Bdatabase=%22kv%22%7D", "1"),
        ("sockhop_jobs_attempts_total%7Bfunction=%22sleep%22,outcome=%22ok%22%7D", "1"),
        ("up", "1"),
    ] {
        assert_eq!(value(query).as_deref(), Some(expected), "{query}");
    }
    let target = &prometheus.get("/api/v1/targets")["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target:#}");
    node.stop();
}
