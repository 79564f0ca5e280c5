//! Versions and aliases: how they are addressed, how requests are split between them, rollbacks,
//! and that a version that does not work never becomes active.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use harness::client::request;
use harness::disk::picture;
use harness::running::records;
use harness::{Connection, Node, guests, wait};
use serde_json::Value;
use tempfile::TempDir;

/// Deploys the guest `inspect` with `VERSION` in its environment, and allows every client to choose
/// a version.
fn deploy(node: &Node, version: u64, options: &[&str]) {
    let version = format!("VERSION={version}");
    node.deploy("inspect", "it", &[&["--env", &version, "--previews"], options].concat());
}

/// Returns an environment variable of the guest that answers.
fn variable(connection: &mut Connection, target: &str, name: &str) -> Result<String, String> {
    connection.try_send(request("GET", target, &[], b"")).map_err(|error| error.to_string())?;
    let reply = connection.try_reply().map_err(|cut| format!("{cut:?}"))?;
    if reply.status() != 200 {
        return Err(format!("{:?} {}", reply.head, reply.text()));
    }
    let seen: Value = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
    let value = seen["environment"][name].as_str().map(str::to_owned);
    value.ok_or_else(|| format!("no {name} in {seen}"))
}

/// Returns the version that answers, as its guest reports it.
fn version(connection: &mut Connection, target: &str) -> Result<u64, String> {
    variable(connection, target, "VERSION")?.parse::<u64>().map_err(|error| error.to_string())
}

fn served(node: &Node, target: &str) -> u64 {
    version(&mut node.connect(), target).unwrap()
}

/// Returns the JSON that a command prints. Several records become a list, and aliases an object by
/// their names.
fn json(node: &Node, arguments: &[&str]) -> Value {
    let printed = node.cli(&[arguments, &["--json"]].concat()).expect_code(0).stdout;
    let mut records = records(&printed);
    match arguments {
        ["versions", ..] => records.into(),
        ["alias", "list", ..] => records
            .into_iter()
            .map(|record| (record["alias"].as_str().unwrap().to_owned(), record))
            .collect(),
        _ => {
            assert_eq!(records.len(), 1, "{printed}");
            records.remove(0)
        }
    }
}

