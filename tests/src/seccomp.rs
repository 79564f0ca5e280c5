//! A seccomp filter that forbids io_uring, as container runtimes do by default.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes `io_uring_setup` fail with EPERM in `command` and in all processes that it starts.
pub fn forbid_io_uring(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes system calls only: it allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(install) };
}

fn install() -> io::Result<()> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let forbidden =
        u32::try_from(libc::SYS_io_uring_setup).map_err(|_| io::ErrorKind::InvalidInput)?;
    let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    let mut filter = [
        step(LOAD, 0, 0, 0), // the number of the system call is the first word of seccomp_data
        step(EQUAL, 0, 1, forbidden),
        step(RETURN, 0, 0, refusal),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: prctl reads `program` and the filter it points to during the call; both live until
    // its end.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
    };
    if refused { Err(io::Error::last_os_error()) } else { Ok(()) }
}
