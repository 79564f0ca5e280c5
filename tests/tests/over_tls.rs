//! The node reaches the bucket of its store, and the receiver of its traces, over TLS if it trusts
//! the authority. If it does not, it says what to do.

use std::net::SocketAddr;
use std::time::Duration;

use harness::client::request;
use harness::collector::Collector;
use harness::faults::Proxy;
use harness::node::sockhop;
use harness::running::Running;
use harness::s3::Server;
use harness::tls::Authority;
use harness::{Node, wait};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

fn url(address: SocketAddr) -> String {
    format!("https://localhost:{}", address.port())
}

#[test]
fn a_bucket_is_used_when_its_server_is_trusted_and_else_it_is_said_how() {
    let (server, authority) = (Server::s3s_fs(), Authority::default());
    let proxy = Proxy::with_tls(server.address(), &authority);
    let mut options = server.options("tls", proxy.address());
    let endpoint = options.iter().position(|option| option == "--s3-endpoint").unwrap() + 1;
    options[endpoint] = url(proxy.address());

    let data = TempDir::new().unwrap();
    let mut command = sockhop();
    let untrusting =
        Running::spawn(command.arg("serve").arg("--data").arg(data.path()).args(&options));
    let said = ["certificate", "an authority that this machine trusts", "SSL_CERT_FILE"];
    untrusting.finish(SOON).expect_error(&said);
    // Also by a name that the certificate is not for.
    let mut by_address = options.clone();
    by_address[endpoint] = format!("https://{}", proxy.address());
    let mut command = sockhop();
    command
        .env("SSL_CERT_FILE", authority.file())
        .arg("serve")
        .arg("--data")
        .arg(data.path())
        .args(&by_address);
    Running::spawn(&mut command).finish(SOON).expect_error(&["certificate", "for this very name"]);

    let mut node = Node::build().variable("SSL_CERT_FILE", authority.file().to_str().unwrap());
    for option in options.chunks(2) {
        node = node.option(&option[0], &option[1]);
    }
    let node = node.start();
    node.deploy("hello", "hello", &[]);
    node.get("/hello/").expect_hello();
    assert!(proxy.requests() > 0);
    node.stop();
}

#[test]
fn spans_come_when_the_receiver_is_trusted_and_else_it_is_said_why_not() {
    let (collector, authority) = (Collector::start(), Authority::default());
    let proxy = Proxy::with_tls(collector.address(), &authority);
    let node = || Node::build().option("--otlp-endpoint", url(proxy.address()));
    let call = |node: &Node| {
        let mut connection = node.connect();
        let trace = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        connection.send(request("GET", "/hello/", &[trace], b""));
        connection.reply().expect_hello();
    };
    let untrusting = node().start();
    untrusting.deploy("hello", "hello", &[]);
    call(&untrusting);
    wait::until("it is said what is wrong", SOON, || {
        untrusting.stderr().contains("certificate").then_some(())
    });
    assert_eq!(collector.requests(), 0);
    untrusting.stop();

    let trusting = node().variable("SSL_CERT_FILE", authority.file().to_str().unwrap()).start();
    trusting.deploy("hello", "hello", &[]);
    call(&trusting);
    wait::until("the span comes", SOON, || {
        collector.spans().iter().any(|span| span.name == "GET hello").then_some(())
    });
    // An engine that takes over goes on with it.
    let taken_over = trusting.taken_over();
    let before = collector.spans().len();
    call(&taken_over);
    wait::until("another span comes", SOON, || (collector.spans().len() > before).then_some(()));
    taken_over.stop();
}

#[test]
fn a_command_reaches_a_node_behind_tls_and_else_it_is_said_how() {
    let authority = Authority::default();
    let node = Node::build().option("--admin", "127.0.0.1:0").start();
    let admin = node.status().node.admin.unwrap();
    let proxy =
        Proxy::with_tls(admin.strip_prefix("http://").unwrap().parse().unwrap(), &authority);
    let token = std::fs::read_to_string(node.data().join("admin.token")).unwrap();
    let (file, url) = (authority.file(), url(proxy.address()));
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = sockhop();
        command.args(arguments).env("SOCKHOP_TOKEN", token.trim()).envs(variables.iter().copied());
        Running::spawn(&mut command).finish(SOON)
    };
    let file = file.to_str().unwrap();
    let guest = harness::guests::path("hello");
    let deploy = ["deploy", guest.to_str().unwrap(), "--name", "hello", "--node", &url];
    run(&[&deploy[..], &["--ca", file]].concat(), &[]).expect_code(0);
    node.get("/hello/").expect_hello();
    for trusting in [("SOCKHOP_CA", file), ("SSL_CERT_FILE", file)] {
        let listed = run(&["list"], &[("SOCKHOP_NODE", &url), trusting]).expect_code(0);
        assert!(listed.stdout.contains("hello"), "{listed:#?}");
    }
    assert!(proxy.requests() > 0);

    let list = |url: &str, variables: &[(&str, &str)]| run(&["list", "--node", url], variables);
    list(&url, &[]).expect_error(&["certificate", "--ca"]);
    // By a name that the certificate is not for.
    let by_address = format!("https://{}", proxy.address());
    list(&by_address, &[("SOCKHOP_CA", file)]).expect_error(&["certificate", "127.0.0.1"]);
    list(&admin.replace("http:", "https:"), &[("SOCKHOP_CA", file)])
        .expect_error(&["no TLS", "http://"]);
    list(&url, &[("SOCKHOP_CA", "/nowhere.pem")]).expect_error(&["/nowhere.pem"]);
    let refused = list(&url, &[("SOCKHOP_CA", file), ("SOCKHOP_TOKEN", "wrong")]);
    let refused =
        refused.expect_error(&["refuses the token from the variable SOCKHOP_TOKEN", "admin.token"]);
    assert!(!refused.stderr.contains("wrong"), "{refused:#?}");
    node.stop();
}
