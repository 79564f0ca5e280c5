//! Whether a node can run on this machine, asked before glommio starts, which would only panic.
//!
//! [`probe`] asks the kernel. [`diagnose`] is pure, and turns the answers into what to change and
//! in which layer. The ring that is made for the question is closed at once.

use std::num::NonZeroUsize;
use std::os::fd::{FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How much memory glommio must be able to lock, per process.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// How much address space a worker's pools of memories reserve, rounded up: 3,960 slots of 4 GiB
/// and their guards for each of its two engines.
const ADDRESS_SPACE_BYTES_MIN: usize = 36 << 40;

/// The answers of the kernel and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The error of `io_uring_setup`, if it failed.
    pub io_uring: Option<Errno>,
    /// `kernel.io_uring_disabled`: 0 for all, 1 for privileged users, 2 for nobody.
    pub io_uring_disabled: Option<u8>,
    /// A seccomp filter is on this process.
    pub seccomp: bool,
    /// After raising the soft limit as far as the hard one allows.
    pub memlock_bytes: u64,
    /// The limit on address space (`ulimit -v`).
    pub address_space_bytes: u64,
    /// The error of reserving [`ADDRESS_SPACE_BYTES_MIN`] of it, if that failed.
    pub reserving: Option<Errno>,
}

/// Why a node cannot run on this machine, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error(
        "io_uring is switched off by the sysctl kernel.io_uring_disabled={0}; switch it on with: sysctl -w kernel.io_uring_disabled=0"
    )]
    Sysctl(u8),
    #[error(
        "io_uring is forbidden by a seccomp filter ({errno}), as container runtimes install one; start the container with a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register (docker: --security-opt seccomp=PROFILE.json; systemd: SystemCallFilter=)"
    )]
    Seccomp { errno: Errno },
    #[error("this kernel has no io_uring; sockhop needs Linux 5.8 or newer (uname -r shows yours)")]
    Kernel,
    #[error(
        "io_uring is refused ({errno}), and neither a sysctl nor a seccomp filter explains it; a security module (SELinux, AppArmor) may"
    )]
    Other { errno: Errno },
    #[error(
        "the limit on locked memory (memlock) is {bytes} bytes; io_uring needs at least {MEMLOCK_BYTES_MIN}: raise it with `ulimit -l 8192` (shell), LimitMEMLOCK=8M (systemd) or --ulimit memlock=8388608 (docker)"
    )]
    Memlock { bytes: u64 },
    #[error(
        "the limit on address space is {bytes} bytes; a worker reserves (and does not use) some TiB of it for its guests: lift it with `ulimit -v unlimited` (shell) or LimitAS=infinity (systemd)"
    )]
    AddressSpace { bytes: u64 },
    #[error(
        "{} TiB of addresses cannot be reserved ({errno}), though no limit forbids it; a worker reserves (and does not use) as much for its guests: use a kernel whose processes have 47 bits of addresses or more (some for small arm64 boards have 39, see CONFIG_ARM64_VA_BITS)",
        ADDRESS_SPACE_BYTES_MIN >> 40
    )]
    AddressBits { errno: Errno },
}

/// Raises the soft limits on open files, locked memory and address space to the hard ones, and asks
/// the kernel.
pub fn probe() -> Facts {
    raise(Resource::RLIMIT_NOFILE);
    raise(Resource::RLIMIT_MEMLOCK);
    raise(Resource::RLIMIT_AS);
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    Facts {
        io_uring: try_io_uring().err(),
        io_uring_disabled: disabled.and_then(|text| text.trim().parse().ok()),
        seccomp: seccomp.is_some_and(|mode| mode.trim() != "0"),
        memlock_bytes: getrlimit(Resource::RLIMIT_MEMLOCK).map_or(u64::MAX, |(soft, _)| soft),
        address_space_bytes: getrlimit(Resource::RLIMIT_AS).map_or(u64::MAX, |(soft, _)| soft),
        reserving: try_reserving().err(),
    }
}

