//! What workers are answered: by whom they run, in any number at once, and not at all once they
//! break the protocol.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread;

use abi::channel::{Channel, ReceiveBuffer, ReceiveError};
use abi::job::{JobId, Progress, Refused, State, Submission};
use abi::state::{Answer, Answered, Delta, Failure, Operation, Query, Question, Response};
use http::{HeaderMap, Method};
use sockhop_state::local::{Local, Mode};
use sockhop_state::server::{Grants, Jobs, LookedUp, Runs, Server, Submitted};
use sockhop_state::{Bucket, Quota, Request};

/// Grants each function of shared workers its own bucket, and `shop` the bucket `orders` and jobs.
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

    fn takes_jobs(&self, runs: &Runs, function: &str) -> bool {
        *runs == Runs::Shared && function == "shop"
    }
}

/// Takes two jobs, in memory, and says of each how many bytes its body has.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<(JobId, String, Submission)>>);

impl Jobs for Kept {
    fn submit(&self, function: &str, submission: Submission, done: Submitted) {
        let mut kept = self.0.lock().unwrap();
        if kept.len() == 2 {
            return done(Err(Refused::Full("two are enough".to_owned())));
        }
        let id = JobId::new();
        kept.push((id, function.to_owned(), submission));
        // As of a thread that commits.
        thread::spawn(move || done(Ok(id)));
    }

    fn look_up(&self, function: &str, job: JobId, done: LookedUp) {
        let kept = self.0.lock().unwrap();
        let found = kept.iter().find(|(id, of, _)| *id == job && of == function);
        done(Ok(found.map(|(_, _, submission)| {
            let attempts = submission.body.len().try_into().unwrap();
            Progress { state: State::Queued, attempts, status: None }
        })));
    }
}

fn server() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let store = Local::start(folder.path().join("local.redb"), Mode::Owned).unwrap();
    let jobs = Arc::new(Kept::default());
    let server = Server::start(Arc::new(store), jobs, Arc::new(Granted)).unwrap();
    (folder, server)
}

fn ask(worker: &Channel, id: u64, function: &str, bucket: Option<&str>, operation: Operation) {
    let (function, bucket) = (function.to_owned(), bucket.map(str::to_owned));
    let query = Query::State { bucket, operation };
    worker.send(&Question { id, function, query }, None).unwrap();
}

fn submission(body: &[u8]) -> Submission {
    Submission::new(None, &Method::POST, "/a?b", &HeaderMap::new(), body.to_vec())
}

/// Has a worker submit what is in `memory`, and returns the answer.
fn submit(worker: &Channel, function: &str, memory: OwnedFd) -> Result<JobId, Refused> {
    let question = Question { id: 3, function: function.to_owned(), query: Query::Submit };
    worker.send(&question, Some(memory.as_fd())).unwrap();
    match received(worker).unwrap() {
        Answered { id: 3, response: Response::Submitted(kept) } => kept.map(JobId::from_bytes),
        other => panic!("{other:?}"),
    }
}

fn progress(worker: &Channel, function: &str, job: JobId) -> Option<Progress> {
    let query = Query::Progress { job: job.bytes() };
    worker.send(&Question { id: 4, function: function.to_owned(), query }, None).unwrap();
    match received(worker).unwrap() {
        Answered { id: 4, response: Response::Progress(progress) } => progress.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn received(worker: &Channel) -> Result<Answered, ReceiveError> {
    let mut buffer = ReceiveBuffer::default();
    loop {
        match worker.receive::<Answered>(&mut buffer) {
            Ok(received) => return Ok(received.message),
            Err(ReceiveError::Empty) => thread::yield_now(),
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
        match received(worker).unwrap() {
            Answered { id: 9, response: Response::State(answer) } => answer,
            other => panic!("{other:?}"),
        }
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
    thread::scope(|scope| {
        scope.spawn(|| {
            for id in 0..COUNT {
                let add = Operation::Increment { key: "n".into(), delta: Delta::Unsigned(1) };
                let large = Operation::Set { key: "k".into(), value: vec![7; 100_000] };
                let operation = match id % 4 {
                    0 => add,
                    1 if id % 40 == 1 => large,
                    _ => get(),
                };
                let query = Query::State { bucket: None, operation };
                let question = Question { id, function: "shop".to_owned(), query };
                while worker.send(&question, None).is_err() {
                    thread::yield_now();
                }
            }
        });
        for _ in 0..COUNT {
            let Answered { id, response } = received(&worker).unwrap();
            let Response::State(answer) = response else { panic!("{response:?}") };
            assert!(!matches!(answer, Answer::Failed(_)), "{answer:?}");
            assert!(answers.insert(id, answer).is_none());
        }
    });
    let numbers = answers.values().filter(|answer| matches!(answer, Answer::Number(_))).count();
    assert_eq!(numbers, 500);
}

#[test]
fn a_worker_submits_jobs_of_its_functions_and_learns_of_no_others() {
    let (_folder, server) = server();
    let connected = |runs| {
        let (engine, worker) = Channel::pair().unwrap();
        let _breaches = server.connect(engine, runs);
        worker
    };
    let (shared, own) = (connected(Runs::Shared), connected(Runs::Function("own".to_owned())));
    let large = vec![7; abi::limits::JOB_BODY_BYTES_MAX];
    let first = submit(&shared, "shop", submission(b"").seal().unwrap()).unwrap();
    let second = submit(&shared, "shop", submission(&large).seal().unwrap()).unwrap();
    assert_ne!(first, second);
    let full = submit(&shared, "shop", submission(b"").seal().unwrap());
    assert_eq!(full, Err(Refused::Full("two are enough".to_owned())));
    for (worker, function) in [(&shared, "other"), (&shared, "own"), (&own, "own"), (&own, "shop")]
    {
        let submitted = submit(worker, function, submission(b"x").seal().unwrap());
        assert_eq!(submitted, Err(Refused::Denied), "{function}");
        assert_eq!(progress(worker, function, first), None, "{function}");
    }
    let attempts = |job| progress(&shared, "shop", job).map(|progress| progress.attempts);
    assert_eq!([attempts(first), attempts(second)], [Some(0), Some(1024 * 1024)]);
    assert_eq!(attempts(JobId::new()), None);
}

#[tokio::test]
async fn a_worker_that_submits_something_else_than_a_request_is_reported() {
    let (_folder, server) = server();
    let mut forged = submission(b"");
    forged.headers.push(("sockhop-cron".to_owned(), b"1".to_vec()));
    let unsealed = abi::sealed::unsealed("job").unwrap();
    let garbage = abi::sealed::create("job", &[0xa5; 100]).unwrap();
    let (pipe, _end) = std::io::pipe().unwrap();
    for memory in [forged.seal().unwrap(), unsealed, garbage, pipe.into()] {
        let (engine, worker) = Channel::pair().unwrap();
        let mut breaches = server.connect(engine, Runs::Shared);
        let question = Question { id: 1, function: "shop".to_owned(), query: Query::Submit };
        worker.send(&question, Some(memory.as_fd())).unwrap();
        let why = breaches.recv().await.unwrap();
        assert!(why.contains("breaks the protocol"), "{why}");
        assert!(matches!(received(&worker), Err(ReceiveError::Gone)));
    }
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
