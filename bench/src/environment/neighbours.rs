//! What else ran on this machine meanwhile: the kernel's account of all cores, without what was
//! ours. Opens files of /proc for the length of one read only.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;

/// More than this of one core makes a neighbour.
const CORES_MAX: f64 = 0.1;
const STOLEN_MAX: f64 = 0.02;
/// Long enough for /proc's ticks of 10 ms, short enough not to be noticed.
const LOOK: Duration = Duration::from_millis(300);

/// What others had, in cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Neighbours {
    /// Other programs of this machine.
    pub programs: f64,
    /// The hypervisor, for other machines.
    pub stolen: f64,
}

/// A moment, to look back at.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    at: Instant,
    busy: Duration,
    stolen: Duration,
    own: Duration,
}

impl Moment {
    /// Now; nothing where /proc is not there.
    pub fn now() -> Option<Self> {
        let (busy, stolen) = parse(&fs::read_to_string("/proc/stat").ok()?)?;
        let per_second = sysconf(SysconfVar::CLK_TCK)
            .ok()
            .flatten()
            .and_then(|ticks| u64::try_from(ticks).ok())?;
        let time =
            |ticks: u64| Duration::from_micros(ticks.saturating_mul(1_000_000) / per_second.max(1));
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let micros = (usage.user_time() + usage.system_time()).num_microseconds();
        let own = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        Some(Self { at: Instant::now(), busy: time(busy), stolen: time(stolen), own })
    }

    /// What others had since, `ours` being the CPU time of the servers that were started meanwhile
    /// or before.
    pub fn until_now(self, ours: Duration) -> Option<Neighbours> {
        let now = Self::now()?;
        let wall = (now.at - self.at).as_secs_f64().max(1e-9);
        let busy = now.busy.saturating_sub(self.busy);
        let programs = busy.saturating_sub(now.own.saturating_sub(self.own)).saturating_sub(ours);
        let stolen = now.stolen.saturating_sub(self.stolen);
        Some(Neighbours {
            programs: programs.as_secs_f64() / wall,
            stolen: stolen.as_secs_f64() / wall,
        })
    }
}

impl Neighbours {
    /// Watches for a moment in which nothing of ours runs.
    pub fn look() -> Option<Self> {
        let before = Moment::now()?;
        std::thread::sleep(LOOK);
        before.until_now(Duration::ZERO)
    }

    /// Whether there was so much of them that figures tell of them, too.
    pub fn are_felt(&self) -> bool {
        self.programs > CORES_MAX || self.stolen > STOLEN_MAX
    }
}

/// Ticks of all cores together: busy, and stolen. The line's numbers are user, nice, system, idle,
/// iowait, irq, softirq, steal, and two that are parts of the first.
fn parse(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Option<Vec<u64>> =
        line.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
    let ticks = ticks.filter(|ticks| ticks.len() >= 8)?;
    Some((ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6], ticks[7]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn busy_and_stolen_are_told_apart() {
        assert_eq!(parse("cpu  1 2 4 100 50 8 16 3 9 9\ncpu0 ..."), Some((31, 3)));
        assert_eq!(parse("cpu0 1 2"), None);
    }

    #[test]
    fn our_own_work_is_not_a_neighbour_s() {
        let before = Moment::now().unwrap();
        while before.at.elapsed() < Duration::from_millis(100) {
            std::hint::black_box(0);
        }
        let own = Moment::now().unwrap().own - before.own;
        assert!(own >= Duration::from_millis(10), "{own:?}");
        let felt = Neighbours { programs: 0.5, stolen: 0.0 }.are_felt();
        assert!(felt && !Neighbours::default().are_felt());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(cpu )?.{0,100}") {
            let _ = parse(&text);
        }
    }
}
