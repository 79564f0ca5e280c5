//! The commands that a user types, without `serve` and `deploy`: what they print and how they end.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Node, Running, guests, needs, node, process};
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn deploy_prints_an_address_for_browsers_and_one_for_programs() {
    let node = Node::start();
    let port = node.addresses()[0].port();
    let file = guests::path("hello");
    let deploy = ["deploy", file.to_str().unwrap(), "--name", "page"];
    let expected =
        [format!("http://page.localhost:{port}/"), format!("http://127.0.0.1:{port}/page/")];
    let printed = node.cli(&deploy).expect_code(0).stdout;
    assert_eq!(printed.lines().skip(1).collect::<Vec<_>>(), expected, "{printed}");
    let printed = node.cli(&[&deploy[..], &["--json"]].concat()).expect_code(0).stdout;
    let value: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (&value["url"], &value["urls"]),
        (&expected[0].clone().into(), &expected.to_vec().into()),
        "{printed}"
    );
    node.stop();
}

#[test]
fn list_inspect_and_remove() {
    let node = Node::with(&["hello"]);
    node.deploy("echo", "second", &["--memory", "32MiB", "--timeout", "7s", "--env", "A=B"]);
    for name in ["hello", "second"] {
        assert!(node.list().contains(&format!("\"{name}\"")), "{}", node.list());
        assert!(node.cli(&["list"]).expect_code(0).stdout.contains(name));
        let inspected = node.cli(&["inspect", name, "--json"]).expect_code(0).stdout;
        let value: Value = serde_json::from_str(&inspected).unwrap();
        assert_eq!(value["name"], name, "{inspected}");
    }
    node.cli(&["status"]).expect_code(0);
    node.cli(&["remove", "second"]).expect_code(0);
    assert!(!node.list().contains("second"), "{}", node.list());
    node.get("/second/").expect_problem(404);
    for command in ["inspect", "remove", "invoke"] {
        node.cli(&[command, "second"]).expect_code(1);
    }
    node.get("/hello/").expect_hello();
    node.stop();
}

#[test]
fn status_tells_the_truth_about_the_processes() {
    let node = Node::with(&["hello"]);
    node.deploy("hello", "alone", &["--isolation", "process"]);
    node.get("/alone/").expect_hello();
    let status = node.status();
    assert_eq!(status.node.pid, node.pid());
    assert!(!status.node.draining);
    let below = process::children(node.pid());
    for (place, worker) in status.workers.iter().enumerate() {
        assert_eq!(worker.index as usize, place, "{status:#?}");
        assert_eq!((worker.state.as_str(), worker.restarts), ("ready", 0), "{status:#?}");
        assert!(below.contains(&worker.pid), "{below:?} {status:#?}");
        assert_eq!(process::cores(worker.pid), [worker.core as usize], "pinned, and where it says");
    }
    let pids: BTreeSet<u32> = status.workers.iter().map(|w| w.pid).collect();
    assert_eq!(pids.len(), status.workers.len(), "{status:#?}");
    let cores: BTreeSet<u32> = status.pool("shared").map(|w| w.core).collect();
    assert_eq!(cores.len(), status.pool("shared").count(), "one shared worker a core: {status:#?}");
    node.stop();
}

#[test]
fn invoke_prints_the_reply_and_fails_with_it() {
    let node = Node::with(&["hello", "echo", "inspect", "status", "panic"]);
    assert_eq!(node.cli(&["invoke", "hello"]).expect_code(0).stdout.trim_end(), "Hello, world!");
    let echoed =
        node.cli(&["invoke", "echo", "--method", "POST", "--body", "some text"]).expect_code(0);
    assert_eq!(echoed.stdout.trim_end(), "some text");

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("body");
    fs::write(&file, "from a file").unwrap();
    let at = format!("@{}", file.display());
    let echoed = node.cli(&["invoke", "echo", "--method", "POST", "--body", &at]).expect_code(0);
    assert_eq!(echoed.stdout.trim_end(), "from a file");

    let arguments =
        ["invoke", "inspect", "--path", "/p?q=1", "--header", "x-one:1", "--header", "x-two: 2"];
    let seen: Value = serde_json::from_str(&node.cli(&arguments).expect_code(0).stdout).unwrap();
    assert_eq!(
        (&seen["path"], &seen["query"], &seen["method"]),
        (&"/p".into(), &"q=1".into(), &"GET".into())
    );
    assert_eq!(
        (&seen["headers"]["x-one"][0], &seen["headers"]["x-two"][0]),
        (&"1".into(), &"2".into())
    );

    for (arguments, said) in [
        (&["invoke", "panic"][..], "HTTP 500"),
        (&["invoke", "status", "--path", "/?code=418"], "HTTP 418"),
        (&["invoke", "nobody"], "nobody"),
    ] {
        let failed = node.cli(arguments).expect_code(1);
        assert!(failed.stderr.contains(said), "{failed:#?}");
    }
    node.stop();
}

