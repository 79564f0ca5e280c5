//! What a native program reaches outside of its sandbox: what `--allow-outbound` names, through
//! the proxy on its loopback, and nothing else.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use harness::client::request;
use harness::native::{deploy, path, programs_of, try_deploy, until_logged};
use harness::unreachable::ClosedPort;
use harness::upstream::{LARGE, Upstream};
use harness::{Node, Reply, running, wait};
use serde_json::Value;
use tempfile::TempDir;

/// How long it may take until the node notices something.
const SOON: Duration = Duration::from_secs(10);

/// A server that runs curl with the lines of a request's body as its arguments, and replies with
/// what that says: curl finds the proxy by itself, as most clients do.
const CURL: &str = r#"#!/usr/bin/python3
import http.server, json, os, subprocess

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        arguments = self.rfile.read(int(self.headers["content-length"])).decode().splitlines()
        command = ["curl", "--silent", "--show-error", "--max-time", "20", *arguments]
        done = subprocess.run(command, capture_output=True)
        said = {
            "code": done.returncode,
            "body": done.stdout.decode(errors="replace"),
            "error": done.stderr.decode(),
            "env": dict(os.environ),
        }
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// Writes the server to a folder.
fn curl() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("server");
    fs::write(&file, CURL).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

/// Starts a node with the function `curl`, which may connect to `allowed`.
fn node(allowed: &[&str]) -> Node {
    let (_folder, path) = curl();
    let node = Node::start();
    let options: Vec<_> = allowed.iter().flat_map(|one| ["--allow-outbound", *one]).collect();
    let options = [&options[..], &["--no-trial", "--timeout", "60s"]].concat();
    try_deploy(&node, &path, "server", "curl", &options).expect_code(0);
    node
}

/// Returns the request that has the function run curl. The tests' servers are at 127.0.0.1, which
/// is the program's own loopback to it, and which NO_PROXY leaves out: curl takes no notice of that
/// unless `arguments` say otherwise.
fn asking(arguments: &[&str]) -> Vec<u8> {
    let arguments = [&["--noproxy", ""], arguments].concat();
    request("POST", "/curl/", &[], arguments.join("\n").as_bytes())
}

/// Has the function run curl, and returns the reply.
fn run(node: &Node, arguments: &[&str]) -> Reply {
    let mut connection = node.connect();
    connection.send(asking(arguments));
    connection.reply()
}

/// Has the function run curl, and returns its exit code, what it has received and its complaint.
#[track_caller]
fn fetched(node: &Node, arguments: &[&str]) -> (u64, String, String) {
    let reply = run(node, arguments);
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let said = reply.json();
    let text = |name: &str| said[name].as_str().unwrap().to_owned();
    (said["code"].as_u64().unwrap(), text("body"), text("error"))
}

#[test]
fn what_is_named_is_reached_by_requests_and_by_tunnels() {
    let upstream = Upstream::start();
    let address = upstream.address().to_string();
    let node = node(&[&address]);
    let url = |path: &str| format!("http://{address}{path}");
    assert_eq!(fetched(&node, &[&url("/ok")]).1, "ok");
    assert_eq!(fetched(&node, &["--proxytunnel", &url("/ok")]).1, "ok", "by CONNECT");
    let seen = fetched(&node, &["-d", "a body", "-H", "x-own: 1", &url("/seen")]).1;
    assert!(seen.starts_with("POST /seen HTTP/1.1"), "not the proxy's form: {seen}");
    assert!(seen.contains("a body") && seen.to_lowercase().contains("x-own: 1"), "{seen}");
    assert!(!seen.to_lowercase().contains("proxy"), "{seen}");
    let status = fetched(&node, &["-w", "%{http_code}", "-o", "/dev/null", &url("/status/418")]);
    assert_eq!(status.1, "418", "its status is passed on: {status:?}");
    for tunnel in [&[][..], &["--proxytunnel"]] {
        let (code, bytes, error) = fetched(
            &node,
            &[tunnel, &["-w", "%{size_download}", "-o", "/dev/null", &url("/large")]].concat(),
        );
        assert_eq!((code, bytes), (0, LARGE.to_string()), "{error}");
    }
    let env = run(&node, &[&url("/ok")]).json()["env"].clone();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"] {
        assert!(env[name].as_str().is_some_and(|url| url.contains("127.0.0.1:")), "{name}: {env}");
    }
    assert!(env["NO_PROXY"].as_str().unwrap().contains("127.0.0.1"), "{env}");
    node.stop();
}

