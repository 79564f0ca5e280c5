//! Performs the running engine's side of a take-over, which [`give`](super::give) decides.
//!
//! Owns copies of the listening sockets while they can be given, the lock, and then the
//! conversation.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::Handed;
use super::give::{Action, Event, State};
use super::message::Message;
use super::peer::{Entrance, Peer, Received};
use host::listen::Listener;
use host::lock::DataLock;
use host::systemd;

/// What a running engine has ready for one that takes over. `Close` waits for the end of the change
/// of what is deployed that is under way. No other begins while what it returns is held.
#[derive(Debug)]
pub struct Giver<Close> {
    entrance: Entrance,
    sockets: Vec<Listener>,
    lock: DataLock,
    close: Close,
}

/// A take-over that has succeeded. What is left is to send connections.
#[derive(Debug)]
pub struct Given<Closed> {
    peer: Peer,
    /// While it is held, nothing is deployed here.
    closed: Closed,
}

impl<Close, Closed> Giver<Close>
where
    Close: AsyncFn() -> Closed,
    Closed: 'static,
{
    /// Has everything ready for an engine that connects to `entrance`.
    pub fn new(entrance: Entrance, sockets: Vec<Listener>, lock: DataLock, close: Close) -> Self {
        Self { entrance, sockets, lock, close }
    }

    /// Closes the entrance and the listening sockets. Returns the lock, which stays locked.
    pub fn end(self) -> DataLock {
        self.lock
    }

    /// Waits until another engine has taken over. It is to be polled while the node serves. If it
    /// is dropped, a take-over under way fails.
    pub async fn given(&self) -> Given<Closed> {
        loop {
            let peer = self.entrance.next().await;
            tokio::select! {
                given = self.give(peer) => if let Some(given) = given { return given },
                never = self.refuse_others() => match never {},
            }
        }
    }

    /// Refuses engines that connect while another takes over.
    async fn refuse_others(&self) -> Infallible {
        loop {
            let reason = "another engine is taking over already".to_owned();
            // If this cannot be sent, the closed socket says the same.
            let _ = self.entrance.next().await.send(&Message::Refused { reason }, None).await;
        }
    }

    /// Leads the conversation with an engine that wants to take over. Returns `None` if it fails.
    async fn give(&self, peer: Peer) -> Option<Given<Closed>> {
        tracing::info!("process {} asks to take over", peer.pid);
        let mut state = State::Greeted { since: Instant::now() };
        let mut closed = None;
        loop {
            let event = tokio::select! {
                received = peer.receive() => match received {
                    Received::Message(message, _) => Event::Message(message),
                    Received::Malformed(what) => Event::Malformed(what),
                    Received::Gone => Event::Gone,
                },
                changes = (self.close)(), if state == State::Finishing => {
                    closed = Some(changes);
                    Event::Finished
                }
                () = sleep_until(state.deadline()) => Event::Timeout,
            };
            let (next, action) = state.step(event, Instant::now());
            state = next;
            let done = match action {
                Action::Nothing => Ok(()),
                Action::Finish => {
                    systemd::reloading("another engine is taking over");
                    Ok(())
                }
                Action::Offer => self.offer(&peer).await,
                Action::Commit => {
                    // Before the new engine begins: systemd is to believe it from its first
                    // message.
                    systemd::main_pid(peer.pid);
                    match (peer.send(&Message::Yours, None).await, closed.take()) {
                        (Ok(()), Some(closed)) => {
                            tracing::info!(
                                "process {} has taken over; this one ends what it is on",
                                peer.pid
                            );
                            return Some(Given { peer, closed });
                        }
                        (sent, _) => {
                            systemd::main_pid(std::process::id());
                            sent
                        }
                    }
                }
                Action::GoOn { reason } => {
                    let _ = peer.send(&Message::Refused { reason: reason.clone() }, None).await;
                    Err(io::Error::other(reason))
                }
            };
            if let Err(error) = done {
                tracing::error!(
                    "nothing comes of the take-over by process {}: {error}; this engine goes on",
                    peer.pid
                );
                systemd::serving();
                return None;
            }
        }
    }

    /// Sends the listening sockets and the lock.
    async fn offer(&self, peer: &Peer) -> io::Result<()> {
        for socket in &self.sockets {
            let Listener { spoken, owns_file, .. } = *socket;
            let message = Message::Listener { spoken, owns_file };
            peer.send(&message, Some(socket.as_fd())).await?;
        }
        peer.send(&Message::Lock, Some(self.lock.as_fd())).await
    }
}

impl<Closed: 'static> Given<Closed> {
    /// Starts a task that sends the new engine every connection from the channel that is returned.
    /// When the channel is closed, the task reports that to the new engine and ends.
    ///
    /// The channel needs no bound of its own. It holds connections that this engine has accepted,
    /// which were at most `--connections-max` and those that were parked, and it accepts no more.
    pub fn forward(self) -> (UnboundedSender<Handed>, JoinHandle<()>) {
        let (sender, mut connections) = unbounded_channel::<Handed>();
        let forward = async move {
            let Self { peer, closed } = self;
            let (mut sent, mut lost) = (0u64, 0u64);
            while let Some(Handed { socket, read, awaits, origin }) = connections.recv().await {
                let outcome = peer
                    .send(&Message::Connection { awaits, origin, read }, Some(socket.as_fd()))
                    .await;
                *if outcome.is_ok() { &mut sent } else { &mut lost } += 1;
            }
            if lost > 0 || peer.send(&Message::Done, None).await.is_err() {
                tracing::error!(
                    "the new engine is gone: {lost} connections are closed that were to be its own"
                );
            }
            tracing::info!("{sent} connections were handed over");
            drop(closed);
        };
        (sender, tokio::task::spawn_local(forward))
    }
}

/// Resolves `at` this time. Never resolves without one.
pub(super) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
