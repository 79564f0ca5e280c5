//! Cores and the time spent on them: pinning a thread, and the calling thread's share of its core.
//! Opens a file of /proc for the length of one read only.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such core, or not ours.
    #[error(
        "cannot pin to core {core} ({source}); it may not exist or lie outside this process's cpuset: see `nproc`, `taskset -p $$`"
    )]
    Pin {
        /// The core asked for.
        core: usize,
        /// What the kernel said.
        source: nix::Error,
    },
    /// No thread.
    #[error("cannot start a thread ({0}); raise the limit on processes (ulimit -u)")]
    Thread(io::Error),
    /// The closure given to [`on_core`] panicked.
    #[error(
        "the thread pinned to core {core} panicked; this is a bug in sockhop-bench, its message is above"
    )]
    Panicked {
        /// The core it ran on.
        core: usize,
    },
    /// A clock every Linux has.
    #[error("cannot read the thread's CPU clock ({0}); is a seccomp filter in the way?")]
    Clock(nix::Error),
}

/// Pins the calling thread to one core.
pub fn pin(core: usize) -> Result<(), Error> {
    pin_to(&[core])
}

/// Pins the calling thread to any of some cores, of which there is at least one.
fn pin_to(cores: &[usize]) -> Result<(), Error> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core).map_err(|source| Error::Pin { core, source })?;
    }
    let core = cores.first().copied().unwrap_or_default();
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|source| Error::Pin { core, source })
}

/// Runs `work` on a new thread pinned to `core`, and waits for it.
pub fn on_core<T: Send>(core: usize, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    on_cores(&[core], work)
}

/// The same on any of some cores.
///
/// A process started in `work` inherits the pinning, before its first instruction: no `pre_exec`,
/// and no moment in which it sees more cores and starts a thread for each of them.
pub fn on_cores<T: Send>(cores: &[usize], work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let core = cores.first().copied().unwrap_or_default();
    thread::scope(|scope| {
        thread::Builder::new()
            .name(format!("core-{core}"))
            .spawn_scoped(scope, move || {
                pin_to(cores)?;
                Ok(work())
            })
            .map_err(Error::Thread)?
            .join()
            .map_err(|_| Error::Panicked { core })?
    })
}

/// What a thread had of its core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadTime {
    /// User and system time.
    pub ran: Duration,
    /// Time it was ready to run while something else had the core. Zero on a kernel that does not
    /// say.
    pub waited: Duration,
}

impl ThreadTime {
    /// Of the calling thread, since it began.
    pub fn now() -> Result<Self, Error> {
        let ran = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_err(Error::Clock)?;
        // Run time, wait time, turns: the scheduler's own account, in nanoseconds.
        let waited = fs::read_to_string("/proc/thread-self/schedstat")
            .ok()
            .and_then(|text| text.split_ascii_whitespace().nth(1)?.parse().ok());
        Ok(Self { ran: ran.into(), waited: Duration::from_nanos(waited.unwrap_or(0)) })
    }

    /// What was added since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            ran: self.ran.saturating_sub(earlier.ran),
            waited: self.waited.saturating_sub(earlier.waited),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::sched_getaffinity;

    #[test]
    fn a_pinned_thread_and_its_children_see_one_core() {
        let before = thread::available_parallelism().unwrap();
        let own = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let core = (0..CpuSet::count()).find(|&core| own.is_set(core).unwrap()).unwrap();
        let child =
            on_core(core, || std::process::Command::new("nproc").output().unwrap()).unwrap();
        assert_eq!(String::from_utf8_lossy(&child.stdout).trim(), "1");
        assert_eq!(thread::available_parallelism().unwrap(), before);
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let error = on_core(CpuSet::count() - 1, || ()).unwrap_err();
        assert!(error.to_string().contains("core 1023"), "{error}");
    }

    #[test]
    fn thread_time_moves_with_work() {
        let before = ThreadTime::now().unwrap();
        let mut sum = 0_u64;
        while ThreadTime::now().unwrap().since(before).ran < Duration::from_millis(2) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(sum > 0);
    }
}
