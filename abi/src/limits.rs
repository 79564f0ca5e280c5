//! Every limit of the system, by name. A limit that is a setting has its default here.
//!
//! Owns no fds.

use std::time::Duration;

/// A request's head (request line and headers): more is answered 431.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Headers in one request; the same number hyper allows by default.
pub const HEADERS_MAX: usize = 100;
/// What a shard looks at before it decides. A longer head is decided by the worker.
pub const PEEK_BYTES_MAX: usize = 8 * 1024;

/// One message between engine and worker. Holds a whole head and what a connection had read ahead of it.
pub const MESSAGE_BYTES_MAX: usize = 160 * 1024;
/// fds that travel with one message.
pub const FDS_PER_MESSAGE_MAX: usize = 1;
/// Bytes a connection may have read when it is given back to the engine.
pub const RETURNED_BYTES_MAX: usize = HEAD_BYTES_MAX + 32 * 1024;

/// A function's name: one DNS label (RFC 1035 2.3.1), so that it can stand in a host name.
pub const NAME_BYTES_MAX: usize = 63;
/// Functions in one catalogue.
pub const FUNCTIONS_MAX: usize = 100_000;
/// Environment variables of one function.
pub const ENV_VARIABLES_MAX: usize = 256;
/// Names and values of one function's environment together.
pub const ENV_BYTES_MAX: usize = 32 * 1024;
/// The catalogue's archive.
pub const CATALOGUE_BYTES_MAX: usize = 512 * 1024 * 1024;
/// The module-cache index's archive.
pub const CACHE_INDEX_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A deployed file.
pub const ARTEFACT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The manifest that comes with a deployed file.
pub const MANIFEST_BYTES_MAX: usize = 256 * 1024;
/// A compiled module.
pub const MODULE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Workers of one node, and so rows of the board.
pub const WORKERS_MAX: usize = 256;
/// Invocations in flight in one worker; more are answered 503.
pub const INVOCATIONS_PER_WORKER_MAX: u32 = 1000;

/// Linear memory of an instance, when the deployer names none.
pub const MEMORY_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// The least memory a function can be given: one wasm page.
pub const MEMORY_BYTES_MIN: u64 = 64 * 1024;
/// The most memory a function can be given: what a 32-bit memory can address.
pub const MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Wall time of one invocation, when the deployer names none.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The longest wall time a function can be given.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(15 * 60);
/// The shortest; also how often the worker looks at a running guest's clock.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(10);

/// Requests that one instance may be made to serve (`--instances reuse=N`).
pub const REQUESTS_PER_INSTANCE_MAX: u32 = 1_000_000;
/// Instances that a worker keeps for their next request, of all its functions together.
pub const KEPT_INSTANCES_PER_WORKER_MAX: u32 = 256;
/// How long an instance is kept without a request.
pub const KEPT_INSTANCE_TIMEOUT: Duration = Duration::from_secs(10);

/// One line of a guest's stdout or stderr; a longer one is cut into several.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;
/// What one invocation may write to stdout and stderr; the rest is dropped and said so.
pub const LOG_BYTES_PER_INVOCATION_MAX: usize = 256 * 1024;

/// How long a head may take from its first byte (setting `--head-timeout`).
pub const HEAD_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How long a connection may be idle between requests (setting `--idle-timeout`).
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(75);
/// How long a client may take none of the reply's bytes (setting `--write-timeout`).
pub const WRITE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// How long requests in flight may take to end when the node stops (setting `--drain-timeout`).
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
