//! From a deployed file to code that workers run: looked at, compiled once in a process with
//! limits, kept by digest.
//!
//! [`inspect`] says what a file is and refuses what cannot run here, by the names in [`interfaces`]
//! and [`preview1`]; [`child`] compiles when it is its turn in the [`queue`], with as many threads
//! as [`memory`] has room for, and names the [`proposals`] that guests have not got; [`cache`]
//! keeps the results, and the latest ones ready in sealed memory ([`sealed`]).

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

pub mod cache;
pub mod child;
pub mod inspect;
mod interfaces;
mod memory;
mod modules;
mod preview1;
mod proposals;
pub mod queue;
mod sealed;

pub use self::memory::Size;
