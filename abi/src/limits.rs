//! Every limit of the system, by name. A limit that is a setting has its default here. The limits
//! that a deployer chooses for a function are in [`crate::function`].
//!
//! Owns no fds.

use std::time::Duration;

/// A request's head (request line and headers): more is answered 431.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Headers in one request; the same number hyper allows by default.
pub const HEADERS_MAX: usize = 100;
/// What a shard looks at before it decides. A longer head is decided by the worker.
pub const PEEK_BYTES_MAX: usize = 8 * 1024;
/// A header of the PROXY protocol, with all that it says besides addresses: a connection that
/// begins with a longer one is closed.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 * 1024;

/// What of a request's body nobody reads is read away for the sake of the connection's next
/// request; with more of it to come, the reply says that the connection closes.
pub const UNREAD_BODY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A connection that is closed while its client may still be sending is read from until the client
/// has ended it, so that the reply is not lost to a reset (RFC 9112 9.6): at most so long,
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(30);
/// as long as nothing is silent for this,
pub const LINGER_SILENT_TIMEOUT: Duration = Duration::from_secs(2);
/// and at most so much.
pub const LINGER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Networks of proxies that are trusted (setting `--trusted-proxies`): each request's peer is
/// looked for in all of them.
pub const TRUSTED_PROXIES_MAX: usize = 64;

/// One message between engine and worker. Holds a whole head and what a connection had read ahead
/// of it.
pub const MESSAGE_BYTES_MAX: usize = 160 * 1024;
/// fds that travel with one message.
pub const FDS_PER_MESSAGE_MAX: usize = 1;
/// Bytes a connection may have read when it is given back to the engine.
pub const RETURNED_BYTES_MAX: usize = HEAD_BYTES_MAX + 32 * 1024;

/// A function's name: one DNS label (RFC 1035 2.3.1), so that it can stand in a host name.
pub const NAME_BYTES_MAX: usize = 63;
/// Routes of domains in one store, and so in one catalogue.
pub const DOMAINS_MAX: usize = 10_000;
/// A domain's host: what a name of DNS can have, without the dot at its end (RFC 1035 2.3.4).
pub const DOMAIN_HOST_BYTES_MAX: usize = 253;
/// What the paths of a domain's route begin with,
pub const DOMAIN_PREFIX_BYTES_MAX: usize = 255;
/// and so many segments at most: each is looked for once a request.
pub const DOMAIN_PREFIX_SEGMENTS_MAX: usize = 16;
/// Functions in one catalogue.
pub const FUNCTIONS_MAX: usize = 100_000;
/// Environment variables of one function.
pub const ENV_VARIABLES_MAX: usize = 256;
/// Names and values of one function's environment together.
pub const ENV_BYTES_MAX: usize = 32 * 1024;
/// Arguments of a command; names and values together have [`ENV_BYTES_MAX`] too.
pub const ARGS_MAX: usize = 256;
/// Secrets of one function.
pub const SECRETS_MAX: usize = 64;
/// A secret's key, which is a variable's name.
pub const SECRET_KEY_BYTES_MAX: usize = 128;
/// A secret's value.
pub const SECRET_BYTES_MAX: usize = 32 * 1024;
/// The values of one function's secrets together.
pub const SECRETS_BYTES_MAX: usize = 64 * 1024;
/// The catalogue's archive.
pub const CATALOGUE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// A deployed file.
pub const ARTEFACT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The manifest that comes with a deployed file.
pub const MANIFEST_BYTES_MAX: usize = 256 * 1024;
/// An object of the store that says what a version is, or an alias.
pub const STORED_OBJECT_BYTES_MAX: usize = 1024 * 1024;
/// Versions of one function.
pub const VERSIONS_PER_FUNCTION_MAX: usize = 1000;
/// So many of a function's newest versions stay (setting `--versions-kept`).
pub const VERSIONS_KEPT_DEFAULT: u32 = 10;
/// And those that are not older (setting `--versions-kept-for`).
pub const VERSIONS_KEPT_FOR_DEFAULT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Aliases of one function, `active` among them.
pub const ALIASES_PER_FUNCTION_MAX: usize = 64;
/// An alias's name: a label in a host name, like a function's.
pub const ALIAS_BYTES_MAX: usize = NAME_BYTES_MAX;
/// What of a version's id names it, if it is the only one that begins so: at least so many digits.
pub const VERSION_ID_PREFIX_BYTES_MIN: usize = 8;
/// What a worker says of a version that it could not instantiate.
pub const TRIAL_REASON_BYTES_MAX: usize = 4096;
/// Versions that one alias names, each with its weight.
pub const ALIAS_TARGETS_MAX: usize = 16;
/// The most that such a weight can be.
pub const ALIAS_WEIGHT_MAX: u32 = 10_000;
/// A compiled module.
pub const MODULE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Files of a static site.
pub const SITE_FILES_MAX: usize = 100_000;
/// The index of a static site, which each worker has in memory.
pub const SITE_INDEX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Rules in the file `_headers` of a static site, and as many in its `_redirects`.
pub const SITE_RULES_MAX: usize = 1000;

