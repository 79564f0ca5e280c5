//! The database of jobs: what it keeps, its bounds, against a model, and on a disk that forgets.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;

use database::power_loss::Disk;
use proptest::prelude::*;

use super::*;
use crate::record::{Attempt, Death, Finished, Head, Record, Request, Target};
use crate::store::{Bounds, Filter, Follower, Found, Indexed, New};
use crate::{JobId, new_id};

const NONE: Bounds = Bounds { jobs_max: u64::MAX, bytes_max: u64::MAX };
const BOUNDS: Bounds = Bounds { jobs_max: 10, bytes_max: 100_000 };

fn new(function: &str, body: usize) -> New {
    let head = Head { method: "POST".into(), path_and_query: "/".into(), headers: Vec::new() };
    let request = Request { head, body: vec![7; body] };
    let record = Record::new(function, Target::Function, &request, 1);
    New { id: new_id(), record, request }
}

fn finished(function: &str, ended_ms: u64) -> Finished {
    let last = Attempt::default();
    Finished { function: function.to_owned(), enqueued_ms: 1, ended_ms, attempts: 1, last }
}

fn ask(local: &Local, task: Task) -> Answer {
    let (done, answer) = channel();
    local.submit(task, Box::new(move |answer| drop(done.send(answer))));
    answer.recv().unwrap()
}

fn enqueue(local: &Local, new: &New) -> Answer {
    ask(local, Task::Enqueue(new.clone(), BOUNDS))
}

fn finish(local: &Local, id: JobId, ended_ms: u64) -> Answer {
    ask(local, Task::Finish { id, finished: finished("a", ended_ms), then: Vec::new() })
}

