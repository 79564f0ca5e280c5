//! From a deployed file to code that workers run: looked at, compiled once in a process with limits, kept by digest.
//!
//! [`inspect`] says what a file is and refuses what cannot run here; [`child`] compiles; [`cache`] keeps the results.

pub(crate) mod cache;
pub(crate) mod child;
pub(crate) mod inspect;
