//! What this host can do for sandboxes, with a sentence for each thing that it cannot. Owns no fds
//! beyond a call.

use std::ffi::CStr;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use seccompiler::TargetArch;

use crate::cgroup::{self, Controller, Version};
use crate::clone::{Cloned, clone3};
use crate::identity::Identity;
use crate::init::NAMESPACES;

/// What limits memory, or processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitedBy {
    /// A cgroup: all processes of a sandbox together.
    CgroupV1,
    /// A cgroup of the unified hierarchy: all processes of a sandbox together.
    CgroupV2,
    /// Resource limits (getrlimit(2)): memory of each process for itself, processes of its user.
    ResourceLimits {
        /// Why there is no cgroup, and what would help.
        reason: String,
    },
}

/// What this host can do. Each reason is a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// Whether namespaces can be made and used, without which there is no
    /// [`abi::sandbox::Level::Full`].
    pub namespaces: Result<(), String>,
    /// Whether programs are another user than the node.
    pub own_users: Result<(), String>,
    /// What limits the memory of a sandbox.
    pub memory: LimitedBy,
    /// What limits the processes of a sandbox.
    pub processes: LimitedBy,
    /// The version of landlock, for [`abi::sandbox::Level::Basic`].
    pub landlock_abi: Result<u32, String>,
    /// Whether system calls can be filtered, without which there is no sandbox.
    pub seccomp: Result<(), String>,
}

/// Finds out, by trying: makes a process in namespaces for a moment. May be called in a process
/// with threads.
#[must_use]
pub fn support() -> Support {
    let mut reasons = Vec::new();
    let parents = cgroup::parents(&mut reasons);
    let limited_by = |controller: Controller| {
        let parent = parents.iter().find(|parent| parent.controllers.contains(&controller));
        let reason = reasons.iter().find(|(refused, _)| *refused == controller);
        match (parent.map(|parent| parent.version), reason) {
            (Some(Version::V1), _) => LimitedBy::CgroupV1,
            (Some(Version::V2), _) => LimitedBy::CgroupV2,
            (None, reason) => LimitedBy::ResourceLimits {
                reason: reason.map(|(_, reason)| reason.clone()).unwrap_or_default(),
            },
        }
    };
    Support {
        namespaces: namespaces(),
        own_users: own_users(),
        memory: limited_by(Controller::Memory),
        processes: limited_by(Controller::Pids),
        landlock_abi: landlock_abi(),
        seccomp: seccomp(),
    }
}

