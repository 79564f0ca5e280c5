//! Whether the kernel backs a process's memory by huge pages (prctl(2), PR_SET_THP_DISABLE).
//!
//! mimalloc asks for them. A process that holds a few megabytes, here and there, is then given two
//! for each place, and the kernel fills the gaps again that are given back: an engine with 6 MB in
//! use grew to over 100. One that computes is faster with them. The setting is inherited, through
//! `exec` too, so each program says what it wants. Owns no fds.

use std::io;

/// What a process's memory is to be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Small pages: memory stays what is in use.
    Small,
    /// Huge ones where the system and the allocator have them.
    Huge,
}

/// The variable by which a worker that runs no WebAssembly is told to do without huge pages.
pub const SMALL_PAGES_VARIABLE: &str = "SOCKHOP_SMALL_PAGES";

/// Has this process's memory, and that of those it starts, made of such pages from now on.
///
/// # Errors
/// When the kernel, or a filter in front of it, refuses; all goes on as before.
pub fn set(pages: Pages) -> io::Result<()> {
    let disabled = libc::c_ulong::from(pages == Pages::Small);
    // SAFETY: a plain system call about this process alone.
    let done = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, disabled, 0, 0, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_last_counts() {
        for (pages, disabled) in [(Pages::Small, 1), (Pages::Huge, 0), (Pages::Small, 1)] {
            set(pages).unwrap();
            // SAFETY: a plain system call about this process alone.
            assert_eq!(unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, 0, 0, 0, 0) }, disabled);
        }
    }
}
