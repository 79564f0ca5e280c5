//! What systemd, or another that speaks as it does, gives the engine and is told by it: sockets
//! (sd_listen_fds(3)), and how it fares (sd_notify(3)).
//!
//! Without the variables that say so, all of this does nothing. Gives the sockets to its caller;
//! keeps no fds.

use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::process::Command;

/// About the sockets that a process is given.
const SOCKET_VARIABLES: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];
/// The process that the watchdog watches.
const WATCHED_VARIABLE: &str = "WATCHDOG_PID";

/// The sockets that this process was started with. To be called once, before anything else opens a
/// file.
///
/// # Errors
/// When what was said of them is not true.
pub fn sockets() -> std::io::Result<Vec<OwnedFd>> {
    let numbers = sd_notify::listen_fds()?;
    // SAFETY: whoever started this process has put these fds here for it, they are open (listen_fds
    // has set a flag of each), and this is called once, so nobody else owns them.
    Ok(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect())
}

/// For a process that is to take this one's place.
pub fn pass_on(command: &mut Command) {
    for variable in SOCKET_VARIABLES.iter().chain([&WATCHED_VARIABLE]) {
        command.env_remove(variable);
    }
}

/// How often a sign of life is wanted, if it is.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// It serves.
pub fn serving() {
    notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// It goes on serving while something changes; [`serving`] says when that is done.
pub fn reloading(status: &str) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now, NotifyState::Status(status)]),
        Err(error) => tracing::warn!("there is no clock to tell the init system by: {error}"),
    }
}

/// Another process is the one to watch.
pub fn main_pid(pid: u32) {
    notify(&[NotifyState::MainPid(pid)]);
}

/// It accepts nothing more, and ends.
pub fn stopping() {
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status("requests in flight have the drain timeout to end"),
    ]);
}

/// It is alive.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the init system cannot be told {states:?}: {error}");
    }
}
