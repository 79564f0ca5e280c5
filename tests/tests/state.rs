//! State of functions: what `wasi:keyvalue` promises in both drafts, who may use which bucket, and
//! that nothing that was acknowledged is lost, whatever ends.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use harness::client::request;
use harness::disk::SmallDisk;
use harness::keyvalue::count_up;
use harness::node::{self, two_cores};
use harness::running::{kill_now, records};
use harness::{Node, wait};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// Has the guest `keyvalue` do all of this, and returns what came of each.
fn perform(node: &Node, name: &str, draft: u8, operations: &Value) -> Value {
    let reply = node.connect().post(&format!("/{name}/{draft}"), operations.to_string().as_bytes());
    assert_eq!(reply.status(), 200, "{}", reply.text());
    reply.json()
}

/// The same, of operations that all go well.
fn done(node: &Node, name: &str, draft: u8, operations: &Value) -> Vec<Value> {
    let outcomes = perform(node, name, draft, operations);
    let of = |outcome: &Value| match outcome.get("ok") {
        Some(value) => value.clone(),
        None => panic!("{outcomes}"),
    };
    outcomes.as_array().unwrap().iter().map(of).collect()
}

/// Returns why the only one of these operations failed.
fn refused(node: &Node, name: &str, operation: Value) -> String {
    let outcomes = perform(node, name, 2, &json!([operation]));
    outcomes[0]["err"].as_str().unwrap_or_else(|| panic!("{outcomes}")).to_owned()
}

fn get(node: &Node, name: &str, key: &str) -> Value {
    done(node, name, 2, &json!([["get", key]])).remove(0)
}

fn kv(node: &Node, arguments: &[&str]) -> String {
    let arguments: Vec<&str> = ["kv"].iter().chain(arguments).copied().collect();
    node.cli(&arguments).expect_code(0).stdout
}

#[test]
fn what_is_written_with_spins_sdk_uses_the_same_buckets() {
    let node = Node::start();
    node.deploy("spin-store", "a", &["--kv", "orders=shop", "--kv-calls", "4"]);
    node.deploy("keyvalue", "b", &["--kv", "orders=shop"]);
    let ask = |method: &str, path: &str, body: &[u8]| {
        let mut connection = node.connect();
        connection.send(request(method, &format!("/a{path}"), &[], body));
        let reply = connection.reply();
        (reply.status(), reply.text())
    };
    let empty = |status: u16| (status, String::new());
    assert_eq!(ask("GET", "/x", b""), empty(404));
    assert_eq!(ask("OPTIONS", "/x", b"").0, 404);
    assert_eq!(ask("PUT", "/x", b"one"), empty(204));
    assert_eq!(ask("GET", "/x", b""), (200, "one".to_owned()));
    assert_eq!(ask("OPTIONS", "/x", b"").0, 200);
    assert_eq!(ask("PUT", "/z?store=orders", b"3"), empty(204));
    assert_eq!(get(&node, "b", "x"), Value::Null, "that bucket is a's own");
    assert_eq!(done(&node, "b", 2, &json!([["open", "orders"], ["get", "z"]]))[1], "3");
    assert_eq!(ask("DELETE", "/x", b""), empty(204));
    assert_eq!(ask("GET", "/", b""), empty(200));
    let (status, why) = ask("GET", "/x?store=other", b"");
    assert_eq!((status, why.contains("NoSuchStore")), (500, true), "{why}");
    // Keys come in pages of a thousand, each of which is a call.
    let fill = |from: u64| {
        let entries: Vec<Value> =
            (from..from + 1000).map(|at| json!([format!("{at:05}"), "v"])).collect();
        done(&node, "b", 2, &json!([["open", "orders"], ["set-many", entries]]));
    };
    (0..3).for_each(|part| fill(part * 1000));
    let (status, keys) = ask("GET", "/?store=orders", b"");
    let keys: Vec<&str> = keys.lines().collect();
    assert_eq!((status, keys.len(), keys[0], keys[3000]), (200, 3001, "00000", "z"));
    (3..4).for_each(|part| fill(part * 1000));
    let (status, why) = ask("GET", "/?store=orders", b"");
    assert_eq!((status, why.contains("--kv-calls")), (500, true), "{why}");
}

