//! The queue by itself, and against a model that looks at all jobs each time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::JobId;
use crate::queue::{Depth, Ended, Queue, State};

fn id(number: u64) -> JobId {
    JobId::from_bytes(u128::from(number).to_be_bytes())
}

#[test]
fn functions_take_turns_however_many_jobs_each_has() {
    let mut queue = Queue::new(100);
    (0..50).for_each(|number| queue.insert(id(number), "many", 0, 0));
    queue.insert(id(90), "few", 0, 0);
    queue.insert(id(91), "few", 0, 0);
    let started: Vec<JobId> = std::iter::from_fn(|| queue.start(0)).take(5).collect();
    assert_eq!(started, [id(0), id(90), id(1), id(91), id(2)]);
}

#[test]
fn a_function_leaves_as_many_free_as_it_has() {
    let mut queue = Queue::new(9);
    (0..50).for_each(|number| queue.insert(id(number), "slow", 0, 0));
    assert_eq!(std::iter::from_fn(|| queue.start(0)).count(), 5);
    (50..60).for_each(|number| queue.insert(id(number), "other", 0, 0));
    assert_eq!(std::iter::from_fn(|| queue.start(0)).count(), 2);
    queue.insert(id(70), "third", 0, 0);
    assert_eq!(queue.start(0), Some(id(70)));
    assert_eq!(queue.start(0), None);
    queue.ended(id(0), Ended::Gone, 0);
    assert_eq!(queue.depth(), 60);
}

#[test]
fn a_function_without_room_is_tried_less_and_then_more() {
    let mut queue = Queue::new(1000);
    (0..100).for_each(|number| queue.insert(id(number), "full", 0, 0));
    let mut running: Vec<JobId> = std::iter::from_fn(|| queue.start(0)).collect();
    assert_eq!(running.len(), 100);
    for one in running.drain(..) {
        queue.ended(one, Ended::PutOff { due_ms: 10 }, 0);
    }
    assert_eq!((queue.start(9), queue.next_due_ms()), (None, Some(10)));
    assert_eq!(queue.put_off(id(7)), 1);
    assert_eq!(queue.start(10), Some(id(0)));
    assert_eq!(queue.start(10), None, "one at a time, until there is room");
    queue.ended(id(0), Ended::Gone, 10);
    assert_eq!(std::iter::from_fn(|| queue.start(10)).count(), 2);
}

#[test]
fn what_runs_is_neither_removed_nor_begun_again() {
    let mut queue = Queue::new(10);
    queue.insert(id(1), "a", 0, 0);
    queue.insert(id(2), "a", 99, 0);
    assert_eq!(queue.start(0), Some(id(1)));
    queue.insert(id(1), "a", 0, 0);
    assert_eq!(
        (queue.remove(id(1)), queue.hasten(id(1))),
        (Some(State::Running), Some(State::Running))
    );
    assert_eq!(queue.start(0), None);
    assert_eq!(queue.hasten(id(2)), Some(State::Queued));
    assert_eq!(queue.start(0), Some(id(2)));
    queue.ended(id(2), Ended::Dead, 0);
    assert_eq!(queue.oldest(), Some(id(1)));
    queue.ended(id(1), Ended::Gone, 0);
    assert_eq!(
        (queue.oldest(), queue.start(9), queue.state(id(2))),
        (None, None, Some(State::Dead))
    );
    assert_eq!(queue.hasten(id(2)), Some(State::Dead));
    assert_eq!(queue.start(0), Some(id(2)));
    queue.ended(id(2), Ended::Gone, 0);
    assert_eq!((queue.remove(id(2)), queue.depths().count()), (None, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u64, u8, u64),
    Start,
    End(prop::sample::Index, u8),
    Remove(u64),
    Hasten(u64),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u64..60, 0u8..5, 0u64..40).prop_map(|(id, function, due)| Step::Insert(id, function, due)),
        6 => Just(Step::Start),
        4 => (any::<prop::sample::Index>(), 0u8..5).prop_map(|(at, how)| Step::End(at, how)),
        1 => (0u64..60).prop_map(Step::Remove),
        1 => (0u64..60).prop_map(Step::Hasten),
        2 => (0u64..20).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..200)
}