#[test]
fn invoke_takes_a_body_from_anywhere_and_shows_the_head() {
    let node = Node::with(&["echo", "status"]);
    let sent = node.cli_with_stdin(&["invoke", "echo", "-d", "@-"], b"from stdin").expect_code(0);
    assert_eq!(sent.stdout, "from stdin");
    let head = node.cli(&["invoke", "echo", "-X", "PUT", "-d", "text", "-i"]).expect_code(0).stdout;
    let (head, body) = head.split_once("\n\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\n") && head.contains("\nsockhop-invocation-id: "),
        "{head}"
    );
    assert_eq!(body, "text");
    let failed = node.cli(&["invoke", "status", "--path", "/?code=418", "-i"]).expect_code(1);
    let id = failed
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("sockhop-invocation-id: "))
        .unwrap();
    assert!(
        failed.stdout.starts_with("HTTP/1.1 418 ") && failed.stderr.contains(id),
        "{failed:#?}"
    );
    node.stop();
}

#[test]
fn remove_asks_at_a_terminal() {
    let node = Node::with(&["hello", "echo"]);
    let remove = |arguments: &[&str], typed: &[u8]| {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let mut command = node::sockhop();
        command.arg("remove").args(arguments).arg("--data").arg(node.data());
        let running = Running::spawn_with(&mut command, terminal.slave.into());
        fs::File::from(terminal.master.try_clone().unwrap()).write_all(typed).unwrap();
        running.finish(Duration::from_secs(20))
    };
    for typed in [&b"\n"[..], b"n\n", b"hello\n"] {
        let kept = remove(&["hello"], typed).expect_code(1);
        assert!(
            kept.stderr.contains("remove hello with its 1 version and its secrets? [y/N]"),
            "{kept:#?}"
        );
        node.get("/hello/").expect_hello();
    }
    let removed = remove(&["hello"], b"y\n").expect_code(0);
    assert!(removed.stderr.contains("sockhop restore hello"), "{removed:#?}");
    node.get("/hello/").expect_problem(404);
    let asked = remove(&["hello", "--for-good"], b"y\n").expect_code(0).stderr;
    assert!(asked.contains("remove what is kept of hello for good? [y/N]"), "{asked}");
    let asked = remove(&["echo", "--yes"], b"").expect_code(0).stderr;
    assert!(!asked.contains("[y/N]"), "{asked}");
    remove(&["echo"], b"y\n").expect_error(&["no function", "echo"]);
    node.stop();
}

