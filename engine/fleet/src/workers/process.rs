//! The state of a worker's process, as the kernel reports it (proc_pid_stat(5)). Owns no fds.

use std::time::Duration;

use crate::core::watch::Process;

/// The unit in which the kernel reports processor time to programs: hundredths of a second on every
/// architecture that we run on (time(7)).
const TICK: Duration = Duration::from_millis(10);

/// Reads the state of a process. Returns `None` if there is no such process.
pub(super) fn look(pid: u32) -> Option<Process> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads the contents of a process's `stat` file.
fn parse(stat: &str) -> Option<Process> {
    // The name in brackets may hold anything, so the fields are counted from its end. The state is
    // the first of them, and user and system time are the 12th and 13th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // D is a wait that only the machine ends: mostly for a page of the binary or of swapped memory.
    let runnable = matches!(fields.next()?, "R" | "D");
    let [user, system]: [u32; 2] = [fields.nth(10)?.parse().ok()?, fields.next()?.parse().ok()?];
    Some(Process { runnable, cpu: TICK.saturating_mul(user.saturating_add(system)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_from_what_the_kernel_says() {
        let stat = "7 (a) R (b) S 1 7 7 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 5 0 99";
        assert_eq!(parse(stat), Some(Process { runnable: false, cpu: Duration::from_secs(3) }));
        for state in ["R", "D"] {
            assert!(
                parse(&stat.replace(") S", &format!(") {state}")))
                    .is_some_and(|process| process.runnable)
            );
        }
        assert_eq!(parse("7 (sockhop-worker) R 1"), None);
        assert!(look(std::process::id()).is_some());
        assert_eq!(look(u32::MAX), None);
    }
}
