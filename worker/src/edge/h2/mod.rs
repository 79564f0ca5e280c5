//! HTTP/2 (RFC 9113), in two halves that never run in one process.
//!
//! ```text
//! client ── HTTP/2 ──▶ session (an edge) ── HTTP/2 over a socket pair ──▶ leg (a worker)
//! ```
//!
//! The [session] ends a client's connection. Each of its streams goes on to the worker that runs
//! its function, over a *leg*: a socket pair that is routed like any connection, by a head in the
//! form of HTTP/1.1 that comes first. The [leg] has streams answered as [`super::h1`] has requests.
//! A leg begins with the worker's preface, or with an answer in the form of HTTP/1.1 by whoever
//! refuses it on its way. A stream whose function another worker runs is reset with REFUSED_STREAM
//! before anything of it is used, and the session takes it elsewhere. Owns no fds.

mod fields;
pub(crate) mod leg;
mod pump;
pub(crate) mod session;

/// So many bytes of a stream's body may be on their way to somebody who does not take them.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The same for all streams of a connection together: several may be slow without holding up the
/// others.
const CONNECTION_WINDOW_BYTES: u32 = 8 * STREAM_WINDOW_BYTES;
/// What waits to be sent of a stream, whatever its receiver would take.
const SEND_BUFFER_BYTES: usize = 2 * FRAME_BYTES_MAX as usize;
/// The window of a stream between processes ...
const LEG_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// ... and that of all of them: one client that takes nothing does not hold up another.
const LEG_WINDOW_BYTES: u32 = STREAMS_MAX * LEG_STREAM_WINDOW_BYTES;
/// The streams that a connection may have at a time (RFC 9113 5.1.2).
const STREAMS_MAX: u32 = 128;
/// The largest frame that is taken. The least that there may be suits records of TLS (RFC 9113 4.2).
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// The same between processes.
const LEG_FRAME_BYTES_MAX: u32 = LEG_STREAM_WINDOW_BYTES;