#[test]
fn records_are_a_line_each_and_one_is_one() {
    let node = Node::with(&["hello"]);
    let printed = |arguments: &[&str]| node.cli(arguments).expect_code(0).stdout;
    assert!(printed(&["status"]).lines().next().unwrap().ends_with(": 1 function"));
    assert!(printed(&["top", "--once"]).contains("1 function "));
    node.deploy("hello", "other", &[]);
    node.deploy("hello", "other", &["--no-activate"]);
    node.cli_with_stdin(&["secret", "set", "other", "A"], b"1").expect_code(0);
    node.cli(&["alias", "set", "other@staging", "v1", "--json"]).expect_code(0);
    for (arguments, count) in [
        (&["list"][..], 2),
        (&["versions", "other"], 2),
        (&["alias", "list", "other"], 2),
        (&["secret", "list", "other"], 1),
        (&["inspect", "other"], 1),
        (&["status"], 1),
        (&["rollback", "other", "v2"], 1),
    ] {
        let printed = printed(&[arguments, &["--json"]].concat());
        let records = harness::running::records(&printed);
        assert!(
            records.len() == count && records.iter().all(Value::is_object),
            "{arguments:?}: {printed}"
        );
    }
    for path in ["/nobody/", "/hello@v9/"] {
        assert!(node.get(path).text().ends_with("}\n"), "{path}");
    }
    node.stop();
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_command_without_a_word() {
    let node = Node::with(&["hello"]);
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["inspect", "hello"],
        &["versions", "hello"],
        &["status"],
        &["invoke", "hello"],
    ] {
        let run = |stdout: Stdio| {
            let mut command = node::sockhop();
            let output = command
                .args(arguments)
                .arg("--data")
                .arg(node.data())
                .stdout(stdout)
                .output()
                .unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(run(writer.into()), (Some(0), String::new()), "{arguments:?}");
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (code, said) = run(full.into());
        assert!(
            code == Some(1) && said.starts_with("error: stdout cannot be written to: No space"),
            "{said}"
        );
    }
    node.stop();
}

#[test]
fn the_manifest_beside_the_file_is_read_and_options_come_first() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("inspect.wasm");
    fs::copy(guests::path("inspect"), &file).unwrap();
    let manifest = "name = \"from-file\"\nmemory = \"32MiB\"\ntimeout = \"5s\"\n\
                    isolation = \"process\"\n\
                    [env]\nCOLOUR = \"green\"\nSIZE = \"small\"\n";
    fs::write(folder.path().join("sockhop.toml"), manifest).unwrap();
    let file = file.to_str().unwrap();

    node.cli(&["deploy", file, "--json"]).expect_code(0);
    let seen = node.get("/from-file/").json();
    assert_eq!(seen["environment"], serde_json::json!({"COLOUR": "green", "SIZE": "small"}));
    assert_eq!(node.status().pool("from-file").count(), 1, "it has a worker of its own");

    node.cli(&[
        "deploy",
        file,
        "--name",
        "from-option",
        "--env",
        "SIZE=large",
        "--isolation",
        "shared",
    ])
    .expect_code(0);
    let seen = node.get("/from-option/").json();
    assert_eq!(seen["environment"], serde_json::json!({"COLOUR": "green", "SIZE": "large"}));
    assert_eq!(node.status().pool("from-option").count(), 0, "it has no worker of its own");
    node.stop();
}

#[test]
fn a_project_is_deployed_from_its_folder() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    let source = "target/wasm32-wasip2/release/inspect.wasm";
    let file = folder.path().join(source);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(folder.path().join("Cargo.toml"), "").unwrap();
    let toml = folder.path().join("sockhop.toml");
    let describe = |rest: &str| {
        fs::write(&toml, format!("name = \"shop\"\nsource = \"{source}\"\n{rest}")).unwrap()
    };
    let deploy = |given: &[&str]| {
        let mut command = node::sockhop();
        command.current_dir(folder.path()).arg("deploy").args(given).arg("--data").arg(node.data());
        Running::spawn(&mut command).finish(Duration::from_secs(60))
    };
    let environment = || node.get("/shop/").json()["environment"].clone();

    deploy(&[]).expect_code(2).expect_error_text(&["has no sockhop.toml", "FILE.wasm"]);
    deploy(&["."]).expect_error(&["has no sockhop.toml", "source = "]);
    describe("");
    deploy(&[]).expect_error(&["does not exist", "cargo build --release --target wasm32-wasip2"]);
    deploy(&[source]).expect_error(&["inspect.wasm", "does not exist"]);
    fs::copy(guests::path("inspect"), &file).unwrap();
    for (given, colour) in [(&[][..], "red"), (&["."], "green"), (&[source], "blue")] {
        describe(&format!("[env]\nCOLOUR = \"{colour}\"\n"));
        let deployed = deploy(given).expect_code(0);
        assert!(deployed.stderr.contains("sockhop.toml"), "{deployed:#?}");
        assert_eq!(environment(), serde_json::json!({ "COLOUR": colour }));
    }
    // What is removed from the manifest is gone, and options of the command line are for one
    // deploy.
    describe("memory = \"32MiB\"\n");
    let deployed = deploy(&["--env", "SIZE=large"]).expect_code(0);
    for line in
        ["memory: 64.0 MiB -> 32.0 MiB", "env.COLOUR: set -> not set", "env.SIZE: not set -> set"]
    {
        assert!(deployed.stderr.contains(line), "{line}: {deployed:#?}");
    }
    deploy(&["--unset", "memory"]).expect_code(0);
    assert_eq!(environment(), serde_json::json!({}));
    assert!(node.cli(&["inspect", "shop"]).expect_code(0).stdout.contains("64.0 MiB"));
    // The manifest of another project is not read.
    describe("[env]\nCOLOUR = \"red\"\n");
    fs::copy(guests::path("hello"), folder.path().join("hello.wasm")).unwrap();
    deploy(&["hello.wasm"]).expect_code(0);
    node.get("/hello/").expect_hello();
    node.stop();
}

