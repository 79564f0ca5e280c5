//! The database against a model, a disk that forgets, and two engines at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use abi::state::{Delta, Entry, Operation, Position};
use database::power_loss::Disk;
use proptest::prelude::*;

use super::*;
use crate::Quota;

fn own() -> Bucket {
    Bucket::Function("shop".to_owned())
}

fn request(operation: Operation) -> Request {
    Request { bucket: own(), quota: Quota::NONE, operation }
}

fn ask(store: &Local, request: Request) -> Answer {
    let (done, answer) = channel();
    store.submit(request, Box::new(move |answer| drop(done.send(answer))));
    answer.recv().unwrap()
}

fn perform(store: &Local, operation: Operation) -> Answer {
    ask(store, request(operation))
}

fn set(key: &str, value: &[u8]) -> Operation {
    Operation::Set { key: key.to_owned(), value: value.to_owned() }
}

fn get(store: &Local, key: &str) -> Option<Vec<u8>> {
    match perform(store, Operation::Get { key: key.to_owned() }) {
        Answer::Entry(entry) => entry.map(|entry| entry.value),
        other => panic!("{other:?}"),
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state").join("local.redb");
    (folder, file)
}

fn started(file: &Path) -> Local {
    Local::start(file.to_owned(), Mode::Owned).unwrap()
}

/// All keys, in pages.
fn keys(store: &Local, from: impl Fn(&[String]) -> Position) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        match perform(store, Operation::List { from: from(&all) }) {
            Answer::Keys { keys, more } => {
                assert!(!more || !keys.is_empty());
                all.extend(keys);
                if !more {
                    return all;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn keys_by_cursor(store: &Local) -> Vec<String> {
    keys(store, |all| Position::After(all.last().cloned().unwrap_or_default()))
}

#[test]
fn what_was_answered_is_there_after_a_restart_and_nothing_makes_a_file_before_a_write() {
    let (_folder, file) = place();
    let store = started(&file);
    assert_eq!(get(&store, "a"), None);
    assert_eq!(store.buckets(), Ok(Vec::new()));
    assert_eq!(
        perform(&store, Operation::GetMany { keys: vec!["a".into()] }),
        Answer::Entries(vec![None])
    );
    assert!(!file.exists());
    assert_eq!(perform(&store, set("a", b"1")), Answer::Done);
    store.close();
    let store = started(&file);
    assert_eq!(get(&store, "a"), Some(b"1".to_vec()));
    assert_eq!(store.buckets(), Ok(vec![(own(), Usage { keys: 1, bytes: 2 })]));
}

#[test]
fn buckets_do_not_see_one_another() {
    let (_folder, file) = place();
    let store = started(&file);
    let buckets = [
        own(),
        Bucket::Shared("shop".to_owned()),
        Bucket::Function("shop2".to_owned()),
        Bucket::Function("sho".to_owned()),
    ];
    let of = |bucket: &Bucket, operation| Request {
        bucket: bucket.clone(),
        quota: Quota::NONE,
        operation,
    };
    for (at, bucket) in buckets.iter().enumerate() {
        for key in ["/", "..", "p:k"].iter().take(at) {
            assert_eq!(ask(&store, of(bucket, set(key, b""))), Answer::Done);
        }
    }
    for (at, bucket) in buckets.iter().enumerate() {
        let list = Operation::List { from: Position::After(String::new()) };
        let Answer::Keys { keys, .. } = ask(&store, of(bucket, list)) else { panic!() };
        assert_eq!(keys.len(), at, "{bucket}");
    }
    let (done, cleared) = channel();
    store.clear(buckets[2].clone(), Box::new(move |answer| drop(done.send(answer))));
    assert_eq!(cleared.recv().unwrap(), Answer::Done);
    let left: Vec<u64> = store.buckets().unwrap().iter().map(|(_, usage)| usage.keys).collect();
    assert_eq!(left, [3, 1], "in the order of their names");
}

#[test]
fn a_large_bucket_is_cleared_beside_the_writes_of_others() {
    let (_folder, file) = place();
    let store = Arc::new(started(&file));
    for part in 0..3 {
        let entries = (0..1000).map(|at| (format!("{part}-{at}"), Vec::new())).collect();
        assert_eq!(perform(&store, Operation::SetMany { entries }), Answer::Done);
    }
    let (done, ended) = channel();
    let (of_clear, of_set, at_once) = (done.clone(), done, Arc::clone(&store));
    // On the thread of the database, so that it finds both in its queue.
    let first = move |_| {
        at_once.clear(own(), Box::new(move |answer| drop(of_clear.send(("clear", answer)))));
        let bucket = Bucket::Shared("other".to_owned());
        let other = Request { bucket, quota: Quota::NONE, operation: set("a", b"1") };
        at_once.submit(other, Box::new(move |answer| drop(of_set.send(("set", answer)))));
    };
    store.submit(request(set("a", b"1")), Box::new(first));
    assert_eq!(ended.recv().unwrap(), ("set", Answer::Done));
    assert_eq!(ended.recv().unwrap(), ("clear", Answer::Done));
    let left = store.buckets().unwrap();
    assert_eq!(left, [(Bucket::Shared("other".to_owned()), Usage { keys: 1, bytes: 2 })]);
}

#[test]
fn a_swap_takes_place_only_if_nothing_has_changed() {
    let (_folder, file) = place();
    let store = started(&file);
    let swap = |revision, value: &[u8]| {
        perform(&store, Operation::Swap { key: "a".into(), revision, value: value.to_vec() })
    };
    let revision = || match perform(&store, Operation::Get { key: "a".into() }) {
        Answer::Entry(entry) => entry.map_or(0, |Entry { revision, .. }| revision),
        other => panic!("{other:?}"),
    };
    assert_eq!(swap(7, b"x"), Answer::Swapped(false));
    assert_eq!(swap(0, b"x"), Answer::Swapped(true));
    assert_eq!(swap(0, b"y"), Answer::Swapped(false));
    let first = revision();
    assert_eq!(perform(&store, set("a", b"x")), Answer::Done, "the same value is another one");
    assert_eq!(swap(first, b"y"), Answer::Swapped(false));
    assert_eq!(swap(revision(), b"y"), Answer::Swapped(true));
    let last = revision();
    perform(&store, Operation::DeleteMany { keys: vec!["a".into()] });
    assert_eq!(swap(last, b"z"), Answer::Swapped(false));
    perform(&store, set("a", b"y"));
    assert_ne!(revision(), last, "what is removed and set again has another revision");
}

#[test]
fn a_quota_holds_for_what_grows() {
    let (_folder, file) = place();
    let store = started(&file);
    let within = |keys_max, bytes_max, operation| {
        let quota = Quota { keys_max, bytes_max };
        ask(&store, Request { quota, ..request(operation) })
    };
    let is_full = |answer| matches!(answer, Answer::Failed(Failure::Full(_)));
    assert_eq!(within(1, 10, set("a", b"123456789")), Answer::Done);
    assert!(is_full(within(1, 100, set("b", b""))), "a second key");
    assert!(is_full(within(9, 10, set("b", b""))), "a byte more");
    assert!(is_full(within(1, 10, set("a", b"1234567890"))));
    assert_eq!(within(1, 10, set("a", b"987654321")), Answer::Done);
    assert_eq!(within(0, 0, set("a", b"1")), Answer::Done, "it may become less");
    assert!(is_full(within(
        0,
        0,
        Operation::Increment { key: "n".into(), delta: Delta::Signed(1) }
    )));
    let many = Operation::SetMany { entries: vec![("a".into(), vec![]), ("b".into(), vec![])] };
    assert!(is_full(within(1, 100, many.clone())));
    assert_eq!(get(&store, "a"), Some(b"1".to_vec()), "all are set or none");
    assert_eq!(within(2, 100, many), Answer::Done);
    assert_eq!(store.buckets(), Ok(vec![(own(), Usage { keys: 2, bytes: 2 })]));
}

#[test]
fn lists_come_in_pages() {
    let (_folder, file) = place();
    let store = started(&file);
    let names: Vec<String> = (0..2500).map(|number| format!("{number:05}")).collect();
    for page in names.chunks(1000) {
        let entries = page.iter().map(|name| (name.clone(), Vec::new())).collect();
        assert_eq!(perform(&store, Operation::SetMany { entries }), Answer::Done);
    }
    assert_eq!(keys_by_cursor(&store), names);
    assert_eq!(keys(&store, |all| Position::Skip(all.len() as u64)), names);
    let beyond = perform(&store, Operation::List { from: Position::Skip(u64::MAX) });
    assert_eq!(beyond, Answer::Keys { keys: Vec::new(), more: false });
    let long = "z".repeat(1024);
    for number in 0..100 {
        perform(&store, set(&format!("{}{number:02}", &long[2..]), b""));
    }
    assert_eq!(keys_by_cursor(&store).len(), 2600);
}

#[test]
fn writes_that_wait_share_a_commit() {
    let (_folder, file) = place();
    let store = Arc::new(started(&file));
    let (done, answers) = channel();
    for number in 0..500 {
        let done = done.clone();
        let add = Operation::Increment { key: "n".into(), delta: Delta::Unsigned(1) };
        let add = if number % 2 == 0 { add } else { set(&number.to_string(), b"x") };
        store.submit(request(add), Box::new(move |answer| drop(done.send(answer))));
    }
    drop(done);
    let answers: Vec<Answer> = answers.iter().collect();
    assert_eq!(answers.len(), 500);
    assert!(!answers.iter().any(|answer| matches!(answer, Answer::Failed(_))));
    assert_eq!(get(&store, "n"), Some(b"250".to_vec()));
    let counted = store.counted().unwrap();
    assert_eq!(counted.writes, 500);
    assert!(counted.commits < 500, "{counted:?}");
}

#[test]
fn two_engines_take_turns_until_one_has_gone() {
    let (_folder, file) = place();
    let old = started(&file);
    perform(&old, set("n", b"0"));
    let new = Local::start(file.clone(), Mode::Shared).unwrap();
    let add = || Operation::Increment { key: "n".into(), delta: Delta::Unsigned(1) };
    let (done, first) = channel();
    // The new one waits for the old one to let go.
    new.submit(request(add()), Box::new(move |answer| drop(done.send(answer))));
    old.share();
    assert_eq!(first.recv().unwrap(), Answer::Number(Delta::Unsigned(1)));
    std::thread::scope(|scope| {
        for store in [&old, &new] {
            scope.spawn(move || {
                for _ in 0..20 {
                    assert!(matches!(perform(store, add()), Answer::Number(_)));
                    assert!(get(store, "n").is_some());
                }
            });
        }
    });
    old.close();
    new.own();
    assert_eq!(perform(&new, add()), Answer::Number(Delta::Unsigned(42)));
    assert_eq!(perform(&old, add()), unavailable("the node is stopping"));
}

#[test]
fn a_later_format_and_what_is_no_database_are_told_and_left_alone() {
    let (_folder, file) = place();
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "no database").unwrap();
    let refused = |file: &Path| match perform(&started(file), set("a", b"")) {
        Answer::Failed(Failure::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    };
    let why = refused(&file);
    assert!(why.contains("damaged"), "{why}");
    assert_eq!(fs::read(&file).unwrap(), b"no database");
    fs::remove_file(&file).unwrap();
    let store = started(&file);
    perform(&store, set("a", b"1"));
    store.close();
    let database = redb::Database::open(&file).unwrap();
    let transaction = database.begin_write().unwrap();
    let about = redb::TableDefinition::<&str, u64>::new("about");
    transaction.open_table(about).unwrap().insert("format", tables::FORMAT + 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let why = refused(&file);
    assert!(why.contains("a later build"), "{why}");
}

#[test]
fn a_file_with_damaged_pages_never_gives_a_wrong_value() {
    let (_folder, file) = place();
    let store = started(&file);
    let entries: Vec<(String, Vec<u8>)> =
        (0..=250_u8).map(|number| (format!("{number:03}"), vec![number; 400])).collect();
    perform(&store, Operation::SetMany { entries: entries.clone() });
    store.close();
    let whole = fs::read(&file).unwrap();
    for page in (0..whole.len()).step_by(4096).filter(|at| whole[*at..].iter().any(|b| *b != 0)) {
        let mut torn = whole.clone();
        // Half of it is what was there before: nothing.
        torn[page..page + 2048].fill(0);
        fs::write(&file, &torn).unwrap();
        let store = started(&file);
        for (key, value) in entries.iter().step_by(50) {
            match perform(&store, Operation::Get { key: key.clone() }) {
                Answer::Entry(Some(entry)) => assert_eq!(&entry.value, value),
                Answer::Entry(None) | Answer::Failed(Failure::Unavailable(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        store.close();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Set(u8, u16),
    Swap(u8, u16),
    Add(u8),
    Delete(u8),
    SetMany(Vec<(u8, u16)>),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u8..20, 0u16..6000).prop_map(|(key, length)| Step::Set(key, length)),
        1 => (0u8..20, 0u16..600).prop_map(|(key, length)| Step::Swap(key, length)),
        1 => (20u8..23).prop_map(Step::Add),
        2 => (0u8..23).prop_map(Step::Delete),
        1 => prop::collection::vec((0u8..20, 0u16..600), 0..9).prop_map(Step::SetMany),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

fn value(length: u16, seed: usize) -> Vec<u8> {
    (0..length).map(|at| (usize::from(at) * 31 + seed * 7).to_le_bytes()[0]).collect()
}

type Model = BTreeMap<String, Vec<u8>>;
/// A key, and the value that it gets.
type Change = (String, Option<Vec<u8>>);

/// Does a step with the store and with the model. Returns whether the store has answered that it is
/// done.
fn step(store: &Local, model: &mut Model, step: &Step, seed: usize) -> bool {
    let key = |key: u8| format!("k{key}");
    let (operation, changes): (Operation, Vec<Change>) = match step {
        Step::Set(at, length) => {
            let value = value(*length, seed);
            (set(&key(*at), &value), vec![(key(*at), Some(value))])
        }
        Step::Swap(at, length) => {
            let value = value(*length, seed);
            let revision = match perform(store, Operation::Get { key: key(*at) }) {
                Answer::Entry(entry) => entry.map_or(0, |entry| entry.revision),
                _ => return false,
            };
            let changes = vec![(key(*at), Some(value.clone()))];
            (Operation::Swap { key: key(*at), revision, value }, changes)
        }
        Step::Add(at) => {
            let before = model.get(&key(*at)).map_or("0", |value| str::from_utf8(value).unwrap());
            let sum = (before.parse::<u64>().unwrap() + 3).to_string();
            let delta = Delta::Unsigned(3);
            (Operation::Increment { key: key(*at), delta }, vec![(key(*at), Some(sum.into()))])
        }
        Step::Delete(at) => {
            (Operation::DeleteMany { keys: vec![key(*at)] }, vec![(key(*at), None)])
        }
        Step::SetMany(entries) => {
            let entries: Vec<_> =
                entries.iter().map(|(at, length)| (key(*at), value(*length, seed))).collect();
            let changes = entries.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
            (Operation::SetMany { entries: entries.clone() }, changes.collect())
        }
        Step::Restart => return true,
    };
    for (key, value) in changes {
        match value {
            Some(value) => drop(model.insert(key, value)),
            None => drop(model.remove(&key)),
        }
    }
    match perform(store, operation) {
        Answer::Done | Answer::Swapped(true) | Answer::Number(_) => true,
        Answer::Failed(Failure::Unavailable(_)) => false,
        other => panic!("{other:?}"),
    }
}

/// All that is in the store.
fn contents(store: &Local) -> Model {
    keys_by_cursor(store)
        .into_iter()
        .map(|key| {
            let value = get(store, &key).unwrap();
            (key, value)
        })
        .collect()
}

fn usage(model: &Model) -> Vec<(Bucket, Usage)> {
    let bytes = model.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
    let usage = Usage { keys: model.len() as u64, bytes };
    if usage.keys == 0 { Vec::new() } else { vec![(own(), usage)] }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_is_as_a_map_is(steps in steps()) {
        let disk = Disk::empty();
        let mut store = Local::on(Box::new(disk.clone()), Mode::Owned).unwrap();
        let mut model = Model::new();
        for (seed, one) in steps.iter().enumerate() {
            prop_assert!(step(&store, &mut model, one, seed));
            if let Step::Restart = one {
                store.close();
                store = Local::on(Box::new(disk.clone()), Mode::Owned).unwrap();
            }
            prop_assert_eq!(store.buckets(), Ok(usage(&model)));
        }
        prop_assert_eq!(contents(&store), model);
    }

    /// What was answered is there, what was not is there whole or not at all, wherever the power
    /// goes and whatever the disk makes of what it was writing.
    #[test]
    fn no_answered_write_is_lost_with_the_power(
        steps in steps(), left in 1usize..400, seed: u64,
    ) {
        let disk = Disk::empty();
        // A file gets its name when it is a database.
        drop(disk.open(true).unwrap());
        disk.lose_power(|| true, left);
        let mut model = Model::new();
        let mut before = None;
        {
            let store = Local::on(Box::new(disk.clone()), Mode::Owned).unwrap();
            for (seed, one) in steps.iter().enumerate() {
                let unchanged = model.clone();
                if !step(&store, &mut model, one, seed) {
                    before = Some(unchanged);
                    break;
                }
            }
            disk.lose_power_by_chance(seed);
        }
        let store = Local::on(Box::new(disk.clone()), Mode::Owned).unwrap();
        let found = contents(&store);
        prop_assert_eq!(store.buckets(), Ok(usage(&found)));
        prop_assert!(found == model || Some(&found) == before.as_ref(), "{:?}", found.keys());
    }
}