/// How often a node looks for what other nodes have changed in their store (setting
/// `--sync-interval`).
pub const SYNC_INTERVAL_DEFAULT: Duration = Duration::from_secs(2);
/// How often it looks at all that the store has, without a hint that something has changed.
pub const SYNC_LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Attempts at one request to a bucket.
pub const S3_ATTEMPTS_MAX: u32 = 4;
/// The pause after the first of them is at most this, and each later one at most twice the one
/// before,
pub const S3_BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// until it is this.
pub const S3_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// No further attempt begins so long after the first.
pub const S3_RETRY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a bucket's server may take from the request, with the connection it may need, to the
/// head of its reply; a body that is sent or read gets more, by [`S3_BYTES_PER_SECOND_MIN`].
pub const S3_REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may send nothing of a body.
pub const S3_STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The slowest that a body may come or go.
pub const S3_BYTES_PER_SECOND_MIN: u64 = 256 * 1024;
/// A page of a listing, or an error's text.
pub const S3_REPLY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// From this size on a body is sent only after a small request has been answered.
pub const S3_KNOCK_BYTES_MIN: usize = 1024 * 1024;

/// All certificates of a node together, with their chains and keys.
pub const CERTIFICATES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// TLS connections of one edge whose client has not sent a byte of a request yet. Beyond that the
/// oldest of them is closed. Each holds 10 KiB, and at most 64 KiB of a handshake's message that is
/// not complete.
pub const HANDSHAKES_MAX: usize = 1024;

/// Workers of one node, and so rows of the board.
pub const WORKERS_MAX: usize = 256;
/// Invocations in flight in one worker; more wait as their function's queue allows, and are then
/// answered 503. One of a component with more memories or tables than most counts as several.
pub const INVOCATIONS_PER_WORKER_MAX: u32 = 1000;
/// So many of these one function can have, unless the worker is its own, so that there are some for
/// the others.
pub const INVOCATIONS_PER_FUNCTION_AND_WORKER_MAX: u32 = INVOCATIONS_PER_WORKER_MAX / 4 * 3;
/// So many of them one client's address can have; more are answered 429. A proxy in front is one
/// address.
pub const INVOCATIONS_PER_ADDRESS_AND_WORKER_MAX: u32 = INVOCATIONS_PER_WORKER_MAX / 8 * 7;

/// The most memory a function can be given: what a 32-bit memory can address.
pub const MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// What the node holds for an instance besides its memory (the `fields`, requests, bodies and other
/// resources that its handles name) may be as much as its memory may, and at least this.
pub const HELD_BYTES_MIN: usize = 4 * 1024 * 1024;
/// What each resource counts for at least, and so how many handles an instance may have.
pub const RESOURCE_BYTES: usize = 1024;
/// Names and values of one `fields` together.
pub const FIELDS_BYTES_MAX: usize = 128 * 1024;
/// What a guest may hand the node in one call.
pub const HOST_CALL_BYTES_MAX: usize = 256 * 1024;
/// What a guest may write at a time into the body of a reply or of an outgoing request; the body
/// holds twice as much.
pub const BODY_CHUNK_BYTES_MAX: usize = 256 * 1024;
/// The most elements that an instance's tables can be given together. A table is the program's list
/// of functions.
pub const TABLE_ELEMENTS_MAX: u32 = 100_000;
/// The most core instances that one component's instance can be given.
pub const CORE_INSTANCES_MAX: u32 = 100;

/// Cores of one node.
pub const CORES_MAX: usize = 1024;
/// Processes of one native function.
pub const PROCESSES_MAX: u32 = 1000;

