//! From a deployed file to code that workers run: inspected, compiled once in a process with
//! limits, and cached by digest.
//!
//! [`inspect`] says what a file is, and refuses what cannot run here, by the names in
//! [`interfaces`] and [`abi::preview1`]. [`child`] compiles it when its turn in the [`queue`] comes,
//! with as many threads as there is [`memory`] for, and names the [`proposals`] that guests lack;
//! [`native`] programs are unpacked there instead.
//! [`incremental`] has what an earlier compilation has done already.
//! [`cache`] keeps the results as files ([`modules`]), and the most recently used ones in sealed
//! memory ([`sealed`]).

#![expect(
    missing_docs,
    reason = "names of fields say what they are, and each variant of an error has its sentence"
)]

pub mod cache;
pub mod child;
mod confine;
mod incremental;
pub mod inspect;
mod interfaces;
mod memory;
mod modules;
mod native;
mod proposals;
pub mod queue;
mod sealed;

pub use self::incremental::reuse::Reused;
pub use self::memory::Size;
pub use package::function_in;