#[test]
fn every_deploy_makes_a_version_that_has_addresses_of_its_own() {
    let node = Node::build().option("--domain", "example.com").start();
    for number in 1..=3 {
        deploy(&node, number, &[]);
    }
    deploy(&node, 4, &["--no-activate"]);
    assert_eq!(served(&node, "/it/"), 3);
    let versions = json(&node, &["versions", "it"]);
    let numbers: Vec<u64> =
        versions.as_array().unwrap().iter().map(|v| v["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [4, 3, 2, 1]);
    assert_eq!(versions[1]["aliases"][0]["alias"], "active");
    let id = versions[3]["version"].as_str().unwrap();
    for target in ["/it@v1/x", "/it@1?q", &format!("/it@{id}/"), &format!("/it@{}/", &id[..20])] {
        assert_eq!(served(&node, target), 1, "{target}");
    }
    assert_eq!(served(&node, "/it@v4/"), 4);
    node.cli(&["alias", "set", "it@staging", "v4"]).expect_code(0);
    let seen = node.get("/it@staging/a/b?c=d").json();
    assert_eq!((&seen["path"], &seen["query"]), (&"/a/b".into(), &"c=d".into()));
    assert_eq!(seen["headers"]["x-forwarded-prefix"][0], "/it@staging");
    for (host, expected) in
        [("it.example.com", 3), ("it--staging.example.com", 4), ("IT--v2.example.com", 2)]
    {
        let mut connection = node.connect();
        connection.send(request("GET", "/p", &[("host", host)], b""));
        let seen = connection.reply().json();
        assert_eq!(seen["environment"]["VERSION"], expected.to_string(), "{host}");
        assert_eq!(seen["path"], "/p");
    }
    for unknown in
        ["/it@v9/", "/it@nothing/", "/it@/", "/nobody@v1/", &format!("/it@{}/", &id[..8])]
    {
        node.get(unknown).expect_problem(404);
    }
    let invoked = node.cli(&["invoke", "it@staging"]).expect_code(0).stdout;
    assert!(invoked.contains("\"VERSION\":\"4\""), "{invoked}");
    node.cli(&["invoke", "it@v9"]).expect_error(&["v9", "sockhop versions it"]);
    node.cli(&["invoke", "it@nothing"]).expect_error(&["nothing", "sockhop alias list it"]);
    // Only versions with an alias are made ready. The others are compiled when they are called, and
    // are kept over a restart.
    let printed = node.cli(&["inspect", "it"]).expect_code(0).stdout;
    for line in ["v4 v3 v2 v1", "active: v3", "staging: v4"] {
        assert!(printed.contains(line), "{line}: {printed}");
    }
    let printed = node.cli(&["versions", "it"]).expect_code(0).stdout;
    assert!(
        printed.contains("v1") && printed.contains("staging") && printed.contains(id),
        "{printed}"
    );
    node.stop();
}

#[test]
fn what_is_not_active_is_called_by_its_number_alone_and_survives_a_restart() {
    let data = TempDir::new().unwrap();
    let node = Node::build().data(data.path()).start();
    deploy(&node, 1, &["--no-activate"]);
    node.get("/it/").expect_problem(404);
    assert_eq!(served(&node, "/it@v1/"), 1);
    node.cli(&["invoke", "it"]).expect_error(&["active"]);
    node.cli(&["rollback", "it"]).expect_error(&["sockhop rollback it VERSION"]);
    deploy(&node, 2, &["--no-activate", "--isolation", "process"]);
    node.cli(&["rollback", "it", "v1"]).expect_code(0);
    assert_eq!(served(&node, "/it/"), 1);
    node.stop();
    let node = Node::build().data(data.path()).start();
    assert_eq!((served(&node, "/it/"), served(&node, "/it@v2/")), (1, 2));
    assert_eq!(node.status().node.compilations, 0);
    node.cli(&["rollback", "it", "2"]).expect_code(0);
    assert_eq!((served(&node, "/it/"), served(&node, "/it@v1/")), (2, 1));
    node.deploy("hello", "it", &["--no-activate", "--previews"]);
    node.stop();
    // A node without its cache compiles the versions with an alias at its start, and the others
    // when an operator invokes them.
    fs::remove_dir_all(data.path().join("cache")).unwrap();
    let node = Node::build().data(data.path()).start();
    assert_eq!((served(&node, "/it/"), node.status().node.compilations), (2, 1));
    node.get("/it@v3/").expect_problem(500);
    assert_eq!(node.status().node.compilations, 1);
    node.cli(&["invoke", "it@v3"]).expect_code(0);
    node.get("/it@v3/").expect_hello();
    assert_eq!(node.status().node.compilations, 2);
    node.cli(&["remove", "it"]).expect_code(0);
    node.get("/it@v1/").expect_problem(404);
    node.stop();
}

#[test]
fn a_rollback_goes_to_what_was_active_before_and_back_again() {
    let node = Node::start();
    deploy(&node, 1, &[]);
    node.cli(&["rollback", "it"])
        .expect_error(&["no other version", "sockhop rollback it VERSION"]);
    deploy(&node, 2, &[]);
    deploy(&node, 3, &[]);
    for (arguments, expected) in [
        (&["rollback", "it"][..], 2),
        (&["rollback", "it"], 3),
        (&["rollback", "it", "v1"], 1),
        (&["rollback", "it"], 3),
        (&["alias", "set", "it", "2"], 2),
        (&["rollback", "it"], 3),
    ] {
        let said = node.cli(arguments).expect_code(0).stdout;
        assert!(said.contains(&format!("means v{expected}")), "{arguments:?}: {said}");
        assert_eq!(served(&node, "/it/"), expected, "{arguments:?}");
    }
    node.cli(&["rollback", "it", "v9"]).expect_error(&["v9", "sockhop versions it"]);
    node.cli(&["rollback", "nobody"]).expect_error(&["nobody"]);
    assert_eq!(served(&node, "/it/"), 3);
    node.stop();
}

#[test]
fn an_alias_has_an_environment_of_its_own_and_no_instance_serves_two() {
    let node = Node::start();
    deploy(&node, 1, &["--env", "PLACE=here", "--instances", "reuse=1000"]);
    node.cli(&["alias", "set", "it@staging", "v1", "--env", "PLACE=staging"]).expect_code(0);
    let mut connection = node.connect();
    let mut place = |target| variable(&mut connection, target, "PLACE").unwrap();
    for _ in 0..20 {
        assert_eq!(
            (place("/it/"), place("/it@staging/")),
            ("here".to_owned(), "staging".to_owned())
        );
    }
    // No instance with the former environment serves any more.
    node.cli(&["alias", "set", "it@staging", "--env", "PLACE=elsewhere", "--env", "VERSION=7"])
        .expect_code(0);
    for _ in 0..20 {
        assert_eq!(
            (place("/it@staging/"), place("/it@v1/")),
            ("elsewhere".to_owned(), "here".to_owned())
        );
    }
    assert_eq!(served(&node, "/it@staging/"), 7);
    // The environment stays when the alias moves to another version, and is removed on request.
    deploy(&node, 2, &["--env", "PLACE=there"]);
    node.cli(&["alias", "set", "it@staging", "v2"]).expect_code(0);
    assert_eq!(place("/it@staging/"), "elsewhere");
    node.cli(&["alias", "set", "it@staging", "--clear"]).expect_code(0);
    assert_eq!((place("/it@staging/"), served(&node, "/it@staging/")), ("there".to_owned(), 2));
    drop(connection);

    node.deploy("config", "config", &["--arg", "C", "--config", "C=own", "--previews"]);
    node.cli(&["alias", "set", "config@staging", "v1", "--config", "C=laid"]).expect_code(0);
    assert!(node.get("/config/").text().starts_with("C=own\n"));
    assert!(node.get("/config@staging/").text().starts_with("C=laid\n"));

    let aliases = json(&node, &["alias", "list", "it"]);
    assert_eq!(aliases.as_object().unwrap().keys().collect::<Vec<_>>(), ["active", "staging"]);
    assert!(node.cli(&["alias", "list", "it"]).expect_code(0).stdout.contains("staging"));
    node.cli(&["alias", "remove", "it@staging"]).expect_code(0);
    node.get("/it@staging/").expect_problem(404);
    node.cli(&["alias", "remove", "it@staging"]).expect_error(&["no alias", "staging"]);
    node.cli(&["alias", "remove", "it@active"]).expect_error(&["cannot be removed"]);
    node.cli(&["alias", "remove", "it"]).expect_code(2).expect_error_text(&["NAME@ALIAS"]);
    for (alias, word) in [
        ("it@v3", "looks like a version"),
        ("it@deadbeef", "looks like a version"),
        ("it@a--b", "single"),
    ] {
        node.cli(&["alias", "set", alias, "v1"]).expect_error(&[word]);
    }
    node.cli(&["alias", "set", "it@new"]).expect_code(2).expect_error_text(&["nothing is said"]);
    node.cli(&["alias", "set", "it@new", "--env", "A=1"]).expect_error(&["which version"]);
    node.cli(&["alias", "set", "it@new", "v9"]).expect_error(&["v9"]);
    node.cli(&["alias", "set", "it@new", "--weights", "v1=1,v1=2"]).expect_error(&["twice"]);
    node.cli(&["alias", "set", "it@new", "--weights", "v1=0"]).expect_error(&["weight 0"]);
    node.stop();
}

/// Returns how many of `requests` on one connection each version has answered.
fn counted(node: &Node, target: &str, requests: usize) -> BTreeMap<u64, usize> {
    let (mut connection, mut counts) = (node.connect(), BTreeMap::new());
    for _ in 0..requests {
        *counts.entry(version(&mut connection, target).unwrap()).or_default() += 1;
    }
    counts
}

#[test]
fn requests_are_split_by_weight_on_one_connection() {
    const REQUESTS: usize = 2000;
    let node = Node::start();
    for number in 1..=3 {
        deploy(&node, number, &[]);
    }
    node.cli(&["alias", "set", "it", "--weights", "v1=90,v2=10"]).expect_code(0);
    let counts = counted(&node, "/it/", REQUESTS);
    // 2,000 requests with a probability of one in ten: 200 are expected, with a standard deviation
    // of 13.4. A deviation of six times that happens once in 500 million runs.
    let second = counts[&2];
    assert!((120..=280).contains(&second) && counts[&1] + second == REQUESTS, "{counts:?}");
    node.cli(&["alias", "set", "it@half", "--weights", "v2=7,v3=7"]).expect_code(0);
    let counts = counted(&node, "/it@half/", REQUESTS);
    assert!(
        (866..=1134).contains(&counts[&3]) && counts[&2] + counts[&3] == REQUESTS,
        "{counts:?}"
    );
    let printed = node.cli(&["versions", "it"]).expect_code(0).stdout;
    assert!(printed.contains("active 90/100"), "{printed}");
    // Both versions run in a process of their own if one of them must.
    deploy(&node, 4, &["--isolation", "process", "--no-activate"]);
    node.cli(&["alias", "set", "it", "--weights", "v1=1,v4=1"]).expect_code(0);
    let counts = counted(&node, "/it/", 200);
    assert!(counts.keys().eq([&1, &4]), "{counts:?}");
    assert_eq!(node.status().workers.iter().filter(|worker| worker.pool == "it").count(), 1);
    node.cli(&["rollback", "it"]).expect_code(0);
    assert!(counted(&node, "/it/", 200).keys().eq([&1, &2]));
    node.stop();
}

#[test]
fn rollbacks_under_load_lose_no_request() {
    let node = Node::start();
    deploy(&node, 1, &[]);
    deploy(&node, 2, &["--isolation", "process"]);
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let address = node.addresses()[0];
    let client = || {
        let mut connection = Connection::try_open(address).map_err(|error| error.to_string())?;
        while !stop.load(SeqCst) {
            let seen = version(&mut connection, "/it/")?;
            if !(1..=2).contains(&seen) {
                return Err(format!("version {seen}"));
            }
            answered.fetch_add(1, SeqCst);
        }
        Ok::<(), String>(())
    };
    let failures: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..50).map(|_| scope.spawn(client)).collect();
        let _end = wait::StopOnDrop(&stop);
        for round in 0..6 {
            let goal = answered.load(SeqCst) + 200;
            wait::until("the load goes on", Duration::from_secs(60), || {
                let over = clients.iter().any(thread::ScopedJoinHandle::is_finished);
                (over || answered.load(SeqCst) >= goal).then_some(())
            });
            node.cli(&["rollback", "it"]).expect_code(0);
            assert_eq!(
                served(&node, "/it/"),
                1 + round % 2,
                "what a rollback has returned with is served everywhere"
            );
        }
        stop.store(true, SeqCst);
        clients.into_iter().filter_map(|client| client.join().unwrap().err()).collect()
    });
    assert!(failures.is_empty(), "{failures:#?}");
    node.stop();
}