#[test]
fn every_operation_does_what_both_drafts_say() {
    let node = Node::start();
    node.deploy("keyvalue", "a", &[]);
    for draft in [1, 2] {
        let key = |key: &str| format!("{draft}{key}");
        let seen = done(
            &node,
            "a",
            draft,
            &json!([
                ["get", key("x")],
                ["exists", key("x")],
                ["set", key("x"), "one"],
                ["get", key("x")],
                ["exists", key("x")],
                ["set", key("x"), ""],
                ["get", key("x")],
                ["delete", key("x")],
                ["delete", key("x")],
                ["exists", key("x")],
                ["increment", key("n"), 5],
                ["increment", key("n"), 2],
                ["get", key("n")],
                ["set-many", [[key("a"), "1"], [key("b"), "2"], [key("a"), "3"]]],
                ["get-many", [key("a"), key("none"), key("b")]],
                ["delete-many", [key("b"), key("none")]],
                ["list", null],
                ["delete-many", [key("a"), key("n")]],
                ["list", null],
            ]),
        );
        let (none, ok) = (Value::Null, Value::Null);
        let expected = json!([
            none,
            false,
            ok,
            "one",
            true,
            ok,
            "",
            ok,
            ok,
            false,
            5,
            7,
            "7",
            ok,
            [[key("a"), "3"], none, [key("b"), "2"]],
            ok,
            { "keys": [key("a"), key("n")], "cursor": null },
            ok,
            { "keys": [], "cursor": null },
        ]);
        assert_eq!(Value::from(seen), expected, "draft {draft}");
    }
    assert_eq!(
        done(&node, "a", 2, &json!([["increment", "s", -5], ["increment", "s", 2]])),
        [json!(-5), json!(-3)]
    );
    assert!(perform(&node, "a", 1, &json!([["increment", "s", 1]]))[0]["err"].is_string());
    let seen = perform(
        &node,
        "a",
        2,
        &json!([
            ["cas", "c"],
            ["current"],
            ["swap", "first"],
            ["cas", "c"],
            ["current"],
            ["set", "c", "other"],
            ["swap", "second"],
            ["current"],
            ["swap", "third"],
            ["get", "c"],
            ["cas", "c"],
            ["delete", "c"],
            ["swap", "fourth"],
            ["swap", "fifth"],
            ["get", "c"],
        ]),
    );
    let (ok, failed) = (json!({ "ok": null }), json!({ "err": "cas-failed" }));
    let value = |text: &str| json!({ "ok": text });
    let expected = json!([
        ok,
        ok,
        ok,
        ok,
        value("first"),
        ok,
        failed,
        value("other"),
        ok,
        value("third"),
        ok,
        ok,
        failed,
        ok,
        value("fifth"),
    ]);
    assert_eq!(seen, expected);
    node.stop();
}

#[test]
fn lists_are_paged_by_either_cursor() {
    let node = Node::start();
    node.deploy("keyvalue", "a", &[]);
    let names: Vec<String> = (0..2100).map(|number| format!("{number:04}")).collect();
    for page in names.chunks(700) {
        let entries: Vec<_> = page.iter().map(|name| json!([name, ""])).collect();
        done(&node, "a", 1, &json!([["set-many", entries]]));
    }
    for draft in [1, 2] {
        let (mut cursor, mut found, mut pages) = (Value::Null, Vec::new(), 0);
        loop {
            // Each page by an instance of its own.
            let page = done(&node, "a", draft, &json!([["list", cursor]])).remove(0);
            found.extend(page["keys"].as_array().unwrap().iter().cloned());
            (cursor, pages) = (page["cursor"].clone(), pages + 1);
            if cursor.is_null() {
                break;
            }
        }
        assert_eq!(found, names, "draft {draft}");
        assert_eq!(pages, 3);
    }
    assert_eq!(kv(&node, &["ls", "a"]).lines().collect::<Vec<_>>(), names);
    node.stop();
}

