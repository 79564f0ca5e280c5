//! Instances: a fresh one for every request, unless the function's owner says otherwise; then never a spoilt one.

use harness::{Connection, Node};

fn count(connection: &mut Connection, target: &str) -> String {
    let reply = connection.get(target);
    assert_eq!(reply.status(), 200, "{target}");
    reply.text()
}

#[test]
fn every_request_gets_a_fresh_instance() {
    let node = Node::with(&["counter"]);
    let mut connection = node.connect();
    for _ in 0..20 {
        assert_eq!(count(&mut connection, "/counter/"), "1");
    }
    node.stop();
}

#[test]
fn with_reuse_an_instance_serves_so_many_and_then_another_does() {
    let node = Node::start();
    node.deploy("counter", "counter", &["--instances", "reuse=3"]);
    let mut connection = node.connect();
    let counts: Vec<String> = (0..8).map(|_| count(&mut connection, "/counter/")).collect();
    assert_eq!(counts, ["1", "2", "3", "1", "2", "3", "1", "2"]);
    node.stop();
}

#[test]
fn a_spoilt_instance_is_not_used_again() {
    let node = Node::start();
    node.deploy("counter", "counter", &["--instances", "reuse=1000"]);
    let mut connection = node.connect();
    for spoil in ["/counter/grow", "/counter/leak"] {
        let before: u32 = count(&mut connection, "/counter/").parse().unwrap();
        assert_eq!(count(&mut connection, spoil), (before + 1).to_string(), "{spoil}");
        assert_eq!(count(&mut connection, "/counter/"), "1", "after {spoil}");
    }
    assert_eq!(count(&mut connection, "/counter/"), "2");
    connection.get("/counter/panic").expect_problem(500);
    assert_eq!(count(&mut connection, "/counter/"), "1", "after a panic");
    node.stop();
}

#[test]
fn a_new_version_does_not_get_the_old_ones_instances() {
    let node = Node::start();
    node.deploy("counter", "counter", &["--instances", "reuse=1000"]);
    let mut connection = node.connect();
    assert_eq!(count(&mut connection, "/counter/"), "1");
    node.deploy("counter", "counter", &["--instances", "reuse=1000", "--env", "A=B"]);
    assert_eq!(count(&mut connection, "/counter/"), "1");
    assert_eq!(count(&mut connection, "/counter/"), "2");
    node.stop();
}
