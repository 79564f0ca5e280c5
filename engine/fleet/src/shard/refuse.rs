//! Refusing a client from a shard: the answer at once, the lingering as a task of the shard's. Owns
//! the socket till then.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use abi::problem::Problem;

use crate::dispatch::refuse::{Client, LOOK_INTERVAL, Lingering, answer};

/// How many refused clients a shard lingers for at once; beyond that they are closed as they are.
const LINGERING_MAX: usize = 1024;

thread_local! {
    static LINGERING: Cell<usize> = const { Cell::new(0) };
}

/// Answers `problem` to the request that begins with `read` and ends the connection. Must be called
/// on a shard's executor.
pub(super) fn refuse(socket: OwnedFd, read: &[u8], problem: &Problem) {
    let mut lingering = Lingering::new(Instant::now());
    if answer(socket.as_fd(), read, problem) == Client::Done
        || lingering.look(socket.as_fd(), Instant::now()) == Client::Done
        || LINGERING.get() >= LINGERING_MAX
    {
        return;
    }
    LINGERING.set(LINGERING.get() + 1);
    glommio::spawn_local(async move {
        while lingering.look(socket.as_fd(), Instant::now()) == Client::Sending {
            glommio::timer::sleep(LOOK_INTERVAL).await;
        }
        LINGERING.set(LINGERING.get() - 1);
    })
    .detach();
}
