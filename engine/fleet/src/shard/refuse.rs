//! Refuses a client from a shard: answers at once, and lingers in a task of the shard. Owns the
//! socket until then.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use abi::problem::Problem;

use crate::dispatch::refuse::{Client, LOOK_INTERVAL, Lingering, LingeringPlace, answer};

/// Answers `problem` to the request that begins with `read`, and ends the connection. Must be
/// called on a shard's executor.
pub(super) fn refuse(socket: OwnedFd, read: &[u8], problem: &Problem) {
    let mut lingering = Lingering::new(Instant::now());
    if answer(socket.as_fd(), read, problem) == Client::Done
        || lingering.look(socket.as_fd(), Instant::now()) == Client::Done
    {
        return;
    }
    let Some(place) = LingeringPlace::take() else { return };
    glommio::spawn_local(async move {
        let _place = place;
        while lingering.look(socket.as_fd(), Instant::now()) == Client::Sending {
            glommio::timer::sleep(LOOK_INTERVAL).await;
        }
    })
    .detach();
}
