//! What happens to the fleet, and what it answers. Pure; owns no fds.

use std::time::Duration;

use abi::limits::WORKERS_MAX;
use host::fault::Fault;

use crate::core::Pool;
use crate::core::watch::Seen;

/// One worker process: its slot, which is also its row on the board, and which of the processes
/// that had this slot it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId {
    pub slot: usize,
    pub incarnation: u64,
}

/// Identifies a caller that waits for a change to be served everywhere.
pub type Ticket = u64;

/// What is seen of a worker at one look.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub seen: Seen,
    /// Whether it has connections, requests or trials.
    pub busy: bool,
}

/// Something that has happened, or that is asked of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The worker's process could not be started.
    NotStarted(WorkerId),
    /// The worker has said hello. `same_build` is whether it is of the engine's build.
    Hello { worker: WorkerId, same_build: bool },
    /// The worker serves by the catalogue of this generation.
    Applied { worker: WorkerId, generation: u64 },
    /// The worker begins no more requests.
    Draining(WorkerId),
    /// The edge goes on without this engine.
    Detached(WorkerId),
    /// Every message for the worker has left.
    Flushed(WorkerId),
    /// The worker has broken the protocol.
    ProtocolError { worker: WorkerId, why: String },
    /// The worker's process has exited.
    Exited(WorkerId),
    /// A connection or a trial waits for a worker of this pool.
    Needed(Pool),
    /// A worker that was started for trials has none left.
    TrialsDone(WorkerId),
    /// Serve by the catalogue of this generation. The functions in `own` have workers of their own.
    Publish { generation: u64, own: Vec<String>, ticket: Ticket },
    /// Have every worker finish what it has and exit.
    Drain,
    /// Kill every worker.
    Kill,
}

/// Something that the supervisor is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start the worker's process.
    Start { worker: WorkerId, core: usize },
    /// Send the worker its settings and the newest catalogue, or an edge its settings and the
    /// certificates.
    Accept { worker: WorkerId, pool: Pool },
    /// Send the worker the newest catalogue.
    SendCatalogue(WorkerId),
    /// Tell the worker to finish what it has and exit.
    SendDrain(WorkerId),
    /// Kill the worker's process.
    Kill { worker: WorkerId, why: String },
    /// Report that the worker has died, and that the next one starts after `delay`. It was the
    /// `failed_starts`th in a row that had not come to serve; 0 if it had.
    ReportDeath { worker: WorkerId, delay: Duration, failed_starts: u32 },
    /// Forget the worker, whose process has exited: its row is free, and what it never received
    /// goes to others.
    Reap(WorkerId),
    /// Forget the edge, whose process goes on without this engine.
    Release(WorkerId),
    /// Give connections to these workers from now on, and route by the catalogue of this
    /// generation.
    Serve { generation: u64, ready: Vec<(Pool, WorkerId)> },
    /// Answer a caller that waits.
    Answer { ticket: Ticket, outcome: Result<(), PublishError> },
}

/// How long every worker may take to serve by a new catalogue. A worker that starts is waited for
/// until it is given up.
pub(super) const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a catalogue is not served everywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error(
        "not every worker took over the change within {PUBLISH_TIMEOUT:?}; `sockhop status` shows which are not ready"
    )]
    Slow,
    #[error(
        "there are {wanted} functions with a worker of their own, shared workers and edges; at most {WORKERS_MAX} workers run on a node"
    )]
    TooManyWorkers { wanted: usize },
    #[error("the node is stopping; the change is stored, and served when it runs again")]
    Stopping,
}

impl PublishError {
    /// Returns whose fault it is. The store has the change in any case.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Slow | Self::TooManyWorkers { .. } => Fault::UNAVAILABLE.for_good(),
            Self::Stopping => Fault::UNAVAILABLE,
        }
    }
}
