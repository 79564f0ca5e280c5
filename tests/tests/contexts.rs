//! Nodes that the user has logged in to: what is kept of them, which one a command asks, and what it
//! says of that.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::faults::Proxy;
use harness::node::{self, Node};
use harness::running::{Finished, Running};
use harness::tls::Authority;
use serde_json::Value;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// A user with a configuration folder, in a folder without a node.
struct User {
    home: TempDir,
}

impl User {
    fn new() -> Self {
        Self { home: TempDir::new().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("config/sockhop/contexts.toml")
    }

    /// Runs a command with these variables, and `stdin`.
    fn run(&self, line: &str, variables: &[(&str, &str)], stdin: &[u8]) -> Finished {
        let input = self.home.path().join("stdin");
        fs::write(&input, stdin).unwrap();
        let mut command = node::sockhop();
        command.args(line.split(' ')).current_dir(self.home.path());
        command.env("XDG_CONFIG_HOME", self.home.path().join("config"));
        command.envs(variables.iter().copied());
        let input = fs::File::open(&input).unwrap();
        Running::spawn_with(&mut command, input.into()).finish(SOON)
    }
}

fn admin_node() -> Node {
    Node::build().option("--admin", "127.0.0.1:0").start()
}

fn admin(node: &Node) -> String {
    node.status().node.admin.unwrap()
}

fn token(data: &Path) -> Vec<u8> {
    fs::read(data.join("admin.token")).unwrap()
}

#[test]
fn a_node_that_the_user_has_logged_in_to_is_asked_until_another_one_is_named() {
    let (one, two, user) = (admin_node(), admin_node(), User::new());
    one.deploy("hello", "first", &[]);
    two.deploy("hello", "second", &[]);
    let (at_one, at_two) = (admin(&one), admin(&two));
    let run = |line: &str, variables: &[(&str, &str)]| user.run(line, variables, b"");

    let wrong = "0".repeat(64);
    let refused = user.run(&format!("login {at_one}"), &[], wrong.as_bytes());
    refused.expect_error(&["refuses the token", &at_one]);
    user.run(&format!("login {at_one}"), &[], b"\n").expect_error(&["token", "admin.token"]);
    assert!(!user.file().exists());
    let logged_in = user.run(&format!("login {at_one} --name one"), &[], &token(one.data()));
    let logged_in = logged_in.expect_code(0);
    assert!(logged_in.stdout.contains("1 function, as the context one"), "{logged_in:#?}");
    let file = two.data().join("admin.token");
    let line = format!("login {at_two} --name two --token-file {}", file.display());
    run(&line, &[]).expect_code(0);
    let mode = fs::metadata(user.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let asks = |line: &str, variables: &[(&str, &str)]| {
        let listed = run(line, variables).expect_code(0).stdout;
        match (listed.contains("first"), listed.contains("second")) {
            (true, false) => 1,
            (false, true) => 2,
            _ => panic!("{listed}"),
        }
    };
    assert_eq!(asks("list", &[]), 2, "the last login is in use");
    assert_eq!(asks("list --context one", &[]), 1);
    assert_eq!(asks("list", &[("SOCKHOP_CONTEXT", "one")]), 1);
    assert_eq!(asks("list --context two", &[("SOCKHOP_CONTEXT", "one")]), 2);
    // By its URL, it is the same node, whose token is known.
    assert_eq!(asks(&format!("list --node {at_one}"), &[("SOCKHOP_CONTEXT", "two")]), 1);
    let data = one.data().to_str().unwrap();
    assert_eq!(asks(&format!("list --data {data}"), &[("SOCKHOP_NODE", &at_two)]), 1);
    assert_eq!(asks("list", &[("SOCKHOP_DATA", data)]), 1);
    // A token in a variable is for who is named by an address.
    assert_eq!(asks("list", &[("SOCKHOP_TOKEN", "of-another")]), 2);
    run("context use one", &[]).expect_code(0);
    assert_eq!(asks("list", &[]), 1);
    let status = run("status", &[]).expect_code(0).stdout;
    assert!(status.contains(&format!("asked: {at_one}, the context \"one\", in use")), "{status}");
    run("inspect second", &[]).expect_error(&["no function \"second\"", "asked: ", &at_one]);
    run("list", &[("SOCKHOP_CONTEXT", "x"), ("SOCKHOP_NODE", "y")]).expect_error(&["unset one"]);
    run("list --context three", &[]).expect_error(&["one, two, local", "sockhop login"]);
    run("list --context one --node x", &[]).expect_code(2);

    let listed = run("context list --json", &[]).expect_code(0).stdout;
    let records = harness::running::records(&listed);
    let told: Vec<(&Value, &Value)> =
        records.iter().map(|record| (&record["name"], &record["current"])).collect();
    assert_eq!(
        told,
        [("local", false), ("one", true), ("two", false)]
            .map(|(name, current)| (Value::from(name), Value::from(current)))
            .iter()
            .map(|(name, current)| (name, current))
            .collect::<Vec<_>>()
    );
    let shown = run("context", &[]).expect_code(0).stdout;
    assert!(shown.contains("*  one") && shown.contains("the node on this machine"), "{shown}");

    run("logout", &[]).expect_code(0);
    let none = run("list", &[]).expect_code(1).stderr;
    assert!(none.contains("sockhop-data") && !none.contains(&at_two), "{none}");
    run("logout", &[]).expect_code(2);
    run("context rm two", &[]).expect_code(0);
    assert!(!fs::read_to_string(user.file()).unwrap().contains("token"));
    // What others can read is no place for tokens.
    fs::set_permissions(user.file(), fs::Permissions::from_mode(0o644)).unwrap();
    run("list", &[]).expect_error(&["contexts.toml", "chmod 600"]);
    assert_eq!(asks(&format!("list --data {data}"), &[]), 1, "who names a node needs no context");
    one.stop();
    two.stop();
}

#[test]
fn the_certificates_of_a_node_are_kept_with_it() {
    let (authority, node, user) = (Authority::default(), admin_node(), User::new());
    let address = admin(&node).strip_prefix("http://").unwrap().parse().unwrap();
    let proxy = Proxy::with_tls(address, &authority);
    let url = format!("https://localhost:{}", proxy.address().port());
    let token = token(node.data());
    user.run(&format!("login {url}"), &[], &token).expect_error(&["certificate", "--ca"]);
    let copy = user.home.path().join("ca.pem");
    fs::copy(authority.file(), &copy).unwrap();
    user.run(&format!("login {url} --ca ca.pem"), &[], &token).expect_code(0);
    fs::remove_file(copy).unwrap();
    let status = user.run("status", &[], b"").expect_code(0).stdout;
    assert!(status.contains(&url), "{status}");
    // Of a node elsewhere, only its own addresses are told. This one is on this machine.
    let guest = harness::guests::path("hello");
    let deploy = format!("deploy {} --name hello", guest.display());
    let deployed = user.run(&deploy, &[], b"").expect_code(0);
    assert!(deployed.stderr.contains(&format!("to {url}, the context")), "{deployed:#?}");
    node.get("/hello/").expect_hello();
    node.stop();
}

/// What a shell would offer, by the way that its script calls the binary.
#[test]
fn a_shell_offers_functions_versions_and_contexts() {
    let (node, user) = (admin_node(), User::new());
    node.deploy("hello", "first", &[]);
    node.deploy("hello", "first", &["--no-activate"]);
    node.deploy("hello", "second", &[]);
    user.run(&format!("login {} --name far", admin(&node)), &[], &token(node.data()))
        .expect_code(0);
    let offered = |words: &[&str]| -> Vec<String> {
        let mut command = node::sockhop();
        command.arg("--").arg("sockhop").args(words).current_dir(user.home.path());
        command.env("XDG_CONFIG_HOME", user.home.path().join("config"));
        command
            .env("SOCKHOP_COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        let offered = Running::spawn(&mut command).finish(SOON).expect_code(0);
        let mut names: Vec<String> = offered.stdout.lines().map(str::to_owned).collect();
        names.retain(|name| !name.starts_with('-'));
        names.sort();
        names
    };
    assert_eq!(offered(&["inspect", ""]), ["first", "second"]);
    assert_eq!(offered(&["rm", "se"]), ["second"]);
    assert_eq!(offered(&["invoke", "first@"]), ["first@active", "first@v1", "first@v2"]);
    assert_eq!(offered(&["rollback", "first", "v"]), ["v1", "v2"]);
    assert_eq!(offered(&["list", "--context", ""]), ["far", "local"]);
    assert_eq!(offered(&["inspect", "--context", "local", "f"]), [""; 0]);
    assert!(offered(&["secr"]).contains(&"secret".to_owned()));
    assert!(!offered(&[""]).contains(&"compile".to_owned()));
    node.stop();
}