/// Returns a command of preview 1 whose start function is `code`, with a memory of `pages`.
fn module_that_starts_with(code: &[u8], pages: u8) -> Vec<u8> {
    let section =
        |id: u8, content: &[u8]| [&[id, u8::try_from(content.len()).unwrap()], content].concat();
    let with_length = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let body = |code: &[u8]| [&[u8::try_from(code.len() + 2).unwrap(), 0], code, &[0x0b]].concat();
    let exports =
        [&[2][..], &with_length("_start"), &[0, 0], &with_length("memory"), &[2, 0]].concat();
    let sections = [
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[2, 0, 0]),
        section(5, &[1, 0, pages]),
        section(7, &exports),
        section(8, &[1]),
        section(10, &[&[2][..], &body(&[]), &body(code)].concat()),
    ];
    [guests::EMPTY_MODULE, &sections.concat()].concat()
}

#[test]
fn a_version_that_does_not_answer_a_request_is_not_deployed() {
    let (store, files) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let node = Node::build().option("--store", store.path()).start();
    // A command that traps when it runs, not when it is instantiated.
    let traps = files.path().join("traps.wasm");
    let traps_when_run = module_that_starts_with(&[], 1);
    let at = traps_when_run.len() - 6;
    assert_eq!(&traps_when_run[at..], [2, 0, 0x0b, 2, 0, 0x0b]);
    let code = [&traps_when_run[..at - 3], &[10, 8, 2, 3, 0, 0, 0x0b, 2, 0, 0x0b][..]].concat();
    fs::write(&traps, code).unwrap();
    let guest = |name: &str| guests::path(name).to_str().unwrap().to_owned();
    deploy(&node, 1, &[]);
    let before = (node.list(), json(&node, &["versions", "it"]), stored(store.path()));
    let (panic, spin) = (guest("panic"), guest("spin"));
    let cases: [(&[&str], &[&str]); 4] = [
        // The error has the guest's output.
        (&[&panic], &["trial request", "GET /", "500", "panicked", "--no-trial"]),
        (&[&spin, "--cpu-time", "200ms"], &["trial request", "504"]),
        (&[&panic, "--isolation", "process"], &["trial request", "500"]),
        (&[traps.to_str().unwrap()], &["trial request", "500", "unreachable"]),
    ];
    for (arguments, words) in cases {
        for name in ["it", "new"] {
            // A panic in the output is the guest's.
            let said = node
                .cli(&[&["deploy"], arguments, &["--name", name]].concat())
                .expect_code(1)
                .stderr;
            words.iter().for_each(|word| assert!(said.contains(word), "{word}: {said}"));
        }
        let after = (node.list(), json(&node, &["versions", "it"]), stored(store.path()));
        assert_eq!(before, after, "{arguments:?}");
        assert_eq!(served(&node, "/it/"), 1);
        node.get("/it@v2/").expect_problem(404);
        node.get("/new/").expect_problem(404);
    }
    node.cli(&["deploy", &guest("status"), "--name", "it"]).expect_code(0);
    assert_eq!(node.get("/it/").status(), 204);
    node.cli(&["deploy", &panic, "--name", "it", "--no-trial"]).expect_code(0);
    node.get("/it/").expect_problem(500);
    node.stop();
}

