//! What workers are answered: by whom they run, in any number at once, and not at all once they
//! break the protocol.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::channel::{Channel, ReceiveBuffer, ReceiveError};
use abi::state::{Answer, Answered, Delta, Failure, Operation, Question};
use sockhop_state::local::{Local, Mode};
use sockhop_state::server::{Grants, Runs, Server};
use sockhop_state::{Bucket, Quota, Request};

/// Grants each function of shared workers its own bucket, and `shop` the bucket `orders`.
#[derive(Debug)]
struct Granted;

impl Grants for Granted {
    fn quota(&self, runs: &Runs, function: &str, bucket: Option<&str>) -> Option<Quota> {
        let runs_it = match runs {
            Runs::Shared => function != "own",
            Runs::Function(name) => name == function,
        };
        let granted = bucket.is_none_or(|bucket| (function, bucket) == ("shop", "orders"));
        (runs_it && granted).then_some(Quota::NONE)
    }
}

fn server() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let store = Local::start(folder.path().join("local.redb"), Mode::Owned).unwrap();
    let server = Server::start(Arc::new(store), Arc::new(Granted)).unwrap();
    (folder, server)
}

fn ask(worker: &Channel, id: u64, function: &str, bucket: Option<&str>, operation: Operation) {
    let (function, bucket) = (function.to_owned(), bucket.map(str::to_owned));
    worker.send(&Question { id, function, bucket, operation }, None).unwrap();
}

fn received(worker: &Channel) -> Result<Answered, ReceiveError> {
    let mut buffer = ReceiveBuffer::default();
    loop {
        match worker.receive::<Answered>(&mut buffer) {
            Ok(received) => return Ok(received.message),
            Err(ReceiveError::Empty) => std::thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
}

fn get() -> Operation {
    Operation::Get { key: "k".to_owned() }
}

fn set(value: &[u8]) -> Operation {
    Operation::Set { key: "k".to_owned(), value: value.to_vec() }
}

#[test]
fn a_worker_has_what_its_functions_were_granted() {
    let (_folder, server) = server();
    let connected = |runs| {
        let (engine, worker) = Channel::pair().unwrap();
        let _breaches = server.connect(engine, runs);
        worker
    };
    let (shared, own) = (connected(Runs::Shared), connected(Runs::Function("own".to_owned())));
    let asked = |worker: &Channel, function, bucket, operation| {
        ask(worker, 9, function, bucket, operation);
        let Answered { id, answer } = received(worker).unwrap();
        assert_eq!(id, 9);
        answer
    };
    let value = |answer| match answer {
        Answer::Entry(entry) => entry.map(|entry| entry.value),
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(&shared, "shop", None, set(b"shop's")), Answer::Done);
    assert_eq!(asked(&shared, "shop", Some("orders"), set(b"orders")), Answer::Done);
    assert_eq!(asked(&own, "own", None, set(b"own's")), Answer::Done);
    assert_eq!(value(asked(&shared, "shop", None, get())), Some(b"shop's".to_vec()));
    assert_eq!(value(asked(&shared, "other", None, get())), None);
    let denied = Answer::Failed(Failure::Denied);
    for (worker, function, bucket) in [
        (&shared, "own", None),
        (&shared, "other", Some("orders")),
        (&shared, "shop", Some("others")),
        (&own, "shop", None),
        (&own, "shop", Some("orders")),
        (&own, "own", Some("orders")),
    ] {
        assert_eq!(asked(worker, function, bucket, get()), denied, "{function} {bucket:?}");
        assert_eq!(asked(worker, function, bucket, set(b"x")), denied);
    }
}

#[test]
fn as_many_questions_as_the_queue_takes_are_answered_each_once() {
    let (_folder, server) = server();
    let (engine, worker) = Channel::pair().unwrap();
    let _breaches = server.connect(engine, Runs::Shared);
    const COUNT: u64 = 2000;
    let mut answers = BTreeMap::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for id in 0..COUNT {
                let add = Operation::Increment { key: "n".into(), delta: Delta::Unsigned(1) };
                let large = Operation::Set { key: "k".into(), value: vec![7; 100_000] };
                let operation = match id % 4 {
                    0 => add,
                    1 if id % 40 == 1 => large,
                    _ => get(),
                };
                let question =
                    Question { id, function: "shop".to_owned(), bucket: None, operation };
                while worker.send(&question, None).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        for _ in 0..COUNT {
            let Answered { id, answer } = received(&worker).unwrap();
            assert!(!matches!(answer, Answer::Failed(_)), "{answer:?}");
            assert!(answers.insert(id, answer).is_none());
        }
    });
    let numbers = answers.values().filter(|answer| matches!(answer, Answer::Number(_))).count();
    assert_eq!(numbers, 500);
}

#[tokio::test]
async fn a_worker_that_breaks_the_protocol_is_reported_and_not_listened_to() {
    let (_folder, server) = server();
    let (engine, worker) = Channel::pair().unwrap();
    let mut breaches = server.connect(engine, Runs::Shared);
    worker.send_packet(&[0xa5; 100], None).unwrap();
    let why = breaches.recv().await.unwrap();
    assert!(why.contains("breaks the protocol"), "{why}");
    assert!(matches!(received(&worker), Err(ReceiveError::Gone)));
    // One that only leaves is no breach.
    let (engine, worker) = Channel::pair().unwrap();
    let mut breaches = server.connect(engine, Runs::Shared);
    drop(worker);
    assert_eq!(breaches.recv().await, None);
    let request =
        Request { bucket: Bucket::Function("a".to_owned()), quota: Quota::NONE, operation: get() };
    assert_eq!(server.call(request).await.unwrap(), Answer::Entry(None));
}
