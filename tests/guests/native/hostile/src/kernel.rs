//! System calls that a sandbox is to refuse, each in a child and with arguments that do no harm
//! where it does not refuse.

use std::ffi::{c_char, c_void};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::ptr::{null, null_mut};

use libc::{c_long, syscall};
use nix::errno::Errno;
use serde_json::{Map, Value, json};

use crate::Query;

pub fn attempt(path: &str, query: &Query) -> Option<Value> {
    match path {
        "/call" => {
            let wanted = query.text("name", "");
            let found = CALLS.iter().find(|(name, _)| *name == wanted);
            let result = found.map_or("no such call here".to_owned(), |(_, call)| in_child(*call));
            Some(json!({ "result": result }))
        }
        "/calls" => {
            let all = CALLS.iter().map(|(name, call)| ((*name).to_owned(), in_child(*call).into()));
            Some(Value::Object(all.collect::<Map<_, _>>()))
        }
        _ => None,
    }
}

/// Makes a call in a child, so that it changes nothing of this process. Returns `ok`, the name of
/// the error, or the signal that ended the child.
fn in_child(call: fn() -> c_long) -> String {
    let mut status = 0;
    // SAFETY: the child makes system calls only: it allocates nothing and takes no lock. `status`
    // outlives the call that writes it.
    let ended = unsafe {
        match libc::fork() {
            0 => libc::_exit(if call() == -1 { Errno::last_raw() } else { 0 }),
            -1 => return format!("no child: {:?}", Errno::last()),
            child => libc::waitpid(child, &raw mut status, 0),
        }
    };
    if ended == -1 {
        format!("no child: {:?}", Errno::last())
    } else if libc::WIFSIGNALED(status) {
        format!("signal {}", libc::WTERMSIG(status))
    } else if libc::WEXITSTATUS(status) == 0 {
        "ok".to_owned()
    } else {
        format!("{:?}", Errno::from_raw(libc::WEXITSTATUS(status)))
    }
}

const TMP: *const c_char = c"/tmp".as_ptr();
const TMPFS: *const c_char = c"tmpfs".as_ptr();
const NOTHING: *const c_void = null();

/// Makes a system call by its number: `call!(NUMBER, ARGUMENT...)`.
macro_rules! call {
    ($number:expr $(, $argument:expr)*) => {
        // SAFETY: each pointer among the arguments is null, to a constant, or to a local that
        // outlives the call; the kernel checks the rest.
        unsafe { syscall($number $(, $argument)*) }
    };
}

