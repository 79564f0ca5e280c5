//! Clients that do not wait for their requests (`Prefer: respond-async`), by every way in and for
//! every kind of function.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use harness::client::{Reply, head, request};
use harness::running::kill_now;
use harness::tls::{Site, tls_address};
use harness::tunnel::Tunnel;
use harness::{Connection, Node, http2, native, node, wait};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
const MIB: usize = 1024 * 1024;
const PREFERS: (&str, &str) = ("prefer", "respond-async");
const OPTION: &[&str] = &["--respond-async"];

/// Sends a POST that prefers not to wait.
fn post(connection: &mut Connection, target: &str, body: &[u8]) -> Reply {
    connection.send(request("POST", target, &[PREFERS], body));
    connection.reply()
}

/// Checks that a request became a job. Returns where to ask about it.
fn accepted(reply: &Reply) -> String {
    assert_eq!(reply.status(), 202, "{}", reply.text());
    let said = |name| reply.head.get(name);
    assert_eq!(said("preference-applied"), Some("respond-async"));
    assert_eq!(said("vary"), Some("prefer"));
    let location = said("location").unwrap();
    assert!(location.ends_with(reply.json()["id"].as_str().unwrap()), "{location}");
    location.to_owned()
}

/// Waits until a job has ended. Returns what is told of it.
fn ended(connection: &mut Connection, location: &str) -> Value {
    wait::until("the job ends", SOON, || {
        let reply = connection.get(location);
        assert_eq!(reply.status(), 200, "{}", reply.text());
        let told = reply.json();
        let is_over = ["done", "dead"].contains(&told["state"].as_str().unwrap());
        assert_eq!(reply.head.get("retry-after").is_some(), !is_over, "{told}");
        is_over.then_some(told)
    })
}

/// Has a request become a job, and waits until it is done.
fn is_done(connection: &mut Connection, target: &str, body: &[u8]) {
    let location = accepted(&post(connection, target, body));
    let told = ended(connection, &location);
    assert_eq!(
        (&told["state"], &told["attempts"]),
        (&"done".into(), &1.into()),
        "{target}: {told}"
    );
}

#[test]
fn a_request_is_answered_at_once_and_run_later() {
    let node = Node::build().option("--access-log", "text").start();
    node.deploy("echo", "echo", OPTION);
    node.deploy("echo", "own", &["--isolation", "process", "--respond-async"]);
    node.deploy("hello", "plain", &[]);
    let mut connection = node.connect();
    for name in ["echo", "own"] {
        let reply = post(&mut connection, &format!("/{name}/a?b=c"), b"later");
        let location = accepted(&reply);
        let (prefix, id) = location.split_once("/.well-known/sockhop/jobs/").unwrap();
        assert_eq!(prefix, format!("/{name}"));
        let told = ended(&mut connection, &location);
        let expected = serde_json::json!({
            "id": id, "state": "done", "attempts": 1, "status": 200,
        });
        assert_eq!(told, expected);
        // The answer is an invocation, and so is the attempt.
        let invocation = reply.head.invocation_id();
        let log = node.cli(&["logs", invocation]).expect_code(0).stdout;
        assert!(log.contains("202"), "{log}");
        wait::until("both are in the access log", SOON, || {
            let stderr = node.stderr();
            let lines = stderr.lines().filter(|line| line.contains(&format!("function={name} ")));
            let posts: Vec<_> = lines.filter(|line| line.contains("/a\"")).collect();
            let has = |status: &str| posts.iter().any(|line| line.contains(status));
            (has("status=202") && has("status=200")).then_some(())
        });
        // Nobody else's.
        for other in ["echo", "own"].into_iter().filter(|other| *other != name) {
            let target = format!("/{other}/.well-known/sockhop/jobs/{id}");
            connection.get(&target).expect_problem(404);
        }
    }
    connection
        .get("/echo/.well-known/sockhop/jobs/019406c2-5e4e-7d11-8f3a-6f0f4f2d3c1b")
        .expect_problem(404);
    // Who does not prefer it, or has it from a function that does not allow it, waits.
    assert_eq!(connection.post("/echo/", b"now").text(), "now");
    let reply = post(&mut connection, "/plain/", b"");
    assert_eq!((reply.status(), reply.head.get("preference-applied")), (200, None));
    connection.send(request("GET", "/echo/", &[("prefer", "wait=1, return=minimal")], b""));
    assert_eq!(connection.reply().status(), 200);
    // The control API's own requests do, too.
    let invoked = node.cli(&["invoke", "echo", "-H", "prefer: respond-async", "-d", "now"]);
    assert_eq!(invoked.expect_code(0).stdout, "now");
    node.stop();
}

