//! What engine and worker say to each other: one closed enum a direction.
//!
//! A message is an rkyv archive in an envelope, and at most one fd. Which message carries an fd is
//! part of its type ([`Message::fd_count`]) and checked on receipt, so a peer cannot smuggle or
//! withhold one. No message owns an fd: the channel takes a borrowed one to send and gives an owned
//! one beside what it received.

#![allow(
    missing_docs,
    reason = "rkyv's derives make resolvers without docs; every type of ours has them"
)]

use rkyv::{Archive, Deserialize, Serialize};

use crate::channel::Message;
use crate::limits;
use crate::names::Names;
use crate::network::Network;
use crate::origin::Origin;
use crate::sandbox::Level;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// Whether and how a worker tells of each invocation on stderr.
#[derive(Archive, Serialize, Deserialize, Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// Not at all.
    #[default]
    Off,
    /// A line of `key=value`.
    Text,
    /// A line of JSON.
    Json,
}

/// Settings of a worker. What it is for and its rows are fixed for its life, the rest is not
/// ([`ToWorker::Settings`]).
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The function this worker exists for (`isolation = "process"`), or none: it runs all shared
    /// functions.
    pub only_function: Option<String>,
    /// The workers that run shared functions have the board's first rows, so many. A function's
    /// limits hold for all of them together.
    pub shared_rows: u16,
    /// The node's secret that clients' addresses are counted by (see [`crate::board::Places`]).
    pub address_seed: u64,
    /// By which names functions are found besides the catalogue's domains.
    pub names: Names,
    /// The port that clients are sent to who ask without TLS. `None` if they are served.
    pub https_redirect: Option<u16>,
    /// The proxies that are believed who a request is from.
    pub trusted_proxies: Vec<Network>,
    /// From a head's first byte to its last.
    pub head_timeout_ms: u32,
    /// Between two requests on one connection.
    pub idle_timeout_ms: u32,
    /// Without the client taking a byte of the reply.
    pub write_timeout_ms: u32,
    /// The line an invocation.
    pub access_log: AccessLog,
    /// Whether invocations and their lines are logged to the spool ([`crate::spool`]).
    pub logs: bool,
    /// Whether guests' lines go to stderr.
    pub guest_stderr: bool,
    /// Of a million traces that begin here, how many are recorded; with 0 none begins where a
    /// request names none.
    pub trace_sample: u32,
    /// What the worker logs, in the words of `tracing-subscriber`'s filters.
    pub log_filter: String,
    /// How native programs are kept apart from the host.
    pub native_sandbox: Level,
    /// The cores that native programs may run on: all of the node's, not the worker's own alone.
    pub native_cores: Vec<u16>,
}

impl Settings {
    fn check(&self) -> Result<(), &'static str> {
        let timeouts_ms = [self.head_timeout_ms, self.idle_timeout_ms, self.write_timeout_ms];
        let long =
            |timeout_ms: &u32| u128::from(*timeout_ms) > limits::SETTING_TIMEOUT_MAX.as_millis();
        if timeouts_ms.iter().any(long) {
            Err("a timeout of Settings is beyond SETTING_TIMEOUT_MAX")
        } else if self.trace_sample > limits::TRACE_SAMPLE_MAX {
            Err("Settings.trace_sample is beyond TRACE_SAMPLE_MAX")
        } else if self.trusted_proxies.len() > limits::TRUSTED_PROXIES_MAX {
            Err("Settings.trusted_proxies has more than TRUSTED_PROXIES_MAX networks")
        } else if !self.trusted_proxies.iter().all(Network::is_good) {
            Err("a network of Settings.trusted_proxies has more bits than an address")
        } else if self.native_cores.len() > limits::CORES_MAX {
            Err("Settings.native_cores has more than CORES_MAX")
        } else if self.log_filter.len() > limits::LOG_FILTER_BYTES_MAX {
            Err("Settings.log_filter is longer than LOG_FILTER_BYTES_MAX")
        } else {
            Ok(())
        }
    }
}

