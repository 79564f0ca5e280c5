//! `sockhop bundle`: a function runs without a node, on each platform that it is packed for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::bundle::{self, Program, program, try_bundle};
use harness::bytes::{assert_same, body};
use harness::client::request;
use harness::native::{post_json, try_deploy};
use harness::{Node, native, needs, node};
use serde_json::json;
use tempfile::TempDir;

#[test]
fn every_kind_of_function_runs_when_its_node_has_ended() {
    let kinds = ["hello", "hello-p3", "echo", "echo-p3", "cmd", "cmd-p1"];
    let (node, folder) = (Node::with(&kinds), TempDir::new().unwrap());
    let programs = kinds.map(|kind| program(&node, kind, folder.path()));
    node.stop();
    let [hello, hello_p3, echo, echo_p3, cmd, cmd_p1] =
        programs.map(|file| Program::start(&file, &[]));
    hello.get("/any/path").expect_hello();
    hello_p3.get("/").expect_hello();
    let sent = body(1_000_000, 5);
    for echo in [echo, echo_p3] {
        let mut connection = echo.connect();
        for _ in 0..3 {
            let reply = connection.exchange(&request("POST", "/", &[], &sent), 1).remove(0);
            assert_same(&reply.body, &sent);
        }
    }
    for cmd in [cmd, cmd_p1] {
        let reply = cmd.connect().exchange(&request("POST", "/?echo", &[], b"stdin"), 1).remove(0);
        assert_eq!(reply.text(), "stdin");
        let variables = cmd.get("/some/path?env").text();
        assert!(variables.contains("\nQUERY_STRING=env\n"), "{variables}");
        assert!(variables.contains("\nPATH_INFO=/some/path\n"), "{variables}");
    }
}

#[test]
fn a_program_has_what_was_deployed_and_the_variables_of_its_platform() {
    let (node, folder) = (Node::start(), TempDir::new().unwrap());
    node.deploy("inspect", "shop", &["--env", "A=deployed", "--env", "B=deployed"]);
    node.cli(&["alias", "set", "shop@staging", "v1", "--env", "A=staging"]).expect_code(0);
    node.cli_with_stdin(&["secret", "set", "shop", "KEY"], b"nowhere-to-be-seen").expect_code(0);
    let active = program(&node, "shop", folder.path());
    let staging = program(&node, "shop@staging", folder.path());
    node.stop();
    for file in [&active, &staging] {
        let bytes = fs::read(file).unwrap();
        let found = bytes.windows(18).any(|part| part == b"nowhere-to-be-seen");
        assert!(!found, "a secret is in {file:?}");
    }
    let own = [("B", "platform"), ("C", "platform"), ("SOCKHOP_LOG", "info")];
    let environment = |program: &Program| program.get("/").json()["environment"].clone();
    let program = Program::start(&active, &own);
    let expected = json!({"A": "deployed", "B": "platform", "C": "platform", "PORT": "0"});
    assert_eq!(environment(&program), expected);
    let expected = json!({"A": "staging", "B": "deployed", "PORT": "0"});
    assert_eq!(environment(&Program::start(&staging, &[])), expected);

    // A platform's proxy is near, and is believed; with others it is the operator's to say.
    let forwarded = |program: &Program| {
        let headers = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")];
        let sent = request("GET", "/a%20b?c=d", &headers, b"");
        program.connect().exchange(&sent, 1).remove(0).json()
    };
    let seen = forwarded(&program);
    assert_eq!((&seen["scheme"], &seen["path"]), (&json!("https"), &json!("/a%20b")));
    assert_eq!(seen["headers"]["x-forwarded-for"], json!(["192.0.2.1"]));
    let seen = forwarded(&Program::start(&active, &[("SOCKHOP_TRUSTED_PROXIES", "")]));
    assert_eq!(seen["scheme"], "http");
    assert_eq!(seen["headers"]["x-forwarded-for"], json!(["127.0.0.1"]));
    // What the guest writes is read where the platform reads it.
    assert!(program.stderr().contains("inspect stdout line"), "{}", program.stderr());
}

