//! The children of this process, which has one thread. Owns no fds.

use nix::unistd::Pid;

/// Returns them, or none where the kernel does not tell (CONFIG_PROC_CHILDREN).
pub(crate) fn children() -> Vec<Pid> {
    let text = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| Some(Pid::from_raw(pid.parse().ok()?))).collect()
}
