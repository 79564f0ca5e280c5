//! When a running worker is given up: it has stopped beating, or a guest has its thread that should
//! have been off it long ago. Pure; owns no fds.
//!
//! A worker beats from the thread that runs guests, between their turns. A worker that does not
//! beat is stopped, or waits in a call that does not return. It gets no more connections within a
//! second, and is killed and replaced if it stays silent.
//!
//! The check of the guest's deadline is the third line of defence behind a function's time limits.
//! Within the worker, epochs end a guest that loops and timers end one that waits in a host call.
//! If the thread does not run at all, neither can act, and the engine kills the worker.
//!
//! Looks are counted rather than time: after the machine has stood still for a while, all workers
//! are late and well. A worker that could run and gets too little of a processor is late and well,
//! too, and has more time.

use std::time::Duration;

use abi::limits::{STUCK_GRACE, WORKER_SILENT_TIMEOUT};

/// How often workers are looked at. A worker beats more than twice in this time.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Looks without a new beat after which a worker counts as silent: 500 to 750 ms.
const SILENT_LOOKS: u32 = 3;
/// Looks without a new beat after which a worker is given up.
const GIVEN_UP_LOOKS: u128 = WORKER_SILENT_TIMEOUT.as_millis() / LOOK_INTERVAL.as_millis();
/// The same, of a worker that gets too little of a processor.
const STARVED_LOOKS_MAX: u128 = 4 * GIVEN_UP_LOOKS;
/// The processor time within which a worker beats, whatever it does.
pub const STARVED_CPU: Duration = Duration::from_secs(2);

/// What is seen of a worker at one look.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Changes at each beat.
    pub heartbeat_ms: u64,
    /// When the guest that has the thread must be off it; 0 while no guest has it.
    pub guest_deadline_ms: u64,
    /// The state of its process. It is read only when the worker does not beat.
    pub process: Option<Process>,
}

/// The state of a process as the kernel reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Whether its main thread runs, or would if the machine gave it a processor or pages from the
    /// disk.
    pub runnable: bool,
    /// The processor time that all its threads have used so far.
    pub cpu: Duration,
}

/// How a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It does its work.
    Well,
    /// It has not beaten lately: it gets no connections for now.
    Silent,
    /// It has not beaten for [`WORKER_SILENT_TIMEOUT`]: it is to be killed.
    GivenUp,
    /// Its guest should have ended so long ago: it is to be killed.
    Stuck(Duration),
}

/// What was seen of one worker so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// The guest's deadline that was found long past at the last look; 0 if none was.
    late_ms: u64,
    heartbeat_ms: u64,
    looks_without_beat: u32,
    /// The processor time that it had used at the first look without a beat.
    silent_from: Option<Duration>,
}

impl Watch {
    /// Looks at the worker, to be called every [`LOOK_INTERVAL`]. `now_ms` is by the clock of the
    /// guest's deadline. Returns [`Health::Stuck`] only if two looks in a row find the same
    /// deadline long past.
    pub fn look(&mut self, seen: Seen, now_ms: u64) -> Health {
        let over = Duration::from_millis(now_ms.saturating_sub(seen.guest_deadline_ms));
        let late = seen.guest_deadline_ms != 0 && over > STUCK_GRACE;
        let late_before =
            std::mem::replace(&mut self.late_ms, if late { seen.guest_deadline_ms } else { 0 });
        if std::mem::replace(&mut self.heartbeat_ms, seen.heartbeat_ms) == seen.heartbeat_ms {
            self.looks_without_beat = self.looks_without_beat.saturating_add(1);
        } else {
            (self.looks_without_beat, self.silent_from) = (0, None);
        }
        let given_up_looks =
            if self.is_starved(seen.process) { STARVED_LOOKS_MAX } else { GIVEN_UP_LOOKS };
        match self.looks_without_beat {
            _ if late && late_before == seen.guest_deadline_ms => Health::Stuck(over),
            looks if u128::from(looks) >= given_up_looks => Health::GivenUp,
            looks if looks >= SILENT_LOOKS => Health::Silent,
            _ => Health::Well,
        }
    }

