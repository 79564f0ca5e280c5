//! Compiled functions of modules, reused by later compilations. An interpreter that was compiled
//! into a component once is not compiled again with the next script.
//!
//! Cranelift computes the key of each function of a module from what it is about to compile and from
//! its own settings. The compile child looks keys up in [`pack`]s and collects what it had to
//! compile ([`reuse`]); the parent keeps that as another pack ([`shelf`]).
//!
//! Of an interpreter's functions some 5 % are compiled again each time: Cranelift 0.135 gives them
//! another key when the function before them was not compiled, though their code comes out the same.
//! Most of the rest of the time is for the keys, as it takes each function's translation.
//!
//! # Whom this trusts
//!
//! An entry is machine code that goes into the module of whoever has the same function, so who can
//! write entries could write into others' modules. Only the compiler itself can, whatever it
//! compiles: an entry's key is computed from a function, and its code compiled from the same one, so
//! a file can have nothing stored but what its functions compile to. That would fail to hold for a
//! child whose compiler has been taken over by the file. Therefore:
//!
//! * A child opens its packs before it reads the file, for reading, and then gives up all files
//!   ([`confine`](super::confine)). It returns entries by the one file that it has for them.
//! * These are kept only if the child ended well, and were made by a compiler with the same settings.
//! * What is there is not written over: of several packs with one key the oldest counts. So a child
//!   can at worst add functions that nobody has compiled on this node before.
//!
//! Where even that is too much, `--compile-cache-size 0` has each file compiled by itself.
//!
//! Owns no fds.

mod pack;
pub(crate) mod reuse;
pub(crate) mod shelf;