/// Checks whether a node can run under `facts`.
///
/// # Errors
/// [`HostError`] names the layer and the setting that prevent it.
pub fn diagnose(facts: &Facts) -> Result<(), HostError> {
    // A kernel that counts rings as locked memory refuses them when that runs out.
    if facts.memlock_bytes < MEMLOCK_BYTES_MIN {
        return Err(HostError::Memlock { bytes: facts.memlock_bytes });
    }
    if facts.address_space_bytes < ADDRESS_SPACE_BYTES_MIN as u64 {
        return Err(HostError::AddressSpace { bytes: facts.address_space_bytes });
    }
    if let Some(errno) = facts.reserving {
        return Err(HostError::AddressBits { errno });
    }
    let Some(errno) = facts.io_uring else { return Ok(()) };
    Err(match (facts.io_uring_disabled, errno) {
        (Some(disabled @ 1..), _) => HostError::Sysctl(disabled),
        (_, Errno::ENOMEM) => HostError::Memlock { bytes: facts.memlock_bytes },
        _ if facts.seccomp => HostError::Seccomp { errno },
        (_, Errno::ENOSYS) => HostError::Kernel,
        _ => HostError::Other { errno },
    })
}

fn raise(resource: Resource) {
    if let Ok((soft, hard)) = getrlimit(resource)
        && soft < hard
    {
        // If this fails, the soft limit stays, and the next checks show what that means.
        let _ = setrlimit(resource, hard, hard);
    }
}

fn try_io_uring() -> nix::Result<()> {
    // struct io_uring_params is 120 bytes, all zero for the defaults (io_uring_setup(2)).
    let mut params = [0_u64; 15];
    // SAFETY: the kernel reads and writes at most the structure's 120 bytes, which `params` has and
    // outlives the call.
    let fd =
        Errno::result(unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, params.as_mut_ptr()) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this fd for us, and nobody else knows of it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

fn try_reserving() -> nix::Result<()> {
    let length = NonZeroUsize::new(ADDRESS_SPACE_BYTES_MIN).ok_or(Errno::EINVAL)?;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: a new mapping, where the kernel likes and of nothing that anybody could read or
    // write; nobody else knows of it when it is unmapped.
    unsafe {
        let start = mmap_anonymous(None, length, ProtFlags::PROT_NONE, flags)?;
        munmap(start, length.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Facts = Facts {
        io_uring: None,
        io_uring_disabled: Some(0),
        seccomp: false,
        memlock_bytes: 8 << 20,
        address_space_bytes: u64::MAX,
        reserving: None,
    };

    #[test]
    fn each_cause_is_named_with_its_remedy() {
        let eperm = Some(Errno::EPERM);
        for (facts, part) in [
            (
                Facts { io_uring: eperm, io_uring_disabled: Some(2), ..FINE },
                "sysctl -w kernel.io_uring_disabled=0",
            ),
            (Facts { io_uring: eperm, seccomp: true, ..FINE }, "seccomp"),
            (Facts { io_uring: Some(Errno::ENOSYS), seccomp: true, ..FINE }, "seccomp"),
            (Facts { io_uring: Some(Errno::ENOSYS), io_uring_disabled: None, ..FINE }, "5.8"),
            (Facts { io_uring: eperm, ..FINE }, "SELinux"),
            (Facts { memlock_bytes: 65536, ..FINE }, "ulimit -l"),
            (Facts { io_uring: Some(Errno::ENOMEM), ..FINE }, "ulimit -l"),
            (
                Facts { address_space_bytes: 1 << 30, reserving: Some(Errno::ENOMEM), ..FINE },
                "ulimit -v",
            ),
            (Facts { reserving: Some(Errno::ENOMEM), ..FINE }, "CONFIG_ARM64_VA_BITS"),
        ] {
            let error = diagnose(&facts).unwrap_err().to_string();
            assert!(error.contains(part), "{facts:?}: {error}");
        }
        assert_eq!(diagnose(&FINE), Ok(()));
        // Whatever runs these tests can make the reservation.
        assert_eq!(try_reserving(), Ok(()));
    }
}
