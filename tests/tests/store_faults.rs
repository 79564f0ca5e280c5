//! A bucket behind a bad network, and wrong settings: a deploy is served or fails with an error,
//! what is read is right or an error, and the node goes on serving what it has.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::time::Duration;

use harness::faults::{Fault, Proxy};
use harness::s3::{self, BUCKET, SECRET, Server};
use harness::{Node, node, wait};
use serde_json::Value;
use tempfile::TempDir;

/// How long all attempts at a request may take.
const PATIENTLY: Duration = Duration::from_secs(60);

/// Returns the version that is served.
fn served(node: &Node) -> u64 {
    let reply = node.get("/it/");
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let seen: Value = serde_json::from_slice(&reply.body).unwrap();
    seen.pointer("/environment/VERSION").and_then(Value::as_str).unwrap().parse().unwrap()
}

/// Deploys version `number`, and returns whether that succeeded. Checks that a failure has an error
/// message.
fn deploy(node: &Node, number: u64) -> bool {
    let file = harness::guests::path("inspect");
    let variable = format!("VERSION={number}");
    let done = node.cli(&["deploy", file.to_str().unwrap(), "--name", "it", "--env", &variable]);
    let well = done.code == Some(0);
    if !well {
        let done = done.expect_error(&["store"]);
        assert!(!done.stderr.contains(SECRET), "{}", done.stderr);
    }
    well
}

/// A generator of numbers that are the same in each run (with the constants of Knuth's MMIX
/// generator).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

const ALL: [Fault; 10] = [
    Fault::Drop,
    Fault::Lose,
    Fault::Delay(Duration::from_millis(50)),
    Fault::Cut,
    Fault::Corrupt,
    Fault::CorruptRequest,
    Fault::Answer(500, "InternalError"),
    Fault::Answer(503, "SlowDown"),
    Fault::Answer(429, "TooManyRequests"),
    Fault::Page(502),
];

#[test]
fn deploys_through_every_fault_are_served_or_refused_and_the_store_stays_readable() {
    let server = Server::garage();
    let proxy = Proxy::before(server.address());
    let node = Node::build()
        .bucket(&server, "p", proxy.address())
        .option("--sync-interval", "50ms")
        .start();
    assert!(deploy(&node, 1));
    let (mut number, mut well) = (1, 0);
    for (seed, fault) in (1..).zip(ALL) {
        // One request of four has a fault.
        let mut random = Random(seed);
        proxy.plan(move |_| if random.below(4) == 0 { fault } else { Fault::None });
        for _ in 0..3 {
            let before = served(&node);
            number += 1;
            let now = match deploy(&node, number) {
                true => {
                    well += 1;
                    vec![number]
                }
                // The store may have it nevertheless; then all nodes serve it in the end.
                false => vec![before, number],
            };
            assert!(
                now.contains(&served(&node)),
                "{fault:?}: {} is served, and not one of {now:?}",
                served(&node)
            );
        }
    }
    assert!(well >= 20, "most deploys get through: {well} of 30");
    proxy.always(Fault::None);
    number += 1;
    assert!(deploy(&node, number));
    assert_eq!(served(&node), number);
    // Another node, which knows nothing yet, reads the same from it.
    let other = Node::build().bucket(&server, "p", server.address()).start();
    assert_eq!(served(&other), number);
    other.stop();
    node.stop();
}

#[test]
fn a_request_that_is_busy_or_cut_is_made_again() {
    let server = Server::garage();
    let proxy = Proxy::before(server.address());
    let node =
        Node::build().bucket(&server, "p", proxy.address()).option("--sync-interval", "1h").start();
    let fault = [Fault::Answer(503, "SlowDown"), Fault::Cut, Fault::Drop];
    let mut count = 0;
    // The first of every two requests fails.
    proxy.plan(move |_| {
        count += 1;
        if count % 2 == 1 { fault[count / 2 % fault.len()] } else { Fault::None }
    });
    assert!(deploy(&node, 1));
    assert_eq!(served(&node), 1);
    node.stop();
}

#[test]
fn what_is_falsified_on_its_way_here_is_never_served() {
    let server = Server::garage();
    let first = Node::build().bucket(&server, "p", server.address()).start();
    assert!(deploy(&first, 1));
    let proxy = Proxy::before(server.address());
    let falsified = |line: &str| line.starts_with("GET ") && line.contains("/uploads/");
    proxy.plan(move |line| if falsified(line) { Fault::Corrupt } else { Fault::None });
    let second = Node::build()
        .bucket(&server, "p", proxy.address())
        .option("--sync-interval", "50ms")
        .start();
    assert_eq!(second.get("/it/").status(), 404, "it is not what was deployed");
    wait::until("the node says what is wrong", PATIENTLY, || {
        second.stderr().contains("SHA-256").then_some(())
    });
    second.stop();
    first.stop();
}