#[test]
fn strangers_name_versions_only_where_the_function_allows_it() {
    let node = Node::build().option("--domain", "example.com").start();
    let deploy = |version: u64, options: &[&str]| {
        let version = format!("VERSION={version}");
        node.deploy("inspect", "it", &[&["--env", &version], options].concat());
    };
    deploy(1, &[]);
    deploy(2, &[]);
    node.cli(&["alias", "set", "it@staging", "v1"]).expect_code(0);
    let by_host = |host: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        node.connect().exchange(request.as_bytes(), 1)[0].status()
    };
    // The answer does not show whether the version exists.
    let said = |reference: &str| {
        node.get(&format!("/{reference}/")).expect_problem(404).replace(reference, "")
    };
    for reference in ["it@v1", "it@staging", "it@active", "it@v2"] {
        assert_eq!(said(reference), said("it@v9"));
    }
    assert_eq!((by_host("it.example.com"), by_host("it--staging.example.com")), (200, 404));
    // Also on a connection that is kept.
    let mut kept = node.connect();
    assert_eq!(version(&mut kept, "/it/"), Ok(2));
    assert!(version(&mut kept, "/it@v1/").is_err_and(|error| error.contains("404")));
    assert_eq!(version(&mut kept, "/it/"), Ok(2));
    // The control API may name any version.
    for (reference, number) in [("it@v1", 1), ("it@staging", 1), ("it@v2", 2), ("it", 2)] {
        let seen: Value =
            serde_json::from_str(&node.cli(&["invoke", reference]).expect_code(0).stdout).unwrap();
        assert_eq!(seen["environment"]["VERSION"], number.to_string(), "{reference}");
    }
    // The active version decides what the function allows.
    deploy(3, &["--previews", "--isolation", "process"]);
    assert_eq!((served(&node, "/it@v1/"), served(&node, "/it@staging/")), (1, 1));
    assert_eq!(by_host("it--staging.example.com"), 200);
    deploy(4, &["--previews=false", "--isolation", "process"]);
    node.get("/it@v3/").expect_problem(404);
    node.cli(&["invoke", "it@v3"]).expect_code(0);
    node.stop();
}

