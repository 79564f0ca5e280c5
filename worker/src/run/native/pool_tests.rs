//! The pool by events and a clock of the test. Owns no fds.

use proptest::prelude::*;

use super::super::spare::{KEPT, PAUSE_FIRST as SPARE_PAUSE_FIRST};
use super::Action::{Assign, Discard, End, Execute, Fail, Prepare, Start};
use super::*;

const LIMITS: PoolLimits = PoolLimits {
    processes_min: 0,
    processes_max: 3,
    starting_max: 2,
    requests_max: 1,
    idle: Duration::from_secs(60),
};

#[test]
fn a_request_gets_a_process_of_its_own_and_others_wait() {
    let now = Instant::now();
    let mut pool = Pool::new(LIMITS, now);
    assert_eq!(pool.request(1, now), [Start(0)]);
    assert_eq!(pool.request(2, now), [Start(1)]);
    assert_eq!(pool.request(3, now), [], "as many start as may at a time");
    assert_eq!(pool.ready(1, now), [Assign(1, 1), Start(2)]);
    assert_eq!(pool.request(4, now), [], "there are as many as there may be");
    assert_eq!(pool.ready(0, now), [Assign(2, 0)]);
    pool.cancel(3);
    assert_eq!(pool.released(1, now), [Assign(4, 1)]);
    assert_eq!(pool.ready(2, now), []);
}

#[test]
fn who_comes_right_behind_an_answer_gets_the_process_that_gave_it() {
    let now = Instant::now();
    let mut pool = Pool::new(LIMITS, now);
    let _ = (pool.request(1, now), pool.ready(0, now));
    pool.answered(0, now);
    assert_eq!(pool.request(2, now), [], "it is about to be free");
    assert_eq!(pool.request(3, now), [Start(1)], "for one");
    assert_eq!(pool.released(0, now), [Assign(2, 0)]);
    // A process that goes on and on behind its answer holds nobody up.
    assert_eq!(pool.ready(1, now), [Assign(3, 1)]);
    pool.answered(0, now);
    assert_eq!(pool.request(4, now), []);
    assert_eq!(pool.expire(now + LEAVING_WAIT), [Start(2)]);
}

#[test]
fn the_least_busy_process_gets_the_next_request() {
    let limits = PoolLimits { requests_max: 2, ..LIMITS };
    let now = Instant::now();
    let mut pool = Pool::new(limits, now);
    assert_eq!(pool.request(1, now), [Start(0)]);
    assert_eq!(pool.request(2, now), [], "one process is enough for two");
    assert_eq!(pool.ready(0, now), [Assign(1, 0), Assign(2, 0)]);
    assert_eq!(pool.request(3, now), [Start(1)]);
    assert_eq!(pool.ready(1, now), [Assign(3, 1)]);
    assert_eq!(pool.released(0, now), []);
    assert_eq!(pool.released(0, now), []);
    assert_eq!(pool.request(4, now), [Assign(4, 0)]);
}

#[test]
fn what_does_not_start_is_told_and_tried_again_later() {
    let now = Instant::now();
    let mut pool = Pool::new(LIMITS, now);
    assert_eq!(pool.request(1, now), [Start(0)]);
    assert_eq!(pool.start_failed(0, "it panics", now), [Fail(1, "it panics".to_owned())]);
    assert_eq!(pool.request(2, now), [Fail(2, "it panics".to_owned())], "not before the pause");
    let later = now + PAUSE_FIRST;
    assert_eq!(pool.request(3, later), [Start(1)]);
    let fails = pool.start_failed(1, "again", later);
    assert_eq!(fails, [Fail(3, "again".to_owned())]);
    assert_eq!(pool.request(4, later + PAUSE_FIRST), [Fail(4, "again".to_owned())]);
    assert_eq!(pool.request(5, later + PAUSE_FIRST * 2), [Start(2)]);
    assert_eq!(pool.ready(2, later), [Assign(5, 2)]);
    assert_eq!(pool.exited(2, later), []);
    assert_eq!(pool.request(6, later), [Start(3)], "it has started well in between");
}