#[test]
fn hosts_domains_and_versions_find_their_function_again() {
    let node = Node::start();
    node.deploy("inspect", "shop", &["--respond-async", "--previews"]);
    node.deploy("inspect", "shop", &[]);
    node.cli(&["domain", "add", "api.test/v2/*", "shop"]).expect_code(0);
    node.cli(&["domain", "add", "shop.test", "shop"]).expect_code(0);
    let mut connection = node.connect();
    for (host, target, prefix) in [
        ("shop.localhost", "/x", ""),
        ("shop--v1.localhost", "/x", ""),
        ("localhost", "/shop@v1/x", "/shop@v1"),
        ("shop.test", "/x", ""),
        ("api.test", "/v2/x", "/v2"),
    ] {
        let headers = [PREFERS, ("host", host)];
        connection.send(request("POST", target, &headers, b""));
        let location = accepted(&connection.reply());
        assert!(location.starts_with(&format!("{prefix}/.well-known/")), "{location}");
        wait::until("the job ends", SOON, || {
            connection.send(head("GET", &location, &[("host", host)]));
            let reply = connection.reply();
            assert_eq!(reply.status(), 200, "{host}: {}", reply.text());
            (reply.json()["state"] == "done").then_some(())
        });
    }
    node.stop();
}

#[test]
fn every_kind_of_function_has_jobs() {
    let node = Node::start();
    node.deploy("hello-p3", "p3", OPTION);
    node.deploy("cmd", "cmd", OPTION);
    native::deploy(&node, "server", "server", "server", OPTION);
    native::deploy(&node, "lambda-http", "lambda", "lambda", OPTION);
    native::deploy(&node, "azure-rust", "azure", "azure", &["--no-trial", "--respond-async"]);
    let mut connection = node.connect();
    for target in ["/p3/", "/cmd/", "/server/", "/lambda/", "/azure/api/hello"] {
        is_done(&mut connection, target, b"a body");
    }
    node.stop();
}

#[test]
fn the_function_sees_the_request_and_which_attempt_it_is() {
    let node = Node::start();
    native::deploy(&node, "azure-rust", "azure", "azure", &["--no-trial", "--respond-async"]);
    node.deploy("headers", "headers", OPTION);
    let mut connection = node.connect();
    // What a client says of jobs is taken out, also where none is made.
    let forged = [("sockhop-job", "forged"), ("sockhop-job-attempt", "9")];
    connection.send(request("GET", "/azure/api/hello", &forged, b""));
    let seen = connection.reply().json();
    assert!(seen["headers"].get("sockhop-job").is_none(), "{seen}");
    let headers = [PREFERS, forged[0], forged[1], ("x-a", "1")];
    connection.send(request("POST", "/azure/api/hello?x=1", &headers, b"a body"));
    let location = accepted(&connection.reply());
    assert_eq!(ended(&mut connection, &location)["state"], "done");
    node.stop();
}

#[test]
fn bodies_are_held_to_their_limits_by_every_framing() {
    let node = Node::start();
    node.deploy("echo", "echo", &["--respond-async", "--request-body", "4MiB"]);
    node.deploy("echo", "small", &["--respond-async", "--request-body", "1KiB"]);
    let mut connection = node.connect();
    let largest = vec![7; MIB];
    is_done(&mut connection, "/echo/", &largest);
    let refused = |head: &[(&str, &str)], target: &str, body: &[u8]| {
        let mut connection = node.connect();
        let headers = [&[PREFERS], head].concat();
        let bytes = request("POST", target, &headers, body);
        connection.exchange_unread(&bytes).expect_problem(413);
    };
    refused(&[], "/echo/", &vec![7; MIB + 1]);
    refused(&[], "/small/", &[7; 1025]);
    // Of a chunked body nobody knows before.
    let mut chunked = node.connect();
    let mut bytes = head("POST", "/echo/", &[PREFERS, ("transfer-encoding", "chunked")]).to_vec();
    bytes.extend_from_slice(&harness::bytes::chunked(&vec![7; MIB + 1], 64 * 1024));
    chunked.exchange_unread(&bytes).expect_problem(413);
    let mut bytes = head("POST", "/echo/", &[PREFERS, ("transfer-encoding", "chunked")]).to_vec();
    bytes.extend_from_slice(&harness::bytes::chunked(b"in pieces", 4));
    connection.send(bytes);
    let location = accepted(&connection.reply());
    assert_eq!(ended(&mut connection, &location)["state"], "done");
    // A client that waits to be asked is asked.
    let expects = [PREFERS, ("expect", "100-continue"), ("content-length", "5")];
    connection.send(head("POST", "/echo/", &expects));
    assert_eq!(connection.head().status, 100);
    connection.send(b"later");
    accepted(&connection.reply());
    // One that leaves in the middle of its body makes no job, and harms nobody.
    let mut gone = node.connect();
    gone.send(head("POST", "/echo/", &[PREFERS, ("content-length", "100")]));
    gone.send(b"half");
    drop(gone);
    // A head that would not fit into an attempt.
    let long = "y".repeat(62 * 1024);
    connection.send(request("POST", "/echo/", &[PREFERS, ("x-long", &long)], b""));
    connection.reply().expect_problem(431);
    is_done(&mut connection, "/echo/", b"");
    node.stop();
}