#[test]
fn input_of_any_size_is_taken_or_refused() {
    let node = Node::start();
    node.deploy("keyvalue", "a", &["--kv-size", "1MiB"]);
    for key in ["/", "..", "../../lock", "a/b", "\u{0}", "ü", " ", "%2e%2e"] {
        assert_eq!(done(&node, "a", 2, &json!([["set", key, key], ["get", key]]))[1], key);
    }
    let long = json!([["set", 1024, "x"], ["get", 1024]]);
    assert_eq!(done(&node, "a", 2, &long)[1], "x");
    for operation in ["get", "exists", "delete", "list"] {
        for key in [json!(""), json!(1025), json!(100_000)] {
            let is_first_page = operation == "list" && (key == "" || key.is_number());
            if !is_first_page {
                let why = refused(&node, "a", json!([operation, key]));
                assert!(why.contains("key"), "{operation} {key}: {why}");
            }
        }
    }
    assert!(refused(&node, "a", json!(["set", "", "x"])).contains("empty"));
    assert!(refused(&node, "a", json!(["increment", "/", 1])).contains("number"));
    assert_eq!(done(&node, "a", 2, &json!([["fill", "v", 131_072]])), [Value::Null]);
    assert!(refused(&node, "a", json!(["fill", "v", 131_073])).contains("128 KiB"));
    let many: Vec<String> = (0..1001).map(|number| number.to_string()).collect();
    assert!(refused(&node, "a", json!(["get-many", many])).contains("1000"));
    assert!(refused(&node, "a", json!(["get-many", ["a", ""]])).contains("empty"));
    // More than a guest may hand over in a call ends it.
    let body = json!([["get", 1_048_576]]).to_string();
    let reply = node.connect().post("/a/2", body.as_bytes());
    assert_eq!(reply.status(), 500, "{}", reply.text());
    assert_eq!(get(&node, "a", ".."), "..");
    node.stop();
}

#[test]
fn workers_at_it_at_once_lose_no_update() {
    let node = Node::build().option("--cores", two_cores()).start();
    node.deploy("keyvalue", "a", &[]);
    node.deploy("keyvalue", "own", &["--isolation", "process", "--kv", "x=both"]);
    node.deploy("keyvalue", "b", &["--kv", "y=both"]);
    thread::scope(|scope| {
        for client in 0..6 {
            let node = &node;
            scope.spawn(move || {
                for at in 0..20 {
                    let draft = if at % 2 == 0 { 1 } else { 2 };
                    done(node, "a", draft, &json!([["repeat", 5, ["increment", "n", 1]]]));
                    let (name, bucket) = if at % 3 == 0 { ("own", "x") } else { ("b", "y") };
                    done(node, name, 2, &json!([["open", bucket], ["increment", "n", 1]]));
                }
                for at in 0..10 {
                    done(node, "a", 2, &json!([["append", "all", format!("{client}{at} ")]]));
                }
            });
        }
    });
    assert_eq!(get(&node, "a", "n"), "600");
    assert_eq!(done(&node, "b", 2, &json!([["open", "y"], ["get", "n"]]))[1], "120");
    let all = get(&node, "a", "all");
    let mut all: Vec<&str> = all.as_str().unwrap().split_whitespace().collect();
    all.sort_unstable();
    let expected: Vec<String> = (0..60).map(|number| format!("{number:02}")).collect();
    assert_eq!(all, expected, "every one of them, once");
    node.stop();
}

#[test]
fn a_function_has_its_own_bucket_and_those_that_it_was_granted() {
    let node = Node::start();
    node.deploy("keyvalue", "a", &["--kv", "orders=shop-orders"]);
    node.deploy("keyvalue", "b", &["--kv", "mine=shop-orders", "--isolation", "process"]);
    node.deploy("keyvalue", "c", &[]);
    done(
        &node,
        "a",
        1,
        &json!([["set", "k", "own of a"], ["open", "orders"], ["set", "k", "shared"]]),
    );
    assert_eq!(get(&node, "b", "k"), Value::Null);
    assert_eq!(get(&node, "c", "k"), Value::Null);
    assert_eq!(done(&node, "b", 2, &json!([["open", "mine"], ["get", "k"]]))[1], "shared");
    for (name, bucket) in
        [("c", "orders"), ("c", "shop-orders"), ("a", "shop-orders"), ("b", "a"), ("a", "../b")]
    {
        assert_eq!(
            refused(&node, name, json!(["open", bucket])),
            "no-such-store",
            "{name} {bucket}"
        );
    }
    assert_eq!(done(&node, "a", 1, &json!([["open", ""], ["get", "k"]]))[1], "own of a");
    wait::until("the log tells of the option", SOON, || {
        node.cli(&["logs", "c"]).stdout.contains("--kv shop-orders=BUCKET").then_some(())
    });
    // What a version was not granted, it has not.
    node.deploy("keyvalue", "a", &["--unset", "kv"]);
    assert_eq!(refused(&node, "a", json!(["open", "orders"])), "no-such-store");
    assert_eq!(get(&node, "a", "k"), "own of a");
    for bad in ["x", "=b", "default=b", "a=B", "a=../b"] {
        let file = harness::guests::path("keyvalue");
        let refused = node.cli(&["deploy", file.to_str().unwrap(), "--name", "d", "--kv", bad]);
        assert_ne!(refused.code, Some(0), "{bad}");
    }
    node.stop();
}

