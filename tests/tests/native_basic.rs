//! `--native-sandbox basic`: native functions run without namespaces, kept to their files by
//! landlock and to harmless system calls by seccomp, and the node says what that leaves open.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use harness::native::{at_once, cgroups_of, deploy, path, pids_by_name, post_json, programs};
use harness::native::{try_deploy, until_logged, worker};
use harness::upstream::Upstream;
use harness::{Node, process, running, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long something may take that takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(20);

fn node() -> Node {
    Node::build().option("--native-sandbox", "basic").start()
}

/// Has `hostile` do what the target says, and returns what came of it.
fn tried(node: &Node, target: &str) -> String {
    let reply = node.get(&format!("/hostile{target}"));
    assert_eq!(reply.status(), 200, "{target}: {}", reply.text());
    reply.json()["result"].as_str().unwrap().to_owned()
}

/// Returns the folders for temporary files that sandboxes of these processes have made.
fn scratch_of(pids: &[u32]) -> BTreeSet<String> {
    let made_by: Vec<String> = pids.iter().map(|pid| format!("sockhop-native-{pid}-")).collect();
    let names = fs::read_dir("/tmp").unwrap().flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    names.filter(|name| made_by.iter().any(|prefix| name.starts_with(prefix))).collect()
}

fn expect_no_trace(pids: &[u32]) {
    for pid in pids {
        wait::until("a process is gone", SOON, || (!process::alive(*pid)).then_some(()));
    }
    wait::for_value("its cgroups are gone", SOON, || cgroups_of(pids), |all| all.is_empty());
    wait::for_value("its folders are gone", SOON, || scratch_of(pids), BTreeSet::is_empty);
}

#[test]
fn the_node_says_what_it_leaves_open() {
    let node = node();
    let open = |limit: &String| limit.contains("--native-sandbox basic");
    assert!(node.status().node.native_limits.iter().any(open), "{:?}", node.status().node);
    node.stop();
    let full = Node::start();
    assert!(!full.status().node.native_limits.iter().any(open), "{:?}", full.status().node);
    full.stop();
}

#[test]
fn every_kind_is_served() {
    let node = node();
    for (guest, kind) in [
        ("hello-lambda", "lambda"),
        ("lambda-events", "lambda"),
        ("shell-lambda", "lambda"),
        ("hello-server", "server"),
        ("python-server", "server"),
        ("azure-rust", "azure"),
    ] {
        let options = ["--processes", "4", "--init-timeout", "60s", "--no-trial"];
        deploy(&node, guest, kind, guest, &options);
    }
    node.get("/hello-lambda/").expect_hello();
    node.get("/hello-server/").expect_hello();
    assert_eq!(post_json(&node, "/lambda-events/", &json!({ "a": 1 })).status(), 200);
    assert_eq!(node.get("/shell-lambda/some").json()["rawPath"], "/some");
    assert_eq!(node.get("/python-server/").status(), 200);
    assert_eq!(node.get("/azure-rust/api/hello").status(), 200);
    node.stop();
}

#[test]
fn processes_side_by_side_have_ports_of_their_own() {
    let node = node();
    for (guest, kind, asked) in [("lambda-events", "lambda", true), ("server", "server", false)] {
        let options = ["--processes", "4", "--process-requests", "1"];
        deploy(&node, guest, kind, guest, &options);
        let names = at_once(4, |_| {
            let reply = match asked {
                true => {
                    let asked = json!({ "sleep_ms": 2000, "pid": true });
                    post_json(&node, "/lambda-events/", &asked)
                }
                false => node.get("/server/pid?ms=2000"),
            };
            assert_eq!(reply.status(), 200, "{}", reply.text());
            reply.json()["process"].as_str().unwrap().to_owned()
        });
        let names: BTreeSet<String> = names.into_iter().collect();
        assert!(names.len() > 1, "{guest}: {names:?}");
    }
    node.stop();
}

#[test]
fn a_program_finds_its_files_and_a_folder_for_temporary_ones() {
    let node = node();
    let folder = TempDir::new().unwrap();
    fs::copy(path("shell-lambda").join("bootstrap"), folder.path().join("bootstrap")).unwrap();
    let script = r#"handler() {
    data=$(cat "$LAMBDA_TASK_ROOT/data.txt"; cat data.txt)
    scratch=$(mktemp) && echo scratch > "$scratch" && data+=$(cat "$scratch")
    printf '"%s"' "$(tr '\n' ' ' <<< "$data")"
}
"#;
    fs::write(folder.path().join("function.sh"), script).unwrap();
    fs::write(folder.path().join("data.txt"), "own\n").unwrap();
    try_deploy(&node, folder.path(), "lambda", "files", &[]).expect_code(0);
    let text = node.get("/files/").text();
    assert_eq!(text.split_whitespace().collect::<String>(), "\"ownownscratch\"", "{text}");
    node.stop();
}