    /// Returns whether the worker has had too little of a processor to beat since it last did.
    fn is_starved(&mut self, process: Option<Process>) -> bool {
        process.is_some_and(|Process { runnable, cpu }| {
            runnable && cpu.saturating_sub(*self.silent_from.get_or_insert(cpu)) < STARVED_CPU
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRACE_MS: u64 = STUCK_GRACE.as_secs() * 1000;

    /// A look at a worker that beats, with this deadline.
    fn look(watch: &mut Watch, guest_deadline_ms: u64, now_ms: u64) -> Health {
        watch.look(Seen { heartbeat_ms: now_ms, guest_deadline_ms, process: None }, now_ms)
    }

    #[test]
    fn a_worker_late_at_two_looks_is_stuck() {
        let mut watch = Watch::default();
        assert_eq!(look(&mut watch, 1000, 1000 + GRACE_MS), Health::Well);
        assert_eq!(look(&mut watch, 1000, 1001 + GRACE_MS), Health::Well);
        assert_eq!(
            look(&mut watch, 1000, 1251 + GRACE_MS),
            Health::Stuck(Duration::from_millis(251 + GRACE_MS))
        );
    }

    #[test]
    fn one_that_moves_on_is_not() {
        let mut watch = Watch::default();
        assert_eq!(look(&mut watch, 1000, 99_000), Health::Well);
        // Another guest, late too: the machine stood still, not the worker.
        assert_eq!(look(&mut watch, 2000, 99_250), Health::Well);
        assert_eq!(look(&mut watch, 0, 99_500), Health::Well);
        assert_eq!(look(&mut watch, 2000, 99_750), Health::Well);
    }

    #[test]
    fn silence_is_noticed_within_a_second_forgiven_at_the_next_beat_and_ends_at_its_limit() {
        let mut watch = Watch::default();
        let mut at = |heartbeat_ms| watch.look(Seen { heartbeat_ms, ..Seen::default() }, 0);
        assert_eq!(at(7), Health::Well);
        assert_eq!([at(7), at(7), at(7)], [Health::Well, Health::Well, Health::Silent]);
        assert_eq!(at(8), Health::Well);
        let until_given_up = (0..).find(|_| at(8) == Health::GivenUp).unwrap();
        assert_eq!(LOOK_INTERVAL * (until_given_up + 1), WORKER_SILENT_TIMEOUT);
        assert!(LOOK_INTERVAL * (SILENT_LOOKS + 1) <= Duration::from_secs(1));
    }

    /// Looks at one that does not beat until it is given up; it uses so much of a processor from
    /// one look to the next.
    fn given_up_after(runnable: bool, cpu_per_look: Duration) -> Duration {
        let mut watch = Watch::default();
        let mut look = |looks| {
            let process =
                Some(Process { runnable, cpu: Duration::from_secs(100) + cpu_per_look * looks });
            watch.look(Seen { heartbeat_ms: 7, guest_deadline_ms: 0, process }, 0)
        };
        let looks = (0..).find(|looks| look(*looks) == Health::GivenUp).unwrap();
        LOOK_INTERVAL * looks
    }

    #[test]
    fn one_that_is_starved_gets_longer_and_not_for_ever() {
        assert_eq!(
            given_up_after(false, Duration::ZERO),
            WORKER_SILENT_TIMEOUT,
            "stopped, or waits in a call"
        );
        assert_eq!(
            given_up_after(true, LOOK_INTERVAL),
            WORKER_SILENT_TIMEOUT,
            "has a processor to itself"
        );
        assert_eq!(
            given_up_after(true, LOOK_INTERVAL / 4),
            STARVED_CPU * 4,
            "has had its share by then"
        );
        assert_eq!(given_up_after(true, Duration::ZERO), WORKER_SILENT_TIMEOUT * 4);
        let mut watch = Watch::default();
        let starved = |heartbeat_ms, cpu_s| {
            let process = Some(Process { runnable: true, cpu: Duration::from_secs(cpu_s) });
            Seen { heartbeat_ms, guest_deadline_ms: 0, process }
        };
        (0..30).for_each(|_| assert_ne!(watch.look(starved(7, 1), 0), Health::GivenUp));
        assert_eq!(watch.look(starved(8, 9), 0), Health::Well);
        (0..30).for_each(|_| {
            assert_ne!(watch.look(starved(8, 9), 0), Health::GivenUp, "counted anew from its beat")
        });
    }

    proptest! {
        /// Nobody is killed whose deadline has not passed, and who beats.
        #[test]
        fn who_is_in_time_lives(deadlines in proptest::collection::vec(0u64..10_000, 1..20)) {
            let mut watch = Watch::default();
            for (look, deadline) in (0u64..).zip(deadlines) {
                let now = deadline.saturating_add(GRACE_MS);
                let seen = Seen { heartbeat_ms: look + 1, guest_deadline_ms: deadline, process: None };
                prop_assert_eq!(watch.look(seen, now), Health::Well);
            }
        }
    }
}
