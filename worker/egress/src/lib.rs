//! The HTTP proxy by which the processes of a native function make outgoing requests.
//!
//! A process has no network but loopback. The worker has a listener in the process's network
//! namespace and gives each stream that it accepts to [`Proxy::serve`]; [`environment()`] has the
//! variables that tell HTTP clients of it. The proxy obeys the function's list of allowed
//! destinations, and has no way out of its own: it calls a [`Connect`] of the worker's, which
//! resolves the name and checks the addresses.
//!
//! Streams belong to whoever serves them: dropping the future of [`Proxy::serve`] closes the
//! client's stream and every connection that was made for it.
#![forbid(unsafe_code)]

mod connect;
mod connection;
mod destination;
mod environment;
mod exchange;
mod fields;
mod forward;
mod gate;
mod limits;
mod linger;
mod proxy;
mod refusal;
mod reply_body;
mod tunnel;
mod upstream;
mod write_timeout;

pub use connect::{Connect, ConnectError};
pub use environment::environment;
pub use fields::head_bytes;
pub use limits::Limits;
pub use proxy::Proxy;
