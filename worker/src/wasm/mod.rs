//! Running guests: the wasmtime engine, what a guest finds around it, its instances, and one invocation from request to
//! reply.

pub(crate) mod command;
pub(crate) mod cpu_time;
pub(crate) mod engine;
mod held;
pub(crate) mod host;
mod http02;
mod http03;
pub(crate) mod instances;
pub(crate) mod invocation;
mod let_others;
mod limits;
pub(crate) mod reply;
pub(crate) mod standby;
mod start_code;
mod trap;
pub(crate) mod trial;
