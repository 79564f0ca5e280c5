//! Secrets: only their function has them, a change applies from the moment that the command
//! returns, and bad keys and values are refused.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use harness::client::request;
use harness::disk::files;
use harness::faults::{Fault, Proxy};
use harness::running::records;
use harness::s3::Server;
use harness::{Connection, Node, Running, node, wait};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);
/// A text that is in no file of ours and in no program.
const MARK: &str = "hush-7Qx9Zt4Lw2";

fn set(node: &Node, name: &str, key: &str, value: &str) {
    node.cli_with_stdin(&["secret", "set", name, key], value.as_bytes()).expect_code(0);
}

/// Returns the environment of the guest `inspect`, deployed as `name`.
fn environment(node: &Node, name: &str) -> Value {
    node.get(&format!("/{name}/")).json()["environment"].clone()
}

fn keys(node: &Node, name: &str) -> Vec<String> {
    let listed =
        node.cli_with_stdin(&["secret", "list", name, "--json"], b"").expect_code(0).stdout;
    records(&listed).iter().map(|secret| secret["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_function_finds_its_secrets_in_its_environment_and_its_configuration() {
    let node = Node::start();
    // Before the function exists, and with every kind of line end.
    set(&node, "shop", "EARLY", "one\n");
    set(&node, "shop", "LINES", "a\nb\r\n");
    node.cli_with_stdin(&["secret", "set", "shop", "EXACT", "--exact"], b"two\n").expect_code(0);
    node.deploy("inspect", "shop", &["--env", "PLAIN=p", "--env", "EARLY=not this"]);
    let seen = environment(&node, "shop");
    assert_eq!(seen, json!({"PLAIN": "p", "EARLY": "one", "LINES": "a\nb", "EXACT": "two\n"}));
    assert_eq!(keys(&node, "shop"), ["EARLY", "EXACT", "LINES"]);

    // Another version has them too, and another function does not.
    node.deploy("inspect", "shop", &["--isolation", "process", "--unset", "env"]);
    assert_eq!(
        environment(&node, "shop"),
        json!({"EARLY": "one", "LINES": "a\nb", "EXACT": "two\n"})
    );
    node.deploy("inspect", "other", &[]);
    assert_eq!(environment(&node, "other"), json!({}));

    set(&node, "conf", "colour_2", "blue");
    node.deploy("config", "conf", &["--config", "colour=green", "--arg", "colour_2"]);
    assert_eq!(node.get("/conf/").text(), "colour_2=blue\n\ncolour=green\ncolour_2=blue\n");
    set(&node, "cmd", "QUERY_STRING", "never");
    set(&node, "cmd", "TOKEN", "t");
    node.deploy("cmd", "cmd", &[]);
    let printed = node.get("/cmd/?env").text();
    assert!(
        printed.contains("\nTOKEN=t\n") && printed.contains("\nQUERY_STRING=env\n"),
        "{printed}"
    );
    node.stop();
}

#[test]
fn a_change_counts_when_the_command_has_returned_and_a_removal_too() {
    let node = Node::start();
    node.deploy("inspect", "shop", &["--instances", "reuse=1000"]);
    node.deploy("counter", "other", &["--instances", "reuse=1000"]);
    let mut connection = node.connect();
    let counted = connection.get("/other/").text();
    node.until_idle();
    for value in ["1", "2"] {
        set(&node, "shop", "A", value);
        assert_eq!(connection.get("/shop/").json()["environment"], json!({"A": value}));
    }
    node.cli_with_stdin(&["secret", "remove", "shop", "A"], b"").expect_code(0);
    assert_eq!(connection.get("/shop/").json()["environment"], json!({}));
    node.cli_with_stdin(&["secret", "remove", "shop", "A"], b"")
        .expect_error(&["no secret \"A\"", "secret list shop"]);
    // Other functions are not affected: an instance that was kept serves on.
    assert_eq!((counted.as_str(), connection.get("/other/").text().as_str()), ("1", "2"));

    // They are removed with their function, and are kept over a restart.
    set(&node, "shop", "B", "b");
    set(&node, "other", "C", "c");
    node.cli(&["remove", "shop"]).expect_code(0);
    assert_eq!(keys(&node, "shop"), Vec::<String>::new());
    assert_eq!(keys(&node, "other"), ["C"]);
    node.deploy("inspect", "shop", &[]);
    assert_eq!(environment(&node, "shop"), json!({}));
    node.stop();
}

#[test]
fn secrets_outlive_the_node_and_are_handed_over_with_it() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::build().data(data.path()).start();
    node.deploy("inspect", "shop", &[]);
    set(&node, "shop", "A", "a");
    let node = node.taken_over();
    assert_eq!(environment(&node, "shop"), json!({"A": "a"}));
    node.stop();
    let node = Node::build().data(data.path()).start();
    assert_eq!(environment(&node, "shop"), json!({"A": "a"}));
    node.stop();
}

/// Returns every file below a folder that contains `text`.
fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = files(folder);
    // Sockets cannot be read, and the node may have removed a file since it was listed.
    found.retain(|path| fs::read(path).is_ok_and(|bytes| contains(&bytes, text)));
    found
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn a_value_is_nowhere_but_with_its_function() {
    let node =
        Node::build().option("--log", "trace").option("--access-log", "json").in_folder().start();
    node.deploy("inspect", "shop", &[]);
    node.deploy("hello", "alone", &["--isolation", "process"]);
    let said =
        node.cli_with_stdin(&["secret", "set", "shop", "API_KEY"], MARK.as_bytes()).expect_code(0);
    assert!(!format!("{said:?}").contains(MARK));
    assert_eq!(environment(&node, "shop"), json!({"API_KEY": MARK}));
    node.get("/alone/").expect_hello();

    for command in [
        &["inspect", "shop"][..],
        &["inspect", "shop", "--json"],
        &["list", "--json"],
        &["status", "--json"],
    ] {
        assert!(!node.cli(command).expect_code(0).stdout.contains(MARK), "{command:?}");
    }
    for command in [&["secret", "list", "shop"][..], &["secret", "list", "shop", "--json"]] {
        let printed = node.cli_with_stdin(command, b"").expect_code(0).stdout;
        assert!(printed.contains("API_KEY") && !printed.contains(MARK), "{printed}");
    }
    assert_eq!(files_with(node.data(), MARK), Vec::<PathBuf>::new());
    let digits: String = MARK.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(files_with(node.data(), &digits), Vec::<PathBuf>::new());
    // The search finds it where it is.
    assert_eq!(files_with(&node.data().join("store"), "ciphertext").len(), 1);
    for pid in node.processes() {
        for file in ["environ", "cmdline"] {
            assert!(
                !contains(&fs::read(format!("/proc/{pid}/{file}")).unwrap(), MARK),
                "{file} of {pid}"
            );
        }
    }
    let key = node.data().join("secrets.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let key = fs::read_to_string(key).unwrap();
    assert_eq!(files_with(&node.data().join("store"), key.trim()), Vec::<PathBuf>::new());
    let stderr = node.stderr();
    assert!(stderr.contains("secret API_KEY of function \"shop\" is set"), "{stderr}");
    assert!(!stderr.contains(MARK) && !stderr.contains(key.trim()));
    node.stop();
}

#[test]
fn a_worker_gets_no_secrets_of_functions_that_it_does_not_run() {
    let folder = node::binaries_with_worker(env!("CARGO_BIN_EXE_hostile-worker"));
    let node = Node::build().binaries(folder.path()).start();
    node.deploy("inspect", "shop", &[]);
    set(&node, "shop", "A", MARK);
    node.deploy("hello", "alone", &["--isolation", "process"]);
    fs::write(folder.path().join("mischief"), "asks for another's secrets").unwrap();
    let mut connection = node.connect();
    connection.send("GET /alone/ HTTP/1.1\r\nHost: a\r\n\r\n");
    let received = wait::until("it is told", SOON, || {
        fs::read_to_string(folder.path().join("received"))
            .ok()
            .filter(|received| !received.is_empty())
    });
    assert!(received.contains("does not run the function"), "{received}");
    assert_eq!(environment(&node, "shop"), json!({"A": MARK}));
    drop(connection);
    drop(node);
}

/// Writes a key file in a folder that is not the node's.
fn key_file(folder: &Path, text: &str, mode: u32) -> PathBuf {
    let path = folder.join("key");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_bad_key_file_keeps_a_node_from_starting_and_another_key_keeps_a_function_from_running() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let path = folder.path().join("key");
    let start = |key: &Path| {
        let (data, key) = (data.to_str().unwrap(), key.to_str().unwrap());
        node::run(["serve", "--data", data, "--listen", "127.0.0.1:0", "--secrets-key", key])
    };
    let digits = "0123456789abcdef".repeat(4);
    start(&path).expect_error(&["--secrets-key", "cannot be read", path.to_str().unwrap()]);
    start(&key_file(folder.path(), &digits[1..], 0o600))
        .expect_error(&["--secrets-key", "64 hexadecimal digits"]);
    start(&key_file(folder.path(), &digits, 0o644)).expect_error(&[
        "--secrets-key",
        "644",
        "chmod 600",
    ]);

    let node = Node::build()
        .data(&data)
        .option("--secrets-key", key_file(folder.path(), &digits, 0o600))
        .start();
    node.deploy("inspect", "shop", &[]);
    node.deploy("hello", "hello", &[]);
    set(&node, "shop", "A", MARK);
    assert_eq!(environment(&node, "shop"), json!({"A": MARK}));
    node.stop();
    assert!(!data.join("secrets.key").exists());

    // With another key, or with none, the function fails and says why. The others serve.
    for other in [None, Some("f".repeat(64))] {
        let mut node = Node::build().data(&data);
        if let Some(other) = &other {
            node = node.option("--secrets-key", key_file(folder.path(), other, 0o600));
        }
        let node = node.start();
        let reply = node.get("/shop/");
        let detail = reply.expect_problem(500);
        assert!(detail.contains("the node's log says why") && !detail.contains("key"), "{detail}");
        wait::until("the log names the setting", SOON, || {
            node.stderr().contains("--secrets-key").then_some(())
        });
        assert!(!node.stderr().contains(MARK));
        node.get("/hello/").expect_hello();
        let listed = node.cli_with_stdin(&["secret", "list", "shop"], b"").expect_code(0).stdout;
        assert!(listed.contains("--secrets-key"), "{listed}");
        if other.is_some() {
            // It is there again after it is set again.
            set(&node, "shop", "A", "new");
            assert_eq!(environment(&node, "shop"), json!({"A": "new"}));
        }
        node.stop();
    }
}

#[test]
fn a_secret_changed_under_load_loses_no_request_and_is_never_late() {
    const CONNECTIONS: usize = 50;
    const CHANGES: u64 = 8;
    for isolation in ["shared", "process"] {
        let node = Node::start();
        set(&node, "it", "VERSION", "1");
        node.deploy("inspect", "it", &["--isolation", isolation]);
        let (promised, stop, served) =
            (AtomicU64::new(1), AtomicBool::new(false), AtomicU64::new(0));
        let address = node.addresses()[0];
        let client = || {
            let mut connection = Connection::open(address);
            while !stop.load(SeqCst) {
                let before = promised.load(SeqCst);
                let seen: u64 = connection.get("/it/").json()["environment"]["VERSION"]
                    .as_str()
                    .unwrap()
                    .parse()
                    .unwrap();
                assert!(seen >= before, "{seen} after {before} was set");
                served.fetch_add(1, SeqCst);
            }
        };
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(client)).collect();
            let _end = wait::StopOnDrop(&stop);
            for number in 2..2 + CHANGES {
                let goal = served.load(SeqCst) + CONNECTIONS as u64;
                wait::until("the load goes on", Duration::from_secs(60), || {
                    let over = clients.iter().any(thread::ScopedJoinHandle::is_finished);
                    (over || served.load(SeqCst) >= goal).then_some(())
                });
                set(&node, "it", "VERSION", &number.to_string());
                promised.store(number, SeqCst);
            }
        });
        node.stop();
    }
}

