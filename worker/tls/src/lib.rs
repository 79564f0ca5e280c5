//! Ends clients' TLS connections.
//!
//! ```text
//! client ── TCP, TLS ──▶ handshake ─┬▶ relay ── socket pair ──▶ whoever answers HTTP/1
//!                                   └▶ stream ─▶ whoever answers HTTP/2 in this process
//! ```
//!
//! [`Connections::take`] gives each client's socket a task. The [handshake] chooses a
//! certificate of [`Configs`] by the name that the client asks for. With the first bytes that come
//! out of TLS the task makes a socket pair and hands one end over; from then on the
//! [relay](relay::Relay) carries bytes between the client and the other end. The task owns the
//! client's socket and its own end of the pair. A client that speaks HTTP/2 is served by the same
//! task, with a [`Stream`] over its socket.
//!
//! # What the plaintext end shows of the client
//!
//! | client | plaintext end |
//! |---|---|
//! | `close_notify` | the end of the stream, behind all that came before; replies still come |
//! | the end of TCP without `close_notify` | closed, both ways, behind all that came before |
//! | a reset, or bytes that are no TLS | the same |
//! | takes nothing for as long as the write timeout | the same |
//!
//! TLS that ends without `close_notify` may have been cut by somebody on the way (RFC 8446 6.1). A
//! socket pair cannot say so. A request with a length or chunks that was cut is not whole, and
//! whoever reads it knows. Its answer cannot be sent any more, because both ways are closed: a
//! client that wants one ends its side by `close_notify`. Whoever passes on bytes without a form,
//! after a change of protocol (RFC 9110 7.8), sees an end in either case.
//!
//! In the other direction the end of the stream becomes `close_notify` and the end of TCP's, and
//! the client is still read from.

mod configs;
mod connections;
mod handshake;
pub mod linger;
mod relay;
mod stream;
mod tickets;
mod watch;

pub use configs::{CertificateError, Configs};
pub use connections::{Connections, Plaintext, Timeouts, origin, pair};
pub use stream::Stream;
