//! How the processes begin and end: what is set before anything else, the log, and the exit code.
//!
//! Owns the channel's fd until the link takes it over. A panic anywhere ends the process: whoever
//! started it starts another.

use std::ffi::CStr;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::ExitCode;

use abi::channel::Channel;
use abi::huge_pages::{self, Pages, SMALL_PAGES_VARIABLE};

use crate::{log, standalone, start};

/// The name of the worker's process in the kernel's tables. Without it the name would be the number
/// of the fd that the engine executes.
const NAME: &CStr = c"sockhop-worker";

/// Runs a worker of a node.
pub fn worker_main() -> ExitCode {
    // A spawner of sandboxes is another program in the same file: it shall stay small, so nothing
    // of a worker is started in it.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == sandbox::SPAWNER_ARGUMENT) {
        return sandbox::spawner_main();
    }
    let filter = match begin() {
        Ok(filter) => filter,
        Err(code) => return code,
    };
    // The engine turns huge pages off for itself, and a child inherits that. They are for guests'
    // memory.
    if std::env::var_os(SMALL_PAGES_VARIABLE).is_none() {
        let _ = huge_pages::set(Pages::Huge);
    }
    // SAFETY: a plain system call that concerns this thread alone; the name ends with a zero byte.
    // A call that fails only leaves another name.
    unsafe { libc::prctl(libc::PR_SET_NAME, NAME.as_ptr(), 0, 0, 0) };
    if std::env::args_os().len() > 1 || !is_socket(abi::WORKER_CHANNEL_FD) {
        eprintln!("sockhop-worker is started by `sockhop serve`, and is of no use alone");
        return ExitCode::from(2);
    }
    // SAFETY: the engine put the channel at this number before `exec`, nothing in this process has
    // used it yet, and it is a socket, as was just checked.
    let channel = Channel::from(unsafe { OwnedFd::from_raw_fd(abi::WORKER_CHANNEL_FD) });
    end("worker", start::run(channel, filter))
}

/// Runs the function that is in the file of this program.
pub fn standalone_main() -> ExitCode {
    let filter = match begin() {
        Ok(filter) => filter,
        Err(code) => return code,
    };
    // Nobody sends another filter.
    drop(filter);
    end("standalone", standalone::run())
}

/// Does what comes before anything else, and starts the log.
fn begin() -> Result<log::Filter, ExitCode> {
    // Wasmtime opens the process's page map at the first call and keeps it open. A process that
    // forbids dumps may only open its own page map if it is root's, so this call comes before
    // `dumps::forbid`. Without the page map every instance's memory is reset whole, and not only
    // where it was written to.
    let _ = wasmtime::PoolingAllocationConfig::is_pagemap_scan_available();
    // Dumps are forbidden before there is anything in this memory that came from others.
    if let Err(error) = abi::dumps::forbid() {
        eprintln!(
            "core dumps of this process cannot be forbidden: {error}; does a seccomp filter refuse prctl?"
        );
        return Err(ExitCode::FAILURE);
    }
    let filter = log::start();
    // tokio would catch a task's panic and leave a worker that has lost a connection without
    // knowing it. It is better to abort: another process is started.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        match log::Format::from_environment() {
            log::Format::Text => report(info),
            log::Format::Json => tracing::error!("{info}"),
        }
        log::end();
        std::process::abort();
    }));
    Ok(filter)
}

/// Ends the process as it `ended`.
fn end(what: &str, ended: anyhow::Result<()>) -> ExitCode {
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{what}: {error:#}");
            ExitCode::FAILURE
        }
    };
    log::end();
    code
}

fn is_socket(fd: i32) -> bool {
    std::fs::metadata(format!("/proc/self/fd/{fd}"))
        .is_ok_and(|meta| std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()))
}
