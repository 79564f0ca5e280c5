//! Every invocation can be looked up, with its lines, by the id in its reply: while its worker
//! writes, when its segment is shipped, on another node, and after processes were killed.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::client::request;
use harness::disk::{SmallDisk, segments, spooled};
use harness::node::sockhop;
use harness::running::{Running, kill_now};
use harness::s3::Server;
use harness::{Node, NodeBuilder, guests, http2, native, wait};
use serde_json::Value;
use tempfile::TempDir;

/// How long a record may take until it can be read.
const SOON: Duration = Duration::from_secs(10);
/// How long it may take until a segment is shipped because of its age.
const SHIPPED: Duration = Duration::from_secs(30);

/// Starts a node, and deploys each guest under its own name.
fn node_with(builder: NodeBuilder, guests: &[&str]) -> Node {
    let node = builder.start();
    guests.iter().for_each(|guest| node.deploy(guest, guest, &["--previews"]));
    node
}

/// Invokes a function, and returns the id of the invocation.
fn invoke(node: &Node, target: &str) -> String {
    node.get(target).head.invocation_id().to_owned()
}

/// Waits until `logs ID` finds a record, and returns what it finds.
fn find(node: &Node, id: &str) -> Value {
    wait::until("the invocation is found", SOON, || {
        let found = node.cli(&["logs", id, "--json"]);
        let value: Option<Value> = serde_json::from_str(&found.stdout).ok();
        value.filter(|value| !value["record"].is_null())
    })
}

/// Checks that an invocation of `inspect` has its two lines and its record, each once.
fn expect_inspected(node: &Node, id: &str) {
    // On a busy machine a guest may end behind its reply's last byte, and then what it used stands
    // in a second record.
    let is_whole = |found: &Value| found["record"]["goes_on"] != true || !found["after"].is_null();
    let found = wait::for_value("its guest has ended", SOON, || find(node, id), is_whole);
    let lines: Vec<(&str, &str)> = found["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["stream"].as_str().unwrap(), line["text"].as_str().unwrap()))
        .collect();
    assert_eq!(
        lines,
        [("stdout", "inspect stdout line"), ("stderr", "inspect stderr line")],
        "{found:#}"
    );
    let record = &found["record"];
    assert_eq!(
        (&record["function"], &record["status"], &record["outcome"]),
        (&"inspect".into(), &200.into(), &"ok".into())
    );
    assert_eq!((&record["invocation"], &found["notes"]), (&id.into(), &Value::Array(Vec::new())));
    assert!(record["cpu_us"].as_u64() > Some(0), "{record:#}");
    let ended = if record["goes_on"] == true { &found["after"] } else { record };
    assert!(ended["memory_bytes"].as_u64() > Some(0), "{found:#}");
}

fn shipped(store: &Path) -> Vec<PathBuf> {
    segments(&store.join("logs"))
}

fn metric(node: &Node, name: &str) -> u64 {
    let socket = node.data().join("control.sock");
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let text = std::io::read_to_string(stream).unwrap();
    let of = |line: &&str| line.split(['{', ' ']).next() == Some(name);
    text.lines()
        .filter(of)
        .filter_map(|line| line.rsplit_once(' ')?.1.trim().parse::<u64>().ok())
        .sum()
}

#[test]
fn an_invocation_is_found_while_it_is_written_when_it_is_shipped_and_on_the_node_restarted() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let node = node_with(Node::build().data(&data).in_folder(), &["inspect"]);
    let id = invoke(&node, "/inspect/");
    expect_inspected(&node, &id);
    assert!(shipped(&data.join("store")).is_empty(), "it is still being written to");
    wait::until("its segment is shipped", SHIPPED, || {
        (!shipped(&data.join("store")).is_empty()).then_some(())
    });
    wait::until("and removed here", SOON, || spooled(&data).is_empty().then_some(()));
    expect_inspected(&node, &id);
    let later = invoke(&node, "/inspect/");
    expect_inspected(&node, &later);
    node.stop();
    assert!(segments(&data.join("spool")).is_empty(), "a node that stops ships the rest");
    let node = Node::build().data(&data).in_folder().start();
    expect_inspected(&node, &id);
    expect_inspected(&node, &later);
    let text = node.cli(&["logs", &id]).expect_code(0).stdout;
    let ends = ["stdout  inspect stdout line", "stderr  inspect stderr line"];
    assert!(text.lines().zip(ends).all(|(line, end)| line.ends_with(end)), "{text}");
    assert!(text.lines().last().unwrap().contains("inspect  200 ok in "), "{text}");
    node.stop();
}