#[test]
fn limits_hold_without_a_node_and_instances_are_fresh() {
    let (node, folder) = (Node::with(&["counter"]), TempDir::new().unwrap());
    node.deploy("spin", "spin", &["--timeout", "300ms"]);
    node.deploy("greedy", "greedy", &["--memory", "16MiB"]);
    node.deploy("counter", "kept", &["--instances", "reuse=1000"]);
    let start = |function| Program::start(&program(&node, function, folder.path()), &[]);
    start("spin").get("/").expect_problem(504);
    start("greedy").get("/").expect_problem(500);
    let (fresh, kept) = (start("counter"), start("kept"));
    for _ in 0..3 {
        assert_eq!(fresh.get("/").text(), "1");
    }
    let mut connection = kept.connect();
    let counts: Vec<u32> = (0..20).map(|_| connection.get("/").text().parse().unwrap()).collect();
    assert!(counts.iter().any(|count| *count > 5), "{counts:?}");
    node.stop();
}

#[test]
fn what_is_under_way_at_sigterm_is_answered_and_nothing_is_accepted_any_more() {
    let (node, folder) = (Node::with(&["sleep"]), TempDir::new().unwrap());
    let mut program = Program::start(&program(&node, "sleep", folder.path()), &[]);
    node.stop();
    let (mut busy, idle) = (program.connect(), program.connect());
    busy.get("/?ms=1").text();
    busy.send(request("GET", "/?ms=1000", &[], b""));
    // The request is under way when another one that came later has been answered.
    assert_eq!(program.get("/?ms=1").text(), "slept 1 ms");
    let began = Instant::now();
    program.terminate();
    let reply = busy.reply();
    assert_eq!(
        (reply.text(), reply.head.get("connection")),
        ("slept 1000 ms".into(), Some("close"))
    );
    assert!(program.ended().success());
    assert!(began.elapsed() < Duration::from_secs(8), "an idle connection holds nothing up");
    drop(idle);
}

#[test]
fn a_zip_for_lambda_is_a_bootstrap() {
    let (node, folder) = (Node::with(&["inspect", "echo-p3"]), TempDir::new().unwrap());
    let deploy = |function: &str| {
        let (path, name) = (folder.path().join(function), format!("l-{function}"));
        try_bundle(&node, function, "lambda", &path).expect_code(0);
        try_deploy(&node, &path, "lambda", &name, &["--no-trial", "--memory", "256MiB"])
            .expect_code(0);
    };
    deploy("inspect");
    deploy("echo-p3");
    let headers = [("x-mine", "one"), ("cookie", "a=1; b=2")];
    let sent = request("GET", "/l-inspect/a%2Fb/c?x=1&x=2&y", &headers, b"");
    let reply = node.connect().exchange(&sent, 1).remove(0);
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let seen = reply.json();
    assert_eq!((&seen["path"], &seen["query"]), (&json!("/a%2Fb/c"), &json!("x=1&x=2&y")));
    assert_eq!(seen["headers"]["x-mine"], json!(["one"]));
    assert_eq!(seen["headers"]["cookie"], json!(["a=1; b=2"]));
    assert_eq!(seen["environment"]["AWS_LAMBDA_FUNCTION_NAME"], "l-inspect");
    assert!(seen["headers"]["x-amzn-trace-id"].is_array(), "{seen}");
    let sent = body(1_000_000, 9);
    let bytes = request("POST", "/l-echo-p3/", &[("content-type", "image/png")], &sent);
    let reply = node.connect().exchange(&bytes, 1).remove(0);
    assert_same(&reply.body, &sent);
    // A process answers one event after another.
    let mut connection = node.connect();
    for n in 0..20 {
        let reply = connection.get(&format!("/l-inspect/{n}"));
        assert_eq!(reply.json()["path"], format!("/{n}"));
    }
    let direct = post_json(&node, "/l-echo-p3/", &json!({"not": "http"}));
    assert_eq!(direct.json(), json!({"not": "http"}));
    node.stop();
}

#[test]
fn a_folder_for_azure_is_the_app_of_a_custom_handler() {
    let (node, folder) = (Node::with(&["inspect"]), TempDir::new().unwrap());
    let path = folder.path().join("app");
    try_bundle(&node, "inspect", "azure", &path).expect_code(0);
    try_deploy(&node, &path, "azure", "app", &["--no-trial"]).expect_code(0);
    let seen = node.get("/app/some/path?x=1").json();
    assert_eq!((&seen["path"], &seen["query"]), (&json!("/some/path"), &json!("x=1")));
    assert_eq!(node.get("/app/").status(), 200);
    node.stop();
}

