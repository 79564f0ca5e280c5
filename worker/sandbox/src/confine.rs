//! What a process that ends TLS gives up before it takes its first connection: whoever took it over
//! from outside could do nothing but talk to those who talk to it. Owns fds only while a ruleset is
//! made.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// The newest version of landlock whose rights are handled, and so denied.
const NEWEST: ABI = ABI::V6;
/// Names a mapping, as allocators do (prctl(2)).
const PR_SET_VMA: i32 = 0x5356_4d41;

/// What it has left, whatever the arguments: sockets that it has or is handed, memory, and itself.
#[rustfmt::skip]
const ALLOWED: &[i64] = &[
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_close,
    libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_sendto, libc::SYS_sendmsg,
    libc::SYS_shutdown, libc::SYS_getsockname, libc::SYS_getpeername,
    libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_fcntl, libc::SYS_fstat,
    libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_ppoll,
    libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk,
    libc::SYS_futex, libc::SYS_membarrier, libc::SYS_rseq, libc::SYS_set_robust_list,
    libc::SYS_sched_yield, libc::SYS_getcpu, libc::SYS_getrandom,
    libc::SYS_clock_gettime, libc::SYS_clock_nanosleep, libc::SYS_nanosleep,
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack, libc::SYS_getpid, libc::SYS_gettid,
    libc::SYS_restart_syscall, libc::SYS_exit, libc::SYS_exit_group,
];

/// The type in the second argument of socketpair(2), without its flags.
const SOCKET_TYPE_MASK: u64 = 0xf;

/// What x86-64 has besides.
#[cfg(target_arch = "x86_64")]
const ALLOWED_ON_THIS_ARCHITECTURE: &[i64] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_ON_THIS_ARCHITECTURE: &[i64] = &[];

/// Why a process is not confined. It is the host's fault, and stays so until another kernel runs.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// There is no filter for this architecture.
    #[error("system calls cannot be filtered on this architecture: {0}")]
    Filter(#[from] seccompiler::BackendError),
    /// The kernel refuses the filter.
    #[error(
        "the kernel does not take a filter of system calls: {0}; does it have CONFIG_SECCOMP_FILTER?"
    )]
    Install(#[from] seccompiler::Error),
}

/// Confines all threads of this process for good: they open no file, run no program, make no socket
/// but pairs, connect to nothing and look into no process. Sets `no_new_privs`.
///
/// Returns whether landlock keeps the calling thread from files and the network as well.
///
/// # Errors
/// [`ConfineError`]: without the filter the process is not confined.
pub fn confine() -> Result<bool, ConfineError> {
    let by_landlock = restrict().is_ok_and(|status| status != RulesetStatus::NotEnforced);
    // Last: it takes the system calls for landlock, too.
    seccompiler::apply_filter_all_threads(&filter()?)?;
    Ok(by_landlock)
}

/// Denies everything that landlock knows of, as far as this kernel has it.
fn restrict() -> Result<RulesetStatus, landlock::RulesetError> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .restrict_self()?;
    Ok(status.ruleset)
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq};
    let arg = |number, op, value: i32| {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(number, SeccompCmpArgLen::Dword, op, value)
    };
    let when = |condition| SeccompRule::new(vec![condition]);
    let no_code = || when(arg(2, MaskedEq(u64::from(libc::PROT_EXEC.cast_unsigned())), 0)?);
    let allowed = ALLOWED.iter().chain(ALLOWED_ON_THIS_ARCHITECTURE);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        allowed.map(|number| (*number, Vec::new())).collect();
    rules.insert(libc::SYS_mmap, vec![no_code()?]);
    rules.insert(libc::SYS_mprotect, vec![no_code()?]);
    // A datagram socket could send to any path.
    let is_stream = arg(1, MaskedEq(SOCKET_TYPE_MASK), libc::SOCK_STREAM)?;
    let pair = SeccompRule::new(vec![arg(0, Eq, libc::AF_UNIX)?, is_stream])?;
    rules.insert(libc::SYS_socketpair, vec![pair]);
    // To itself, which is how a process aborts.
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    rules.insert(libc::SYS_tgkill, vec![when(arg(0, Eq, own)?)?]);
    // Of an fd alone, which some versions of the C library ask by this call.
    rules.insert(libc::SYS_newfstatat, vec![when(arg(3, Eq, libc::AT_EMPTY_PATH)?)?]);
    let blocking = i32::try_from(libc::FIONBIO).unwrap_or_default();
    rules.insert(libc::SYS_ioctl, vec![when(arg(1, Eq, blocking)?)?]);
    rules.insert(
        libc::SYS_prctl,
        vec![when(arg(0, Eq, libc::PR_SET_PDEATHSIG)?)?, when(arg(0, Eq, PR_SET_VMA)?)?],
    );
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)?.try_into()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Runs alone in its process (nextest), which is confined from then on.
    #[test]
    fn a_confined_process_has_its_sockets_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ask, asked) = std::sync::mpsc::channel::<()>();
        let other_thread = std::thread::spawn(move || {
            asked.recv().unwrap();
            std::fs::File::open("/dev/null").is_ok()
        });
        confine().unwrap();
        ask.send(()).unwrap();
        assert!(!other_thread.join().unwrap(), "threads from before are confined, too");
        assert!(std::fs::File::open("/dev/null").is_err());
        assert!(TcpStream::connect(address).is_err());
        assert!(TcpListener::bind("127.0.0.1:0").is_err());
        assert!(std::process::Command::new("/bin/true").spawn().is_err());
        // SAFETY: a plain system call without effect.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }, -1);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) }, -1);

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        ours.try_clone().unwrap().write_all(b"x").unwrap();
        theirs.read_exact(&mut [0]).unwrap();
        drop(vec![1_u8; 10 << 20]);
    }
}
