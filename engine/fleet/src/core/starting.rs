//! When a worker that starts is given up: it has had what a start takes, and has come no further.
//! Pure; owns no fds.
//!
//! A start takes some milliseconds of a processor and some pages from the disk. The time in which
//! the machine gave the worker neither does not count, because an upgrade must not fail when other
//! programs compile or memory is short. Looks are counted rather than time, as in
//! [`watch`](super::watch).

use std::time::Duration;

use super::watch::{LOOK_INTERVAL, Process, STARVED_CPU};

/// How long a worker may take until its hello, and from there until it serves. The time that it
/// waits for the machine does not count.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);
/// The same, with the time that it waits for the machine.
const START_TIMEOUT_STARVED: Duration = Duration::from_secs(120);

/// What was seen of a worker that starts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Starting {
    looks: u32,
    /// The looks at which the machine kept it waiting.
    excused: u32,
    /// The processor time that it had used at the first of them.
    from: Option<Duration>,
}

impl Starting {
    /// Looks at the worker, to be called every [`LOOK_INTERVAL`]. Returns whether it is given up.
    pub fn look(&mut self, process: Option<Process>) -> bool {
        let starved = process.is_some_and(|Process { runnable, cpu }| {
            runnable && cpu.saturating_sub(*self.from.get_or_insert(cpu)) < STARVED_CPU
        });
        self.looks = self.looks.saturating_add(1);
        self.excused = self.excused.saturating_add(u32::from(starved));
        LOOK_INTERVAL * (self.looks - self.excused) >= START_TIMEOUT
            || LOOK_INTERVAL * self.looks >= START_TIMEOUT_STARVED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long one is looked at that uses so much of a processor from one look to the next.
    fn given_up_after(runnable: bool, cpu_per_look: Duration) -> Duration {
        let mut starting = Starting::default();
        let process = |looks| Some(Process { runnable, cpu: cpu_per_look * looks });
        let looks = (0..).find(|looks| starting.look(process(*looks))).unwrap();
        LOOK_INTERVAL * (looks + 1)
    }

    #[test]
    fn only_time_in_which_it_could_have_started_counts() {
        assert_eq!(
            given_up_after(false, Duration::ZERO),
            START_TIMEOUT,
            "it waits for something that does not come"
        );
        assert_eq!(
            given_up_after(true, LOOK_INTERVAL),
            START_TIMEOUT + STARVED_CPU,
            "it computes for ever"
        );
        assert_eq!(
            given_up_after(true, Duration::ZERO),
            START_TIMEOUT_STARVED,
            "it has no processor at all"
        );
        let slowly = given_up_after(true, Duration::from_millis(10));
        assert!(
            slowly > Duration::from_secs(50),
            "a twenty-fifth of a processor is no reason to give up: {slowly:?}"
        );
        let mut gone = Starting::default();
        assert_eq!(LOOK_INTERVAL * (1..).find(|_| gone.look(None)).unwrap(), START_TIMEOUT);
    }
}