#[test]
fn an_oci_image_has_the_program_and_needs_nothing_else() {
    needs::root("make the image's files the root of a process");
    let (node, folder) = (Node::with(&["inspect"]), TempDir::new().unwrap());
    let image = folder.path().join("inspect.tar");
    try_bundle(&node, "inspect", "oci", &image).expect_code(0);
    node.stop();
    let root = bundle::unpacked(&image, "latest", folder.path());
    let entry = fs::read_to_string(root.with_file_name("config.json")).unwrap();
    let entry: serde_json::Value = serde_json::from_str(&entry).unwrap();
    let program = entry["process"]["args"][0].as_str().unwrap();
    assert_eq!(entry["process"]["user"]["uid"], 65532);
    let run = |user: &str| {
        // A container has /proc and /dev (OCI Runtime Specification, "Linux Containers").
        let script = format!(
            "mount -t proc proc \"$1/proc\" && mount --rbind /dev \"$1/dev\" \
             && exec chroot --userspec={user} \"$1\" {program}"
        );
        for folder in ["proc", "dev"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script, "sh"]);
        command
            .arg(&root)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("PORT", "0");
        Program::spawn(&mut command)
    };
    let served = run("65532:65532");
    assert_eq!(served.get("/in/a/container").json()["path"], "/in/a/container");
}

#[test]
fn what_cannot_be_bundled_is_refused_with_the_next_step() {
    let (node, folder) = (Node::with(&["hello"]), TempDir::new().unwrap());
    let path = folder.path().join("there");
    let refused = |function: &str, platform: &str, words: &[&str]| {
        try_bundle(&node, function, platform, &path).expect_error(words);
        assert!(!path.exists(), "nothing is written");
    };
    refused("nobody", "lambda", &["nobody", "sockhop list"]);
    refused("hello@v7", "lambda", &["v7", "sockhop versions hello"]);
    refused("hello@nothing", "oci", &["nothing"]);
    refused("../hello", "oci", &["../hello"]);
    let unknown = try_bundle(&node, "hello", "heroku", &path).expect_code(2).stderr;
    assert!(unknown.contains("heroku") && unknown.contains("cloud-run"), "{unknown}");
    native::deploy(&node, "hello-server", "server", "server", &["--no-trial"]);
    refused("server", "oci", &["no WebAssembly", "server"]);
    fs::write(&path, "precious").unwrap();
    try_bundle(&node, "hello", "cloud-run", &path).expect_error(&["there already", "--output"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    node.stop();

    let binaries = node::copied_binaries();
    let node = Node::build().binaries(binaries.path()).start();
    node.deploy("hello", "hello", &[]);
    let path = folder.path().join("without-the-program");
    try_bundle(&node, "hello", "oci", &path).expect_error(&["sockhop-standalone", "scripts/run"]);
    node.stop();
}

#[test]
fn a_program_that_was_damaged_or_is_started_wrongly_says_so() {
    let (node, folder) = (Node::with(&["hello"]), TempDir::new().unwrap());
    let whole = fs::read(program(&node, "hello", folder.path())).unwrap();
    let refused = |path: &Path, variables: &[(&str, &str)], words: &[&str]| {
        let said = bundle::run(path, variables).expect_code(1).stderr;
        assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
    };
    let damaged = |name: &str, bytes: &[u8], words: &[&str]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        refused(&path, &[("PORT", "0")], words);
    };
    damaged("cut", &whole[..whole.len() - 100], &["there is none", "sockhop guide bundles"]);
    let mut changed = whole.clone();
    let at = changed.len() - 24;
    changed[at..at + 8].fill(0xff);
    damaged("changed", &changed, &["damaged", "bundle the function again"]);
    let path = folder.path().join("hello");
    refused(&path, &[("PORT", "http")], &["PORT", "http"]);
    refused(&path, &[("SOCKHOP_TRUSTED_PROXIES", "all")], &["SOCKHOP_TRUSTED_PROXIES", "all"]);
    let nowhere = [("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1")];
    refused(&path, &nowhere, &["Runtime API", "127.0.0.1:1"]);
    node.stop();
}