#[test]
fn over_tls_and_http2_too() {
    let tls = Site::default();
    let node = tls.node().start();
    node.deploy("echo", "echo", OPTION);
    let tunnel = Tunnel::to(tls_address(&node), &tls.authority.client(), "localhost");
    is_done(&mut Connection::open(tunnel.address()), "/echo/", b"over TLS");
    let plain = node.addresses().iter().find(|address| **address != tls_address(&node)).unwrap();
    for client in [
        http2::Client::plain(*plain),
        http2::Client::tls(tls_address(&node), &tls.authority.client()),
    ] {
        let asked = |body: &[u8]| {
            let mut request = http2::post("/echo/x");
            request.headers_mut().insert("prefer", "respond-async".parse().unwrap());
            client.send(request, body).unwrap()
        };
        let reply = asked(b"a stream");
        assert_eq!(reply.status, 202, "{}", reply.text());
        let location = reply.headers["location"].to_str().unwrap().to_owned();
        wait::until("the job is done", SOON, || {
            let told: Value = serde_json::from_str(&client.get(&location).text()).unwrap();
            (told["state"] == "done").then_some(())
        });
        assert_eq!(asked(&Bytes::from(vec![7; MIB + 1])).status, 413);
        assert_eq!(asked(b"again").status, 202);
    }
    node.stop();
}

#[test]
fn curl_is_told_where_to_ask() {
    let node = Node::start();
    node.deploy("echo", "echo", OPTION);
    let url = format!("http://echo.localhost:{}/", node.addresses()[0].port());
    let curl = |arguments: &[&str]| {
        let mut curl = Command::new("curl");
        let output = curl.args(["-sS", "--max-time", "20"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let resolve = format!("echo.localhost:{}:127.0.0.1", node.addresses()[0].port());
    let asked = ["--resolve", &resolve, "-H", "Prefer: respond-async", "-d", "x", &url];
    let written = curl(&asked);
    let id = serde_json::from_str::<Value>(&written).unwrap()["id"].as_str().unwrap().to_owned();
    let status = format!("{url}.well-known/sockhop/jobs/{id}");
    wait::until("the job is done", SOON, || {
        curl(&["--resolve", &resolve, &status]).contains("\"done\"").then_some(())
    });
    node.stop();
}

#[test]
fn a_worker_submits_no_jobs_of_functions_that_it_does_not_run() {
    let folder = node::binaries_with_worker(env!("CARGO_BIN_EXE_hostile-worker"));
    let node = Node::build().binaries(folder.path()).start();
    node.deploy("echo", "shop", &["--isolation", "process", "--respond-async"]);
    node.deploy("hello", "hello", &[]);
    fs::write(folder.path().join("mischief"), "asks for another's jobs").unwrap();
    kill_now(node.status().workers[0].pid);
    let received = wait::until("it is told", SOON, || {
        let received = fs::read_to_string(folder.path().join("received")).ok();
        received.filter(|received| !received.is_empty())
    });
    assert_eq!(
        received,
        "1 Submitted(Err(Denied)), 2 Submitted(Err(Denied)), 3 Progress(Ok(None)), 4 Progress(Ok(None))"
    );
    drop(node);
}

#[test]
fn who_asks_while_the_database_is_away_is_told_to_come_again() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("jobs").join("local.redb");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "no database").unwrap();
    let node = Node::build().data(folder.path()).start();
    node.deploy("echo", "echo", OPTION);
    let mut connection = node.connect();
    let status = "/echo/.well-known/sockhop/jobs/019406c2-5e4e-7d11-8f3a-6f0f4f2d3c1b";
    let reply = connection.get(status);
    assert!(reply.head.get("retry-after").is_some(), "{}", reply.text());
    reply.expect_problem(503);
    post(&mut connection, "/echo/", b"").expect_problem(503);
    fs::remove_file(&file).unwrap();
    let again = || (connection.get(status).status() == 404).then_some(());
    wait::until("it can be asked again", SOON, again);
    node.stop();
}

#[test]
fn many_clients_at_once_have_a_job_each() {
    let node = Node::start();
    node.deploy("echo", "echo", OPTION);
    let locations: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let node = &node;
                scope.spawn(move || {
                    let mut connection = node.connect();
                    let one = |at: usize| {
                        let body = vec![client; at * 1000];
                        accepted(&post(&mut connection, "/echo/", &body))
                    };
                    (0..50).map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let mut connection = node.connect();
    let mut ids = std::collections::BTreeSet::new();
    for location in &locations {
        assert_eq!(ended(&mut connection, location)["status"], 200);
        assert!(ids.insert(location));
    }
    assert_eq!(ids.len(), 400);
    node.stop();
}
