//! A spawner by itself, for this crate's tests: what a worker runs of its own binary. Called as
//! `as-user`, it becomes an ordinary user first. Owns no fds.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

/// An ordinary user that no host has.
const USER: u32 = 54_321;

fn main() -> ExitCode {
    let mut args = std::env::args();
    let is_user = args.next().is_some_and(|name| name.ends_with("as-user"));
    if is_user && nix::unistd::geteuid().is_root() {
        // A process that has changed its user belongs to root in /proc until it executes.
        let mut command = Command::new("/proc/self/exe");
        command.args(args).uid(USER).gid(USER);
        if let Err(errno) = nix::unistd::setgroups(&[]) {
            eprintln!("sandbox-spawner: leaving root's groups failed: {errno}");
            return ExitCode::FAILURE;
        }
        let error = command.exec();
        eprintln!("sandbox-spawner: becoming user {USER} failed: {error}");
        return ExitCode::FAILURE;
    }
    if args.next().as_deref() == Some(sandbox::SPAWNER_ARGUMENT) {
        return sandbox::spawner_main();
    }
    eprintln!("usage: sandbox-spawner {}, with a channel as stdin", sandbox::SPAWNER_ARGUMENT);
    ExitCode::FAILURE
}
