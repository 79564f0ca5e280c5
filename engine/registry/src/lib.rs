//! WebAssembly in OCI registries, as a client: [`pull`] brings what `wkg`, Spin and wasmCloud have
//! published, and [`push`] publishes it as they do (OCI Distribution Specification 1.1; the CNCF's
//! Wasm OCI artifact layout).
//!
//! A registry is not trusted: what it sends is bounded, and has the digest by which it was asked
//! for. Credentials go to it and to what it names for tokens, and never in the clear. Owns
//! connections while a call runs.

#![forbid(unsafe_code)]

mod client;
mod credentials;
mod error;
mod manifest;
mod reference;

pub use client::{Access, Pulled, pull, push};
pub use error::RegistryError;
pub use reference::{Reference, SCHEME};
