//! What a test needs of the machine that it runs on. A test is never skipped: where something is
//! missing it fails, and the message says what is missing and what to do about it.

use std::path::PathBuf;

use nix::unistd::geteuid;

use crate::process;

/// Where a test that cannot run on a machine may be left out.
const LEAVE_OUT: &str = "or leave the test out by its name: scripts/test -E 'not test(NAME)'";

/// Panics unless the tests run as root. `purpose` completes the sentence "this test needs root to".
#[track_caller]
pub fn root(purpose: &str) {
    assert!(
        geteuid().is_root(),
        "this test needs root to {purpose}: run scripts/test as root, {LEAVE_OUT}"
    );
}

/// Returns the cores that this process may run on. Panics if there are fewer than `count`.
#[track_caller]
pub fn cores(count: usize) -> Vec<usize> {
    let cores = process::cores(std::process::id());
    assert!(
        cores.len() >= count,
        "this test needs {count} cores, and may run on {cores:?}: allow it more (taskset, the \
         container's cpuset), {LEAVE_OUT}"
    );
    cores
}

/// Returns the path of `name`, a program of the Debian package `package`. Panics if no folder of
/// `PATH` has it.
#[track_caller]
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!("this test needs {name}: install it (apt-get install {package}), {LEAVE_OUT}")
    })
}

/// Returns the folder that the environment variable `variable` names, or else the one that
/// scripts/test has put in the cache as `name`. Panics if it has no `file`.
#[track_caller]
pub fn cached(variable: &str, name: &str, file: &str) -> PathBuf {
    let of = |variable| std::env::var_os(variable).map(PathBuf::from);
    let cache = || of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")));
    let named = of(variable).or_else(|| Some(cache()?.join("sockhop").join(name)));
    let folder = named.expect("a home folder");
    let file = folder.join(file);
    assert!(file.is_file(), "{} is not there: run scripts/test, which installs it", file.display());
    folder
}
