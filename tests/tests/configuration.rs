//! Configuration: the order of flags, variables and file, messages about mistakes, what a running
//! node applies at SIGHUP, logs as JSON, and the completions and man pages.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::{Finished, Node, Running, node, wait};
use serde_json::Value;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(10);

/// A folder with a configuration file.
struct Config {
    folder: TempDir,
}

impl Config {
    fn new(text: &str) -> Self {
        let config = Self { folder: TempDir::new().unwrap() };
        config.write(text);
        config
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("node.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    fn node(&self) -> Node {
        Node::build().option("--config", self.path()).start()
    }
}

fn check(path: &Path, variables: &[(&str, &str)], flags: &[&str]) -> Finished {
    let mut command = node::sockhop();
    command
        .arg("check-config")
        .arg("--config")
        .arg(path)
        .args(flags)
        .envs(variables.iter().copied());
    Running::spawn(&mut command).finish(LIMIT)
}

/// Returns the lines without their comments.
fn settings(printed: &str) -> BTreeSet<&str> {
    printed
        .lines()
        .map(|line| line.split_once("  # ").map_or(line, |(setting, _)| setting))
        .collect()
}

/// Waits until the log has `count` lines with every one of `parts`.
fn until_logged(node: &Node, count: usize, parts: &[&str]) {
    let is = |line: &&str| parts.iter().all(|part| line.contains(part));
    wait::for_value(
        "the node logs it",
        LIMIT,
        || node.stderr(),
        |log| log.lines().filter(is).count() >= count,
    );
}

/// Sends a head that never ends, and returns the node's answer.
fn slow_head(node: &Node) -> String {
    let mut connection = node.connect();
    connection.send("GET /hello/ HTTP/1.1\r\nhost: a\r\n");
    connection.reply().expect_problem(408)
}

#[test]
fn flags_win_over_variables_variables_over_the_file_and_each_is_named() {
    let config =
        Config::new("head_timeout = \"1s\"\nidle_timeout = \"2s\"\ndata = \"/from/file\"\n");
    let variables = [
        ("SOCKHOP_IDLE_TIMEOUT", "3s"),
        ("SOCKHOP_DATA", "/from/variable"),
        ("SOCKHOP_LISTEN", "127.0.0.1:1,[::1]:2"),
    ];
    let printed =
        check(&config.path(), &variables, &["--data", "/from/flag"]).expect_code(0).stdout;
    let from_file =
        format!("head_timeout = \"1s\"  # head_timeout in {:?} line 1 column 16", config.path());
    for line in [
        from_file.as_str(),
        "idle_timeout = \"3s\"  # SOCKHOP_IDLE_TIMEOUT",
        "data = \"/from/flag\"  # --data",
        "listen = [\"127.0.0.1:1\", \"[::1]:2\"]  # SOCKHOP_LISTEN",
        "write_timeout = \"30s\"  # default",
        "# domain is not set",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "no line {line:?} in\n{printed}");
    }
    // A variable may name the file too. A file that is not named is not read.
    let named = |variables: &[(&str, &str)]| {
        let mut command = node::sockhop();
        command
            .arg("check-config")
            .current_dir(config.folder.path())
            .envs(variables.iter().copied());
        Running::spawn(&mut command).finish(LIMIT).expect_code(0).stdout
    };
    assert!(named(&[("SOCKHOP_CONFIG", "node.toml")]).contains("data = \"/from/file\""));
    fs::rename(config.path(), config.folder.path().join("sockhop.toml")).unwrap();
    assert!(named(&[]).contains("data = \"./sockhop-data\"  # default"));
}

#[test]
fn what_check_config_prints_is_a_configuration_that_says_the_same() {
    let first = Config::new(
        "listen = [\"127.0.0.1:0\"]\ndata = \"/a \\\"b\\\" é\"\ncores = 0\n\
         domain = \"Example.com\"\nhead_timeout = \"1500ms\"\n\
         log = \"warn,sockhop=debug\"\nlog_format = \"json\"\n",
    );
    let printed = check(&first.path(), &[], &[]).expect_code(0).stdout;
    let second = Config::new(&printed);
    let again = check(&second.path(), &[], &[]).expect_code(0).stdout;
    assert_eq!(settings(&printed), settings(&again));
    assert!(again.contains("head_timeout = \"1500ms\"  # head_timeout in"), "{again}");
}