#[test]
fn a_project_of_several_functions_is_deployed_in_its_order() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    fs::copy(guests::path("inspect"), folder.path().join("inspect.wasm")).unwrap();
    fs::copy(guests::path("hello"), folder.path().join("hello.wasm")).unwrap();
    let describe = |text: &str| fs::write(folder.path().join("sockhop.toml"), text).unwrap();
    let deploy = |given: &[&str]| {
        let mut command = node::sockhop();
        command.current_dir(folder.path()).arg("deploy").args(given).arg("--data").arg(node.data());
        Running::spawn(&mut command).finish(Duration::from_secs(60))
    };
    let shared =
        "timeout = \"5s\"\n[env]\nCOLOUR = \"green\"\n[function.web]\nsource = \"inspect.wasm\"\n";
    describe(&format!("{shared}[function.api]\nsource = \"hello.wasm\"\nmemory = \"32MiB\"\n"));
    let deployed = deploy(&["--json"]).expect_code(0);
    let [web, api] = &harness::running::records(&deployed.stdout)[..] else {
        panic!("{deployed:#?}")
    };
    assert_eq!((&web["name"], &api["name"]), (&"web".into(), &"api".into()));
    assert_eq!(
        (&web["limits"]["timeout_ms"], &api["limits"]["memory_bytes_max"]),
        (&5000.into(), &(32 << 20).into())
    );
    assert_eq!(node.get("/web/").json()["environment"], serde_json::json!({"COLOUR": "green"}));
    node.get("/api/").expect_hello();

    // A single function, by its name or by its file.
    for given in [&["--name", "web"][..], &[".", "--name", "web"], &["inspect.wasm"]] {
        let deployed = deploy(&[given, &["--env", "SIZE=large"]].concat()).expect_code(0);
        assert!(
            deployed.stdout.contains("deployed web, ") && !deployed.stdout.contains(" api"),
            "{deployed:#?}"
        );
        assert_eq!(node.get("/web/").json()["environment"]["SIZE"], "large");
    }
    deploy(&["--name", "nobody"]).expect_error(&["[function.nobody]", "web, api"]);

    // All are checked before the first one is sent, and none is sent after one that the node
    // refuses.
    let versions =
        || harness::running::records(&node.cli(&["versions", "web", "--json"]).stdout).len();
    let before = versions();
    describe(&format!("{shared}[function.api]\nsource = \"gone.wasm\"\n"));
    deploy(&[]).expect_error(&["[function.api]", "gone.wasm"]);
    assert_eq!(versions(), before);
    fs::copy(guests::path("no-reply"), folder.path().join("no-reply.wasm")).unwrap();
    let bad = "[function.bad]\nsource = \"no-reply.wasm\"\n";
    describe(&format!("{shared}{bad}[function.api]\nsource = \"hello.wasm\"\n"));
    deploy(&[]).expect_error(&["bad: ", "deployed: web; not deployed: bad, api"]);
    assert_eq!(versions(), before + 1);
    node.stop();
}