#[test]
fn a_record_says_what_was_asked_of_which_version_and_by_which_alias() {
    let node = node_with(Node::build(), &["inspect"]);
    node.cli(&["alias", "set", "inspect@canary", "v1"]).expect_code(0);
    let long = format!("/inspect/{}", "x".repeat(2000));
    for (target, path, alias) in [
        ("/inspect/a/b%20c?key=secret", "/inspect/a/b%20c", Some("active")),
        ("/inspect@canary/a", "/inspect@canary/a", Some("canary")),
        (&long, "/inspect/xxx", Some("active")),
    ] {
        let mut connection = node.connect();
        connection.send(request("PUT", target, &[], b""));
        let id = connection.reply().head.invocation_id().to_owned();
        let found = find(&node, &id);
        let record = &found["record"];
        assert_eq!(
            (&record["method"], &record["number"]),
            (&"PUT".into(), &1.into()),
            "{record:#}"
        );
        assert_eq!(record["alias"].as_str(), alias, "{record:#}");
        let shown = record["path"].as_str().unwrap();
        if target.len() < 100 {
            assert_eq!(shown, path);
        } else {
            assert!(
                shown.starts_with(path) && shown.ends_with("...") && shown.len() < 300,
                "{shown}"
            );
        }
        let text = node.cli(&["logs", &id]).expect_code(0).stdout;
        let last = text.lines().last().unwrap();
        assert!(
            last.contains(&format!("  PUT {shown}  (")) && last.contains(" version v1 "),
            "{text}"
        );
        assert!(!text.contains("secret"), "a query is in no record: {text}");
    }
    node.stop();
}

#[test]
fn what_a_guest_does_after_its_reply_is_recorded() {
    let node = Node::start();
    node.deploy("spin", "spin", &["--cpu-time", "300ms"]);
    node.deploy("echo-p3", "echo-p3", &[]);
    node.deploy("echo-p3", "short", &["--timeout", "500ms"]);
    for (target, reply, outcome, after_us) in [
        ("/spin/after", "replied", "cpu-time", 200_000),
        ("/echo-p3/after?ms=300", "replied", "ok", 200_000),
        ("/short/after?ms=20000", "replied", "timeout", 300_000),
    ] {
        let answer = node.get(target);
        assert_eq!((answer.status(), answer.text().as_str()), (200, reply), "{target}");
        let id = answer.head.invocation_id();
        let found = wait::until("what it did after its reply", SOON, || {
            let found: Value =
                serde_json::from_str(&node.cli(&["logs", id, "--json"]).stdout).ok()?;
            (!found["after"].is_null()).then_some(found)
        });
        let (record, after) = (&found["record"], &found["after"]);
        assert_eq!(
            (&record["status"], &record["outcome"]),
            (&200.into(), &"ok".into()),
            "{found:#}"
        );
        assert_eq!(
            (&record["goes_on"], &after["outcome"]),
            (&true.into(), &outcome.into()),
            "{found:#}"
        );
        assert!(after["after_us"].as_u64() > Some(after_us), "{found:#}");
        if outcome == "cpu-time" {
            assert!(after["cpu_us"].as_u64() >= Some(300_000), "that of the whole call: {found:#}");
        }
        let text = node.cli(&["logs", id]).expect_code(0).stdout;
        let last = text.lines().last().unwrap();
        assert!(
            last.contains(&format!("  {outcome} ")) && last.contains(" after its reply, cpu "),
            "{text}"
        );
        let name = target.split('/').nth(1).unwrap();
        let all = node.cli(&["logs", name, "--json"]).expect_code(0).stdout;
        assert_eq!(all.matches("\"kind\":\"after\"").count(), 1, "{all}");
    }
    node.stop();
}

