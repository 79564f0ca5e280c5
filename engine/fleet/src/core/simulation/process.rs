//! A worker as the simulation has it: the engine's ends of its channel, and what the process does
//! with what it gets. No I/O.

use std::collections::{BTreeSet, VecDeque};

use crate::core::Pool;

/// Messages that fit a channel's queue: few, so that they are full often.
const QUEUE_MAX: usize = 4;

/// A client's connection. It is moved, never copied; [`super::world::World::check`] counts where
/// each one is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Socket {
    pub(super) number: u64,
    /// The function it asks for.
    pub(super) function: &'static str,
}

/// Engine to worker.
#[derive(Debug)]
pub(super) enum ToWorker {
    Accept {
        generation: u64,
    },
    Catalogue {
        generation: u64,
    },
    /// `routed_by` is the generation that the sender looked at.
    Connection {
        socket: Socket,
        routed_by: u64,
    },
    Drain,
}

/// Worker to engine.
#[derive(Debug)]
pub(super) enum ToEngine {
    Hello {
        same_build: bool,
    },
    Applied {
        generation: u64,
    },
    Draining,
    /// It has tried its version, and has no other to try.
    Tried,
    Return(Socket),
}

/// Which functions have workers of their own, by generation.
pub(super) type Catalogues = Vec<BTreeSet<&'static str>>;

/// Whose workers run a function, by a catalogue.
pub(super) fn pool_of(function: &'static str, own: &BTreeSet<&'static str>) -> Pool {
    if own.contains(function) { Pool::Function(function.to_owned()) } else { Pool::Shared }
}

/// A process and its channel.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pool: Pool,
    pub(super) alive: bool,
    /// The engine has asked the kernel to end it.
    pub(super) killed: bool,
    /// It does nothing until it is continued (SIGSTOP).
    pub(super) stopped: bool,
    /// It will never say hello.
    pub(super) mute: bool,
    pub(super) said_hello: bool,
    pub(super) draining: bool,
    /// The catalogue it serves by.
    pub(super) generation: Option<u64>,
    pub(super) beats: u64,
    /// Messages that do not fit the queue, on the engine's side.
    pub(super) unsent: VecDeque<ToWorker>,
    pub(super) queue: VecDeque<ToWorker>,
    pub(super) outbox: VecDeque<ToEngine>,
    /// Connections it has.
    pub(super) open: Vec<Socket>,
    /// Connections sent to it, and those it is done with.
    pub(super) sent: u64,
    pub(super) done: u64,
}

impl Process {
    pub(super) fn new(pool: Pool, mute: bool) -> Self {
        Self {
            pool,
            alive: true,
            killed: false,
            stopped: false,
            mute,
            said_hello: false,
            draining: false,
            generation: None,
            beats: 0,
            unsent: VecDeque::new(),
            queue: VecDeque::new(),
            outbox: VecDeque::new(),
            open: Vec::new(),
            sent: 0,
            done: 0,
        }
    }

    /// Whether it can do anything now.
    pub(super) fn moves(&self) -> bool {
        self.alive && !self.stopped && !self.mute
    }

    pub(super) fn load(&self) -> u64 {
        self.sent - self.done
    }

    /// A control message, in its turn.
    pub(super) fn send(&mut self, message: ToWorker) {
        self.unsent.push_back(message);
        self.flush();
    }

    /// Sends what fits. Whether that was all.
    pub(super) fn flush(&mut self) -> bool {
        while self.queue.len() < QUEUE_MAX
            && let Some(message) = self.unsent.pop_front()
        {
            self.queue.push_back(message);
        }
        self.unsent.is_empty()
    }

    /// A connection, now or not at all. One whose process has ended still has its queue, until it
    /// is reaped.
    pub(super) fn try_send(&mut self, socket: Socket, routed_by: u64) -> Result<(), Socket> {
        if self.queue.len() >= QUEUE_MAX {
            return Err(socket);
        }
        self.sent += 1;
        self.queue.push_back(ToWorker::Connection { socket, routed_by });
        Ok(())
    }

    /// A request begins, on a connection that it has. Nothing older than `promised` may be served
    /// then.
    pub(super) fn begin(&self, promised: u64) -> Result<(), String> {
        match self.generation {
            Some(generation) if generation >= promised => Ok(()),
            generation => {
                Err(format!("a request begins on {generation:?} after {promised} was promised"))
            }
        }
    }

    /// A connection goes back to the engine.
    pub(super) fn give_back(&mut self, socket: Socket) {
        self.done += 1;
        self.outbox.push_back(ToEngine::Return(socket));
    }

    /// Takes the next message. Returns what is wrong with it, by the promises of the channel.
    pub(super) fn receive(&mut self, catalogues: &Catalogues, promised: u64) -> Result<(), String> {
        let Some(message) = self.queue.pop_front() else { return Ok(()) };
        let is_first = matches!(message, ToWorker::Accept { .. });
        if is_first == self.generation.is_some() {
            return Err(format!("{message:?} to one that serves {:?}", self.generation));
        }
        match message {
            ToWorker::Accept { generation } | ToWorker::Catalogue { generation } => {
                if self.generation.is_some_and(|before| before > generation) {
                    return Err(format!("catalogue {generation} after {:?}", self.generation));
                }
                self.generation = Some(generation);
                self.outbox.push_back(ToEngine::Applied { generation });
                if matches!(self.pool, Pool::Trial(_)) {
                    self.outbox.push_back(ToEngine::Tried);
                }
            }
            ToWorker::Connection { socket, routed_by } => {
                let Some(generation) = self.generation else {
                    return Err("a connection before a catalogue".into());
                };
                if generation < routed_by && !self.draining {
                    return Err(format!(
                        "a connection routed by {routed_by} to a worker that serves {generation}"
                    ));
                }
                let own = catalogues.get(usize::try_from(generation).unwrap_or(usize::MAX));
                if self.draining
                    || own.is_some_and(|own| pool_of(socket.function, own) != self.pool)
                {
                    self.give_back(socket);
                } else {
                    self.begin(promised)?;
                    self.open.push(socket);
                }
            }
            ToWorker::Drain => {
                self.draining = true;
                self.outbox.push_back(ToEngine::Draining);
            }
        }
        Ok(())
    }

    /// Whether it leaves of itself: told to drain, with nothing left to do.
    pub(super) fn is_finished(&self) -> bool {
        self.draining && self.open.is_empty()
    }

    /// Every connection that is somewhere in here.
    pub(super) fn sockets(&self) -> impl Iterator<Item = u64> {
        let queued = self.unsent.iter().chain(&self.queue).filter_map(|message| match message {
            ToWorker::Connection { socket, .. } => Some(socket.number),
            _ => None,
        });
        let returned = self.outbox.iter().filter_map(|message| match message {
            ToEngine::Return(socket) => Some(socket.number),
            _ => None,
        });
        queued.chain(returned).chain(self.open.iter().map(|socket| socket.number))
    }
}