#[test]
fn what_is_not_named_is_refused_with_what_would_allow_it() {
    let (upstream, beside) = (Upstream::start(), Upstream::start());
    let node = node(&[&upstream.address().to_string(), "api.example:443"]);
    let other = beside.address();
    let url = format!("http://{other}/ok");
    let (_, body, _) = fetched(&node, &["-w", " %{http_code}", &url]);
    let wanted = format!("--allow-outbound {other}");
    assert!(body.contains(&wanted) && body.ends_with(" 403"), "{body}");
    until_logged(&node, "curl", &wanted);
    let (code, _, error) = fetched(&node, &["--proxytunnel", &url]);
    assert!(code != 0 && error.contains("403"), "{code} {error}");
    // The same port in other spellings and at other addresses, names, and the metadata address.
    let port = upstream.address().port();
    let hosts = ["localhost", "127.0.0.2", "[::1]", "0.0.0.0", "169.254.169.254"];
    for host in hosts {
        for tunnel in ["--no-progress-meter", "--proxytunnel"] {
            let url = format!("http://{host}:{port}/ok");
            let arguments = [tunnel, "-w", " %{http_code}", &url];
            let (code, body, error) = fetched(&node, &arguments);
            assert!(
                body.ends_with(" 403") || (code != 0 && error.contains("403")),
                "{host} {error}"
            );
        }
    }
    assert_eq!((upstream.accepted(), beside.accepted()), (0, 0));
    node.stop();
}

#[test]
fn past_the_proxy_nothing_is_reached() {
    let upstream = Upstream::start();
    let address = upstream.address().to_string();
    let node = node(&[&address]);
    let url = format!("http://{address}/ok");
    let (code, body, error) = fetched(&node, &["--noproxy", "*", &url]);
    assert!(code == 7 && body.is_empty(), "not even what is allowed: {code} {error}");
    let (code, ..) = fetched(&node, &["--noproxy", "*", "http://192.0.2.1/"]);
    assert_eq!(code, 7, "without waiting for it");
    assert_eq!(upstream.accepted(), 0);
    node.stop();
}

#[test]
fn without_the_option_there_is_no_proxy_and_nothing_is_reached() {
    let upstream = Upstream::start();
    let node = node(&[]);
    let said = run(&node, &[&format!("http://{}/ok", upstream.address())]).json();
    assert_eq!(said["code"], 7, "{said}");
    let env: &Value = &said["env"];
    assert!(env.get("HTTP_PROXY").is_none() && env.get("https_proxy").is_none(), "{env}");
    assert_eq!(upstream.accepted(), 0);
    node.stop();
}

#[test]
fn who_is_away_is_502_and_who_is_silent_ends_with_its_client() {
    let (upstream, closed) = (Upstream::start(), ClosedPort::start());
    let (address, nobody) = (upstream.address().to_string(), closed.address().to_string());
    let node = node(&[&address, &nobody]);
    let (_, body, _) = fetched(&node, &["-w", " %{http_code}", &format!("http://{nobody}/")]);
    assert!(body.ends_with(" 502"), "{body}");
    let (code, _, error) = fetched(&node, &["--proxytunnel", &format!("http://{nobody}/")]);
    assert!(code != 0 && error.contains("502"), "{code} {error}");
    for tunnel in ["--no-progress-meter", "--proxytunnel"] {
        let silent = format!("http://{address}/silent");
        let (code, ..) = fetched(&node, &["--max-time", "1", tunnel, &silent]);
        assert_eq!(code, 28, "curl's time was up");
    }
    wait::until("the connections end", SOON, || (upstream.open() == 0).then_some(()));
    // Nor do they outlive the program.
    let mut connection = node.connect();
    connection.send(asking(&["--proxytunnel", &format!("http://{address}/silent")]));
    wait::until("it is connected", SOON, || (upstream.open() == 1).then_some(()));
    running::kill_now(programs_of(&node, "curl", "server")[0]);
    wait::until("the connection ends", SOON, || (upstream.open() == 0).then_some(()));
    node.stop();
}

#[test]
fn another_version_has_another_list() {
    let upstream = Upstream::start();
    let address = upstream.address().to_string();
    let node = node(&[&address]);
    let url = format!("http://{address}/ok");
    assert_eq!(fetched(&node, &[&url]).1, "ok");
    let (_folder, path) = curl();
    let options = ["--allow-outbound", "api.example:443", "--no-trial"];
    try_deploy(&node, &path, "server", "curl", &options).expect_code(0);
    let (_, body, _) = fetched(&node, &["-w", " %{http_code}", &url]);
    assert!(body.ends_with(" 403"), "{body}");
    node.cli(&["rollback", "curl"]).expect_code(0);
    assert_eq!(fetched(&node, &[&url]).1, "ok");
    node.stop();
}

#[test]
fn a_lambda_goes_out_by_the_same_proxy() {
    let upstream = Upstream::start();
    let address = upstream.address().to_string();
    let folder = TempDir::new().unwrap();
    fs::copy(path("shell-lambda").join("bootstrap"), folder.path().join("bootstrap")).unwrap();
    let url = format!("http://{address}/ok");
    let handler = format!("handler() {{ printf '\"%s\"' \"$(curl -sS --noproxy '' {url})\"; }}\n");
    fs::write(folder.path().join("function.sh"), handler).unwrap();
    let node = Node::start();
    let options = ["--allow-outbound", &address];
    try_deploy(&node, folder.path(), "lambda", "out", &options).expect_code(0);
    // The Runtime API is on its loopback, where the proxy is not asked.
    assert_eq!(node.get("/out/").text(), "\"ok\"");
    deploy(&node, "shell-lambda", "lambda", "shell-lambda", &options);
    assert_eq!(node.get("/shell-lambda/").status(), 200);
    node.stop();
}