fn scan(local: &Local) -> Vec<Indexed> {
    match ask(local, Task::Scan) {
        Answer::Scanned(scanned) => scanned,
        other => panic!("{other:?}"),
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs").join("local.redb");
    (folder, file)
}

fn on(disk: &Disk) -> Local {
    Local::on(Box::new(disk.clone()), Mode::Owned).unwrap()
}

#[test]
fn a_job_is_kept_until_it_is_done_and_what_came_of_it_for_a_while() {
    let (_folder, file) = place();
    let local = Local::start(file.clone(), Mode::Owned).unwrap();
    assert_eq!((scan(&local), ask(&local, Task::Show(new_id()))), (Vec::new(), Answer::Unknown));
    assert!(!file.exists(), "nothing is made before there is a job");
    let (one, other) = (new("a", 3), new("b", 0));
    assert_eq!((enqueue(&local, &one), enqueue(&local, &other)), (Answer::Done, Answer::Done));
    local.close();
    let local = Local::start(file, Mode::Owned).unwrap();
    let loaded = Answer::Loaded(Box::new((one.record.clone(), one.request.clone())));
    assert_eq!(ask(&local, Task::Load(one.id)), loaded);
    let mut record = one.record.clone();
    record.death = Some(Death { at_ms: 9, reason: "enough".into() });
    assert_eq!(ask(&local, Task::Update(one.id, record.clone(), Vec::new())), Answer::Done);
    let listed = |filter: Filter| match ask(&local, Task::List(filter)) {
        Answer::Listed(listed) => listed.into_iter().map(|(id, _)| id).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let all =
        Filter { with_queued: true, with_dead: true, with_done: true, limit: 9, function: None };
    assert_eq!(listed(all.clone()), [one.id, other.id]);
    assert_eq!(listed(Filter { with_dead: false, ..all.clone() }), [other.id]);
    assert_eq!(finish(&local, one.id, 20), Answer::Done);
    assert_eq!(finish(&local, one.id, 20), Answer::Unknown);
    assert_eq!(ask(&local, Task::Update(one.id, record, Vec::new())), Answer::Unknown);
    assert_eq!(ask(&local, Task::Load(one.id)), Answer::Unknown);
    let shown = Answer::Shown(Box::new(Found::Finished(finished("a", 20))));
    assert_eq!(ask(&local, Task::Show(one.id)), shown);
    assert_eq!(listed(all.clone()), [one.id, other.id]);
    assert_eq!(listed(Filter { limit: 1, ..all.clone() }), [other.id]);
    assert_eq!(listed(Filter { with_done: false, ..all.clone() }), [other.id]);
    assert_eq!(listed(Filter { function: Some("a".into()), ..all.clone() }), [one.id]);
    // A day later it is forgotten.
    assert_eq!(finish(&local, other.id, 20 + 25 * 3_600_000), Answer::Done);
    assert_eq!(listed(all), [other.id]);
}

#[test]
fn there_is_a_bound_for_all_and_half_of_it_for_each_function() {
    let (_folder, file) = place();
    let local = Local::start(file, Mode::Owned).unwrap();
    let is_full = |answer| matches!(answer, Answer::Full(_));
    let of_a: Vec<New> = (0..5).map(|_| new("a", 10)).collect();
    of_a.iter().for_each(|one| assert_eq!(enqueue(&local, one), Answer::Done));
    assert!(is_full(enqueue(&local, &new("a", 10))));
    assert!(is_full(enqueue(&local, &new("b", 60_000))), "half of all bytes");
    for function in ["b", "c"] {
        assert_eq!(enqueue(&local, &new(function, 40_000)), Answer::Done);
    }
    assert!(is_full(enqueue(&local, &new("d", 20_000))), "all bytes");
    for function in ["d", "e", "f"] {
        assert_eq!(enqueue(&local, &new(function, 0)), Answer::Done);
    }
    assert!(is_full(enqueue(&local, &new("g", 0))));
    assert_eq!(finish(&local, of_a[0].id, 1), Answer::Done);
    assert_eq!(enqueue(&local, &new("g", 0)), Answer::Done);
    assert!(is_full(enqueue(&local, &new("g", 0))));
    assert_eq!(ask(&local, Task::Remove(of_a[1].id)), Answer::Done);
    assert_eq!(ask(&local, Task::Remove(of_a[1].id)), Answer::Unknown);
    assert_eq!(enqueue(&local, &new("g", 0)), Answer::Done);
    assert_eq!(scan(&local).len(), 10);
}

#[test]
fn what_follows_from_a_job_is_kept_in_any_case_and_small_if_there_is_no_room() {
    let (_folder, file) = place();
    let local = Local::start(file, Mode::Owned).unwrap();
    let (first, second) = (new("a", 1), new("a", 1));
    [&first, &second].iter().for_each(|one| assert_eq!(enqueue(&local, one), Answer::Done));
    let follower = |body| {
        let new = new("a", body);
        vec![Follower { new, small: Request::default(), bounds: BOUNDS }]
    };
    let (large, whole) = (follower(60_000), follower(1000));
    let finished = |then| Task::Finish { id: first.id, finished: finished("a", 1), then };
    assert_eq!(ask(&local, finished(large.clone())), Answer::Done);
    assert_eq!(ask(&local, finished(follower(0))), Answer::Unknown);
    let update = Task::Update(second.id, second.record.clone(), whole.clone());
    assert_eq!(ask(&local, update), Answer::Done);
    let loaded = |follower: Vec<Follower>| match ask(&local, Task::Load(follower[0].new.id)) {
        Answer::Loaded(loaded) => (loaded.1.body.len(), loaded.0.bytes == loaded.1.bytes()),
        other => panic!("{other:?}"),
    };
    assert_eq!((loaded(large), loaded(whole)), ((0, true), (1000, true)));
    assert_eq!(scan(&local).len(), 3);
}

#[derive(Debug, Clone)]
enum Step {
    Enqueue(u8, u16),
    Update(prop::sample::Index),
    Finish(prop::sample::Index),
    Remove(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = any::<prop::sample::Index>;
    let step = prop_oneof![
        4 => (0u8..3, 0u16..6000).prop_map(|(function, body)| Step::Enqueue(function, body)),
        2 => at().prop_map(Step::Update),
        2 => at().prop_map(Step::Finish),
        1 => at().prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 1..40)
}

type Model = BTreeMap<JobId, (Record, Request)>;

/// Does a step with both. Returns whether it was answered as done.
fn step(local: &Local, model: &mut Model, step: &Step) -> bool {
    let chosen = |at: &prop::sample::Index, model: &Model| {
        (!model.is_empty()).then(|| *at.get(&model.keys().copied().collect::<Vec<_>>()))
    };
    let answer = match step {
        Step::Enqueue(function, body) => {
            let new = new(&format!("f{function}"), usize::from(*body));
            model.insert(new.id, (new.record.clone(), new.request.clone()));
            ask(local, Task::Enqueue(new, NONE))
        }
        Step::Update(at) => {
            let Some(id) = chosen(at, model) else { return true };
            let (record, _) = model.get_mut(&id).unwrap();
            record.attempts += 1;
            ask(local, Task::Update(id, record.clone(), Vec::new()))
        }
        Step::Finish(at) => {
            let Some(id) = chosen(at, model) else { return true };
            model.remove(&id);
            finish(local, id, 5)
        }
        Step::Remove(at) => {
            let Some(id) = chosen(at, model) else { return true };
            model.remove(&id);
            ask(local, Task::Remove(id))
        }
    };
    match answer {
        Answer::Done => true,
        Answer::Unavailable(_) => false,
        other => panic!("{other:?}"),
    }
}

fn contents(local: &Local) -> Model {
    let load = |Indexed { id, .. }| match ask(local, Task::Load(id)) {
        Answer::Loaded(loaded) => (id, *loaded),
        other => panic!("{other:?}"),
    };
    scan(local).into_iter().map(load).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What was answered is there, what was not is there whole or not at all, wherever the power
    /// goes; and what is counted is what is there.
    #[test]
    fn no_answered_job_is_lost_with_the_power(steps in steps(), left in 1usize..300, seed: u64) {
        let disk = Disk::empty();
        drop(disk.open(true).unwrap());
        disk.lose_power(|| true, left);
        let (mut model, mut before) = (Model::new(), None);
        {
            let local = on(&disk);
            for one in &steps {
                let unchanged = model.clone();
                if !step(&local, &mut model, one) {
                    before = Some(unchanged);
                    break;
                }
            }
            disk.lose_power_by_chance(seed);
        }
        let local = on(&disk);
        let found = contents(&local);
        prop_assert!(found == model || Some(&found) == before.as_ref());
        // As many go in as there is room for, if what is counted is right.
        let bounds = Bounds { jobs_max: found.len() as u64 + 1, ..NONE };
        let first = ask(&local, Task::Enqueue(new("x", 0), bounds));
        prop_assert!(first == Answer::Done || matches!(first, Answer::Full(why) if why.contains("half")));
    }
}
