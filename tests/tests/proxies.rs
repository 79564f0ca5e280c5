//! Behind a proxy: functions, limits and access lines see the client that the proxy names, and
//! nobody but a trusted proxy can name one.

use std::net::Ipv4Addr;
use std::time::Duration;

use harness::client::request;
use harness::{Connection, Node, wait};

const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const SAID: [(&str, &str); 5] = [
    ("host", "shop.test"),
    ("x-forwarded-for", "198.51.100.66, 192.0.2.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "public.test"),
    ("forwarded", "for=198.51.100.67;proto=http"),
];

fn from(node: &Node, source: Ipv4Addr) -> Connection {
    Connection::open_from(source, node.addresses()[0])
}

/// Returns what a command and a handler see, each asked twice on one connection.
fn seen(node: &Node, source: Ipv4Addr) -> (String, serde_json::Value) {
    let mut connection = from(node, source);
    let (mut environment, mut report) = (String::new(), serde_json::Value::Null);
    for _ in 0..2 {
        connection.send(request("GET", "/cmd/env", &SAID, b""));
        environment = connection.reply().text();
        connection.send(request("GET", "/inspect/", &SAID, b""));
        report = connection.reply().json();
    }
    (environment, report)
}

fn expect_line(text: &str, line: &str) {
    assert!(text.lines().any(|there| there == line), "{line}: {text}");
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let node = Node::build()
        .option("--trusted-proxies", "127.0.0.9,10.0.0.0/8")
        .option("--access-log", "text")
        .start();
    node.deploy("cmd", "cmd", &[]);
    node.deploy("inspect", "inspect", &[]);
    let (environment, report) = seen(&node, PROXY);
    for line in [
        "REMOTE_ADDR=192.0.2.1",
        "HTTPS=on",
        "SERVER_PORT=443",
        "HTTP_X_FORWARDED_HOST=public.test",
    ] {
        expect_line(&environment, line);
    }
    assert!(
        !environment.contains("REMOTE_PORT") && !environment.contains("HTTP_FORWARDED="),
        "{environment}"
    );
    assert_eq!(report["scheme"], "https");
    assert_eq!(report["headers"]["x-forwarded-for"], serde_json::json!(["192.0.2.1"]));
    assert_eq!(report["headers"]["x-forwarded-proto"], serde_json::json!(["https"]));
    let lines = || node.stderr().lines().filter(|line| line.contains(" client=192.0.2.1 ")).count();
    wait::until("the access lines have the client", Duration::from_secs(5), || {
        (lines() == 4).then_some(())
    });
    node.stop();
}

#[test]
fn nobody_else_does() {
    for trusted in [None, Some("127.0.0.9")] {
        let node = Node::build();
        let node = match trusted {
            Some(trusted) => node.option("--trusted-proxies", trusted),
            None => node,
        };
        let node = node.option("--access-log", "text").start();
        node.deploy("cmd", "cmd", &[]);
        node.deploy("inspect", "inspect", &[]);
        let (environment, report) = seen(&node, Ipv4Addr::new(127, 0, 0, 8));
        for line in [
            "REMOTE_ADDR=127.0.0.8",
            "HTTP_X_FORWARDED_FOR=127.0.0.8",
            "HTTP_X_FORWARDED_PROTO=http",
        ] {
            expect_line(&environment, line);
        }
        for spoofed in ["192.0.2.1", "198.51.100", "public.test", "HTTPS=", "HTTP_FORWARDED="] {
            assert!(!environment.contains(spoofed), "{spoofed}: {environment}");
            assert!(!report.to_string().contains(spoofed), "{spoofed}: {report}");
        }
        assert_eq!(report["scheme"], "http");
        assert!(!node.stderr().contains("client=192.0.2.1"));
        node.stop();
    }
}

#[test]
fn a_trusted_proxy_is_not_held_to_the_connections_of_one_address() {
    let node = Node::build()
        .option("--trusted-proxies", "127.0.0.9")
        .option("--connections-per-address-max", "4")
        .start();
    node.deploy("hello", "hello", &[]);
    let mut open: Vec<_> = (0..12).map(|_| from(&node, PROXY)).collect();
    for connection in &mut open {
        connection.get("/hello/").expect_hello();
    }
    let other = Ipv4Addr::new(127, 0, 0, 8);
    let mut others: Vec<_> = (0..4).map(|_| from(&node, other)).collect();
    for connection in &mut others {
        connection.get("/hello/").expect_hello();
    }
    from(&node, other).get("/hello/").expect_problem(429);
    node.stop();
}

#[test]
fn sighup_brings_other_proxies_and_mistakes_are_told() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("node.toml");
    std::fs::write(&file, "# no proxies\n").unwrap();
    let node = Node::build().option("--config", &file).start();
    node.deploy("cmd", "cmd", &[]);
    let mut connection = from(&node, PROXY);
    let mut remote = || {
        connection.send(request("GET", "/cmd/env", &SAID, b""));
        connection
            .reply()
            .text()
            .lines()
            .find_map(|line| line.strip_prefix("REMOTE_ADDR=").map(str::to_owned))
    };
    assert_eq!(remote().as_deref(), Some("127.0.0.9"));
    std::fs::write(&file, "trusted_proxies = [\"127.0.0.0/8\"]\n").unwrap();
    node.hang_up();
    wait::until("the proxy is trusted", Duration::from_secs(5), || {
        (remote().as_deref() == Some("192.0.2.1")).then_some(())
    });
    std::fs::write(&file, "trusted_proxies = [\"127.0.0.0/33\"]\n").unwrap();
    node.hang_up();
    wait::until("it is told", Duration::from_secs(5), || {
        let log = node.stderr();
        (log.contains("trusted_proxies") && log.contains("10.0.0.0/8")).then_some(())
    });
    node.stop();
}