/// The name of a call, and the call.
type Call = (&'static str, fn() -> c_long);

const CALLS: &[Call] = &[
    ("acct", || call!(libc::SYS_acct, NOTHING)),
    ("add_key", || {
        call!(libc::SYS_add_key, c"user".as_ptr(), c"hostile".as_ptr(), c"x".as_ptr(), 1, -3)
    }),
    ("bpf", || {
        // A map of type array, with one element of 4 bytes.
        let attributes = [2_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        call!(libc::SYS_bpf, 0, attributes.as_ptr(), size_of_val(&attributes))
    }),
    ("chroot", || call!(libc::SYS_chroot, TMP)),
    ("clock_settime", || {
        let time = libc::timespec { tv_sec: -1, tv_nsec: -1 };
        call!(libc::SYS_clock_settime, libc::CLOCK_REALTIME, &raw const time)
    }),
    ("clone_new_user", || clone_with(libc::CLONE_NEWUSER)),
    ("clone_new_mounts", || clone_with(libc::CLONE_NEWNS)),
    ("delete_module", || call!(libc::SYS_delete_module, c"hostile".as_ptr(), 0)),
    ("finit_module", || call!(libc::SYS_finit_module, -1, c"".as_ptr(), 0)),
    ("fsopen", || call!(libc::SYS_fsopen, TMPFS, 0)),
    ("init_module", || call!(libc::SYS_init_module, NOTHING, 0, c"".as_ptr())),
    ("io_uring_setup", || {
        let parameters = [0_u32; 30];
        call!(libc::SYS_io_uring_setup, 1, parameters.as_ptr())
    }),
    ("kexec_load", || call!(libc::SYS_kexec_load, 0, 0, NOTHING, 0)),
    ("keyctl", || call!(libc::SYS_keyctl, 0, -3, 0)),
    ("mknod", || {
        // The device of /dev/kmsg.
        let (at, path) = (libc::AT_FDCWD, c"/tmp/kmsg".as_ptr());
        let made = call!(libc::SYS_mknodat, at, path, libc::S_IFCHR | 0o600, 0x10b);
        if made != -1 {
            call!(libc::SYS_unlinkat, at, path, 0);
        }
        made
    }),
    ("mount", || {
        let mounted = call!(libc::SYS_mount, TMPFS, TMP, TMPFS, 0, NOTHING);
        if mounted != -1 {
            call!(libc::SYS_umount2, TMP, libc::MNT_DETACH);
        }
        mounted
    }),
    ("open_by_handle_at", || call!(libc::SYS_open_by_handle_at, -1, NOTHING, 0)),
    ("open_tree", || call!(libc::SYS_open_tree, libc::AT_FDCWD, TMP, 1)),
    ("perf_event_open", || {
        // A software event, the CPU clock.
        let mut attributes = [0_u32; 28];
        (attributes[0], attributes[1]) = (1, 112);
        // Of this process alone: neither the kernel nor the hypervisor.
        attributes[10] = 0b110_0000;
        call!(libc::SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 0)
    }),
    ("personality", || call!(libc::SYS_personality, 0x002_0000)),
    ("pidfd_getfd", || {
        let process = call!(libc::SYS_pidfd_open, libc::getppid(), 0);
        if process == -1 { -1 } else { call!(libc::SYS_pidfd_getfd, process, 0, 0) }
    }),
    ("pivot_root", || call!(libc::SYS_pivot_root, TMP, TMP)),
    ("process_vm_writev", || {
        let byte = 0_u8;
        let own = libc::iovec { iov_base: (&raw const byte).cast_mut().cast(), iov_len: 1 };
        call!(libc::SYS_process_vm_writev, 1, &raw const own, 1, &raw const own, 1, 0)
    }),
    ("quotactl", || call!(libc::SYS_quotactl, 0, NOTHING, 0, NOTHING)),
    // Tells whether Ctrl-Alt-Del restarts the machine, and no more.
    ("reboot", || call!(libc::SYS_reboot, 0xfee1_dead_u32, 672_274_793, 0, NOTHING)),
    ("request_key", || {
        call!(libc::SYS_request_key, c"user".as_ptr(), c"hostile".as_ptr(), NOTHING, -3)
    }),
    ("setgid_0", || call!(libc::SYS_setgid, 0)),
    // A length that no name has, which is found out after the right to do it.
    ("sethostname", || call!(libc::SYS_sethostname, c"hostile".as_ptr(), -1)),
    ("setns", || match File::open("/proc/1/ns/net") {
        Ok(file) => call!(libc::SYS_setns, file.as_raw_fd(), 0),
        Err(_) => -1,
    }),
    ("setuid_0", || call!(libc::SYS_setuid, 0)),
    ("swapon", || call!(libc::SYS_swapon, TMP, 0)),
    ("syslog", || call!(libc::SYS_syslog, 10, NOTHING, 0)),
    ("terminal_input", || {
        let byte = b'x';
        // SAFETY: the byte outlives the call.
        c_long::from(unsafe { libc::ioctl(0, libc::TIOCSTI, &raw const byte) })
    }),
    // Flags that exclude each other, which is found out after the right to do it.
    ("umount", || call!(libc::SYS_umount2, c"/".as_ptr(), libc::MNT_DETACH | libc::MNT_EXPIRE)),
    ("unshare_user", || call!(libc::SYS_unshare, libc::CLONE_NEWUSER)),
    ("unshare_net", || call!(libc::SYS_unshare, libc::CLONE_NEWNET)),
    ("userfaultfd", || call!(libc::SYS_userfaultfd, 0)),
    ("vhangup", || call!(libc::SYS_vhangup)),
    #[cfg(target_arch = "x86_64")]
    ("x32_getpid", || call!(0x4000_0000 | libc::SYS_getpid)),
    #[cfg(target_arch = "x86_64")]
    ("iopl", || call!(libc::SYS_iopl, 3)),
];

/// Makes a child in a namespace of its own, which ends at once.
fn clone_with(flags: i32) -> c_long {
    let flags = c_long::from(flags | libc::SIGCHLD);
    // SAFETY: as a fork; the child makes one system call.
    unsafe {
        let child = syscall(libc::SYS_clone, flags, NOTHING, NOTHING, NOTHING, NOTHING);
        if child == 0 {
            libc::_exit(0);
        }
        if child > 0 {
            libc::waitpid(i32::try_from(child).unwrap_or_default(), null_mut(), 0);
        }
        child
    }
}
