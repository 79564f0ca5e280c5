//! Certificates by ACME, from a real authority: two commands, and a domain is served by HTTPS.
#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::client::request;
use harness::pebble::{Pebble, free_port};
use harness::running::records;
use harness::{Connection, Node, NodeBuilder, wait};
use serde_json::Value;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(60);
/// What pebble's certificates say of who has signed them.
const ISSUER: &str = "Pebble Intermediate";

fn node(pebble: &Pebble, http_port: u16, tls_port: u16) -> NodeBuilder {
    Node::build()
        .option("--listen", format!("127.0.0.1:{http_port}"))
        .option("--listen", format!("https://127.0.0.1:{tls_port}"))
        .option("--acme-email", "me@example.com")
        .option("--acme-directory", pebble.directory())
        .option("--acme-root", pebble.root())
}

/// Returns what openssl tells of the certificate that clients get who ask for `name`.
fn certificate(port: u16, name: &str) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", name])
        .stdin(Stdio::null())
        .output();
    String::from_utf8_lossy(&output.expect("openssl, which the scripts install").stdout).into()
}

fn listed(node: &Node, domain: &str) -> Value {
    let listed = node.cli(&["domain", "list", "--json"]).expect_code(0).stdout;
    let found = records(&listed).into_iter().find(|there| there["domain"] == domain);
    found.unwrap_or_else(|| panic!("{domain} is not in {listed}"))
}

fn until_issued(node: &Node, domain: &str) {
    wait::for_value(
        "a certificate",
        SOON,
        || listed(node, domain),
        |listed| !listed["certificate_until_ms"].is_null(),
    );
}

#[test]
fn a_domain_gets_a_certificate_and_keeps_it_over_restarts_and_take_overs() {
    let (http_port, tls_port) = (free_port(), free_port());
    let pebble = Pebble::start(http_port, tls_port);
    let data = TempDir::new().unwrap();
    let start = |challenge: &str| {
        let node = node(&pebble, http_port, tls_port).option("--acme-challenge", challenge);
        node.data(&data.path().join("data")).start()
    };
    let (tls_alpn, http) = ("tls-alpn-01", "http-01");
    let node = start(tls_alpn);
    node.deploy("hello", "hello", &[]);
    assert!(!certificate(tls_port, "shop.example.com").contains(ISSUER));
    node.cli(&["domain", "add", "shop.example.com", "hello"]).expect_code(0);
    until_issued(&node, "shop.example.com");
    wait::until("every edge has it", SOON, || {
        certificate(tls_port, "shop.example.com").contains(ISSUER).then_some(())
    });
    // Another name still gets the node's own.
    assert!(!certificate(tls_port, "other.example.com").contains(ISSUER));
    // Not the requests: pebble refuses some at random, and these are sent again.
    let orders = |pebble: &Pebble| pebble.log().matches("Added order").count();
    assert_eq!(orders(&pebble), 1, "{}", pebble.log());
    let node = node.taken_over();
    assert!(certificate(tls_port, "shop.example.com").contains(ISSUER));
    node.stop();
    let node = start(http);
    assert!(certificate(tls_port, "shop.example.com").contains(ISSUER), "from the first moment on");
    node.cli(&["domain", "add", "blog.example.com/posts/*", "hello"]).expect_code(0);
    until_issued(&node, "blog.example.com/posts/*");
    assert_eq!(orders(&pebble), 2, "one for each name: {}", pebble.log());
    node.stop();
}

#[test]
fn challenges_go_before_routes_and_what_is_no_challenge_is_not_there() {
    let (http_port, tls_port) = (free_port(), free_port());
    let pebble = Pebble::start(http_port, tls_port);
    let node = node(&pebble, http_port, tls_port).start();
    node.deploy("inspect", "inspect", &[]);
    let ask = |host: &str, path: &str| {
        let mut connection = Connection::open(SocketAddr::from(([127, 0, 0, 1], http_port)));
        connection.send(request("GET", path, &[("host", host)], b""));
        connection.reply()
    };
    for host in ["inspect.localhost", "example.com"] {
        for token in ["unknown", "..%2f..%2fetc", &"x".repeat(500)] {
            let reply = ask(host, &format!("/.well-known/acme-challenge/{token}"));
            assert_eq!(reply.status(), 404, "{}", reply.text());
            assert!(reply.text().contains("no such challenge"), "{}", reply.text());
        }
    }
    assert_eq!(ask("inspect.localhost", "/.well-known/other").status(), 200);
    node.stop();
}

#[test]
fn an_authority_that_is_away_is_told_with_the_domain() {
    let directory = format!("https://localhost:{}/dir", free_port());
    let node = Node::build()
        .option("--listen", "https://127.0.0.1:0")
        .option("--acme-email", "me@example.com")
        .option("--acme-directory", directory)
        .start();
    node.deploy("hello", "hello", &[]);
    node.cli(&["domain", "add", "shop.example.com", "hello"]).expect_code(0);
    wait::for_value(
        "why there is no certificate",
        SOON,
        || listed(&node, "shop.example.com"),
        |listed| listed["certificate_error"].as_str().is_some_and(|error| !error.is_empty()),
    );
    let shown = node.cli(&["domain", "list"]).expect_code(0).stdout;
    assert!(shown.contains("shop.example.com gets no certificate: "), "{shown}");
    node.get("/hello/").expect_hello();
    node.stop();
}

#[test]
fn settings_that_do_not_go_together_are_refused_with_what_is_missing() {
    let data = TempDir::new().unwrap();
    let refused = |options: &[&str], words: &[&str]| {
        let folder = data.path().join("data");
        let all = ["serve", "--data", folder.to_str().unwrap(), "--acme-email", "me@example.com"];
        harness::node::run(all.iter().chain(options)).expect_error(words);
    };
    refused(&["--listen", "127.0.0.1:0"], &["--listen https://"]);
    let https = ["--listen", "https://127.0.0.1:0"];
    let directory = ["--acme-directory", "https://ca.example/dir"];
    let refused = |options: &[&str], words: &[&str]| {
        refused(&[&https[..], options].concat(), words);
    };
    refused(&["--acme-eab-key-id", "1"], &["acme_eab_hmac_file"]);
    refused(&[&directory[..], &["--acme-staging"]].concat(), &["two CAs"]);
    refused(&["--acme-root", "/nowhere.pem"], &["acme_directory"]);
    refused(&[&directory[..], &["--acme-root", "/nowhere.pem"]].concat(), &["/nowhere.pem"]);
}
