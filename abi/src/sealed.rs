//! Sealed memory: a memfd nobody can change any more, and a read-only mapping of it.
//!
//! The catalogue and compiled modules travel from engine to worker this way. The seals are what
//! makes it sound to validate once and read in place afterwards: they are checked before anything
//! is mapped. [`create`] gives the fd to its caller; [`Mapping`] keeps memory only, never an fd.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::ptr::NonNull;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;
use rkyv::util::AlignedVec;

/// Why memory could not be sealed or mapped.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// A system call failed.
    #[error(
        "sealed memory {what:?}: {call} failed: {source}; likely out of memory or file descriptors"
    )]
    Call {
        /// What the memory is for.
        what: &'static str,
        /// The system call.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The peer sent memory that it could still change.
    #[error(
        "{what} came in memory that is not sealed (seals {found:?}); the peer is broken or not sockhop"
    )]
    NotSealed {
        /// What the memory is for.
        what: &'static str,
        /// The seals that were there.
        found: SealFlag,
    },
    /// Empty, or larger than its limit.
    #[error("{what} has {length} bytes; expected 1 to {limit}")]
    Size {
        /// What the memory is for.
        what: &'static str,
        /// Its length in bytes.
        length: u64,
        /// The named limit in bytes.
        limit: u64,
    },
}

fn all_seals() -> SealFlag {
    SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE
}

fn call(what: &'static str, call: &'static str) -> impl Fn(nix::Error) -> SealedError {
    move |errno| SealedError::Call { what, call, source: errno.into() }
}

/// Opens an empty memfd, close-on-exec and not executable as a file (`vm.memfd_noexec=2` refuses
/// any other).
///
/// # Errors
/// [`SealedError::Call`] when the kernel gives none.
pub fn unsealed(what: &'static str) -> Result<OwnedFd, SealedError> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    memfd_create(what, flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL))
        // Kernels before 6.3 do not know the flag and have no such rule either.
        .or_else(|_| memfd_create(what, flags))
        .map_err(call(what, "memfd_create"))
}

/// Puts `bytes` into a new memfd and seals it. The caller owns the fd.
///
/// # Errors
/// [`SealedError::Call`] when memory or file descriptors run out.
pub fn create(what: &'static str, bytes: &[u8]) -> Result<OwnedFd, SealedError> {
    let mut file = std::fs::File::from(unsealed(what)?);
    file.write_all(bytes).map_err(|source| SealedError::Call { what, call: "write", source })?;
    seal(what, file.into())
}

/// Seals what was written to a memfd of [`unsealed`].
///
/// # Errors
/// [`SealedError::Call`] when somebody still has it mapped for writing.
pub fn seal(what: &'static str, fd: OwnedFd) -> Result<OwnedFd, SealedError> {
    fcntl(&fd, FcntlArg::F_ADD_SEALS(all_seals())).map_err(call(what, "fcntl(F_ADD_SEALS)"))?;
    Ok(fd)
}

/// Checks that nobody can change the memory behind `fd` any more, and returns its length in bytes.
///
/// # Errors
/// [`SealedError`] when a seal is missing, or the length is 0 or above `limit`.
pub fn check(what: &'static str, fd: impl AsFd, limit: u64) -> Result<u64, SealedError> {
    let seals = fcntl(&fd, FcntlArg::F_GET_SEALS).map_err(call(what, "fcntl(F_GET_SEALS)"))?;
    let found = SealFlag::from_bits_truncate(seals);
    if !found.contains(all_seals()) {
        return Err(SealedError::NotSealed { what, found });
    }
    let size = fstat(&fd).map_err(call(what, "fstat"))?.st_size;
    let length = u64::try_from(size).unwrap_or(0);
    if length == 0 || length > limit {
        return Err(SealedError::Size { what, length, limit });
    }
    Ok(length)
}

/// Copies sealed memory that an untrusted peer has made, aligned as an archive has to be. It is not
/// mapped: a page of it that is not there is an error then, and no signal.
///
/// # Errors
/// [`SealedError`] when it is not sealed, has a wrong size, or cannot be read.
pub fn read(what: &'static str, fd: impl AsFd, limit: usize) -> Result<AlignedVec, SealedError> {
    let length = check(what, &fd, limit as u64)?;
    let call = |source| SealedError::Call { what, call: "pread", source };
    let copy = fd.as_fd().try_clone_to_owned().map_err(call)?;
    let mut bytes = AlignedVec::new();
    bytes.resize(usize::try_from(length).unwrap_or(limit), 0);
    std::fs::File::from(copy).read_exact_at(&mut bytes, 0).map_err(call)?;
    Ok(bytes)
}

/// A read-only mapping of sealed memory. Unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: NonZeroUsize,
}

// SAFETY: the mapping is read-only, private to this value, and the memory behind it is sealed:
// nobody writes it.
unsafe impl Send for Mapping {}
// SAFETY: as above; shared reads of memory that never changes need no synchronisation.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the sealed memory behind `fd`, which is only borrowed: the mapping outlives it.
    ///
    /// # Errors
    /// [`SealedError`] when it is not sealed, has a wrong size, or cannot be mapped.
    pub fn new(what: &'static str, fd: impl AsFd, limit: usize) -> Result<Self, SealedError> {
        let limit = limit as u64;
        let size = check(what, &fd, limit)?;
        let length = usize::try_from(size)
            .ok()
            .and_then(NonZeroUsize::new)
            .ok_or(SealedError::Size { what, length: size, limit })?;
        // SAFETY: a new read-only mapping at an address of the kernel's choice; the length is the
        // file's own, and the seals checked above keep the file from shrinking under it.
        let start =
            unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, fd, 0) }
                .map_err(call(what, "mmap"))?;
        Ok(Self { start: start.cast(), length })
    }

    /// The mapped bytes, page-aligned.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is a live mapping of `length` readable bytes until drop, and sealed
        // against change.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length.get()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, unmapped once; no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.start.cast(), self.length.get()) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_memory_reads_back_and_refuses_writes() {
        let fd = create("test", b"hello").unwrap();
        let mapping = Mapping::new("test", &fd, 64).unwrap();
        let mut file = std::fs::File::from(fd);
        assert!(file.write_all(b"x").is_err());
        assert_eq!(&read("test", &file, 64).unwrap()[..], b"hello");
        drop(file);
        assert_eq!(mapping.bytes(), b"hello");
    }

    #[test]
    fn unsealed_empty_and_oversized_memory_is_refused() {
        let open = unsealed("test").unwrap();
        assert!(matches!(Mapping::new("test", &open, 64), Err(SealedError::NotSealed { .. })));
        let empty = seal("test", open).unwrap();
        assert!(matches!(
            Mapping::new("test", &empty, 64),
            Err(SealedError::Size { length: 0, .. })
        ));
        let large = create("test", &[0; 65]).unwrap();
        assert!(matches!(
            Mapping::new("test", &large, 64),
            Err(SealedError::Size { length: 65, .. })
        ));
        let pipe = nix::unistd::pipe().unwrap();
        assert!(matches!(Mapping::new("test", &pipe.0, 64), Err(SealedError::Call { .. })));
    }
}