#[test]
fn one_process_that_dies_does_not_fail_those_who_have_others() {
    let now = Instant::now();
    let mut pool = Pool::new(LIMITS, now);
    let _ = (pool.request(1, now), pool.request(2, now), pool.ready(0, now));
    assert_eq!(pool.start_failed(1, "it panics", now), [], "the other one comes to it");
    assert_eq!(pool.released(0, now), [Assign(2, 0)]);
}

#[test]
fn idle_processes_end_but_for_the_least_number() {
    let limits = PoolLimits { processes_min: 1, ..LIMITS };
    let now = Instant::now();
    let mut pool = Pool::new(limits, now);
    assert_eq!(pool.prepare(now), [Start(0)]);
    assert_eq!(pool.prepare(now), []);
    let _ = (pool.ready(0, now), pool.request(1, now), pool.request(2, now), pool.ready(1, now));
    let _ = (pool.released(0, now), pool.released(1, now));
    assert_eq!(pool.expire(now + LIMITS.idle - Duration::from_millis(1)), []);
    assert_eq!(pool.expire(now + LIMITS.idle), [End(1)]);
    assert_eq!(pool.expire(now + LIMITS.idle * 2), []);
}

/// Returns a pool that has a sandbox ready, which is to become process 1, and no process.
fn scaled_to_zero(now: Instant) -> Pool {
    let mut pool = Pool::new(LIMITS, now);
    assert_eq!(pool.request(1, now), [Start(0)]);
    assert_eq!(pool.ready(0, now), [Assign(1, 0)]);
    assert_eq!(pool.stand_by(now), [Prepare(1)]);
    let _ = pool.released(0, now);
    assert_eq!(pool.expire(now + LIMITS.idle), [End(0)]);
    assert_eq!(pool.stand_by(now + LIMITS.idle), [], "it is still there");
    pool
}

#[test]
fn a_start_takes_the_sandbox_that_is_ready_and_another_is_made_when_it_is_over() {
    let now = Instant::now();
    let mut pool = scaled_to_zero(now);
    assert_eq!(pool.len(), 0, "it is no process");
    assert_eq!(pool.request(2, now), [Execute(1)]);
    assert_eq!(pool.stand_by(now), [], "others start");
    assert_eq!(pool.request(3, now), [Start(2)]);
    assert_eq!(pool.ready(1, now), [Assign(2, 1)]);
    assert_eq!(pool.ready(2, now), [Assign(3, 2)]);
    assert_eq!(pool.stand_by(now), [Prepare(3)]);
    assert_eq!(pool.request(4, now), [Execute(3)], "also when there are others");
    assert_eq!(pool.ready(3, now), [Assign(4, 3)]);
    assert_eq!(pool.stand_by(now), [Prepare(4)], "for one that ends");
    assert_eq!(pool.request(5, now), [], "there are as many as there may be");
    assert_eq!(pool.exited(2, now), [Execute(4)]);
}

#[test]
fn nothing_is_kept_ready_for_what_waits_or_does_not_start() {
    let now = Instant::now();
    let mut pool = Pool::new(LIMITS, now);
    let _ = pool.request(1, now);
    assert_eq!(pool.stand_by(now), []);
    let _ = pool.start_failed(0, "it panics", now);
    assert_eq!(pool.stand_by(now + PAUSE_MAX), []);
}