#[test]
fn an_invocation_is_found_as_soon_as_its_reply_has_arrived() {
    let node = node_with(Node::build(), &["hello", "echo-p3", "cmd"]);
    node.deploy("hello", "own", &["--isolation", "process"]);
    native::deploy(&node, "hello-lambda", "lambda", "lambda", &[]);
    native::deploy(&node, "hello-server", "server", "server", &[]);
    // The first calls load modules, and start workers.
    for name in ["hello", "echo-p3", "cmd", "own", "lambda", "server"] {
        let target = format!("/{name}/count");
        invoke(&node, &target);
        let expect_found = |id: &str| {
            let one = node.cli(&["logs", id, "--json"]).expect_code(0).stdout;
            let one: Value = serde_json::from_str(&one).unwrap();
            assert_eq!(one["record"]["invocation"], id, "{name}: {one:#}");
        };
        for kept in [false, true] {
            let mut connection = node.connect();
            if kept {
                connection.get(&target);
            }
            expect_found(connection.get(&target).head.invocation_id());
            let id = connection.get(&target).head.invocation_id().to_owned();
            let all = node.cli(&["logs", name]).expect_code(0).stdout;
            assert!(
                all.lines().last().is_some_and(|line| line.contains(&id)),
                "{name}: {id} is not in {all}"
            );
        }
        let http2 = http2::Client::plain(node.addresses()[0]);
        for _ in 0..4 {
            let reply = http2.get(&target);
            expect_found(reply.headers["sockhop-invocation-id"].to_str().unwrap());
        }
    }
    node.stop();
}

#[test]
fn a_trap_is_told_a_frame_a_line_by_the_names_of_the_source() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("trapping.wasm");
    let names = [
        "_start",
        "_ZN4shop5order17h0123456789abcdefE",
        "_ZN2js9Interpret8EvaluateEPv",
        "no\nname\u{1b}",
    ];
    fs::write(&file, guests::trapping(&names)).unwrap();
    node.cli(&["deploy", file.to_str().unwrap(), "--name", "trapping", "--no-trial"])
        .expect_code(0);
    let reply = node.get("/trapping/");
    let detail = reply.expect_problem(500);
    assert!(!detail.contains("shop") && !detail.contains("unreachable"), "{detail}");
    let id = reply.head.invocation_id();
    let found = find(&node, id);
    let lines: Vec<&str> = found["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["text"].as_str().unwrap())
        .collect();
    let [why, frames @ ..] = &lines[..] else { panic!("{found:#}") };
    assert_eq!(*why, "[trap: wasm `unreachable` instruction executed]");
    let frames: Vec<&str> =
        frames.iter().map(|frame| frame.split(" at 0x").next().unwrap()).collect();
    assert_eq!(
        frames,
        [
            "   0: no\nname\u{1b}",
            "   1: js::Interpret::Evaluate",
            "   2: shop::order",
            "   3: _start"
        ]
    );
    let text = node.cli(&["logs", id]).expect_code(0).stdout;
    assert_eq!(text.lines().count(), 6, "a name is no second line: {text}");
    assert!(text.contains("node       2: shop::order at 0x"), "{text}");
    node.stop();
}

#[test]
fn an_invocation_is_one_line_of_json() {
    let node = node_with(Node::build(), &["inspect"]);
    let id = invoke(&node, "/inspect/");
    find(&node, &id);
    let json = node.cli(&["logs", &id, "--json"]).expect_code(0).stdout;
    assert_eq!(json.lines().count(), 1, "{json}");
    node.stop();
}

#[test]
fn what_was_written_survives_a_killed_worker_and_a_killed_engine() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let mut node = node_with(Node::build().data(&data).in_folder(), &["inspect"]);
    let first = invoke(&node, "/inspect/");
    expect_inspected(&node, &first);
    node.status().workers.iter().for_each(|worker| kill_now(worker.pid));
    wait::until("a dead worker's segment is shipped at once", SOON, || {
        (!shipped(&data.join("store")).is_empty()).then_some(())
    });
    expect_inspected(&node, &first);
    node.until_status("others take their place", SOON, |status| {
        status.workers.iter().all(|w| w.state == "ready")
    });
    let second = invoke(&node, "/inspect/");
    expect_inspected(&node, &second);
    node.kill_engine();
    drop(node);
    // A power cut could have torn the end, or damaged what was in the middle.
    for path in spooled(&data) {
        fs::OpenOptions::new().append(true).open(path).unwrap().write_all(&[7; 100]).unwrap();
    }
    let node = Node::build().data(&data).in_folder().start();
    expect_inspected(&node, &second);
    expect_inspected(&node, &first);
    wait::until("what was left is shipped", SOON, || spooled(&data).is_empty().then_some(()));
    assert!(metric(&node, "sockhop_log_damaged_total") >= 1);
    expect_inspected(&node, &second);
    node.stop();
}