#[test]
fn help_is_no_wider_than_it_can_be_read() {
    let help =
        |arguments: &[&str]| node::run(arguments.iter().chain(&["--help"])).expect_code(0).stdout;
    let whole = help(&[]);
    let commands = whole.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<String> =
        commands.map_while(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert!(
        commands.len() > 15 && commands.iter().any(|command| command == "restore"),
        "{commands:?}"
    );
    for command in commands.iter().filter(|command| *command != "help") {
        let widest = help(&[command]).lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 100, "{command}: {widest}");
    }
}

#[test]
fn a_version_starts_from_the_options_of_the_active_one() {
    let node = Node::start();
    let file = guests::path("inspect");
    let deploy = |options: &[&str]| {
        let all = [&["deploy", file.to_str().unwrap(), "--name", "it"], options].concat();
        node.cli(&all).expect_code(0)
    };
    let inspect = || -> Value {
        serde_json::from_str(&node.cli(&["inspect", "it", "--json"]).expect_code(0).stdout).unwrap()
    };
    let memory = || inspect()["limits"]["memory_bytes_max"].clone();
    let first = ["--env", "A=hidden", "--env", "B=2", "--memory", "32MiB", "--timeout", "20s"];
    deploy(&[&first[..], &["--allow-outbound", "example.com:443", "--config", "C=3"]].concat());
    let again = deploy(&[]);
    assert!(again.stderr.contains("options: as in v1\n"), "{again:#?}");
    assert_eq!(inspect()["env"], serde_json::json!({"A": "hidden", "B": "2"}));
    assert_eq!(inspect()["allow_outbound"], serde_json::json!(["example.com:443"]));
    assert_eq!((memory(), &inspect()["config"]["C"]), (Value::from(32 << 20), &Value::from("3")));

    let changed = deploy(&["--env", "B=4", "--unset", "env.A", "--timeout", "5s", "--json"]);
    let printed: Value = serde_json::from_str(&changed.stdout).unwrap();
    assert_eq!(printed["before"]["number"], 2, "{printed:#}");
    assert_eq!(
        printed["url"],
        format!("http://it.localhost:{}/", node.addresses()[0].port()),
        "{printed:#}"
    );
    assert_eq!(inspect()["env"], serde_json::json!({"B": "4"}));
    // The limit of CPU time follows the time limit unless it is set.
    assert_eq!(inspect()["limits"]["cpu_time_ms"], 5000);
    assert_eq!(memory(), 32 << 20);

    deploy(&["--env", "A=hidden"]);
    let fresh = deploy(&["--fresh-options", "--memory", "16MiB"]);
    for line in [
        "memory: 32.0 MiB -> 16.0 MiB",
        "env.A: set -> not set",
        "allow-outbound: example.com:443 -> none",
    ] {
        assert!(fresh.stderr.contains(line), "{line}: {fresh:#?}");
    }
    assert!(!fresh.stderr.contains("hidden"), "values of variables may be sensitive: {fresh:#?}");
    assert_eq!(
        (inspect()["env"].clone(), memory()),
        (serde_json::json!({}), Value::from(16 << 20))
    );
    // After a rollback the next deploy starts from the options of that version.
    node.cli(&["rollback", "it", "v2"]).expect_code(0);
    deploy(&[]);
    assert_eq!(inspect()["env"], serde_json::json!({"A": "hidden", "B": "2"}));
    node.stop();
}

#[test]
fn without_a_name_the_file_gives_it() {
    let node = Node::start();
    let file = guests::path("hello-wstd");
    node.cli(&["deploy", file.to_str().unwrap()]).expect_code(0);
    node.get("/hello-wstd/").expect_hello();
    node.stop();
}

#[test]
fn a_host_name_reaches_a_function_with_the_path_whole() {
    let node = Node::build().option("--domain", "example.com").start();
    node.deploy("inspect", "inspect", &[]);
    let mut connection = node.connect();
    for host in ["inspect.example.com", "inspect.example.com:8080", "INSPECT.Example.Com"] {
        connection.send(harness::client::request("GET", "/inspect/p?q", &[("host", host)], b""));
        let seen = connection.reply().json();
        assert_eq!((&seen["path"], &seen["query"]), (&"/inspect/p".into(), &"q".into()), "{host}");
        assert_eq!(seen["headers"]["x-forwarded-prefix"], Value::Null, "{host}");
    }
    // Under any other host it is reached by its path.
    connection.send(harness::client::request("GET", "/inspect/p", &[("host", "example.com")], b""));
    assert_eq!(connection.reply().json()["path"], "/p");
    connection.send(harness::client::request("GET", "/", &[("host", "nobody.example.com")], b""));
    assert!(connection.reply().expect_problem(404).contains("nobody"));
    node.stop();
}