#[test]
fn a_sandbox_that_ends_by_itself_is_replaced_after_a_pause_that_grows() {
    let mut now = Instant::now();
    let mut pool = scaled_to_zero(now);
    let mut pauses = Vec::new();
    for process in 1..=9 {
        pool.spare_lost(process, now);
        let lost = now;
        while pool.stand_by(now).is_empty() {
            now += SPARE_PAUSE_FIRST;
        }
        pauses.push((now - lost).as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    // The function has not failed.
    assert_eq!(pool.request(2, now), [Execute(10)]);
    assert_eq!(pool.ready(10, now), [Assign(2, 10)]);
    assert_eq!(pool.stand_by(now), [Prepare(11)]);
    pool.spare_lost(11, now);
    assert_eq!(pool.stand_by(now + SPARE_PAUSE_FIRST), [Prepare(12)], "one could be used");
}

#[test]
fn a_start_whose_sandbox_has_just_ended_is_one_that_the_pool_does_not_notice() {
    let now = Instant::now();
    let mut pool = scaled_to_zero(now);
    assert_eq!(pool.request(2, now), [Execute(1)]);
    pool.spare_lost(1, now);
    assert_eq!(pool.ready(1, now), [Assign(2, 1)], "it was started anew");
    assert_eq!(pool.stand_by(now), []);
    assert_eq!(pool.stand_by(now + SPARE_PAUSE_FIRST), [Prepare(2)]);
}

#[test]
fn what_is_not_called_for_long_or_any_more_has_no_sandbox_ready() {
    let now = Instant::now();
    let mut pool = scaled_to_zero(now);
    let kept = KEPT - Duration::from_millis(1);
    assert_eq!(pool.stand_by(now + kept), []);
    assert_eq!(pool.stand_by(now + KEPT), [Discard(1)]);
    assert_eq!(pool.stand_by(now + KEPT), []);
    assert_eq!(pool.request(2, now + KEPT), [Start(2)]);
    assert_eq!(pool.ready(2, now + KEPT), [Assign(2, 2)]);
    assert_eq!(pool.stand_by(now + KEPT), [Prepare(3)]);
    assert_eq!(pool.retire(now + KEPT), [Discard(3)]);
    assert_eq!(pool.stand_by(now + KEPT), []);
}

proptest! {
    /// Whatever happens in whatever order: no process has more requests than it may, there are
    /// never too many processes, every request is assigned or failed at most once, and there is at
    /// most one sandbox without a program, which one start at most gets.
    #[test]
    fn limits_hold_in_every_order(
        events in proptest::collection::vec((0u8..13, 0u64..12), 1..200),
        requests_max in 1u32..4,
        processes_min in 0usize..3,
    ) {
        let limits = PoolLimits { requests_max, processes_min, ..LIMITS };
        let mut now = Instant::now();
        let mut pool = Pool::new(limits, now);
        let mut on = BTreeMap::<ProcessId, u32>::new();
        let mut there = std::collections::BTreeSet::<ProcessId>::new();
        let (mut open, mut ticket) = (std::collections::BTreeSet::new(), 100);
        let mut spare = None;
        for (event, number) in events {
            let actions = match event {
                0 | 1 => {
                    ticket += 1;
                    open.insert(ticket);
                    pool.request(ticket, now)
                }
                2 => pool.ready(number, now),
                3 => { there.remove(&number); on.remove(&number); pool.start_failed(number, "x", now) }
                4 => match on.get_mut(&number) {
                    Some(count) if *count > 0 => { *count -= 1; pool.released(number, now) }
                    _ => Vec::new(),
                },
                5 => { there.remove(&number); on.remove(&number); pool.exited(number, now) }
                8 => { pool.answered(number, now); Vec::new() }
                9 | 10 => pool.stand_by(now),
                11 => {
                    spare.take_if(|own| *own == number);
                    pool.spare_lost(number, now);
                    Vec::new()
                }
                12 if number == 0 => pool.retire(now),
                6 => { now += Duration::from_secs(number); pool.expire(now) }
                _ => pool.prepare(now),
            };
            for action in actions {
                match action {
                    Start(process) => prop_assert!(there.insert(process)),
                    Prepare(process) => {
                        prop_assert!(!there.contains(&process));
                        prop_assert_eq!(spare.replace(process), None, "one at a time");
                    }
                    Execute(process) => {
                        prop_assert_eq!(spare.take(), Some(process));
                        prop_assert!(there.insert(process));
                    }
                    Discard(process) => prop_assert_eq!(spare.take(), Some(process)),
                    Assign(ticket, process) => {
                        prop_assert!(open.remove(&ticket) && there.contains(&process));
                        let count = on.entry(process).or_default();
                        *count += 1;
                        prop_assert!(*count <= requests_max);
                    }
                    Fail(ticket, _) => prop_assert!(open.remove(&ticket)),
                    End(process) => {
                        prop_assert!(there.remove(&process));
                        prop_assert_eq!(on.remove(&process).unwrap_or(0), 0);
                    }
                }
            }
            prop_assert!(there.len() <= LIMITS.processes_max);
        }
    }
}
