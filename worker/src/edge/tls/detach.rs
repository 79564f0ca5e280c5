//! How an edge outlives its engine. A TLS connection cannot move to another process, so the edge
//! stays with what it relays while another engine, with edges of its own, takes new connections.
//! Lets go of the channel and the board.

use std::ffi::CStr;

use abi::message::{ToEngine, ToWorker};

use super::Counts;
use crate::link::{Inbox, Outbox};

/// The name of an edge's process in the kernel's tables.
const NAME: &CStr = c"sockhop-edge";

/// Names this process.
pub(super) fn name_process() {
    // SAFETY: a plain system call that concerns this thread alone; the name ends with a zero byte.
    // A call that fails only leaves another name.
    unsafe { libc::prctl(libc::PR_SET_NAME, NAME.as_ptr(), 0, 0, 0) };
}

/// Makes this process one that nobody ends but itself, tells the engine, and lets go of everything
/// that it shares with it.
pub(super) async fn detach(inbox: Inbox<ToWorker>, outbox: Outbox<ToEngine>, counts: &Counts) {
    // Before the engine is told: it may end at once then.
    outlive_parent();
    ignore_signals();
    // The row is somebody else's as soon as the engine knows.
    counts.let_go();
    outbox.send(ToEngine::Detached, None);
    outbox.flushed().await;
    drop((inbox, outbox));
}

fn outlive_parent() {
    // SAFETY: a plain system call that concerns this process alone.
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0, 0, 0, 0) };
    if done != 0 {
        let error = std::io::Error::last_os_error();
        tracing::error!("this edge ends with its engine, and its connections with it: {error}");
    }
}

/// A terminal and a service manager send these to every process of the old engine's.
fn ignore_signals() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
