//! Running guests: the wasmtime engine, what a guest finds around it, its instances, and one invocation from request to
//! reply.

pub(crate) mod engine;
pub(crate) mod host;
pub(crate) mod instances;
pub(crate) mod invocation;
pub(crate) mod reply;