#[test]
fn nodes_that_share_store_and_key_share_secrets_too_and_keep_them_while_the_store_is_away() {
    let (server, folder) = (Server::s3s_fs(), tempfile::tempdir().unwrap());
    let proxy = Proxy::before(server.address());
    let key = key_file(folder.path(), &"0123456789abcdef".repeat(4), 0o600);
    let start = |data: &str| {
        let node = Node::build().option("--sync-interval", "100ms").option("--secrets-key", &key);
        node.data(&folder.path().join(data)).bucket(&server, "p", proxy.address()).start()
    };
    let (one, other) = (start("one"), start("other"));
    one.deploy("inspect", "shop", &[]);
    let until = |node: &Node, wanted: Value| {
        let look = || {
            let reply = node.get("/shop/");
            (reply.status() == 200).then(|| reply.json()["environment"].clone())
        };
        wait::for_value("it has the change", SOON, look, |seen| *seen == Some(wanted.clone()));
    };
    set(&one, "shop", "A", MARK);
    until(&other, json!({"A": MARK}));
    set(&other, "shop", "B", "2");
    until(&one, json!({"A": MARK, "B": "2"}));
    other.cli_with_stdin(&["secret", "remove", "shop", "B"], b"").expect_code(0);
    until(&one, json!({"A": MARK}));
    other.stop();

    // It starts with the former secrets, which are nowhere in clear text.
    let copied = || fs::read_to_string(folder.path().join("one/cache/secrets")).unwrap_or_default();
    wait::for_value("the node has noted it", SOON, copied, |copy| {
        copy.contains("\"A\"") && !copy.contains("\"B\"")
    });
    one.stop();
    proxy.always(Fault::Drop);
    let one = start("one");
    assert_eq!(environment(&one, "shop"), json!({"A": MARK}));
    one.cli_with_stdin(&["secret", "set", "shop", "A"], b"x").expect_error(&["s3://", "away"]);
    assert_eq!(environment(&one, "shop"), json!({"A": MARK}));
    assert_eq!(files_with(folder.path(), MARK), Vec::<PathBuf>::new());
    one.stop();
}