#[test]
fn what_wants_a_worker_of_its_own_is_tried_in_one_and_never_in_a_shared_one() {
    let files = TempDir::new().unwrap();
    let node = Node::build().start();
    let file = files.path().join("slow.wasm");
    // It counts to 200 million in its memory: loop, i32.store 0 (i32.load 0) + 1, br_if (i32.load
    // 0) < 200,000,000, end.
    let counts = b"\x03\x40\x41\0\x41\0\x28\x02\0\x41\x01\x6a\x36\x02\0\
        \x41\0\x28\x02\0\x41\x80\x84\xaf\xdf\0\x49\x0d\0\x0b";
    fs::write(&file, module_that_starts_with(counts, 1)).unwrap();
    let file = file.to_str().unwrap();
    let deploy = |isolation| ["deploy", file, "--name", "it", "--isolation", isolation];
    // Returns the workers that existed during the change.
    let seen = |change: &[&str]| {
        thread::scope(|scope| {
            let change = scope.spawn(|| drop(node.cli(change).expect_code(0)));
            let mut pools = BTreeSet::new();
            while !change.is_finished() {
                pools.extend(node.status().workers.into_iter().map(|worker| worker.pool));
            }
            change.join().unwrap();
            pools
        })
    };
    let trial = "trial of it";
    assert!(!seen(&deploy("shared")).contains(trial));
    for change in [
        &deploy("process")[..],
        &["rollback", "it", "v2"],
        &["alias", "set", "it@staging", "v2"],
        &["alias", "set", "it@staging", "v1"],
    ] {
        assert!(seen(change).contains(trial), "{change:?}");
    }
    // A version that needs a process of its own does not run in a shared worker when a request
    // names it.
    node.cli(&deploy("shared")).expect_code(0);
    node.cli(&["alias", "set", "it@staging", "v3"]).expect_code(0);
    node.cli(&["invoke", "it@v2"]).expect_error(&["worker of its own", "alias"]);
    node.cli(&["invoke", "it@v1"]).expect_code(0);
    assert!(seen(&["rollback", "it", "v2"]).contains(trial));
    node.stop();
}