/// Requests that one instance may be made to serve (`--instances reuse=N`).
pub const REQUESTS_PER_INSTANCE_MAX: u32 = 1_000_000;
/// Instances that a worker makes ready for a function that was called lately, as many times or
/// more.
pub const STANDBY_PER_FUNCTION_MAX: usize = 4;
/// How long making one ready may take, if the function's own time limit is not shorter. A
/// language's runtime takes some 500 ms.
pub const STANDBY_START_TIMEOUT: Duration = Duration::from_secs(10);
/// After one could not be made ready, none of that function is for so many times as long as that
/// took ...
pub const STANDBY_PAUSE_FACTOR: u32 = 10;
/// ... and at least so long.
pub const STANDBY_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Linear memory of all instances made ready in a worker; the kernel has given as much of it as was
/// written.
pub const STANDBY_BYTES_PER_WORKER_MAX: usize = 512 * 1024 * 1024;
/// Instances without a request in a worker, of all its functions together: those kept for their
/// next, and those made ready.
pub const KEPT_INSTANCES_PER_WORKER_MAX: u32 = 256;
/// How long an instance is kept without a request.
pub const KEPT_INSTANCE_TIMEOUT: Duration = Duration::from_secs(10);

/// One line of a guest's stdout or stderr; a longer one is cut into several.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;
/// Lines that one invocation may write to each of the two, however short.
pub const LOG_LINES_MAX: usize = 10_000;
/// A record of the log, which holds a line and whose it is.
pub const RECORD_BYTES_MAX: usize = LOG_LINE_BYTES_MAX + 1024;
/// What a worker gathers of its log before it writes it.
pub const SPOOL_CHUNK_BYTES: usize = 64 * 1024;
/// How long the first of that waits for more.
pub const SPOOL_FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// Chunks that wait in a worker for a disk that is slow or full; what does not fit is dropped,
/// counted and marked in the log.
pub const SPOOL_CHUNKS_MAX: usize = 64;
/// A segment of the log; the engine gives its worker the next one long before.
pub const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A segment is sealed, and another begun, when it has so much in it ...
pub const SEGMENT_SEAL_BYTES: u64 = 32 * 1024 * 1024;
/// ... or when it has had something in it for so long.
pub const SEGMENT_SEAL_AGE: Duration = Duration::from_secs(10);
/// Asynchronous invocations that a node keeps (setting `--jobs-max`).
pub const JOBS_MAX_DEFAULT: u32 = 100_000;
/// What they may take (setting `--jobs-bytes-max`).
pub const JOBS_BYTES_MAX_DEFAULT: u64 = 1024 * 1024 * 1024;
/// The body of a request that becomes a job,
pub const JOB_BODY_BYTES_MAX: usize = 1024 * 1024;
/// its head: with what the node adds at each attempt, it is one that is served,
pub const JOB_HEAD_BYTES_MAX: usize = HEAD_BYTES_MAX - 4 * 1024;
/// and the headers in that, likewise.
pub const JOB_HEADERS_MAX: usize = HEADERS_MAX - 10;
/// All of it as an archive.
pub const JOB_SUBMISSION_BYTES_MAX: usize = JOB_BODY_BYTES_MAX + JOB_HEAD_BYTES_MAX + 16 * 1024;
/// What a worker holds of requests that are to become jobs. One that needs more is answered 503.
pub const JOB_HELD_BYTES_PER_WORKER_MAX: usize = 64 * 1024 * 1024;
/// How long the engine may take to keep a job, or to say how far one is.
pub const JOB_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What is told of a reply to whoever is called back.
pub const CALLBACK_REPLY_BYTES_MAX: usize = 256 * 1024;
/// Asynchronous invocations that a node runs at a time.
pub const JOBS_RUNNING_MAX: usize = 256;
/// What segments may take on the node's disk (setting `--spool-size`).
pub const SPOOL_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
/// The least of it.
pub const SPOOL_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// How long logs are kept in the store (setting `--logs-kept-for`).
pub const LOGS_KEPT_FOR_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How much of them is kept there (setting `--logs-kept-size`).
pub const LOGS_KEPT_BYTES_DEFAULT: u64 = 10 * 1024 * 1024 * 1024;

/// How long a worker may be stuck in one invocation beyond that invocation's time limit before the
/// engine kills it.
pub const STUCK_GRACE: Duration = Duration::from_secs(1);
/// How long a worker may go without a beat before the engine kills it; within a second of the last
/// it gets no more connections. Less than a change may take to be served everywhere, so that a
/// worker that stands still does not fail a deploy.
pub const WORKER_SILENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a function's own worker may have nothing to do before it is stopped (setting
/// `--own-worker-idle-timeout`).
pub const OWN_WORKER_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Connections of a node at a time (setting `--connections-max`).
pub const CONNECTIONS_MAX_DEFAULT: u32 = 65_536;
/// Of these, from one address (setting `--connections-per-address-max`). A proxy in front is one
/// address.
pub const CONNECTIONS_PER_ADDRESS_MAX_DEFAULT: u32 = 32_768;
/// Workers a core, at most (setting `--workers-per-core`).
pub const WORKERS_PER_CORE_MAX: usize = 8;

