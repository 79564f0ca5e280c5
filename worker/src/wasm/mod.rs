//! Running guests: the wasmtime engine, what a guest finds around it, and one invocation from request to reply.

pub(crate) mod engine;
pub(crate) mod host;
pub(crate) mod invocation;
pub(crate) mod reply;