/// Returns the files of functions in the store.
fn stored(store: &Path) -> Vec<PathBuf> {
    ["uploads", "versions", "aliases"]
        .into_iter()
        .flat_map(|folder| picture(&store.join(folder)).into_keys())
        .collect()
}

#[test]
fn a_version_that_does_not_work_is_refused_and_the_old_one_stays() {
    let (store, files) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let node = Node::build().option("--store", store.path()).start();
    let file = |name: &str, content: &[u8]| {
        let path = files.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    deploy(&node, 1, &[]);
    let before = (node.list(), json(&node, &["versions", "it"]), stored(store.path()));
    let workers: Vec<_> = node.status().workers.iter().map(|worker| worker.pid).collect();
    let hello = guests::path("hello");
    let status = guests::path("status");
    let (hello, status) = (hello.to_str().unwrap(), status.to_str().unwrap());
    let traps = file("traps.wasm", &module_that_starts_with(&[0x00], 1));
    // loop, br 0, end
    let spins = file("spins.wasm", &module_that_starts_with(&[0x03, 0x40, 0x0c, 0x00, 0x0b], 1));
    let large = file("large.wasm", &module_that_starts_with(&[], 100));
    let cases: [(&[&str], &[&str]); 8] = [
        (&[&traps], &["instantiated", "trapped", "unreachable"]),
        (&[&spins, "--timeout", "200ms"], &["instantiated", "time limit of 200ms"]),
        (&[&large, "--memory", "1MiB"], &["instantiated", "--memory"]),
        (&[hello, "--memory", "64KiB"], &["instantiated", "--memory"]),
        (&[status, "--health-path", "/?code=500"], &["--health-path", "500"]),
        (&[status, "--health-path", "/?code=302"], &["--health-path", "302"]),
        (&[hello, "--health-path", "nowhere"], &["--health-path", "no path"]),
        (&[hello, "--health-path", "/a b"], &["--health-path", "no path"]),
    ];
    for (arguments, words) in cases {
        for name in ["it", "new"] {
            for more in [&[][..], &["--no-activate"]] {
                let refused = node.cli(&[&["deploy"], arguments, &["--name", name], more].concat());
                refused.expect_error(words);
            }
        }
        let after = (node.list(), json(&node, &["versions", "it"]), stored(store.path()));
        assert_eq!(before, after, "{arguments:?}");
        assert_eq!(served(&node, "/it/"), 1);
        node.get("/it@v2/").expect_problem(404);
        node.get("/new@v1/").expect_problem(404);
    }
    let after: Vec<_> = node.status().workers.iter().map(|worker| worker.pid).collect();
    assert_eq!(workers, after, "no worker dies of a trial");
    node.cli(&["deploy", status, "--name", "it", "--health-path", "/?code=204"]).expect_code(0);
    assert_eq!(node.get("/it/?code=201").status(), 201);
    node.stop();
}

#[test]
fn old_versions_go_unless_an_alias_or_a_rollback_needs_them() {
    let store = TempDir::new().unwrap();
    let keep = |node: harness::NodeBuilder| {
        node.option("--versions-kept", "3").option("--versions-kept-for", "0s")
    };
    let node = keep(Node::build().option("--store", store.path())).start();
    for number in 1..=6 {
        deploy(&node, number, &[]);
        if number == 1 {
            node.cli(&["alias", "set", "it@first", "v1"]).expect_code(0);
        }
    }
    let numbers = || -> Vec<u64> {
        json(&node, &["versions", "it"])
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v["number"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers(), [6, 5, 4, 1]);
    node.cli(&["rollback", "it", "v4"]).expect_code(0);
    node.cli(&["alias", "remove", "it@first"]).expect_code(0);
    deploy(&node, 7, &["--no-activate"]);
    deploy(&node, 8, &["--no-activate"]);
    deploy(&node, 9, &["--no-activate"]);
    // v4 is active, and v6 was active before it.
    assert_eq!(numbers(), [9, 8, 7, 6, 4]);
    assert_eq!(served(&node, "/it/"), 4);
    node.cli(&["rollback", "it"]).expect_code(0);
    assert_eq!(served(&node, "/it/"), 6);
    node.get("/it@v5/").expect_problem(404);
    assert_eq!(picture(&store.path().join("versions/it")).len(), 5);
    node.stop();
}

#[test]
fn a_number_that_two_nodes_gave_is_refused_by_its_ids() {
    let store = TempDir::new().unwrap();
    let node = Node::build().option("--store", store.path()).start();
    deploy(&node, 1, &[]);
    deploy(&node, 2, &[]);
    // What another node writes that deploys at the same moment.
    let folder = store.path().join("versions/it");
    let versions = json(&node, &["versions", "it"]);
    let id = versions[0]["version"].as_str().unwrap();
    let (other, object) =
        (format!("{}f", &id[..35]), fs::read_to_string(folder.join(format!("{id}.json"))).unwrap());
    let other = if other == id { format!("{}e", &id[..35]) } else { other };
    let (_, manifest) = object.split_once('\n').unwrap();
    let manifest = manifest.replace(id, &other);
    fs::write(folder.join(format!("{other}.json")), harness::disk::checked(&manifest)).unwrap();
    node.cli(&["rollback", "it", "v2"]).expect_error(&["two versions", id, &other]);
    node.cli(&["rollback", "it", &other]).expect_code(0);
    node.get("/it@v2/").expect_problem(404);
    assert_eq!(served(&node, &format!("/it@{id}/")), 2);
    deploy(&node, 3, &[]);
    assert_eq!(served(&node, "/it@v3/"), 3);
    node.stop();
}
