//! The harness of the end-to-end tests: it starts the real `sockhop`, speaks raw HTTP/1.1 with it,
//! and looks at its processes.
//!
//! Nothing here imitates a part of the product. A test that cannot go on panics with what it has
//! seen. The guards then end the processes that it has started, by pid, and show what they have
//! written.
#![expect(
    clippy::expect_used,
    reason = "a harness that cannot go on has only one way to say so: fail the test that called it"
)]

pub mod answer;
pub mod aws;
pub mod bad_requests;
pub mod bundle;
pub mod bytes;
pub mod client;
pub mod collector;
pub mod compilers;
pub mod debian;
pub mod disk;
pub mod edge;
pub mod faults;
pub mod frames;
pub mod guests;
pub mod http2;
pub mod keyvalue;
pub mod native;

pub mod nats;
pub mod needs;
pub mod node;
pub mod openapi;
pub mod packages;
pub mod pebble;
pub mod process;
pub mod prometheus;
pub mod proxies;
pub mod running;
pub mod s3;
pub mod seccomp;
pub mod status;
pub mod take_over;
pub mod tls;
pub mod tunnel;
pub mod unreachable;
pub mod upstream;
pub mod wait;
pub mod wasmtime;
pub mod wat;
pub mod websocket;

pub use client::{Connection, Cut, Head, Reply};
pub use node::{Node, NodeBuilder};
pub use running::{Finished, Running};