/// Which request a connection waits for. A client that says nothing is a slow one before its first,
/// an idle one after it.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaits {
    /// Its first: the head is under way from the start.
    First,
    /// Another one: until its first byte, the connection is idle.
    Next,
    /// Its first, which the control API sends: it may name versions and aliases that the public may
    /// not.
    Admin,
    /// Its first, which the node's Lambda API sends: likewise, and its body is an event.
    Event,
    /// Streams of HTTP/2, which an edge sends. A head in the form of HTTP/1.1 comes first and says
    /// where they go; it is no request. An edge waits for the worker's preface, or for an answer in
    /// the form of HTTP/1.1 that refuses them all.
    Streams,
}

/// What a worker that drains does with a connection whose requests are answered.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Close it.
    Close,
    /// Give it back: another engine goes on with it.
    GiveBack,
}

/// Engine to worker.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum ToWorker {
    /// The engine accepts the worker's [`ToEngine::Hello`]. Carries the board's memfd.
    Start {
        /// The worker's row on the board.
        row: u16,
        /// Everything the worker needs to know of the node's settings.
        settings: Settings,
    },
    /// The same for a process that ends TLS and runs no functions: an edge. It is sent
    /// certificates in place of catalogues.
    StartEdge {
        /// The edge's row on the board.
        row: u16,
        /// As for a worker. Those that concern functions mean nothing here.
        settings: Settings,
    },
    /// Carries the sealed memfd of [`crate::certificates`], which replace those before. Only an
    /// edge is sent them.
    Certificates,
    /// These settings count from now on.
    Settings {
        /// All of them; what is fixed for the worker's life is as it was at the start.
        settings: Settings,
    },
    /// Carries a new segment of the log, opened to append. From here on the worker writes to this
    /// one, and closes the one before.
    Spool,
    /// Carries the worker's end of the socket by which it asks for functions' state
    /// ([`crate::state`]).
    State,
    /// Write to the segment what is logged by now; someone is about to read it.
    WriteLog {
        /// What the answer is to bear.
        ticket: u64,
    },
    /// Carries the sealed memfd of a catalogue, which replaces the one before.
    Catalogue,
    /// Carries the sealed memfd of a catalogue with one function of one version, which is to be
    /// instantiated and let go again; it is not served.
    Try {
        /// What the answer is to bear.
        ticket: u64,
    },
    /// Carries the sealed memfd of the compiled module that was asked for.
    Module {
        /// Which module: the key of its compilation.
        key: Digest,
    },
    /// The module that was asked for cannot be had.
    ModuleMissing {
        /// Which module.
        key: Digest,
        /// Why, for the log.
        reason: String,
    },
    /// Carries the sealed memfd of the secrets that were asked for ([`crate::secrets`]).
    Secrets {
        /// Whose they are.
        function: String,
    },
    /// The secrets that were asked for cannot be had.
    SecretsMissing {
        /// Whose they are.
        function: String,
        /// Why, for the log.
        reason: String,
    },
    /// Carries a client's socket. `read` holds what others have taken from it already.
    Connection {
        /// Bytes that belong before what the socket still holds.
        read: Vec<u8>,
        /// When it was accepted, by [`crate::board::now_us`]; 0 when its first request had not
        /// arrived by then, or is not the next: from here on the client's time is not to be told
        /// from ours.
        accepted_at_us: u64,
        /// Whose they are.
        awaits: Awaits,
        /// Where it comes from, if the socket does not say it.
        origin: Option<Origin>,
    },
    /// Carries a socket pair's end, over which another worker pushes to a WebSocket connection that
    /// this one has.
    Push,
    /// Finish what is in flight, let go of what is idle, then leave.
    Drain {
        /// What becomes of connections.
        ending: Ending,
        /// When to leave at the latest, in milliseconds from now.
        deadline_ms: u32,
    },
}