#[test]
fn what_is_beyond_a_limit_fails_and_the_log_says_so() {
    let node = Node::start();
    node.deploy("keyvalue", "a", &["--kv-keys", "2", "--kv-size", "1KiB", "--kv-calls", "5"]);
    done(&node, "a", 2, &json!([["set", "1", ""], ["set", "2", ""]]));
    assert!(refused(&node, "a", json!(["set", "3", ""])).contains("more than 2 keys"));
    assert!(refused(&node, "a", json!(["fill", "1", 1024])).contains("more than 1024 bytes"));
    done(&node, "a", 2, &json!([["delete", "1"], ["set", "3", ""]]));
    assert!(refused(&node, "a", json!(["repeat", 6, ["get", "3"]])).contains("5 times"));
    assert_eq!(get(&node, "a", "3"), "", "the next invocation counts anew");
    wait::until("the log tells of each", SOON, || {
        let log = node.cli(&["logs", "a"]).stdout;
        ["--kv-keys, --kv-size", "--kv-calls"].iter().all(|of| log.contains(of)).then_some(())
    });
    // The operator is not held to it.
    kv(&node, &["set", "a", "4", "four"]);
    assert_eq!(get(&node, "a", "4"), "four");
    node.deploy("keyvalue", "a", &["--kv-keys", "10", "--kv-calls", "1000000"]);
    done(&node, "a", 2, &json!([["set", "5", ""], ["repeat", 1500, ["get", "5"]]]));
    node.stop();
}

#[test]
fn state_outlives_versions_and_the_function() {
    let node = Node::start();
    node.deploy("keyvalue", "a", &[]);
    done(&node, "a", 1, &json!([["set", "k", "v"]]));
    node.deploy("keyvalue", "a", &["--isolation", "process"]);
    assert_eq!(get(&node, "a", "k"), "v");
    node.cli(&["rollback", "a"]).expect_code(0);
    assert_eq!(get(&node, "a", "k"), "v");
    let removed = node.cli(&["remove", "a", "--yes"]).expect_code(0);
    assert!(removed.stderr.contains("its bucket stays, with 1 key"), "{removed:#?}");
    assert_eq!(kv(&node, &["get", "a", "k"]), "v");
    node.cli(&["restore", "a"]).expect_code(0);
    assert_eq!(get(&node, "a", "k"), "v");
    let removed = node.cli(&["remove", "a", "--yes"]).expect_code(0);
    assert!(removed.stderr.contains("--with-state"), "{removed:#?}");
    // Also of a function that is gone.
    let removed = node.cli(&["remove", "a", "--yes", "--with-state"]).expect_code(0);
    assert!(!removed.stderr.contains("its bucket stays"), "{removed:#?}");
    node.cli(&["remove", "a", "--yes", "--with-state"]).expect_code(1);
    node.deploy("keyvalue", "a", &[]);
    assert_eq!(get(&node, "a", "k"), Value::Null);
    done(&node, "a", 1, &json!([["set", "k", "v"]]));
    node.cli(&["remove", "a", "--yes", "--with-state"]).expect_code(0);
    assert_eq!(kv(&node, &["ls", "a"]), "");
    node.stop();
}

