//! What engine and worker both know, and nothing else.
//!
//! Messages and the channel that carries them, the catalogue, the board of shared counters, the
//! reading of a request's head and its routing, the log's records, and every limit by name. No I/O
//! loops, no wasmtime, no glommio, no tokio: both sides bring their own. Every fd in here is an
//! `OwnedFd` or borrowed.

pub mod authority;
pub mod board;
pub mod bundle;
pub mod catalogue;
pub mod certificates;
pub mod channel;
pub mod choice;
pub mod destination;
pub mod domain;
pub mod dumps;
pub mod envelope;
pub mod function;
pub mod head;
pub mod huge_pages;
pub mod invocation_id;
pub mod job;
pub mod limits;
pub mod message;
pub mod name;
pub mod names;
pub mod native;
pub mod network;
pub mod origin;
pub mod outbound;
pub mod outcome;
pub mod preview1;
pub mod problem;
pub mod proxy_header;
pub mod reference;
pub mod route;
pub mod sandbox;
pub mod sealed;
pub mod secrets;
pub mod site;
pub mod spool;
pub mod state;
pub mod trace;

/// Version of the wire between engine and worker. Raise it when the meaning of a message changes.
pub const VERSION: u32 = 1;

/// Identifies the build: the package's version and a hash of this crate's sources, of rkyv's
/// version and of the compiler. Engine and worker talk only when theirs are equal.
pub const BUILD_ID: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("SOCKHOP_SCHEMA_HASH"));

/// Whether the compiler optimised this build as far as it can, as it does what is shipped and
/// measured. Of the profile `quick`, in which the project is tried out and tested, it did not.
pub const OPTIMISED: bool = matches!(env!("SOCKHOP_OPT_LEVEL").as_bytes(), b"3");

/// The fd number under which a worker finds its end of the channel after `exec`.
pub const WORKER_CHANNEL_FD: i32 = 3;

/// The fd number under which a worker finds the engine's stderr, which it takes for its own once it
/// serves; until then the engine listens to what it says.
pub const WORKER_STDERR_FD: i32 = 4;
