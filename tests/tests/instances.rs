//! Instances: every request gets a fresh one, unless the function is deployed to use them again. An
//! instance that has failed is never used again.

use std::time::Duration;

use harness::client::request;
use harness::{Connection, Node, guests, wait};

const SOON: Duration = Duration::from_secs(5);

/// Asks for a count, and waits until the instance that gave it is free.
fn count(node: &Node, connection: &mut Connection, target: &str) -> String {
    let reply = connection.get(target);
    assert_eq!(reply.status(), 200, "{target}");
    node.until_idle();
    reply.text()
}

#[test]
fn every_request_gets_a_fresh_instance() {
    let node = Node::with(&["counter"]);
    let mut connection = node.connect();
    for _ in 0..20 {
        assert_eq!(count(&node, &mut connection, "/counter/"), "1");
    }
    node.stop();
}

#[test]
fn with_reuse_an_instance_serves_so_many_and_then_another_does() {
    let node = Node::start();
    node.deploy("counter", "counter", &["--instances", "reuse=3"]);
    let mut connection = node.connect();
    let counts: Vec<String> = (0..8).map(|_| count(&node, &mut connection, "/counter/")).collect();
    assert_eq!(counts, ["1", "2", "3", "1", "2", "3", "1", "2"]);
    node.stop();
}

#[test]
fn a_spoilt_instance_is_not_used_again() {
    let node = Node::start();
    node.deploy("counter", "counter", &["--instances", "reuse=1000"]);
    let mut connection = node.connect();
    for spoil in ["/counter/grow", "/counter/leak"] {
        let before: u32 = count(&node, &mut connection, "/counter/").parse().unwrap();
        assert_eq!(count(&node, &mut connection, spoil), (before + 1).to_string(), "{spoil}");
        assert_eq!(count(&node, &mut connection, "/counter/"), "1", "after {spoil}");
    }
    assert_eq!(count(&node, &mut connection, "/counter/"), "2");
    connection.get("/counter/panic").expect_problem(500);
    node.until_idle();
    assert_eq!(count(&node, &mut connection, "/counter/"), "1", "after a panic");
    node.stop();
}

#[test]
fn what_becomes_of_instances_is_counted_by_reason_and_shown() {
    let node = Node::build().option("--admin", "127.0.0.1:0").start();
    let path = guests::path("counter");
    let deploy = |name: &str, instances: &str| {
        node.cli(&[
            "deploy",
            path.to_str().unwrap(),
            "--name",
            name,
            "--no-trial",
            "--instances",
            instances,
        ])
        .expect_code(0)
        .stderr
    };
    assert!(
        deploy("many", "reuse=1000").contains("`sockhop inspect many`"),
        "what may not be reused is said"
    );
    assert!(!deploy("one", "fresh").contains("inspect"));
    deploy("two", "reuse=2");
    let mut connection = node.connect();
    for target in [
        "/many/",
        "/many/leak",
        "/many/leak",
        "/many/",
        "/many/grow",
        "/two/",
        "/two/",
        "/one/",
        "/one/leak",
    ] {
        count(&node, &mut connection, target);
    }
    let reuse = |name: &str| {
        let json = node.cli(&["inspect", name, "--json"]).expect_code(0).stdout;
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["reuse"].clone()
    };
    let expected =
        serde_json::json!({"kept": 2, "served": 0, "request": 2, "memory": 1, "room": 0});
    wait::for_value("all are counted", SOON, || reuse("many"), |reuse| *reuse == expected);
    assert_eq!(
        reuse("two"),
        serde_json::json!({"kept": 1, "served": 1, "request": 0, "memory": 0, "room": 0})
    );
    assert_eq!(reuse("one"), serde_json::Value::Null, "nothing was to be reused");
    let text = node.cli(&["inspect", "many"]).expect_code(0).stdout;
    assert!(
        text.contains("2 kept for another request, ")
            && text.contains("2 not kept: they still held their"),
        "{text}"
    );
    let printed = node.cli(&["logs", "many"]).expect_code(0).stdout;
    assert_eq!(
        printed.matches("is not used again").count(),
        1,
        "once, and not at each call: {printed}"
    );
    let admin = node.status().node.admin.unwrap();
    let mut connection = Connection::open(admin.strip_prefix("http://").unwrap().parse().unwrap());
    connection.send(request("GET", "/metrics", &[("connection", "close")], b""));
    let metrics = String::from_utf8(connection.rest()).unwrap();
    for line in [
        "sockhop_instance_reuse_total{function=\"many\",outcome=\"request\"} 2",
        "sockhop_instance_reuse_total{function=\"many\",outcome=\"memory\"} 1",
        "sockhop_instance_reuse_total{function=\"two\",outcome=\"served\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in {metrics}");
    }
    node.stop();
}

#[test]
fn a_new_version_does_not_get_the_old_ones_instances() {
    let node = Node::start();
    node.deploy("counter", "counter", &["--instances", "reuse=1000"]);
    let mut connection = node.connect();
    assert_eq!(count(&node, &mut connection, "/counter/"), "1");
    node.deploy("counter", "counter", &["--instances", "reuse=1000", "--env", "A=B"]);
    assert_eq!(count(&node, &mut connection, "/counter/"), "1");
    assert_eq!(count(&node, &mut connection, "/counter/"), "2");
    node.stop();
}