/// Worker to engine.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum ToEngine {
    /// The first message of a worker.
    Hello {
        /// [`crate::VERSION`] of the worker.
        version: u32,
        /// [`crate::BUILD_ID`] of the worker.
        build_id: String,
    },
    /// The worker serves by this catalogue from now on. The first one says that it is ready.
    Applied {
        /// The catalogue's generation.
        generation: u64,
    },
    /// The worker was told to drain, and begins no more requests.
    Draining,
    /// The worker needs this compiled module.
    RequestModule {
        /// The key of its compilation.
        key: Digest,
    },
    /// The worker needs this function's secrets.
    RequestSecrets {
        /// Its name.
        function: String,
    },
    /// What came of a [`ToWorker::Try`].
    Tried {
        /// That of the question.
        ticket: u64,
        /// Why there is no instance; none when there was one.
        failure: Option<String>,
    },
    /// What a [`ToWorker::WriteLog`] asked for is done.
    LogWritten {
        /// That of the question.
        ticket: u64,
    },
    /// Carries a client's socket whose next request this worker must not run, or does not stay to
    /// run; of an edge, the plaintext end of a client's TLS connection.
    Return {
        /// What the worker has read from the socket and not used.
        read: Vec<u8>,
        /// Which request it waits for.
        awaits: Awaits,
        /// Where it comes from, if the socket does not say it.
        origin: Option<Origin>,
    },
    /// Carries a socket pair's end for the worker of this row, which runs the same functions and has
    /// the WebSocket connection that this one pushes to ([`ToWorker::Push`]).
    Push {
        /// The row.
        row: u16,
    },
    /// An edge that was told to give its connections back ([`Ending::GiveBack`]) has no handshake
    /// in progress any more. What it relays it goes on relaying by itself, and it ends with the
    /// last of it: it is not this engine's any more.
    Detached,
}

impl Message for ToWorker {
    fn fd_count(&self) -> usize {
        match self {
            Self::Start { .. }
            | Self::StartEdge { .. }
            | Self::Certificates
            | Self::Spool
            | Self::State
            | Self::Catalogue
            | Self::Try { .. }
            | Self::Module { .. }
            | Self::Secrets { .. }
            | Self::Push
            | Self::Connection { .. } => 1,
            Self::Settings { .. }
            | Self::WriteLog { .. }
            | Self::ModuleMissing { .. }
            | Self::SecretsMissing { .. }
            | Self::Drain { .. } => 0,
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Connection { read, .. } if read.len() > limits::RETURNED_BYTES_MAX => {
                Err("Connection.read is longer than RETURNED_BYTES_MAX")
            }
            Self::Connection { awaits: Awaits::Streams, origin: None, .. } => {
                Err("Connection has streams that come from nowhere")
            }
            Self::Start { row, .. } | Self::StartEdge { row, .. }
                if usize::from(*row) >= limits::WORKERS_MAX =>
            {
                Err("Start.row is beyond WORKERS_MAX")
            }
            Self::Start { settings, .. }
            | Self::StartEdge { settings, .. }
            | Self::Settings { settings } => settings.check(),
            _ => Ok(()),
        }
    }
}

impl Message for ToEngine {
    fn fd_count(&self) -> usize {
        match self {
            Self::Return { .. } | Self::Push { .. } => 1,
            Self::Hello { .. }
            | Self::Applied { .. }
            | Self::Draining
            | Self::RequestModule { .. }
            | Self::Tried { .. }
            | Self::LogWritten { .. }
            | Self::Detached
            | Self::RequestSecrets { .. } => 0,
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Return { read, .. } if read.len() > limits::RETURNED_BYTES_MAX => {
                Err("Return.read is longer than RETURNED_BYTES_MAX")
            }
            Self::Return { awaits: Awaits::Streams, origin: None, .. } => {
                Err("Return has streams that come from nowhere")
            }
            Self::Push { row } if usize::from(*row) >= limits::WORKERS_MAX => {
                Err("Push.row is beyond WORKERS_MAX")
            }
            Self::RequestSecrets { function } if function.len() > limits::NAME_BYTES_MAX => {
                Err("RequestSecrets.function is longer than NAME_BYTES_MAX")
            }
            Self::Tried { failure: Some(reason), .. }
                if reason.len() > limits::TRIAL_REASON_BYTES_MAX =>
            {
                Err("Tried.failure is longer than TRIAL_REASON_BYTES_MAX")
            }
            Self::Hello { build_id, .. } if build_id.len() > 256 => {
                Err("Hello.build_id is longer than 256 bytes")
            }
            _ => Ok(()),
        }
    }
}