#[test]
fn nor_is_one_in_the_address_of_a_node_or_a_registry() {
    let nowhere = |arguments: &[&str]| {
        let mut command = node::sockhop();
        command.args(arguments).env("SOCKHOP_NODE", "https://me:hunter2@host/");
        Running::spawn(&mut command).finish(LIMIT).stderr
    };
    for said in [
        nowhere(&["list"]),
        nowhere(&["list", "--node", "https://me:hunter2@host/"]),
        nowhere(&["login", "https://me:hunter2@host"]),
        nowhere(&["deploy", "oci://me:hunter2@host/x:1"]),
    ] {
        assert!(said.contains("host") && !said.contains("hunter2"), "{said}");
    }
}

/// A person who writes a password into a URL, where it is no good, does not find it in the log.
#[test]
fn no_password_of_a_url_is_repeated_wherever_it_was_given() {
    let nothing = Config::new("");
    let settings = ["s3_endpoint", "otlp_endpoint", "acme_directory", "nats", "store", "admin"];
    for (setting, scheme) in settings.iter().flat_map(|name| [(name, "https"), (name, "s3")]) {
        let url = format!("{scheme}://me:hunter2@host:port/");
        let in_file = Config::new(&format!("{setting} = {url:?}\n"));
        let variable = format!("SOCKHOP_{}", setting.to_uppercase());
        let flag = format!("--{}", setting.replace('_', "-"));
        for said in [
            check(&in_file.path(), &[], &[]).expect_code(1).stderr,
            check(&nothing.path(), &[(&variable, &url)], &[]).expect_code(1).stderr,
            check(&nothing.path(), &[], &[&format!("{flag}={url}")]).stderr,
        ] {
            assert!(!said.contains("hunter2"), "{said}");
            assert!(said.contains(setting) || said.contains(&flag), "{said}");
        }
    }
}

#[test]
fn check_config_warns_of_what_can_be_seen_without_a_node() {
    let config =
        Config::new("data = \"here\"\nlisten = [\"no-such-host.invalid:80\"]\ncores = \"1000\"\n");
    let slip = [("SOCKHOP_HEAD_TIMOUT", "1s"), ("SOCKHOP_NODE", "x")];
    let warned = check(&config.path(), &slip, &[]).expect_code(0).stderr;
    for part in [
        "data in",
        "is relative",
        "no-such-host.invalid:80",
        "cores in",
        "core 1000 is not among",
        "SOCKHOP_HEAD_TIMOUT is no setting; did you mean SOCKHOP_HEAD_TIMEOUT?",
    ] {
        assert!(warned.contains(part), "{part:?} is not in\n{warned}");
    }
    assert!(warned.lines().all(|line| line.starts_with("warning: ")), "{warned}");
    let config = Config::new("data = \"/here\"\nlisten = \"127.0.0.1:80\"\n");
    assert_eq!(check(&config.path(), &[], &[]).expect_code(0).stderr, "");
}

#[test]
fn mistakes_keep_a_node_from_starting_and_name_place_and_remedy() {
    let config = Config::new("head_timout = \"5s\"\nidle_timeout = 5\n");
    let at = format!("{:?} line 1 column 1", config.path());
    let words = [
        at.as_str(),
        "no key \"head_timout\"",
        "did you mean \"head_timeout\"?",
        "idle_timeout in",
        "line 2 column 16",
    ];
    check(&config.path(), &[], &[]).expect_error(&words);
    let path = config.path();
    let serve = |flags: &[&str]| {
        node::run([&["serve", "--config", path.to_str().unwrap()], flags].concat())
    };
    let ended = serve(&["--data", config.folder.path().join("data").to_str().unwrap()])
        .expect_error(&words);
    assert_eq!(ended.stdout, "");
    assert!(!config.folder.path().join("data").exists(), "nothing has been begun");

    config.write("listen = [\"127.0.0.1:0\"]\ncores = \"1000\"\n");
    serve(&[]).expect_error(&["cores in", "line 2", "core 1000 is not among"]);
    config.write("listen = \n");
    check(&config.path(), &[], &[]).expect_error(&["line 1", "no TOML"]);
    fs::remove_file(config.path()).unwrap();
    check(&config.path(), &[], &[]).expect_error(&["node.toml", "cannot be read"]);
    // A wrong flag is wrong usage.
    config.write("");
    check(&config.path(), &[], &["--head-timeout", "soon"]).expect_code(2);
}