#[test]
fn the_commands_read_and_write_what_functions_do() {
    let node = Node::start();
    node.deploy("keyvalue", "a", &["--kv", "orders=shop-orders"]);
    kv(&node, &["set", "a", "plain", "text"]);
    let bytes: Vec<u8> = (0..=255).collect();
    node.cli_with_stdin(&["kv", "set", "a", "a/../b c?&=é", "-"], &bytes).expect_code(0);
    kv(&node, &["set", "a", "minus", "-1"]);
    assert_eq!(done(&node, "a", 1, &json!([["increment", "one", 1], ["get", "plain"]]))[1], "text");
    assert_eq!(kv(&node, &["get", "a", "plain"]), "text");
    assert_eq!(kv(&node, &["ls", "a"]), "a/../b c?&=é\nminus\none\nplain\n");
    let listed: Vec<Value> = records(&kv(&node, &["ls", "a", "--json"]));
    assert_eq!(listed[3], json!({ "key": "plain" }));
    kv(&node, &["rm", "a", "minus"]);
    for missing in [["kv", "rm", "a", "minus"], ["kv", "get", "a", "minus"]] {
        node.cli(&missing).expect_error(&["minus"]);
    }
    node.cli(&["kv", "get", "a", ""]).expect_error(&["empty"]);
    node.cli(&["kv", "ls", "No Name"]).expect_error(&["name"]);

    let exported = kv(&node, &["export", "a"]);
    assert_eq!(exported.lines().count(), 3);
    let imported = node.cli_with_stdin(&["kv", "import", "copy"], exported.as_bytes());
    assert_eq!(imported.expect_code(0).stdout, "set 3 keys of copy\n");
    assert_eq!(kv(&node, &["export", "copy"]), exported);
    node.cli_with_stdin(&["kv", "import", "copy"], b"{\"key\":\"x\"}").expect_error(&["line 1"]);

    kv(&node, &["set", "a", "k", "shared", "--bucket", "orders"]);
    assert_eq!(done(&node, "a", 2, &json!([["open", "orders"], ["get", "k"]]))[1], "shared");
    assert_eq!(kv(&node, &["ls", "a", "--bucket", "orders"]), "k\n");
    node.cli(&["kv", "ls", "a", "--bucket", "shop-orders"]).expect_error(&["shop-orders"]);
    node.stop();
}

#[test]
fn much_is_exported_and_imported_whole() {
    let node = Node::start();
    let line = |number: usize| {
        let value = "QUJD".repeat(number % 700 * 60);
        format!("{}\n", json!({ "key": format!("{number:04}"), "value": value }))
    };
    let lines: String = (0..300).map(line).collect();
    node.cli_with_stdin(&["kv", "import", "a"], lines.as_bytes()).expect_code(0);
    let exported = kv(&node, &["export", "a"]);
    let (before, after): (Vec<Value>, Vec<Value>) = (records(&lines), records(&exported));
    assert!(before == after, "{} lines became {}", before.len(), after.len());
    node.stop();
}

#[test]
fn kills_lose_nothing_that_was_acknowledged() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut expected = [(0, 0); 4];
    for round in 0..3 {
        let mut node = Node::build().data(folder.path()).start();
        if round == 0 {
            node.deploy("keyvalue", "a", &[]);
        }
        for (at, (acknowledged, unknown)) in expected.iter().enumerate() {
            let found = get(&node, "a", &at.to_string());
            let found: u64 = found.as_str().unwrap_or("0").parse().unwrap();
            assert!(
                (*acknowledged..=acknowledged + unknown).contains(&found),
                "{found} {expected:?}"
            );
        }
        let (stop, address) = (AtomicBool::new(false), node.addresses()[0]);
        let counts: [AtomicU64; 4] = Default::default();
        let worker = node.status().workers[0].pid;
        thread::scope(|scope| {
            let clients: Vec<_> = counts
                .iter()
                .enumerate()
                .map(|(at, count)| {
                    let stop = &stop;
                    scope.spawn(move || count_up(address, &at.to_string(), stop, count))
                })
                .collect();
            let progress = |more: u64| {
                let sum = || counts.iter().map(|count| count.load(Relaxed)).sum::<u64>();
                let before = sum();
                wait::until("updates are acknowledged", SOON, || {
                    (sum() >= before + more).then_some(())
                });
            };
            progress(50);
            kill_now(worker);
            progress(50);
            node.kill_engine();
            stop.store(true, Relaxed);
            for (at, client) in clients.into_iter().enumerate() {
                expected[at].0 += counts[at].load(Relaxed);
                expected[at].1 += client.join().unwrap();
            }
        });
    }
    let node = Node::build().data(folder.path()).start();
    for (at, (acknowledged, _)) in expected.iter().enumerate() {
        let found: u64 = get(&node, "a", &at.to_string()).as_str().unwrap().parse().unwrap();
        assert!(found >= *acknowledged, "{found} {expected:?}");
    }
    node.stop();
}

