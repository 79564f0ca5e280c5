//! Compilers: few at a time, of low priority, never in the way of a rollback, and not started again
//! for what does not compile.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use harness::compilers::{StoppedCompiler, compilers};
use harness::process::signal;
use harness::{Node, wait};
use nix::sys::signal::Signal;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const PATIENTLY: Duration = Duration::from_secs(60);

#[test]
fn nobody_waits_for_the_compiler_of_a_deploy_but_those_who_want_the_same() {
    let node = Node::build().start();
    for version in ["VERSION=1", "VERSION=2"] {
        node.deploy("inspect", "it", &["--env", version]);
    }
    node.deploy("hello", "hello", &[]);
    // Of the same function, and of others.
    let changes: [&[&str]; 4] = [
        &["rollback", "it", "v1"],
        &["alias", "set", "it@staging", "v2"],
        &["rollback", "it"],
        &["remove", "hello"],
    ];
    let deploy = |name| node.deploy("page", name, &[]);
    thread::scope(|scope| {
        let first = scope.spawn(|| deploy("it"));
        let stopped = StoppedCompiler::next(&node);
        let second = scope.spawn(|| deploy("other"));
        let changed =
            scope.spawn(|| changes.iter().for_each(|change| drop(node.cli(change).expect_code(0))));
        wait::until("the changes are made", PATIENTLY, || changed.is_finished().then_some(()));
        changed.join().unwrap();
        assert_eq!(node.version_at("/it/"), 2);
        assert!(!first.is_finished() && !second.is_finished());
        assert_eq!(
            compilers(&node),
            [stopped.pid()],
            "a second deploy of the same file waits for the first"
        );
        // A compiler has the lowest priority, and is killed first if memory runs out.
        let about =
            |what: &str| fs::read_to_string(format!("/proc/{}/{what}", stopped.pid())).unwrap();
        let nice =
            || about("stat").rsplit_once(')').unwrap().1.split_whitespace().nth(16) == Some("5");
        signal(stopped.pid(), Signal::SIGCONT);
        wait::until("its priority is low", PATIENTLY, || nice().then_some(()));
        assert_eq!(about("oom_score_adj").trim(), "500");
        first.join().unwrap();
        second.join().unwrap();
    });
    assert_eq!(node.status().node.compilations, 3);
    node.stop();
}

#[test]
fn a_compiler_that_somebody_else_kills_is_told_as_one_without_memory() {
    let node = Node::start();
    let file = harness::guests::path("json");
    let arguments = ["deploy", file.to_str().unwrap(), "--name", "it"];
    let failed = thread::scope(|scope| {
        let deploy = scope.spawn(|| node.cli(&arguments));
        let stopped = StoppedCompiler::next(&node);
        signal(stopped.pid(), Signal::SIGKILL);
        deploy.join().unwrap()
    });
    // The kernel does the same: the signal is the only sign.
    failed.expect_error(&[
        "killed",
        "most likely by the kernel",
        "takes some",
        "MiB",
        "free",
        "add swap",
    ]);
    node.cli(&arguments).expect_code(0);
    node.stop();
}

/// Replaces the function's only version by a file that does not compile.
fn damage(store: &Path, name: &str) {
    let sha256 = |bytes: &[u8]| {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let bytes = b"\0asm\x01\0\0\0\x01\x7f";
    // The layout of earlier builds.
    fs::create_dir_all(store.join("artefacts")).unwrap();
    fs::write(store.join("artefacts").join(sha256(bytes)), bytes).unwrap();
    let mut versions = fs::read_dir(store.join("versions").join(name)).unwrap();
    let version = versions.next().unwrap().unwrap().path();
    let object = fs::read_to_string(&version).unwrap();
    let (_, json) = object.split_once('\n').unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(json).unwrap();
    manifest["artefact"] = sha256(bytes).into();
    let json = manifest.to_string();
    fs::write(&version, format!("sockhop 1 sha256={}\n{json}", sha256(json.as_bytes()))).unwrap();
}

#[test]
fn what_does_not_compile_is_left_alone_for_a_while() {
    let (store, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let build = || Node::build().option("--store", store.path()).option("--sync-interval", "100ms");
    let writer = build().start();
    writer.deploy("hello", "bad", &[]);
    damage(store.path(), "bad");
    let reader = build().data(data.path()).start();
    reader.get("/bad/").expect_problem(404);
    let compilations = reader.status().node.compilations;
    for number in 1..=5 {
        // Each one is a look at the store.
        let name = format!("hello-{number}");
        writer.deploy("hello", &name, &[]);
        wait::until("it is served", PATIENTLY, || {
            (reader.get(&format!("/{name}/")).status() == 200).then_some(())
        });
    }
    assert_eq!(reader.status().node.compilations, compilations + 1, "that of hello");
    assert_eq!(reader.stderr().matches("is not served").count(), 1, "{}", reader.stderr());
    reader.stop();
    writer.stop();
}
