//! The protocol of systemd, and of what speaks like it: sockets that it gives the engine
//! (sd_listen_fds(3)), and states that the engine reports (sd_notify(3)).
//!
//! Without the environment variables of the protocol, all of this does nothing. Callers own the
//! sockets; this module keeps no fds.

use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::process::Command;

use crate::listen::{Scheme, Spoken};

/// The variables that describe the sockets of a process.
const SOCKET_VARIABLES: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];
/// The variable with the process that the watchdog watches.
const WATCHED_VARIABLE: &str = "WATCHDOG_PID";

/// The names of sockets on which clients speak more than HTTP (FileDescriptorName=,
/// systemd.socket(5)).
const NAMES: [(&str, Spoken); 3] = [
    ("https", Spoken { scheme: Scheme::Https, proxy_protocol: false }),
    ("http-proxy-protocol", Spoken { scheme: Scheme::Http, proxy_protocol: true }),
    ("https-proxy-protocol", Spoken { scheme: Scheme::Https, proxy_protocol: true }),
];

/// Returns the sockets that this process was started with, and what clients speak on each. Must be
/// called once, before anything else opens a file.
///
/// # Errors
/// When the variables describe sockets that are not there.
pub fn sockets() -> std::io::Result<Vec<(OwnedFd, Spoken)>> {
    let numbers = sd_notify::listen_fds_with_names()?;
    let sockets = numbers.map(|(number, name)| {
        let spoken = NAMES.iter().find(|(known, _)| *known == name);
        let spoken = spoken.map_or(Spoken::HTTP, |(_, spoken)| *spoken);
        // SAFETY: whoever started this process has put these fds here for it, they are open
        // (listen_fds has set a flag of each), and this is called once, so nobody else owns them.
        (unsafe { OwnedFd::from_raw_fd(number) }, spoken)
    });
    Ok(sockets.collect())
}

/// Removes the variables from the environment of a process that is to replace this one.
pub fn pass_on(command: &mut Command) {
    for variable in SOCKET_VARIABLES.iter().chain([&WATCHED_VARIABLE]) {
        command.env_remove(variable);
    }
}

/// Returns how often the watchdog expects [`alive`]. Returns `None` if there is no watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// Reports that the engine serves.
pub fn serving() {
    notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Reports that the engine changes something while it serves. [`serving`] reports the end of it.
pub fn reloading(status: &str) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now, NotifyState::Status(status)]),
        Err(error) => tracing::warn!("there is no clock to tell the init system by: {error}"),
    }
}

/// Reports that another process is the main one from now on.
pub fn main_pid(pid: u32) {
    notify(&[NotifyState::MainPid(pid)]);
}

/// Reports that the engine accepts nothing more, and ends.
pub fn stopping() {
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status("requests in flight have the drain timeout to end"),
    ]);
}

/// Reports to the watchdog that the engine is alive.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the init system cannot be told {states:?}: {error}");
    }
}