#[test]
fn a_take_over_loses_and_refuses_nothing() {
    let mut old = Node::start();
    old.deploy("keyvalue", "a", &[]);
    old.deploy("keyvalue", "own", &["--isolation", "process"]);
    let (stop, address) = (AtomicBool::new(false), old.addresses()[0]);
    let counts: [AtomicU64; 3] = Default::default();
    let new = thread::scope(|scope| {
        let clients: Vec<_> = counts
            .iter()
            .enumerate()
            .map(|(at, count)| {
                let stop = &stop;
                scope.spawn(move || count_up(address, &at.to_string(), stop, count))
            })
            .collect();
        let progress = || {
            let before: Vec<u64> = counts.iter().map(|count| count.load(Relaxed)).collect();
            wait::until("each has some more", SOON, || {
                let more = |(count, before): (&AtomicU64, &u64)| count.load(Relaxed) > before + 5;
                counts.iter().zip(&before).all(more).then_some(())
            });
        };
        progress();
        let processes = old.processes();
        let new = old.successor(None);
        progress();
        old.expect_ended(&processes, SOON);
        progress();
        stop.store(true, Relaxed);
        for client in clients {
            assert_eq!(client.join().unwrap(), 0, "none was refused");
        }
        new
    });
    for (at, count) in counts.iter().enumerate() {
        assert_eq!(get(&new, "a", &at.to_string()), count.load(Relaxed).to_string());
    }
    done(&new, "own", 1, &json!([["set", "k", "v"]]));
    assert_eq!(kv(&new, &["get", "own", "k"]), "v");
    new.stop();
}

#[test]
fn a_full_disk_is_an_error_and_passes() {
    let disk = SmallDisk::mount(64);
    let node = Node::build().data(&disk.path().join("data")).start();
    node.deploy("keyvalue", "a", &[]);
    node.deploy("hello", "hello", &[]);
    done(&node, "a", 2, &json!([["set", "k", "before"]]));
    let filler = disk.fill();
    assert!(refused(&node, "a", json!(["set", "k", "after"])).contains("disk is full"));
    assert!(refused(&node, "a", json!(["delete", "k"])).contains("disk is full"));
    assert_eq!(get(&node, "a", "k"), "before");
    node.get("/hello/").expect_hello();
    fs::remove_file(filler).unwrap();
    wait::until("there is room again", SOON, || {
        let outcome = perform(&node, "a", 2, &json!([["set", "k", "after"]]));
        outcome[0].get("ok").cloned()
    });
    assert_eq!(get(&node, "a", "k"), "after");
    node.stop();
}

#[test]
fn a_node_serves_without_its_database_and_says_why() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("state").join("local.redb");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "no database").unwrap();
    let node = Node::build().data(folder.path()).start();
    node.deploy("keyvalue", "a", &[]);
    node.deploy("hello", "hello", &[]);
    assert!(refused(&node, "a", json!(["get", "k"])).contains("damaged"));
    assert!(refused(&node, "a", json!(["set", "k", ""])).contains("damaged"));
    node.get("/hello/").expect_hello();
    node.cli(&["kv", "ls", "a"]).expect_error(&["damaged"]);
    assert!(node.stderr().contains("state of functions cannot be used"), "{}", node.stderr());
    assert_eq!(fs::read(&file).unwrap(), b"no database");
    fs::remove_file(&file).unwrap();
    wait::until("it is made anew", SOON, || {
        perform(&node, "a", 2, &json!([["set", "k", ""]]))[0].get("ok").cloned()
    });
    node.stop();
}

#[test]
fn without_a_write_there_is_no_database() {
    let node = Node::start();
    node.deploy("hello", "hello", &[]);
    node.deploy("keyvalue", "a", &[]);
    node.get("/hello/").expect_hello();
    assert_eq!(get(&node, "a", "k"), Value::Null);
    assert_eq!(kv(&node, &["ls", "a"]), "");
    assert!(!node.data().join("state").exists());
    node.stop();
}

#[test]
fn a_worker_is_not_told_the_state_of_a_function_that_it_does_not_run() {
    let folder = node::binaries_with_worker(env!("CARGO_BIN_EXE_hostile-worker"));
    let node = Node::build().binaries(folder.path()).start();
    node.deploy("keyvalue", "shop", &["--isolation", "process", "--kv", "x=orders"]);
    node.deploy("hello", "hello", &[]);
    kv(&node, &["set", "shop", "k", "v"]);
    kv(&node, &["set", "shop", "k", "v", "--bucket", "x"]);
    fs::write(folder.path().join("mischief"), "asks for another's state").unwrap();
    kill_now(node.status().workers[0].pid);
    let received = wait::until("it is told", SOON, || {
        fs::read_to_string(folder.path().join("received"))
            .ok()
            .filter(|received| !received.is_empty())
    });
    assert_eq!(received, "1 State(Failed(Denied)), 2 State(Failed(Denied))");
    drop(node);
}
