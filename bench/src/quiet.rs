//! Waits until a server has come to rest: it uses next to no CPU time, and a figure of the caller's
//! stands still. Holds no file descriptor.

use std::thread;
use std::time::{Duration, Instant};

use crate::{interrupt, process_tree};

/// An idle node ticks a little, and /proc counts in steps of 10 ms.
const BUSY_PERCENT_MAX: u32 = 3;
const TICKS_ALWAYS: Duration = Duration::from_millis(20);
/// What a figure may move while it stands still.
const FIGURE_SLACK: u64 = 16 * 1024;
/// Who is not quiet by then is not going to be.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server is gone.
    #[error(transparent)]
    Process(#[from] process_tree::Error),
    /// Its figure cannot be read.
    #[error(transparent)]
    Memory(#[from] crate::smaps::Error),
    /// Stopped by a signal.
    #[error(transparent)]
    Interrupted(#[from] interrupt::Error),
}

/// How the wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// It came to rest; else patience ran out.
    pub settled: bool,
    /// How long it took, the quiet time included.
    pub waited: Duration,
}

/// Waits until the process `root` and its children have rested for as long as `quiet`, by `figure`
/// too.
pub fn wait(
    root: u32,
    quiet: Duration,
    mut figure: impl FnMut() -> Result<u64, Error>,
) -> Result<Quiet, Error> {
    let started = Instant::now();
    let mut since = Instant::now();
    let mut start = (process_tree::cpu_time(root)?, figure()?);
    let allowed = TICKS_ALWAYS + quiet * BUSY_PERCENT_MAX / 100;
    loop {
        interrupt::check()?;
        thread::sleep(LOOK_INTERVAL);
        let now = (process_tree::cpu_time(root)?, figure()?);
        let waited = started.elapsed();
        if now.0.saturating_sub(start.0) > allowed || now.1.abs_diff(start.1) > FIGURE_SLACK {
            (since, start) = (Instant::now(), now);
        } else if since.elapsed() >= quiet {
            return Ok(Quiet { settled: true, waited });
        }
        if waited > PATIENCE + quiet {
            return Ok(Quiet { settled: false, waited });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_moves_is_waited_for() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut looks = 0_u64;
        let figure = || {
            looks += 1;
            Ok(looks.min(5) * 1_000_000)
        };
        let quiet = wait(child.id(), Duration::from_millis(200), figure).unwrap();
        assert!(quiet.settled && quiet.waited >= Duration::from_millis(600), "{quiet:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(wait(child.id(), Duration::ZERO, || Ok(0)).is_err());
    }
}
