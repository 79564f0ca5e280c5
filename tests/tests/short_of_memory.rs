//! On a host with little memory compilers have fewer threads, and what cannot be compiled is
//! refused before a compiler starts.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;

use harness::compilers::StoppedCompiler;
use harness::{Node, guests, needs, node};
use tempfile::TempDir;

/// Writes the size of the free memory in the kernel's format.
fn write_meminfo(meminfo: &Path, mebibytes: u64) {
    let kibibytes = mebibytes * 1024;
    fs::write(
        meminfo,
        format!("MemTotal: 524288 kB\nMemAvailable: {kibibytes} kB\nSwapFree: 0 kB\n"),
    )
    .unwrap();
}

/// Starts a node that reads the file `meminfo` of `folder` as /proc/meminfo. It has a mount
/// namespace of its own, which only root may make.
fn on_a_host_of(folder: &TempDir, mebibytes: u64) -> Node {
    needs::root("give a node a /proc/meminfo of its own");
    let unshare = needs::program("unshare", "util-linux");
    let (meminfo, script) = (folder.path().join("meminfo"), folder.path().join("sockhop"));
    write_meminfo(&meminfo, mebibytes);
    let (meminfo, real) = (meminfo.display(), node::binaries().join("sockhop"));
    let mounted = format!("mount --bind {meminfo} /proc/meminfo && exec {} \"$@\"", real.display());
    fs::write(
        &script,
        format!("#!/bin/sh\nexec {} --mount sh -c '{mounted}' sockhop \"$@\"\n", unshare.display()),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    Node::build().binaries(folder.path()).start()
}

/// Returns the variable with the number of the compiler's threads.
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
    // Between the estimates for one thread, 78 MiB, and for two, 95 MiB.
    let node = on_a_host_of(&folder, 86);
    assert_eq!(threads(&node, "json", "one"), "RAYON_NUM_THREADS=1");
    write_meminfo(&folder.path().join("meminfo"), 4096);
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
    // More memory is free now: a former refusal has no effect.
    write_meminfo(&folder.path().join("meminfo"), 300);
    node.cli(&arguments).expect_code(0);
    node.stop();
}
