//! A host with little memory: compilers have fewer threads there, and what cannot be compiled is
//! refused before it is tried.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;

use harness::compilers::StoppedCompiler;
use harness::{Node, guests, node};
use tempfile::TempDir;

/// Says how much memory there is, as the kernel would.
fn say(meminfo: &Path, mebibytes: u64) {
    let kibibytes = mebibytes * 1024;
    fs::write(
        meminfo,
        format!("MemTotal: 524288 kB\nMemAvailable: {kibibytes} kB\nSwapFree: 0 kB\n"),
    )
    .unwrap();
}

/// A node whose kernel says what is in the file `meminfo` of `folder`: in a mount namespace of its
/// own, which only root may make.
fn on_a_host_of(folder: &TempDir, mebibytes: u64) -> Node {
    let (meminfo, script) = (folder.path().join("meminfo"), folder.path().join("sockhop"));
    say(&meminfo, mebibytes);
    let (meminfo, real) = (meminfo.display(), node::binaries().join("sockhop"));
    let mounted = format!("mount --bind {meminfo} /proc/meminfo && exec {} \"$@\"", real.display());
    fs::write(
        &script,
        format!("#!/bin/sh\nexec unshare --mount sh -c '{mounted}' sockhop \"$@\"\n"),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    Node::build().binaries(folder.path()).start()
}

/// How many threads the compiler has.
fn threads(node: &Node, guest: &str, name: &str) -> String {
    thread::scope(|scope| {
        scope.spawn(|| node.deploy(guest, name, &[]));
        let stopped = StoppedCompiler::next(node);
        let environment = fs::read(format!("/proc/{}/environ", stopped.pid())).unwrap();
        String::from_utf8(environment).unwrap().trim_end_matches('\0').to_owned()
    })
}

#[test]
fn a_compiler_has_the_threads_that_there_is_memory_for() {
    let folder = TempDir::new().unwrap();
    // Between what one thread is thought to take, 78 MiB, and what two are, 95.
    let node = on_a_host_of(&folder, 86);
    assert_eq!(threads(&node, "json", "one"), "RAYON_NUM_THREADS=1");
    say(&folder.path().join("meminfo"), 4096);
    let all = thread::available_parallelism().unwrap();
    assert_eq!(threads(&node, "echo", "all"), format!("RAYON_NUM_THREADS={all}"));
    node.stop();
}

#[test]
fn what_cannot_be_compiled_is_refused_with_what_it_takes_and_what_there_is() {
    let folder = TempDir::new().unwrap();
    let node = on_a_host_of(&folder, 38);
    let file = guests::path("json");
    let arguments = ["deploy", file.to_str().unwrap(), "--name", "it", "--no-trial"];
    let words = [
        "takes some ",
        "MiB with one thread",
        "512.0 MiB of memory on the host, 38.0 MiB of it free, and no swap",
    ];
    node.cli(&arguments).expect_error(&[&words[..], &["add swap"]].concat());
    assert_eq!(node.status().node.compilations, 0, "no compiler was started");
    node.deploy("hello", "small", &[]);
    // The memory came, or there is swap now: what was refused is not held against it.
    say(&folder.path().join("meminfo"), 300);
    node.cli(&arguments).expect_code(0);
    node.stop();
}
