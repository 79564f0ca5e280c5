//! Limits of the Lambda contract, and those that this crate adds. Owns no fds.

/// Longest event, in bytes: what a caller may send for a synchronous invocation (Lambda's quotas).
pub const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Longest buffered response, in bytes: 6 MiB, and 100 bytes that the Runtime API allows on top.
pub const RESPONSE_BYTES_MAX: usize = EVENT_BYTES_MAX + 100;

/// Longest prelude of a streamed HTTP response with its separator, in bytes (API Gateway's limit).
pub const PRELUDE_BYTES_MAX: usize = 16 * 1024;

/// Longest head of a request to the Runtime API, in bytes. Go sends the cause of an error in one
/// header of up to 1 MiB; the rest of the head needs far less than what is added here.
pub const REQUEST_HEAD_BYTES_MAX: usize = 1024 * 1024 + 64 * 1024;

/// Longest body of a request to register an extension, in bytes.
pub const REGISTRATION_BYTES_MAX: usize = 64 * 1024;

/// How many extensions a process may register (Lambda's quotas).
pub const EXTENSIONS_MAX: usize = 10;

/// How many events wait for an extension that does not ask for them. When there are more, the
/// oldest is dropped.
pub const EXTENSION_EVENTS_MAX: usize = 64;

/// How much of the log a caller gets who asks for its tail, in bytes (Invoke API, `LogType`).
pub const LOG_TAIL_BYTES_MAX: usize = 4 * 1024;

/// Longest client context, base64 included, in bytes (Invoke API).
pub const CLIENT_CONTEXT_BYTES_MAX: usize = 3_583;

/// Longest error in a trailer, in bytes. With the end of the log, and both as base64, it is within
/// the 16 KiB that hyper takes of trailers.
pub const TRAILER_DOCUMENT_BYTES_MAX: usize = 6 * 1024;