#[test]
fn a_node_takes_variables_and_file() {
    let config = Config::new("domain = \"example.com\"\nhead_timeout = \"1h\"\n");
    let node = Node::build()
        .option("--config", config.path())
        .variable("SOCKHOP_HEAD_TIMEOUT", "200ms")
        .start();
    node.deploy("hello", "hello", &[]);
    assert!(slow_head(&node).contains("200ms"));
    let mut connection = node.connect();
    connection.send(harness::client::request("GET", "/", &[("host", "hello.example.com")], b""));
    connection.reply().expect_hello();
    node.stop();
}

#[test]
fn sighup_takes_over_what_can_change_and_names_what_cannot() {
    let config = Config::new("head_timeout = \"1h\"\n");
    let node = config.node();
    node.deploy("hello", "hello", &[]);
    node.deploy("hello", "alone", &["--isolation", "process"]);
    let pids = node.processes();
    let mut before = node.connect();
    before.get("/hello/").expect_hello();

    config.write("head_timeout = \"200ms\"\ndomain = \"example.com\"\nlog_format = \"json\"\n");
    node.hang_up();
    until_logged(
        &node,
        1,
        &[
            "WARN",
            "configuration re-read",
            "head_timeout 1h -> 200ms",
            "log_format text -> json needs a restart",
        ],
    );
    assert!(slow_head(&node).contains("200ms"));
    for host in ["hello.example.com", "alone.example.com"] {
        before.send(harness::client::request("GET", "/", &[("host", host)], b""));
        before.reply().expect_hello();
    }
    // It also applies to the next request of a connection that existed before.
    before.send("GET /hello/ HTTP/1.1\r\n");
    before.reply().expect_problem(408);

    // The mistakes are reported in one line.
    config.write("head_timout = \"1s\"\ncore = 1\n");
    node.hang_up();
    until_logged(
        &node,
        1,
        &["ERROR", "the settings stay", "2 mistakes", "\"head_timout\"", "\"core\""],
    );
    for (count, broken) in
        ["head_timeout = 1\n", "this is no TOML", "head_timout = \"1s\""].into_iter().enumerate()
    {
        config.write(broken);
        node.hang_up();
        until_logged(&node, count + 2, &["ERROR", "the settings stay as they were", "line 1"]);
    }
    assert!(slow_head(&node).contains("200ms"));

    config.write("head_timeout = \"300ms\"\nlog_format = \"text\"\n");
    node.hang_up();
    until_logged(
        &node,
        1,
        &[
            "INFO",
            "configuration re-read",
            "domain example.com -> none",
            "head_timeout 200ms -> 300ms",
        ],
    );
    assert!(slow_head(&node).contains("300ms"));
    // A worker that starts later has them too.
    let shared = node.status().pool("shared").map(|worker| worker.pid).collect::<Vec<_>>();
    shared.iter().copied().for_each(harness::running::kill_now);
    node.until_status("all workers are new and ready", LIMIT, |status| {
        status.workers.iter().all(|worker| worker.state == "ready" && !shared.contains(&worker.pid))
    });
    assert!(slow_head(&node).contains("300ms"));
    assert_eq!(node.pid(), pids[0]);
    node.stop();
}

#[test]
fn without_a_file_sighup_is_logged_and_harms_nobody() {
    let node = Node::with(&["hello"]);
    node.hang_up();
    until_logged(&node, 1, &["SIGHUP", "without --config"]);
    node.get("/hello/").expect_hello();
    // A terminal sends its signals to the whole group.
    for worker in node.status().workers {
        let status = fs::read_to_string(format!("/proc/{}/status", worker.pid)).unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        assert_eq!(ignored & 0b11, 0b11, "SIGHUP and SIGINT: {status}");
    }
    node.stop();
}

#[test]
fn sighup_changes_what_is_logged() {
    let config = Config::new("log = \"error\"\n");
    let node = config.node();
    assert_eq!(node.stderr(), "", "there is nothing wrong to log");
    config.write("log = \"info,sockhop_worker=debug\"\n");
    node.hang_up();
    until_logged(&node, 1, &["log error -> info,sockhop_worker=debug"]);
    // The workers write in the same form.
    until_logged(
        &node,
        node.status().workers.len(),
        &["DEBUG sockhop_worker", "new settings are taken over"],
    );
    node.stop();
}

