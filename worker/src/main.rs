//! `sockhop-worker`: one process, one core, one thread that runs guests.
//!
//! Started by `sockhop serve` with its end of the channel at a known fd; it is of no use alone.
//! This file owns that fd until the link takes it over. A panic anywhere ends the process: the
//! engine starts another.

mod counters;
mod deadline;
mod drain;
mod edge;
mod facts;
mod guest_log;
mod link;
mod log;
mod origin;
mod run;
mod serve;
mod spool;
mod start;
mod trace;

use std::ffi::CStr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::ExitCode;

use abi::channel::Channel;
use abi::huge_pages::{self, Pages};

/// Small allocations from one thread are the worker's daily bread; mimalloc is measurably cheaper
/// at them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the kernel calls this process; it was started by an fd's number.
const NAME: &CStr = c"sockhop-worker";

fn main() -> ExitCode {
    // Wasmtime keeps its page map open from the first time it asks for it, and a process that
    // leaves no dumps may not open its own unless it is root's. Without it every instance is wiped
    // whole, and not only where it was written to.
    let _ = wasmtime::PoolingAllocationConfig::is_pagemap_scan_available();
    // Before there is anything in this memory that others gave.
    if let Err(error) = abi::dumps::forbid() {
        eprintln!(
            "core dumps of this process cannot be forbidden: {error}; does a seccomp filter refuse prctl?"
        );
        return ExitCode::FAILURE;
    }
    // The engine has none for itself.
    let _ = huge_pages::set(Pages::Huge);
    // SAFETY: a plain system call about this thread alone; the name ends with a zero byte. One that
    // fails leaves another name.
    unsafe { libc::prctl(libc::PR_SET_NAME, NAME.as_ptr(), 0, 0, 0) };
    let filter = log::start();
    // A task's panic would leave a worker that has lost a connection without knowing. Better none,
    // and a new one.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        match log::Format::from_environment() {
            log::Format::Text => report(info),
            log::Format::Json => tracing::error!("{info}"),
        }
        log::end();
        std::process::abort();
    }));
    if std::env::args_os().len() > 1 || !is_socket(abi::WORKER_CHANNEL_FD) {
        eprintln!("sockhop-worker is started by `sockhop serve`, and is of no use alone");
        return ExitCode::from(2);
    }
    // SAFETY: the engine put the channel at this number before `exec`, nothing in this process has
    // used it yet, and it is a socket, as was just checked.
    let channel = Channel::from(unsafe { OwnedFd::from_raw_fd(abi::WORKER_CHANNEL_FD) });
    let code = match start::run(channel, filter) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("worker: {error:#}");
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