fn own_users() -> Result<(), String> {
    match Identity::of_this_process() {
        Ok(Identity::Own { .. }) => Ok(()),
        Ok(Identity::Same { .. }) => Err(
            "native functions run as the node's user; their namespaces keep them apart from it. Started as root, the node gives each function a user of its own".into(),
        ),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns the version of landlock (landlock_create_ruleset(2)).
fn landlock_abi() -> Result<u32, String> {
    const VERSION: u32 = 1;
    // SAFETY: a plain system call: with this flag it takes no pointer and makes nothing.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    };
    match u32::try_from(abi) {
        Ok(abi) if abi > 0 => Ok(abi),
        _ => Err(format!(
            "the kernel has no landlock ({}); the sandbox level basic needs Linux 5.13 or newer with landlock in its list of `lsm=`",
            Errno::last()
        )),
    }
}

/// Returns whether the kernel filters system calls, and seccompiler knows this architecture.
fn seccomp() -> Result<(), String> {
    TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| "sandboxes need x86-64 or arm64".to_owned())?;
    const ACTION_AVAILABLE: u32 = 2;
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads four bytes of `action`, which lives until the call returns.
    match unsafe { libc::syscall(libc::SYS_seccomp, ACTION_AVAILABLE, 0, &raw const action) } {
        0 => Ok(()),
        _ => Err("the kernel filters no system calls; sandboxes need CONFIG_SECCOMP_FILTER".into()),
    }
}

/// What an attempt in new namespaces was at when it was refused.
const STEPS: [&str; 2] = ["taking the mounts out of the host's", "mounting /proc"];

/// Makes namespaces, and does in them what needs power over them.
fn namespaces() -> Result<(), String> {
    // SAFETY: the child makes system calls only, and leaves by _exit.
    let pid = match unsafe { clone3(NAMESPACES | libc::CLONE_NEWNET) } {
        // SAFETY: ends the child without running what this process has registered for its exit.
        Ok(Cloned::Child) => unsafe { libc::_exit(attempt()) },
        Ok(Cloned::Parent(pid, _)) => pid,
        Err(errno) => {
            return Err(format!("namespaces cannot be made: {}", refusal_of_namespaces(errno)));
        }
    };
    let refused = match waitpid(pid, None) {
        Ok(WaitStatus::Exited(_, 0)) => return Ok(()),
        Ok(WaitStatus::Exited(_, code)) => {
            usize::try_from(code - 1).ok().and_then(|step| STEPS.get(step))
        }
        _ => None,
    };
    Err(match refused {
        Some(step) if step.contains("/proc") => format!(
            "{step} is refused: the container that the node runs in hides parts of /proc; run it with an unmasked /proc (Docker: --security-opt systempaths=unconfined; Kubernetes: procMount: Unmasked)"
        ),
        step => format!(
            "{} is refused: the host gives user namespaces no powers; install an AppArmor profile with `userns,` for the node's binary, or set the sysctl kernel.apparmor_restrict_unprivileged_userns=0",
            step.unwrap_or(&"setting namespaces up")
        ),
    })
}

/// Returns 0, or the number of the step that was refused. Makes system calls only.
fn attempt() -> i32 {
    let none: *const libc::c_char = std::ptr::null();
    let mount = |source: &CStr, target: &CStr, kind: *const libc::c_char, flags| {
        // SAFETY: C strings that live until the call returns, and null where mount(2) allows it.
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, std::ptr::null()) }
    };
    if mount(c"none", c"/", none, libc::MS_REC | libc::MS_PRIVATE) != 0 {
        return 1;
    }
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    if mount(c"proc", c"/proc", c"proc".as_ptr(), flags) != 0 {
        return 2;
    }
    0
}

/// Returns why clone3 refuses namespaces, and what would help.
pub(crate) fn refusal_of_namespaces(errno: Errno) -> String {
    let advice = match errno {
        Errno::EPERM | Errno::EACCES => {
            "this host, or the container that the node runs in, refuses user namespaces: set the sysctl kernel.unprivileged_userns_clone=1 (Debian), install an AppArmor profile with `userns,` (Ubuntu 24.04 and newer), or allow clone3 and unshare in the container's seccomp profile"
        }
        Errno::ENOSPC => {
            "this host's limit on namespaces is reached: raise the sysctls user.max_user_namespaces and user.max_net_namespaces"
        }
        Errno::ENOSYS => {
            "the container's seccomp profile hides clone3 (Docker: --security-opt seccomp=FILE with clone3 allowed), or the kernel is older than Linux 5.3"
        }
        Errno::EINVAL => "the kernel was built without one of the namespaces",
        Errno::EAGAIN => {
            "the limit of processes (`ulimit -u`, or the cgroup's pids.max) is reached"
        }
        Errno::ENOMEM => "the machine's memory is used up",
        _ => return errno.desc().to_owned(),
    };
    format!("{} ({advice})", errno.desc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_cannot_do_is_said_in_a_sentence() {
        let support = support();
        let reasons = [
            support.namespaces.err(),
            support.own_users.err(),
            support.landlock_abi.err(),
            support.seccomp.err(),
        ];
        assert!(reasons.iter().flatten().all(|reason| reason.len() > 20), "{reasons:?}");
        for limited in [&support.memory, &support.processes] {
            if let LimitedBy::ResourceLimits { reason } = limited {
                assert!(reason.contains("cgroup"), "{reason}");
            }
        }
    }

    #[test]
    fn a_refusal_names_the_setting() {
        assert!(refusal_of_namespaces(Errno::EPERM).contains("AppArmor"));
        assert!(refusal_of_namespaces(Errno::ENOSPC).contains("user.max_user_namespaces"));
        assert!(refusal_of_namespaces(Errno::EIO).contains("I/O"));
    }
}
