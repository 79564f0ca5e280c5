//! The dashboard in a real browser, against a real node under load, over the admin listener and
//! through the Unix socket.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use harness::answer::Answer;
use harness::client::request;
use harness::node::sockhop;
use harness::wait::StopOnDrop;
use harness::{Connection, Node, Running, guests, needs, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);
/// What must never be more than text.
const HOSTILE: &str = "<img src=x onerror=window.hacked=1>";

fn node() -> Node {
    let node = Node::build().option("--admin", "127.0.0.1:0").option("--guest-log", "off").start();
    node.deploy("hello", "hello", &[]);
    node
}

fn admin(node: &Node) -> SocketAddr {
    let url = node.status().node.admin.unwrap();
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// Asks for `target` on a connection of its own.
fn ask(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Answer {
    let mut connection = Connection::open(address);
    connection.send(request("GET", target, &[headers, &[("connection", "close")]].concat(), b""));
    Answer::read("GET", &connection.rest())
}

/// What the browser is told of a node.
fn about(node: &Node) -> Value {
    let token = fs::read_to_string(node.data().join("admin.token")).unwrap();
    json!({
        "url": format!("http://{}", admin(node)),
        "token": token.trim(),
        "functions": format!("http://{}", node.addresses()[0]),
        "files": { "hello": guests::path("hello"), "counter": guests::path("counter") },
    })
}

/// Has the browser do `what`, which `clients/dashboard.js` knows.
fn browse(what: &str, about: &Value) {
    let named = std::env::var_os("SOCKHOP_TEST_BROWSER").map(PathBuf::from);
    let installed = named.unwrap_or_else(|| {
        panic!("SOCKHOP_TEST_BROWSER names the folder of what drives it: run scripts/test")
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/dashboard.js");
    let mut command = Command::new(needs::program("node", "nodejs"));
    command.env("NODE_PATH", installed.join("node_modules"));
    command.env("CHROMIUM", needs::program("chromium", "chromium"));
    command.arg(script).args([what, &about.to_string()]);
    let finished = Running::spawn(&mut command).finish(LONG).expect_code(0);
    assert_eq!(finished.stdout, "all is well\n");
}

#[test]
fn functions_are_seen_under_load_by_who_has_the_token() {
    let node = node();
    node.deploy("panic", "panic", &[]);
    let (about, stop) = (about(&node), AtomicBool::new(false));
    thread::scope(|scope| {
        for target in ["/hello/", "/panic/"] {
            let (node, stop) = (&node, &stop);
            scope.spawn(move || {
                let mut connection = node.connect();
                while !stop.load(Ordering::Relaxed) {
                    connection.get(target);
                    wait::pause();
                }
            });
        }
        scope.spawn(|| {
            let _stop = StopOnDrop(&stop);
            browse("watching", &about);
        });
    });
    node.stop();
}

#[test]
fn versions_are_deployed_rolled_back_and_split() {
    let node = node();
    browse("versions", &about(&node));
    node.stop();
}

#[test]
fn what_others_have_written_is_text() {
    let node = node();
    node.deploy("cmd", "talk", &["--description", HOSTILE]);
    node.cli(&["kv", "set", "talk", HOSTILE, HOSTILE]).expect_code(0);
    browse("hostile", &about(&node));
    node.stop();
}

#[test]
fn domains_schedules_secrets_and_keys_are_changed() {
    let node = node();
    browse("changes", &about(&node));
    node.stop();
}

#[test]
fn everybody_can_read_and_use_it() {
    let node = node();
    node.cli(&["cron", "add", "hello", "@daily"]).expect_code(0);
    node.cli(&["kv", "set", "hello", "key", "value"]).expect_code(0);
    browse("accessible", &about(&node));
    node.stop();
}

#[test]
fn the_first_view_is_small_and_quick() {
    let node = node();
    browse("first_view", &about(&node));
    node.stop();
}

#[test]
fn its_files_need_no_token_and_all_else_does() {
    let node = node();
    let get = |target: &str, headers: &[(&str, &str)], status: u16| {
        let answer = ask(admin(&node), target, headers);
        assert_eq!(answer.status, Some(status), "{target}: {}", answer.text());
        answer
    };
    let header = |answer: &Answer, name: &str| {
        let values: Vec<_> = answer.all(name).collect();
        assert_eq!(values.len(), 1, "{name}: {answer:?}");
        values[0].to_owned()
    };
    let page = get("/", &[], 200);
    let policy = header(&page, "content-security-policy");
    for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(header(&page, "x-content-type-options"), "nosniff");
    assert_eq!(header(&page, "referrer-policy"), "no-referrer");
    let tag = header(&page, "etag");
    let same = get("/", &[("if-none-match", &format!("\"other\", W/{tag}"))], 304);
    assert_eq!(header(&same, "etag"), tag);
    let text = page.text();
    let script = text.split("src=\"").nth(1).unwrap().split('"').next().unwrap();
    let script = get(&format!("/{script}"), &[], 200);
    assert!(header(&script, "cache-control").contains("immutable"));
    let other = get("/dashboard/0/app.js", &[], 404);
    assert_eq!(header(&other, "cache-control"), "no-store");
    for path in ["/v1/status", "/v1/top", "/v1/openapi.json"] {
        get(path, &[], 401);
    }
    node.stop();
}

#[test]
fn it_is_opened_through_the_socket_for_this_user_alone() {
    let node = Node::start();
    node.deploy("hello", "hello", &[]);
    let folder = TempDir::new().unwrap();
    let opener = folder.path().join("xdg-open");
    let noted = folder.path().join("noted");
    // What it is given, with its mode; the name is there when all of it is.
    let script = "#!/bin/sh\nset -e\ncd \"${0%/*}\"\ncat \"$1\" > part\nstat -c %a \"$1\" >> part\n\
        echo \"$@\" > arguments\nmv part noted\n";
    fs::write(&opener, script).unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut command = sockhop();
    command.args(["dashboard", "--data"]).arg(node.data());
    let mut running = Running::spawn(command.env("PATH", path).env("DISPLAY", ":0"));
    let printed = wait::until("the address is printed", LONG, || {
        let printed = running.stdout();
        printed.ends_with('\n').then(|| printed.trim_end().to_owned())
    });
    let (url, token) = printed.split_once("/#token=").unwrap();
    let noted = wait::until("a browser is started", LONG, || fs::read_to_string(&noted).ok());
    assert!(noted.contains(&printed) && noted.ends_with("600\n"), "{noted}");
    let arguments = fs::read_to_string(folder.path().join("arguments")).unwrap();
    assert!(!arguments.contains(token), "everybody sees the arguments of a process");
    assert!(Path::new(arguments.trim_end()).exists());

    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
    for target in ["/v1/status", "/v1/functions/hello/invoke/", "/metrics", "/readyz"] {
        assert_eq!(ask(address, target, &[]).status, Some(401), "{target}");
    }
    assert_eq!(ask(address, "/", &[]).status, Some(200));
    let functions = format!("http://{}", node.addresses()[0]);
    let files = json!({ "hello": guests::path("hello"), "counter": guests::path("counter") });
    let about = json!({ "url": url, "address": printed, "functions": functions, "files": files });
    browse("opened", &about);
    browse("versions", &about);
    running.signal(Signal::SIGINT);
    assert_eq!(running.wait_exit(LONG).code(), Some(0));
    assert!(!Path::new(arguments.trim_end()).exists(), "the file that led there is gone");
    node.stop();
}