#[test]
fn what_landlock_and_seccomp_stop() {
    let node = node();
    deploy(&node, "hostile", "server", "hostile", &[]);
    deploy(&node, "hello-server", "server", "neighbour", &[]);
    node.get("/neighbour/").expect_hello();
    let data = node.data().to_str().unwrap().to_owned();
    let upstream = Upstream::start();
    for file in ["/etc/shadow", "/root", "/home", "/var/lib", "/proc/1/environ", &data] {
        assert_ne!(tried(&node, &format!("/read?path={file}")), "ok", "{file}");
        assert_ne!(tried(&node, &format!("/list?path={file}")), "ok", "{file}");
    }
    for file in ["admin.token", "secrets.key", "control.sock"] {
        assert_ne!(tried(&node, &format!("/read?path={data}/{file}")), "ok", "{file}");
    }
    assert_ne!(tried(&node, &format!("/connect-unix?path={data}/control.sock")), "ok");
    for file in ["/usr/bin/new", "/etc/passwd", "/tmp/not-its-own", "/new", "/var/new"] {
        assert_ne!(tried(&node, &format!("/write?path={file}")), "ok", "{file}");
    }
    let calls = node.get("/hostile/calls").json();
    let done: Vec<_> = calls.as_object().unwrap().iter().filter(|(_, to)| *to == "ok").collect();
    assert!(done.is_empty(), "{done:?}");
    for kind in ["raw", "raw6", "packet", "netfilter", "vsock", "alg"] {
        assert_ne!(tried(&node, &format!("/socket?kind={kind}")), "ok", "{kind}");
    }
    // The node's own processes are another user's, and out of its scope.
    let engine = node.pid();
    for target in [
        format!("/kill?pid={engine}&signal=0"),
        format!("/kill?pid={}&signal=9", worker(&node, "neighbour")),
        format!("/memory?pid={engine}"),
        format!("/ptrace?pid={engine}"),
    ] {
        assert_ne!(tried(&node, &target), "ok", "{target}");
    }
    node.get("/neighbour/").expect_hello();
    // What it says it does not stop.
    assert_eq!(tried(&node, &format!("/connect?address={}", upstream.address())), "ok");
    node.stop();
}

#[test]
fn a_failure_a_timeout_and_a_limit_end_as_ever() {
    let node = node();
    deploy(&node, "lambda-events", "lambda", "lambda-events", &["--timeout", "1s"]);
    let event = |fields: &Value| post_json(&node, "/lambda-events/", fields);
    event(&json!({ "exit": 3 })).expect_problem(502);
    until_logged(&node, "lambda-events", "exit status 3");
    event(&json!({ "sleep_ms": 60_000 })).expect_problem(504);
    assert_eq!(event(&json!({ "a": 1 })).status(), 200);
    let exits = ["--env", "INIT_EXIT=7"];
    try_deploy(&node, &path("lambda-events"), "lambda", "exits", &exits)
        .expect_error(&["exit status 7", "last words of the init"]);
    let late = ["--env", "START_MS=60000", "--init-timeout", "1s"];
    try_deploy(&node, &path("server"), "server", "late", &late).expect_error(&["$PORT", "no port"]);
    node.stop();
}

#[test]
fn nothing_is_left_of_it() {
    let node = node();
    deploy(&node, "hostile", "server", "hostile", &[]);
    deploy(&node, "hello-lambda", "lambda", "hello-lambda", &[]);
    node.get("/hello-lambda/").expect_hello();
    let name = format!("left-{}", node.pid());
    assert_eq!(tried(&node, &format!("/daemon?name={name}")), "ok");
    wait::until("it runs", SOON, || (pids_by_name(&name).len() == 1).then_some(()));
    for function in ["hostile", "hello-lambda"] {
        let own = worker(&node, function);
        let below = process::descendants(own);
        running::kill_now(own);
        expect_no_trace(&below);
    }
    wait::for_value("so is the daemon", SOON, || pids_by_name(&name), Vec::is_empty);
    node.get("/hello-lambda/").expect_hello();
    assert!(programs(&node).iter().any(|(_, name)| name == "bootstrap"));
    let processes = node.processes();
    node.stop();
    expect_no_trace(&processes);
}