#[test]
fn what_is_wrong_with_a_bucket_is_told_with_its_setting() {
    let (server, folder) = (Server::garage(), TempDir::new().unwrap());
    let proxy = Proxy::before(server.address());
    let serve = |options: &[String], words: &[&str]| {
        let data = folder.path().join("data");
        let mut arguments =
            ["serve", "--listen", "127.0.0.1:0", "--data"].map(str::to_owned).to_vec();
        arguments.push(data.display().to_string());
        let finished = node::run(arguments.iter().chain(options)).expect_error(words);
        assert!(!finished.stderr.contains(SECRET), "{}", finished.stderr);
    };
    let with = |option: &str, value: &str| {
        let mut options = server.options("p", server.address());
        let at = options.iter().position(|known| known == option).unwrap();
        value.clone_into(&mut options[at + 1]);
        options
    };
    let bucket = format!("s3://{BUCKET}/p");

    let wrong = folder.path().join("wrong");
    s3::write_credentials(&wrong, s3::KEY, "0000");
    serve(
        &with("--s3-credentials", wrong.to_str().unwrap()),
        &[&bucket, "AWS_SECRET_ACCESS_KEY", "--s3-credentials"],
    );
    s3::write_credentials(&wrong, "GK00000000000000000000dead", SECRET);
    serve(&with("--s3-credentials", wrong.to_str().unwrap()), &[&bucket, "AWS_ACCESS_KEY_ID"]);
    serve(&with("--s3-credentials", "/nowhere"), &["--s3-credentials", "\"/nowhere\""]);
    serve(&server.options("p", server.address())[..6], &["AWS_ACCESS_KEY_ID", "--s3-credentials"]);
    serve(&with("--store", "s3://no-such-bucket"), &["no-such-bucket", "--store"]);
    serve(&with("--s3-region", "elsewhere"), &["--s3-region"]);
    let nobody = harness::unreachable::ClosedPort::start();
    serve(
        &server.options("p", nobody.address()),
        &["away", &nobody.address().to_string(), "--s3-endpoint"],
    );
    serve(&with("--s3-endpoint", &format!("https://{}", server.address())), &["TLS", "http://"]);

    let through = server.options("p", proxy.address());
    for status in [200, 403, 404] {
        proxy.always(Fault::Page(status));
        serve(&through, &["is no S3", "text/html", "--s3-endpoint"]);
    }
    proxy.always(Fault::Answer(403, "RequestTimeTooSkewed"));
    serve(&through, &["clock", "NTP"]);
    proxy.always(Fault::Answer(400, "ExpiredToken"));
    serve(&through, &["AWS_SESSION_TOKEN"]);
    proxy.always(Fault::Answer(503, "SlowDown"));
    serve(&through, &["away", "SlowDown"]);
}

#[test]
fn a_store_with_a_typo_is_no_folder() {
    for (store, words) in [
        ("s3:/bucket/x", ["did you mean s3://bucket/x?", "--store"]),
        ("S3://bucket", ["small letters", "s3://bucket"]),
        ("http://127.0.0.1:9000/bucket", ["--s3-endpoint", "s3://BUCKET/PREFIX"]),
        ("s3://My_Bucket", ["no name of a bucket", "My_Bucket"]),
    ] {
        let finished = node::run(["serve", "--store", store]);
        assert_eq!(finished.code, Some(2), "{finished:#?}");
        finished.expect_error_text(&words);
    }
}

#[test]
fn what_is_secret_is_neither_shown_nor_handed_on() {
    let (server, folder) = (Server::s3s_fs(), TempDir::new().unwrap());
    let mut options = server.options("p", server.address());
    options.truncate(6);
    let credentials = [("AWS_ACCESS_KEY_ID", s3::KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let mut check = node::sockhop();
    check.arg("check-config").args(&options).envs(credentials);
    let shown = harness::Running::spawn(&mut check).finish(PATIENTLY).expect_code(0);
    assert!(!format!("{shown:?}").contains(SECRET), "{shown:?}");

    let mut builder = Node::build().data(&folder.path().join("data")).option("--log", "trace");
    for (name, value) in credentials {
        builder = builder.variable(name, value);
    }
    for pair in options.chunks(2) {
        builder = builder.option(&pair[0], &pair[1]);
    }
    let node = builder.start();
    node.deploy("hello", "it", &[]);
    for worker in node.status().workers {
        let environment = std::fs::read(format!("/proc/{}/environ", worker.pid)).unwrap();
        assert!(
            !String::from_utf8_lossy(&environment).contains(SECRET),
            "a worker has the store's credentials"
        );
    }
    assert!(!node.stderr().contains(SECRET), "the log has the secret");
    node.stop();
}