/// How long a head may take from its first byte (setting `--head-timeout`).
pub const HEAD_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How long a client may send nothing of a request's body that a guest waits for.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be idle between requests (setting `--idle-timeout`).
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(75);
/// How long a client may take none of the reply's bytes (setting `--write-timeout`).
pub const WRITE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// A WebSocket connection that has sent nothing for so long is sent a ping,
pub const WEBSOCKET_PING_AFTER: Duration = Duration::from_secs(30);
/// and is cut if it has sent nothing for so long after that.
pub const WEBSOCKET_PONG_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the client of a WebSocket connection may take to answer the node's close frame.
pub const WEBSOCKET_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A message of WebSocket in either direction, however large a body its function takes.
pub const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What all WebSocket connections of a worker hold of messages that arrive, are answered or are
/// sent. One that needs more is closed with 1013.
pub const WEBSOCKET_HELD_BYTES_PER_WORKER_MAX: usize = 256 * 1024 * 1024;
/// Messages that were pushed to a WebSocket connection and wait for its client to take others,
pub const WEBSOCKET_PUSHED_MAX: usize = 64;
/// and what they may be together, or one alone.
pub const WEBSOCKET_PUSHED_BYTES_MAX: usize = 1024 * 1024;
/// How long a push to another worker's connection may take.
pub const WEBSOCKET_PUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Invocations for the ends of WebSocket connections that run at a time in a worker, whose clients
/// may all have gone at once; the others wait.
pub const WEBSOCKET_ENDS_PER_WORKER_MAX: usize = 64;

/// How long requests in flight may take to end when the node stops (setting `--drain-timeout`).
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The most that any of these can be set to; fits a message's milliseconds.
pub const SETTING_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// What is logged (setting `--log`), as text.
pub const LOG_FILTER_BYTES_MAX: usize = 4096;

/// Traces of a million that begin here and are recorded (setting `--otlp-sample`).
pub const TRACE_SAMPLE_MAX: u32 = 1_000_000;
/// Invocations whose spans wait to be sent; those of more are dropped.
pub const TRACE_QUEUE_MAX: usize = 8192;
/// What is sent at a time, as JSON.
pub const TRACE_BATCH_BYTES_MAX: usize = 512 * 1024;
/// How long the first span of a batch waits for others.
pub const TRACE_BATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long an endpoint may take for a batch.
pub const TRACE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a batch is tried.
pub const TRACE_TRIES_MAX: u32 = 5;

/// Destinations that a function's outgoing requests may be allowed.
pub const OUTBOUND_PATTERNS_MAX: usize = 256;
/// One of them: `*.`, a DNS name of 253 bytes, a colon and a port.
pub const OUTBOUND_PATTERN_BYTES_MAX: usize = 261;
/// Connections that are kept for the next request to the same host.
pub const OUTBOUND_IDLE_PER_HOST_MAX: usize = 8;
/// How long they are kept.
pub const OUTBOUND_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Names of one function that are being looked up at once; each takes a thread.
pub const OUTBOUND_LOOKUPS_MAX: usize = 8;
/// Addresses of one name that are tried.
pub const OUTBOUND_ADDRESSES_MAX: usize = 16;
/// How long an outgoing connection may take, name and TLS included, when the guest does not say.
pub const OUTBOUND_CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The most that the guest can say.
pub const OUTBOUND_CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// How long a reply's head, and then each part of its body, may be waited for: the default, and the
/// most.
pub const OUTBOUND_READ_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// How long a server may take none of a request's bytes.
pub const OUTBOUND_WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The head of a reply to an outgoing request.
pub const OUTBOUND_REPLY_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Headers in it.
pub const OUTBOUND_REPLY_HEADERS_MAX: usize = 100;

/// A key of a function's state.
pub const STATE_KEY_BYTES_MAX: usize = 1024;
/// A value of a function's state. With its key and what is around them it fits into a message, and
/// into what a guest may hand the node in one call.
pub const STATE_VALUE_BYTES_MAX: usize = 128 * 1024;
/// Keys and values in one question to the engine: a key and a value, and some room.
pub const STATE_CALL_BYTES_MAX: usize = STATE_VALUE_BYTES_MAX + 2 * STATE_KEY_BYTES_MAX;
/// Keys of one batch.
pub const STATE_BATCH_KEYS_MAX: usize = 1000;
/// Values that one batch returns.
pub const STATE_BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Keys in one page of a list,
pub const STATE_PAGE_KEYS_MAX: usize = 1000;
/// and their bytes.
pub const STATE_PAGE_BYTES_MAX: usize = 64 * 1024;
/// Buckets besides its own that a function may be granted.
pub const STATE_GRANTS_MAX: usize = 16;
