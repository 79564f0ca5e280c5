//! The running engine's side of a take-over, done: what [`give`](super::give) decides.
//!
//! Owns copies of the listening sockets for as long as they can be given, the lock, and, once
//! given, the conversation.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::Handed;
use super::give::{Action, Event, State};
use super::message::Message;
use super::peer::{Door, Heard, Peer};
use host::lock::DataLock;
use host::systemd;

/// What a running engine has ready for one that is to take over. `Close` ends the changes under way
/// and lets none begin for as long as what it returns is held.
#[derive(Debug)]
pub struct Giver<Close> {
    door: Door,
    sockets: Vec<TcpListener>,
    lock: DataLock,
    close: Close,
}

/// It has been given: what is left is to send connections after it.
#[derive(Debug)]
pub struct Given<Closed> {
    peer: Peer,
    /// Nothing is deployed here any more.
    closed: Closed,
}

impl<Close, Closed> Giver<Close>
where
    Close: AsyncFn() -> Closed,
    Closed: 'static,
{
    /// Has everything ready for whoever comes to `door`.
    pub fn new(door: Door, sockets: Vec<TcpListener>, lock: DataLock, close: Close) -> Self {
        Self { door, sockets, lock, close }
    }

    /// Closes the door and the listening sockets; the lock stays its holder's.
    pub fn end(self) -> DataLock {
        self.lock
    }

    /// Waits until another engine has taken over. To be polled while the node serves; dropped, it
    /// ends what is under way.
    pub async fn given(&self) -> Given<Closed> {
        loop {
            let peer = self.door.next().await;
            tokio::select! {
                given = self.give(peer) => if let Some(given) = given { return given },
                never = self.refuse_others() => match never {},
            }
        }
    }

    async fn refuse_others(&self) -> Infallible {
        loop {
            let reason = "another engine is taking over already".to_owned();
            // Whoever does not listen hears the same from the closed socket.
            let _ = self.door.next().await.say(&Message::Refused { reason }, None).await;
        }
    }

    async fn give(&self, peer: Peer) -> Option<Given<Closed>> {
        tracing::info!("process {} asks to take over", peer.pid);
        let mut state = State::Greeted { since: Instant::now() };
        let mut closed = None;
        loop {
            let event = tokio::select! {
                heard = peer.hear() => match heard {
                    Heard::Message(message, _) => Event::Said(message),
                    Heard::Malformed(what) => Event::Malformed(what),
                    Heard::Gone => Event::Gone,
                },
                changes = (self.close)(), if state == State::Finishing => {
                    closed = Some(changes);
                    Event::Finished
                }
                () = sleep_until(state.deadline()) => Event::Late,
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
                    // Before it begins: whoever watches us is to believe it from its first word.
                    systemd::main_pid(peer.pid);
                    match (peer.say(&Message::Yours, None).await, closed.take()) {
                        (Ok(()), Some(closed)) => {
                            tracing::info!(
                                "process {} has taken over; this one ends what it is on",
                                peer.pid
                            );
                            return Some(Given { peer, closed });
                        }
                        (said, _) => {
                            systemd::main_pid(std::process::id());
                            said
                        }
                    }
                }
                Action::GoOn { reason } => {
                    let _ = peer.say(&Message::Refused { reason: reason.clone() }, None).await;
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

    async fn offer(&self, peer: &Peer) -> io::Result<()> {
        for socket in &self.sockets {
            peer.say(&Message::Listener, Some(socket.as_fd())).await?;
        }
        peer.say(&Message::Lock, Some(self.lock.as_fd())).await
    }
}

impl<Closed: 'static> Given<Closed> {
    /// Sends on whatever connections come out of the channel; when that has ended, says so to the
    /// new engine and is done.
    pub fn forward(self) -> (UnboundedSender<Handed>, JoinHandle<()>) {
        let (sender, mut connections) = unbounded_channel::<Handed>();
        let forward = async move {
            let Self { peer, closed } = self;
            let (mut sent, mut lost) = (0u64, 0u64);
            while let Some(Handed { socket, read, awaits }) = connections.recv().await {
                let said =
                    peer.say(&Message::Connection { awaits, read }, Some(socket.as_fd())).await;
                *if said.is_ok() { &mut sent } else { &mut lost } += 1;
            }
            if lost > 0 || peer.say(&Message::Done, None).await.is_err() {
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

pub(super) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