#[test]
fn the_node_is_found_by_option_and_by_environment() {
    let node = Node::with(&["hello"]);
    let socket = node.data().join("control.sock");
    let socket = socket.to_str().unwrap();
    let listed = node::run(["list", "--json", "--node", socket]).expect_code(0).stdout;
    assert_eq!(listed, node.list());
    let mut command = node::sockhop();
    let found = Running::spawn(command.args(["list", "--json"]).env("SOCKHOP_NODE", socket));
    assert_eq!(found.finish(Duration::from_secs(10)).expect_code(0).stdout, listed);
    node.stop();
}

#[test]
fn a_node_that_does_not_answer_is_told_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let list = |command: &mut Command| {
        Running::spawn(command.current_dir(folder.path()).arg("list"))
            .finish(Duration::from_secs(10))
    };
    assert!(
        !Path::new("/var/lib/sockhop").exists(),
        "this machine has a node of its own in /var/lib/sockhop, which every command would find: \
         run this test on another one"
    );
    list(&mut node::sockhop()).expect_error(&[
        "./sockhop-data",
        "/var/lib/sockhop",
        "--data",
        "--node",
        "sockhop serve",
    ]);
    let data = folder.path().join("sockhop-data");
    fs::create_dir(&data).unwrap();
    list(&mut node::sockhop())
        .expect_error(&["sockhop serve --data ./sockhop-data", "/var/lib/sockhop"]);
    let named =
        list(node::sockhop().env("SOCKHOP_DATA", &data)).expect_error(&[data.to_str().unwrap()]);
    assert!(!named.stderr.contains("/var/lib/sockhop"), "{named:#?}");

    let node = Node::build().data(&data).start();
    list(&mut node::sockhop()).expect_code(0);
    node.stop();
}

#[test]
fn a_node_of_another_user_is_an_error_that_names_the_user() {
    needs::root("run a command as another user");
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let node = Node::build().data(&folder.path().join("sockhop-data")).start();
    let nobody = 65534;
    let mut list = node::sockhop();
    list.current_dir(folder.path()).arg("list").uid(nobody).gid(nobody);
    let denied = Running::spawn(&mut list)
        .finish(Duration::from_secs(10))
        .expect_error(&["permission denied", "sudo -u root"]);
    assert!(!denied.stderr.contains("sockhop serve"), "a second node is no help: {denied:#?}");
    node.stop();
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &["no-such-command"][..],
        &["serve", "--no-such-option"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--cores", "many"],
        &["serve", "--head-timeout", "soon"],
        &["deploy"],
        &["deploy", "x.wasm", "--unset", "memroy"],
        &["deploy", "x.wasm", "--memory", "much"],
        &["deploy", "x.wasm", "--timeout", "later"],
        &["deploy", "x.wasm", "--isolation", "somehow"],
        &["deploy", "x.wasm", "--env", "NO_EQUALS_SIGN"],
        &["deploy", "x.wasm", "--config", "NO_EQUALS_SIGN"],
        &["deploy", "x.wasm", "--kind", "library"],
        &["deploy", "x.wasm", "--output", "somehow"],
        &["deploy", "x.wasm", "--instances", "reuse=0"],
        &["deploy", "x.wasm", "--cpu-time", "later"],
        &["deploy", "x.wasm", "--concurrency", "many"],
        &["deploy", "x.wasm", "--concurrency", "-1"],
        &["invoke"],
    ] {
        let wrong = node::run(arguments).expect_code(2);
        assert!(
            wrong.stderr.contains("error: ") || wrong.stderr.contains("Usage"),
            "{arguments:?}: {wrong:#?}"
        );
        assert_eq!(wrong.stdout, "", "{arguments:?}");
    }
    node::run(["--help"]).expect_code(0);
    node::run(["--version"]).expect_code(0);
}