#[test]
fn a_removed_function_leaves_no_secret_to_the_next_of_its_name_whichever_node_set_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, key) =
        (folder.path().join("store"), key_file(folder.path(), &"01".repeat(32), 0o600));
    let start = |data: &str| {
        // Nodes look at the store when they start, and not again while the test runs.
        let node = Node::build().option("--sync-interval", "1h").option("--secrets-key", &key);
        node.option("--store", &store).data(&folder.path().join(data)).start()
    };
    let one = start("one");
    one.deploy("inspect", "shop", &[]);
    set(&one, "shop", "A", MARK);
    let other = start("other");
    set(&other, "shop", "B", MARK);
    one.cli(&["remove", "shop"]).expect_code(0);
    assert!(!store.join("secrets").exists(), "those that it has not seen are gone too");
    // A node that has not seen the removal does not give them to it either.
    other.deploy("inspect", "shop", &[]);
    assert_eq!(environment(&other, "shop"), json!({}));
    set(&other, "shop", "C", "3");
    let third = start("third");
    assert_eq!(environment(&third, "shop"), json!({"C": "3"}));
    for node in [one, other, third] {
        node.stop();
    }
}

#[test]
fn what_is_no_secret_is_refused_and_says_why() {
    let node = Node::build().option("--admin", "127.0.0.1:0").start();
    let large = "x".repeat(32 * 1024 + 1);
    let cases: [(&str, &[u8], &[&str]); 6] = [
        ("1A", b"x", &["\"1A\"", "variable"]),
        ("A-B", b"x", &["\"A-B\"", "variable"]),
        ("A", large.as_bytes(), &["32768"]),
        ("A", b"\xff\xfe", &["UTF-8", "base64"]),
        ("A", b"a\0b", &["zero byte"]),
        ("A", b"\n", &["empty", "secret remove"]),
    ];
    for (key, value, words) in cases {
        node.cli_with_stdin(&["secret", "set", "shop", key], value).expect_error(words);
    }
    node.cli_with_stdin(&["secret", "set", "No_Name", "A"], b"x").expect_error(&["No_Name"]);
    node.cli_with_stdin(&["secret", "set", "shop", "A", "--exact"], &large.as_bytes()[1..])
        .expect_code(0);
    node.cli_with_stdin(&["secret", "set", "shop", "B", "--exact"], &large.as_bytes()[1..])
        .expect_code(0);
    node.cli_with_stdin(&["secret", "set", "shop", "C"], b"x")
        .expect_error(&["65536", "remove some"]);

    // The API refuses the same without the command.
    let admin = node.status().node.admin.unwrap();
    let token = fs::read_to_string(node.data().join("admin.token")).unwrap();
    let ask = |method: &str, path: &str, token: &str, body: &[u8]| {
        let mut connection =
            Connection::open(admin.strip_prefix("http://").unwrap().parse().unwrap());
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("authorization", bearer.as_str()), ("connection", "close")];
        connection.send(request(method, path, &headers, body));
        harness::answer::Answer::read(method, &connection.rest())
    };
    let path = "/v1/functions/api/secrets/KEY";
    assert_eq!(ask("PUT", path, &token, MARK.as_bytes()).status, Some(204));
    let listed = ask("GET", "/v1/functions/api/secrets", &token, b"");
    assert!(listed.text().contains("KEY") && !listed.text().contains(MARK), "{}", listed.text());
    for (method, path, body, status) in [
        ("GET", path, &b""[..], 405),
        ("PUT", path, b"", 400),
        ("PUT", path, b"\xff", 400),
        ("PUT", path, large.as_bytes(), 400),
        ("PUT", "/v1/functions/api/secrets/%2e%2e%2fx", b"x", 400),
        ("PUT", "/v1/functions/..%2fx/secrets/A", b"x", 400),
        ("GET", "/v1/functions/A/secrets", b"", 400),
        ("DELETE", "/v1/functions/api/secrets/OTHER", b"", 404),
        ("DELETE", path, b"", 204),
        ("DELETE", path, b"", 404),
    ] {
        let answer = ask(method, path, &token, body);
        assert_eq!(answer.status, Some(status), "{method} {path}: {}", answer.text());
    }
    assert_eq!(ask("PUT", path, "wrong", b"x").status, Some(401));
    node.stop();
}

#[test]
fn what_is_typed_at_a_terminal_is_not_shown() {
    let node = Node::start();
    node.deploy("inspect", "shop", &[]);
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = node::sockhop();
    command.args(["secret", "set", "shop", "A", "--data"]).arg(node.data());
    let running = Running::spawn_with(&mut command, terminal.slave.into());
    wait::until("it asks", SOON, || {
        running.stderr().contains("value of A for shop: ").then_some(())
    });
    let mut keyboard = fs::File::from(terminal.master);
    keyboard.write_all(format!("{MARK}\n").as_bytes()).unwrap();
    running.finish(SOON).expect_code(0);
    // The other end has closed with the command, so only what the terminal would have shown can be
    // read.
    drop(command);
    let mut shown = Vec::new();
    let mut piece = [0; 256];
    while let Ok(read @ 1..) = keyboard.read(&mut piece) {
        shown.extend_from_slice(&piece[..read]);
    }
    assert!(!contains(&shown, MARK), "{shown:?}");
    assert_eq!(environment(&node, "shop"), json!({"A": MARK}));
    node.stop();
}