/// Checks that a node finds what another one has shipped to the store.
fn another_node_finds([one, other]: [NodeBuilder; 2]) {
    let one = node_with(one, &["inspect"]);
    let id = invoke(&one, "/inspect/");
    find(&one, &id);
    one.stop();
    let other = other.start();
    expect_inspected(&other, &id);
    other.stop();
}

#[test]
fn another_node_finds_it_in_the_folder_they_share() {
    let folder = TempDir::new().unwrap();
    let store = folder.path().join("store");
    another_node_finds([(); 2].map(|()| Node::build().option("--store", &store)));
}

#[test]
fn another_node_finds_it_in_the_bucket_they_share() {
    let server = Server::garage();
    another_node_finds([(); 2].map(|()| Node::build().bucket(&server, "shared", server.address())));
}

#[test]
fn a_take_over_loses_no_line() {
    let node = node_with(Node::build().in_folder(), &["inspect"]);
    let before = invoke(&node, "/inspect/");
    find(&node, &before);
    let node = node.taken_over();
    let after = invoke(&node, "/inspect/");
    expect_inspected(&node, &after);
    expect_inspected(&node, &before);
    let store = node.data().join("store");
    wait::until("the old engine's segments are shipped", SOON, || {
        (!shipped(&store).is_empty()).then_some(())
    });
    expect_inspected(&node, &before);
    node.stop();
}

