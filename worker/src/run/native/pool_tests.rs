//! The pool by events and a clock of the test. Owns no fds.

use proptest::prelude::*;

use super::Action::{Assign, End, Fail, Start};
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
    let (mut pool, now) = (Pool::new(LIMITS), Instant::now());
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
    let (mut pool, now) = (Pool::new(LIMITS), Instant::now());
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
    let (mut pool, now) = (Pool::new(limits), Instant::now());
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
    let (mut pool, now) = (Pool::new(LIMITS), Instant::now());
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
    let (mut pool, now) = (Pool::new(LIMITS), Instant::now());
    let _ = (pool.request(1, now), pool.request(2, now), pool.ready(0, now));
    assert_eq!(pool.start_failed(1, "it panics", now), [], "the other one comes to it");
    assert_eq!(pool.released(0, now), [Assign(2, 0)]);
}

#[test]
fn idle_processes_end_but_for_the_least_number() {
    let limits = PoolLimits { processes_min: 1, ..LIMITS };
    let (mut pool, now) = (Pool::new(limits), Instant::now());
    assert_eq!(pool.prepare(now), [Start(0)]);
    assert_eq!(pool.prepare(now), []);
    let _ = (pool.ready(0, now), pool.request(1, now), pool.request(2, now), pool.ready(1, now));
    let _ = (pool.released(0, now), pool.released(1, now));
    assert_eq!(pool.expire(now + LIMITS.idle - Duration::from_millis(1)), []);
    assert_eq!(pool.expire(now + LIMITS.idle), [End(1)]);
    assert_eq!(pool.expire(now + LIMITS.idle * 2), []);
}

proptest! {
    /// Whatever happens in whatever order: no process has more requests than it may, there are
    /// never too many processes, and every request is assigned or failed at most once.
    #[test]
    fn limits_hold_in_every_order(
        events in proptest::collection::vec((0u8..9, 0u64..12), 1..200),
        requests_max in 1u32..4,
        processes_min in 0usize..3,
    ) {
        let limits = PoolLimits { requests_max, processes_min, ..LIMITS };
        let (mut pool, mut now) = (Pool::new(limits), Instant::now());
        let mut on = BTreeMap::<ProcessId, u32>::new();
        let mut there = std::collections::BTreeSet::<ProcessId>::new();
        let (mut open, mut ticket) = (std::collections::BTreeSet::new(), 100);
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
                6 => { now += Duration::from_secs(number); pool.expire(now) }
                _ => pool.prepare(now),
            };
            for action in actions {
                match action {
                    Start(process) => prop_assert!(there.insert(process)),
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