#[test]
fn json_logs_are_one_object_a_line_from_the_node_and_its_guests() {
    let mut node = Node::build().option("--log-format", "json").start();
    node.deploy("panic", "panic", &["--isolation", "process"]);
    node.deploy("cmd", "cmd", &[]);
    let id = node.get("/panic/").head.invocation_id().to_owned();
    let long = "e".repeat(1000);
    let query = vec![format!("eprint={long}"); 20].join("&");
    assert_eq!(node.get(&format!("/cmd/?{query}")).status(), 200);
    // The lines of the two processes are read by threads of their own.
    until_logged(&node, 1, &["cmd", "eeee"]);
    until_logged(&node, 1, &["panic", "stderr"]);
    let killed = node.status().pool("panic").next().unwrap().pid;
    harness::running::kill_now(killed);
    until_logged(&node, 1, &["died"]);
    let second = node::run([
        "serve",
        "--log-format",
        "json",
        "--listen",
        "127.0.0.1:0",
        "--data",
        node.data().to_str().unwrap(),
    ]);
    assert_eq!(second.code, Some(1), "{second:#?}");
    node.stop_within(LIMIT);

    let parse = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    };
    let lines: Vec<Value> = node.stderr().lines().map(parse).collect();
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
    }
    let said = |wanted: &dyn Fn(&Value) -> bool| lines.iter().filter(|line| wanted(line)).count();
    assert!(
        said(&|line| line["target"] == "guest"
            && line["stream"] == "stderr"
            && line["invocation"] == *id)
            > 0
    );
    let of_cmd = lines.iter().filter(|line| line["target"] == "guest" && line["function"] == "cmd");
    assert_eq!(
        of_cmd.map(|line| line["message"].as_str().unwrap()).collect::<String>(),
        long.repeat(20)
    );
    assert!(
        said(&|line| line["level"] == "ERROR" && line["message"].as_str().unwrap().contains("died"))
            == 1
    );
    let why = parse(second.stderr.lines().last().unwrap());
    assert_eq!((&why["level"], why["message"].is_string()), (&"ERROR".into(), true), "{why}");
}

/// Returns the commands of `sockhop` and their subcommands, with hyphens between.
fn commands(above: &[&str]) -> BTreeSet<String> {
    let help = node::run([above, &["--help"]].concat()).expect_code(0).stdout;
    let list = help
        .split("Commands:")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next())
        .unwrap_or_default();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names =
        names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names
        .flat_map(|name| {
            let whole = [above, &[name]].concat();
            commands(&whole).into_iter().chain([whole.join("-")])
        })
        .collect()
}

#[test]
fn completions_are_scripts_of_each_shell_that_ask_the_binary() {
    let folder = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = node::run(["completions", shell]).expect_code(0).stdout;
        assert!(script.contains("SOCKHOP_COMPLETE") && script.contains("sockhop"), "{shell}");
        if shell == "bash" {
            let file = folder.path().join("sockhop.bash");
            fs::write(&file, script).unwrap();
            assert!(Command::new("bash").arg("-n").arg(&file).status().unwrap().success());
        }
    }
    node::run(["completions", "csh"]).expect_code(2);
}

#[test]
fn there_is_a_man_page_for_every_command() {
    let folder = TempDir::new().unwrap();
    let pages = folder.path().join("man");
    node::run(["man", "--out", pages.to_str().unwrap()]).expect_code(0);
    let found: BTreeSet<String> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let commands = commands(&[]);
    assert!(commands.len() >= 10, "{commands:?}");
    let wanted = commands
        .iter()
        .map(|command| format!("sockhop-{command}.1"))
        .chain(["sockhop.1".to_owned()]);
    assert_eq!(found, wanted.collect());
    let serve = fs::read_to_string(pages.join("sockhop-serve.1")).unwrap();
    assert!(serve.starts_with(".ie") || serve.contains(".TH"), "{serve}");
    assert!(serve.contains("SOCKHOP_HEAD_TIMEOUT"), "{serve}");
    let whole = node::run(["man"]).expect_code(0).stdout;
    assert_eq!(whole, fs::read_to_string(pages.join("sockhop.1")).unwrap());
}