/// What the model has of a job: its function, what it is at, when it is due.
type Model = BTreeMap<u64, (String, State, u64)>;

fn depths(model: &Model) -> BTreeMap<String, Depth> {
    let mut depths = BTreeMap::<String, Depth>::new();
    for (function, state, _) in model.values() {
        let depth = depths.entry(function.clone()).or_default();
        match state {
            State::Queued => depth.queued += 1,
            State::Running => depth.running += 1,
            State::Dead => depth.dead += 1,
        }
    }
    depths
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn it_is_as_a_list_is(steps in steps(), running_max in 1usize..6) {
        let mut queue = Queue::new(running_max);
        let (mut model, mut now) = (Model::new(), 0);
        for step in steps {
            match step {
                Step::Insert(number, function, due) => {
                    let function = format!("f{function}");
                    queue.insert(id(number), &function, due, now);
                    model.entry(number).or_insert((function, State::Queued, due));
                }
                Step::Start => {
                    let due = |(_, state, due): &(String, State, u64)| *state == State::Queued && *due <= now;
                    match queue.start(now) {
                        Some(started) => {
                            let number = (0..60).find(|number| id(*number) == started).unwrap();
                            prop_assert!(due(&model[&number]));
                            let older = model.iter().filter(|(_, job)| due(job) && job.0 == model[&number].0);
                            prop_assert_eq!(older.map(|(number, _)| *number).next(), Some(number));
                            model.get_mut(&number).unwrap().1 = State::Running;
                        }
                        None => {
                            // Then all are running that may, or nothing is due of a function that
                            // has none running.
                            let running = model.values().filter(|job| job.1 == State::Running).count();
                            let idle = |function: &str| depths(&model)[function].running == 0;
                            prop_assert!(running == running_max
                                || !model.values().any(|job| due(job) && idle(&job.0)));
                        }
                    }
                }
                Step::End(at, how) => {
                    let running: Vec<u64> = model.iter().filter(|(_, job)| job.1 == State::Running)
                        .map(|(number, _)| *number).collect();
                    let Some(number) = (!running.is_empty()).then(|| running[at.index(running.len())]) else {
                        continue;
                    };
                    let due_ms = now + 7;
                    let job = model.get_mut(&number).unwrap();
                    let ended = match how {
                        0 => { job.1 = State::Dead; Ended::Dead }
                        1 => { (job.1, job.2) = (State::Queued, due_ms); Ended::Retry { due_ms } }
                        2 => { (job.1, job.2) = (State::Queued, due_ms); Ended::PutOff { due_ms } }
                        _ => { model.remove(&number); Ended::Gone }
                    };
                    queue.ended(id(number), ended, now);
                }
                Step::Remove(number) => {
                    let state = model.get(&number).map(|job| job.1);
                    prop_assert_eq!(queue.remove(id(number)), state);
                    if state.is_some_and(|state| state != State::Running) {
                        model.remove(&number);
                    }
                }
                Step::Hasten(number) => {
                    prop_assert_eq!(queue.hasten(id(number)), model.get(&number).map(|job| job.1));
                    if let Some(job) = model.get_mut(&number) && job.1 != State::Running {
                        (job.1, job.2) = (State::Queued, 0);
                    }
                }
                Step::Wait(time) => now += time,
            }
            let found: BTreeMap<String, Depth> = queue.depths()
                .filter(|(_, depth)| *depth != Depth::default())
                .map(|(function, depth)| (function.to_owned(), depth)).collect();
            let expected = depths(&model);
            prop_assert_eq!(queue.depth(),
                expected.values().map(|depth| depth.queued + depth.running).sum::<usize>());
            prop_assert_eq!(found, expected);
            let alive = model.iter().find(|(_, job)| job.1 != State::Dead);
            prop_assert_eq!(queue.oldest(), alive.map(|(number, _)| id(*number)));
        }
    }
}
