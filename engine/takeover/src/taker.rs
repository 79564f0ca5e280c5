//! Performs the new engine's side of a take-over, which [`take`](super::take) decides.
//!
//! Owns what it is given until the node takes it, and the conversation until its end.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use super::giver::sleep_until;
use super::message::{Message, PROTOCOL};
use super::peer::{Peer, Received};
use super::take::{Action, Event, State};
use super::{Handed, SOCKET};
use host::listen::{self, ListenError, Listener};
use host::lock::{DataLock, LockError};

/// Why a take-over has failed.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error("the running engine cannot be asked to hand over: {0}")]
    Connect(#[source] io::Error),
    #[error("the running engine (process {pid}) does not hand over: {reason}; it goes on")]
    Refused { pid: u32, reason: String },
    #[error("what the running engine hands over cannot be used: {0}")]
    Listener(#[from] ListenError),
    #[error("what the running engine hands over cannot be used: {0}")]
    Lock(#[from] LockError),
}

/// The conversation with the running engine, and the listening sockets that it has given.
#[derive(Debug)]
pub struct Offered {
    peer: Peer,
    state: State,
    pub sockets: Vec<Listener>,
}

/// Asks the engine that runs on `data` for its sockets and its lock. Returns `None` if no engine
/// runs.
///
/// # Errors
/// Returns [`TakeError`] if the take-over fails. The running engine then goes on.
pub async fn ask(data: &Path) -> Result<Option<(Offered, DataLock)>, TakeError> {
    let Some(peer) = Peer::connect(&data.join(SOCKET)).map_err(TakeError::Connect)? else {
        return Ok(None);
    };
    tracing::info!("asking process {} to hand over", peer.pid);
    let hello = Message::Hello { protocol: PROTOCOL, build: abi::BUILD_ID.to_owned() };
    peer.send(&hello, None).await.map_err(TakeError::Connect)?;
    let state = State::Asking { since: Instant::now(), listeners: 0 };
    let mut offered = Offered { peer, state, sockets: Vec::new() };
    loop {
        let (event, fd) = offered.next().await;
        match (offered.step(event)?, fd) {
            (Action::KeepListener { spoken, owns_file }, Some(fd)) => {
                offered.sockets.push(listen::adopt(fd, spoken, owns_file)?)
            }
            (Action::Start, Some(fd)) => return Ok(Some((offered, DataLock::given(fd, data)?))),
            _ => {}
        }
    }
}

impl Offered {
    /// Waits for `start`, and meanwhile reports to the running engine that this one still starts.
    ///
    /// # Errors
    /// Returns [`TakeError::Refused`] if the running engine does not wait any more.
    pub async fn while_starting<T>(
        &mut self,
        start: impl Future<Output = T>,
    ) -> Result<T, TakeError> {
        let mut start = std::pin::pin!(start);
        loop {
            let event = tokio::select! {
                started = &mut start => return Ok(started),
                (event, _) = self.next() => event,
            };
            if self.step(event)? == Action::SendWorking {
                self.send(&Message::Working).await?;
            }
        }
    }

    /// Reports that this engine is ready, and waits for the running one to let go. Then this one is
    /// to serve.
    ///
    /// # Errors
    /// Returns [`TakeError::Refused`] if it does not let go.
    pub async fn claim(&mut self) -> Result<(), TakeError> {
        self.step(Event::Started)?;
        self.send(&Message::Ready).await?;
        loop {
            let (event, _) = self.next().await;
            if self.step(event)? == Action::Begin {
                return Ok(());
            }
        }
    }

    /// Calls `serve` with each connection that comes, until the other engine has gone. While
    /// `serve` waits, so does the other engine.
    pub async fn connections(mut self, serve: impl AsyncFn(Handed)) {
        let mut count = 0u64;
        loop {
            let (event, fd) = self.next().await;
            match self.step(event) {
                Ok(Action::Serve(Message::Connection { awaits, origin, read })) => {
                    let Some(socket) = fd else { continue };
                    count += 1;
                    serve(Handed { socket, read, awaits, origin }).await;
                }
                Ok(Action::Finish { error: None }) => {
                    return tracing::info!(
                        "the engine before this one has ended; {count} connections came from it"
                    );
                }
                Ok(Action::Finish { error: Some(why) }) => {
                    return tracing::error!(
                        "some connections of the engine before this one are lost: {why}"
                    );
                }
                _ => {}
            }
        }
    }

    /// Waits for the next event. Returns it with the fd of the message.
    async fn next(&self) -> (Event, Option<OwnedFd>) {
        tokio::select! {
            received = self.peer.receive() => match received {
                Received::Message(message, fd) => (Event::Message(message), fd),
                Received::Malformed(what) => (Event::Malformed(what), None),
                Received::Gone => (Event::Gone, None),
            },
            () = sleep_until(self.state.deadline()) => (Event::Timeout, None),
        }
    }

    /// Returns what follows from an event.
    fn step(&mut self, event: Event) -> Result<Action, TakeError> {
        let (state, action) = self.state.step(event, Instant::now());
        self.state = state;
        match action {
            Action::Fail { reason } => Err(TakeError::Refused { pid: self.peer.pid, reason }),
            action => Ok(action),
        }
    }

    async fn send(&self, message: &Message) -> Result<(), TakeError> {
        let gone =
            |error: io::Error| TakeError::Refused { pid: self.peer.pid, reason: error.to_string() };
        self.peer.send(message, None).await.map_err(gone)
    }
}