#[test]
fn a_functions_log_is_in_order_and_can_be_chosen_by_time_status_and_number() {
    let node = node_with(Node::build(), &["status", "inspect", "panic"]);
    let codes = [200, 404, 500, 503, 200];
    let ids: Vec<String> =
        codes.iter().map(|code| invoke(&node, &format!("/status/?code={code}"))).collect();
    invoke(&node, "/inspect/");
    let panicked = node.get("/panic/");
    panicked.expect_problem(500);
    ids.iter().for_each(|id| drop(find(&node, id)));
    let entries = |arguments: &[&str]| -> Vec<Value> {
        let printed =
            node.cli(&[&["logs", "status", "--json"], arguments].concat()).expect_code(0).stdout;
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let of = |entries: Vec<Value>| -> Vec<String> {
        entries.iter().map(|entry| entry["invocation"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of(entries(&[])), ids);
    assert_eq!(of(entries(&["--since", "1h"])), ids);
    assert_eq!(of(entries(&["--status", "5xx"])), ids[2..4]);
    assert_eq!(of(entries(&["--status", "404", "--since", "10m"])), ids[1..2]);
    assert_eq!(of(entries(&["--limit", "2"])), ids[3..]);
    assert_eq!(of(entries(&["--until", "1h"])), [""; 0]);
    let times: Vec<String> =
        entries(&[]).iter().map(|entry| entry["time"].as_str().unwrap().to_owned()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(of(entries(&["--since", &times[3]])), ids[3..]);
    let text = node.cli(&["logs", "panic"]).expect_code(0).stdout;
    let id = panicked.head.invocation_id();
    assert!(text.contains(&format!("{id}  stderr  the guest panics before its reply")), "{text}");
    assert!(
        text.contains(&format!("{id}  node    [trap: "))
            && text.contains(&format!("{id}  500 trap in ")),
        "{text}"
    );
    node.stop();
}

#[test]
fn a_follower_is_told_what_comes_from_every_worker() {
    let node = node_with(Node::build(), &["inspect", "hello"]);
    let before = invoke(&node, "/inspect/");
    find(&node, &before);
    let data = node.data().to_str().unwrap();
    let follower = Running::spawn(sockhop().args(["logs", "inspect", "--follow", "--data", data]));
    wait::until("what there was is shown first", SOON, || {
        follower.stdout().contains(&before).then_some(())
    });
    let mut ids = Vec::new();
    wait::until("both workers have served", SOON, || {
        ids.push(invoke(&node, "/inspect/"));
        invoke(&node, "/hello/");
        node.status().workers.iter().all(|worker| worker.requests > 2).then_some(())
    });
    for id in ids.iter().chain([&before]) {
        // A guest that ends behind its reply's last byte has a second record.
        let of = |line: &&str| line.contains(id.as_str()) && !line.contains(" after its reply, ");
        let lines = || follower.stdout().lines().filter(of).count();
        wait::for_value("each has its two lines and its summary", SOON, lines, |count| *count == 3);
    }
    assert!(!follower.stdout().contains("hello"), "another function's are not shown");
    node.stop();
    let ended = follower.finish(SOON).expect_error(&["the node"]);
    assert!(!ended.stderr.contains("note:"), "{ended:#?}");
}

#[test]
fn several_functions_are_followed_with_their_names_and_chosen_by_stream_and_text() {
    let node = node_with(Node::build(), &["inspect", "hello", "cmd"]);
    let follow = |arguments: &[&str], terminal: Option<&str>| {
        let mut command = sockhop();
        command.args(["logs", "-f", "--data"]).arg(node.data()).args(arguments);
        command.env_remove("NO_COLOR");
        match terminal {
            Some(kind) => Running::printing_to_terminal(&mut command, kind),
            None => Running::spawn(&mut command),
        }
    };
    let two = follow(&["inspect", "cmd"], None);
    let all = follow(&[], Some("xterm"));
    let plain = follow(&[], Some("dumb"));
    let errors = follow(&["--stream", "stderr", "--text", "wanted"], None);
    let json = follow(&["--json"], Some("xterm"));
    // Each has told of this one when it follows.
    let begun = invoke(&node, "/cmd/?eprint=wanted%20to%20begin");
    for follower in [&two, &all, &plain, &errors, &json] {
        wait::until("it follows", SOON, || follower.stdout().contains(&begun).then_some(()));
    }
    let ids = [
        invoke(&node, "/inspect/"),
        invoke(&node, "/hello/"),
        invoke(&node, "/cmd/?eprint=%1b[31mwanted%c2%9b%0a&eprint=not"),
    ];
    let last = invoke(&node, "/cmd/?eprint=wanted%20at%20last");
    for follower in [&two, &all, &plain, &errors, &json] {
        wait::until("it has all", SOON, || follower.stdout().contains(&last).then_some(()));
    }
    let text = two.stdout();
    assert!(text.contains(&format!("Z  inspect  {}  stdout  inspect stdout", ids[0])), "{text}");
    assert!(
        text.contains(&format!("Z  cmd      {}  ", ids[2])) && !text.contains(&ids[1]),
        "{text}"
    );
    assert!(!text.contains('\x1b') && text.contains("\\u{1b}[31mwanted\\u{9b}"), "{text}");
    let text = all.stdout();
    assert!(text.contains(&format!("\x1b[36mcmd    \x1b[0m  {}", ids[2])), "{text:?}");
    assert!(text.contains(&format!("hello\x1b[0m  {}", ids[1])) || text.contains("hello  \x1b[0m"));
    assert!(!text.contains("\x1b[31m") && !text.contains('\u{9b}'), "{text:?}");
    let text = plain.stdout();
    assert!(!text.contains('\x1b') && ids.iter().all(|id| text.contains(id)), "{text:?}");
    let text = errors.stdout();
    assert_eq!(text.lines().count(), 3, "{text}");
    let text = json.stdout();
    let entries = harness::running::records(&text);
    assert!(entries.iter().any(|entry| entry["text"] == "\x1b[31mwanted\u{9b}"), "{text}");
    assert!(!text.contains('\u{9b}') && !text.contains('\x1b'), "{text:?}");
    let both = node.cli(&["logs", "hello", "cmd", "--text", "wanted"]).expect_code(0).stdout;
    assert_eq!(both.lines().count(), 3, "{both}");
    node.cli(&["logs", "hello", "No Name"]).expect_error(&["no function's name"]);
    assert_eq!(node.cli(&["logs", "--stream", "x"]).code, Some(2));
    drop((two, all, plain, errors, json));
    node.stop();
}

#[test]
fn what_does_not_fit_is_cut_and_marked_and_a_size_of_0_logs_nothing() {
    let node = Node::start();
    node.deploy("cmd", "cmd", &["--log-size", "10KB"]);
    node.deploy("cmd", "mute", &["--log-size", "0"]);
    let query = vec![format!("eprint={}", "e".repeat(1000)); 20].join("&");
    let found = find(&node, &invoke(&node, &format!("/cmd/?{query}")));
    let lines = found["lines"].as_array().unwrap();
    let bytes: usize = lines.iter().map(|line| line["text"].as_str().unwrap().len()).sum();
    assert!(bytes < 10_200, "{bytes}");
    assert_eq!(lines.last().unwrap()["text"], "[cut: more than 10000 bytes]", "{found:#}");
    let found = find(&node, &invoke(&node, &format!("/mute/?{query}")));
    assert_eq!(found["lines"], Value::Array(Vec::new()));
    node.stop();
}

#[test]
fn a_full_disk_holds_up_no_request_and_its_gap_is_marked() {
    let disk = SmallDisk::mount(64);
    let one_core = harness::node::two_cores().split(['-', ',']).next().unwrap().to_owned();
    let node = Node::build()
        .data(&disk.path().join("data"))
        .option("--cores", one_core)
        .option("--guest-log", "off");
    let node = node.start();
    node.deploy("cmd", "cmd", &[]);
    find(&node, &invoke(&node, "/cmd/?eprint=before"));
    let filler = disk.fill();
    let query = vec![format!("eprint={}", "e".repeat(2000)); 20].join("&");
    let mut connection = node.connect();
    wait::until("more is logged than can wait", Duration::from_secs(60), || {
        assert_eq!(connection.get(&format!("/cmd/?{query}")).status(), 200, "requests go on");
        (metric(&node, "sockhop_log_dropped_total") > 0).then_some(())
    });
    fs::remove_file(filler).unwrap();
    wait::until("there is room again for what is logged", SOON, || {
        invoke(&node, "/cmd/?eprint=after");
        node.cli(&["logs", "cmd", "--limit", "9"]).stdout.contains("stderr  after").then_some(())
    });
    let text = node.cli(&["logs", "cmd", "--since", "1h"]).expect_code(0).stdout;
    assert!(text.contains("records are missing here: the disk did not keep up]"), "{}", text.len());
    assert!(text.contains("before") && text.contains("after"));
    node.stop();
}

#[test]
fn what_is_damaged_in_the_store_is_told_and_the_rest_is_shown() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let node = Node::build().data(&data).in_folder().start();
        node.deploy("inspect", "inspect", &[]);
        ids.push(invoke(&node, "/inspect/"));
        find(&node, ids.last().unwrap());
        node.stop();
    }
    let mut all = shipped(&data.join("store"));
    all.sort();
    assert_eq!(all.len(), 2, "one worker has written in each of the two");
    let mut bytes = fs::read(&all[0]).unwrap();
    bytes[20] ^= 1;
    fs::write(&all[0], bytes).unwrap();
    let node = Node::build().data(&data).in_folder().start();
    let shown = node.cli(&["logs", "inspect"]).expect_code(0);
    assert!(
        shown.stderr.contains("note: the segment") && shown.stderr.contains("SHA-256"),
        "{shown:#?}"
    );
    assert!(shown.stdout.contains(&ids[1]) && !shown.stdout.contains(&ids[0]), "{shown:#?}");
    node.cli(&["logs", &ids[0]]).expect_error(&["nothing of invocation", "SHA-256"]);
    expect_inspected(&node, &ids[1]);
    node.stop();
}

#[test]
fn logs_go_when_they_are_too_old_and_what_is_not_found_is_explained() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let node = node_with(Node::build().data(&data).in_folder(), &["inspect"]);
    let id = invoke(&node, "/inspect/");
    find(&node, &id);
    node.stop();
    assert_eq!(shipped(&data.join("store")).len(), 1);
    let node = Node::build().data(&data).in_folder().option("--logs-kept-for", "1ms");
    // The second look at the store's clock.
    let node = node.option("--retention-interval", "1s").start();
    wait::until("it is deleted", SOON, || shipped(&data.join("store")).is_empty().then_some(()));
    node.cli(&["logs", &id]).expect_error(&[
        "nothing of invocation",
        &id,
        "kept for 1ms",
        "another node",
    ]);
    let nothing = node.cli(&["logs", "inspect"]).expect_code(0);
    assert!(
        nothing.stdout.is_empty() && nothing.stderr.contains("nothing to show of inspect"),
        "{nothing:#?}"
    );
    node.cli(&["logs", "No Name"]).expect_error(&["no invocation's id"]);
    assert_eq!(node.cli(&["logs", "inspect", "--status", "never"]).code, Some(2));
    node.cli(&["logs", "inspect", "--since", "yesterday"]).expect_error(&["yesterday", "10m"]);
    node.stop();
}

#[test]
fn without_logs_nothing_is_written_and_by_default_nothing_is_on_stderr() {
    let node =
        node_with(Node::build().option("--logs", "off").option("--guest-log", "off"), &["inspect"]);
    let id = invoke(&node, "/inspect/");
    node.cli(&["logs", &id]).expect_error(&["nothing of invocation"]);
    assert!(segments(&node.data().join("spool")).is_empty());
    assert!(!node.stderr().contains("inspect stdout line"), "{}", node.stderr());
    node.stop();
}
