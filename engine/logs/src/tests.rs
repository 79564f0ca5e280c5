//! The log as a whole, in this process: whatever stops shipping wherever it does, everything is
//! found, and found once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use abi::invocation_id::InvocationId;
use abi::outcome::Outcome;
use abi::spool::{Invocation, Line, Record, Request, Stream};
use api::logs::{Entries, Entry};

use super::index::Times;
use super::query::follow::{Update, follow};
use super::query::{Filter, Order, Page};
use super::*;
use fleet::core::fleet::WorkerId;
use store::error::StoreError;
use store::objects::directory::Directory;
use store::objects::{Answer as Answered, Listed};
use store::retention::{Policy, Retention};

/// A store that fails from one of its calls on: before it has done what was asked, or after.
#[derive(Debug)]
struct Failing {
    store: Directory,
    calls: AtomicU32,
    from: u32,
    after: bool,
}

impl Failing {
    fn call<'a, T: Send + 'a>(&self, call: Answered<'a, T>) -> Answered<'a, T> {
        let fails = self.calls.fetch_add(1, SeqCst) >= self.from;
        let after = self.after;
        Box::pin(async move {
            if fails && !after {
                return Err(StoreError::Ended { reason: "it is to fail".into() });
            }
            let done = call.await;
            if fails { Err(StoreError::Ended { reason: "it is to fail".into() }) } else { done }
        })
    }
}

impl Objects for Failing {
    fn name(&self) -> String {
        "failing".into()
    }

    fn get<'a>(&'a self, key: &'a str, bytes_max: usize) -> Answered<'a, Option<Vec<u8>>> {
        self.call(self.store.get(key, bytes_max))
    }

    fn get_range<'a>(
        &'a self,
        key: &'a str,
        start: u64,
        bytes: usize,
    ) -> Answered<'a, Option<Vec<u8>>> {
        self.call(self.store.get_range(key, start, bytes))
    }

    fn put<'a>(&'a self, key: &'a str, contents: Vec<u8>) -> Answered<'a, ()> {
        self.call(self.store.put(key, contents))
    }

    fn download<'a>(&'a self, key: &'a str, to: &'a Path) -> Answered<'a, bool> {
        self.call(self.store.download(key, to))
    }

    fn upload<'a>(&'a self, key: &'a str, from: &'a Path) -> Answered<'a, ()> {
        self.call(self.store.upload(key, from))
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str) -> Answered<'a, Vec<Listed>> {
        self.call(self.store.list(prefix, after))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answered<'a, ()> {
        self.call(self.store.delete(key))
    }
}

/// A log in a folder, without the thread that keeps it.
fn logs(folder: &Path, from: u32, after: bool) -> Logs {
    let directory = Directory::new(folder.join("store"));
    directory.make().unwrap();
    let store = Failing { store: directory, calls: AtomicU32::new(0), from, after };
    let store: Arc<dyn Objects> = Arc::new(store);
    let policy = Policy {
        logs_kept_for_ms: 1000,
        logs_kept_bytes: 1 << 30,
        versions_kept: 1,
        versions_kept_for_ms: 0,
    };
    let retention =
        Retention::new(Arc::clone(&store), (folder, "node"), policy, Duration::from_secs(3600))
            .unwrap();
    Logs {
        plan: Plan { on: true, spool_bytes: 1 << 30 },
        spool: Spool::open(folder.join("spool")).unwrap(),
        store,
        retention: Arc::new(retention),
        node: "node".into(),
        traces: None,
        ships: AtomicBool::new(true),
        counts: Counts::default(),
        followers: Arc::new(Semaphore::new(1)),
    }
}

fn healthy(folder: &Path) -> Logs {
    logs(folder, u32::MAX, false)
}

/// Writes so many invocations of one line each, as a worker would that is gone then.
fn write(logs: &Logs, function: &str, status: u16, count: usize) -> Vec<InvocationId> {
    let (path, file) = logs.spool.create().unwrap();
    drop(file);
    let mut bytes = std::fs::read(&path).unwrap();
    let ids: Vec<_> = (0..count).map(|_| InvocationId::new()).collect();
    for (at, id) in ids.iter().enumerate() {
        let (id, started_us) = (*id, id.unix_ms() * 1000);
        let text = format!("line {at} {}", "x".repeat(at % 700));
        let line = Line {
            id,
            time_us: started_us + 5,
            stream: Stream::Stdout,
            function,
            text: text.as_bytes(),
        };
        abi::spool::append(&mut bytes, &Record::Line(line));
        let invocation = Invocation {
            id,
            started_us,
            duration_us: 9,
            cpu_us: 4,
            memory_bytes: 1,
            status,
            received_bytes: 0,
            sent_bytes: 1,
            queue_us: 1,
            instantiate_us: 1,
            run_us: 1,
            outcome: Outcome::Ok,
            function,
            version: "v",
            number: 1,
            alias: "active",
            request: Request { method: "GET", prefix: "/f", path: "/" },
            goes_on: false,
            arrival: None,
            trace: None,
        };
        abi::spool::append(&mut bytes, &Record::Invocation(invocation));
    }
    std::fs::write(path, bytes).unwrap();
    ids
}

fn filter(function: &str) -> Filter {
    Filter {
        functions: vec![function.to_owned()],
        status: None,
        stream: None,
        text: None,
        times: Times { first_us: 0, last_us: u64::MAX },
    }
}

/// Everything of a function, page by page; nothing may be noted.
async fn all(logs: &Logs, filter: &Filter, limit: usize) -> Vec<Entry> {
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = Page { order: Order::OldestFirst, limit, after };
        let Entries { entries: more, next, notes } = logs.entries(filter.clone(), page).await;
        assert_eq!(notes, Vec::<String>::new());
        entries.extend(more);
        match next {
            Some(next) => after = Some(next.parse().unwrap()),
            None => return entries,
        }
    }
}

async fn ship_all(logs: &Logs) -> Result<usize, ship::ShipError> {
    let mut shipped = 0;
    for segment in logs.spool.segments().unwrap() {
        if let Some(sealed) = Spool::seal(&segment).unwrap() {
            ship::ship(sealed, &logs.node, &*logs.store).await?;
            shipped += 1;
        }
    }
    Ok(shipped)
}

/// Each id has its line and its record, once.
async fn expect_once(logs: &Logs, ids: &[InvocationId]) {
    assert_eq!(all(logs, &filter("f"), 1000).await.len(), 2 * ids.len());
    for id in ids.iter().step_by(1 + ids.len() / 20) {
        let found = logs.invocation(*id).await;
        assert_eq!(
            (found.lines.len(), found.record.is_some(), found.notes.len()),
            (1, true, 0),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn shipping_that_stops_anywhere_loses_and_doubles_nothing() {
    for after in [false, true] {
        let mut stopped = 0;
        for from in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let failing = logs(folder.path(), from, after);
            let ids = write(&failing, "f", 200, 300);
            let outcome = ship_all(&failing).await;
            // Whoever comes next, here or elsewhere, finds everything.
            let next = healthy(folder.path());
            expect_once(&next, &ids).await;
            assert!(ship_all(&next).await.is_ok());
            assert!(next.spool.segments().unwrap().is_empty(), "it is all in the store");
            assert_eq!(
                next.store.list(store::segment::PREFIX, "").await.unwrap().len(),
                1,
                "and once"
            );
            expect_once(&next, &ids).await;
            if outcome.is_ok() {
                break;
            }
            stopped += 1;
        }
        assert!(stopped >= 2, "it can stop at the put and at what is read back: {stopped}");
    }
}

#[tokio::test]
async fn what_was_shipped_and_not_yet_removed_is_found_once() {
    let folder = tempfile::tempdir().unwrap();
    let logs = healthy(folder.path());
    let ids = write(&logs, "f", 200, 50);
    let segment = logs.spool.segments().unwrap().remove(0);
    let copy = std::fs::read(&segment.path).unwrap();
    ship_all(&logs).await.unwrap();
    std::fs::write(&segment.path, copy).unwrap();
    expect_once(&logs, &ids).await;
    ship_all(&logs).await.unwrap();
    assert_eq!(logs.store.list(store::segment::PREFIX, "").await.unwrap().len(), 1);
    expect_once(&logs, &ids).await;
}

#[tokio::test]
async fn entries_come_in_order_by_pages_of_any_size_from_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let logs = healthy(folder.path());
    let mut ids = write(&logs, "f", 200, 700);
    write(&logs, "g", 200, 700);
    ship_all(&logs).await.unwrap();
    ids.extend(write(&logs, "f", 503, 40));
    let whole = all(&logs, &filter("f"), 10_000).await;
    assert_eq!(whole.len(), 2 * ids.len());
    assert_eq!(all(&logs, &filter("f"), 77).await, whole);
    let time = |entry: &Entry| match entry {
        Entry::Line(line) => line.time.clone(),
        Entry::Invocation(invocation) => invocation.time.clone(),
        Entry::After(after) => after.time.clone(),
        Entry::Gap { time, .. } => time.clone(),
    };
    assert!(whole.iter().map(time).is_sorted());
    let newest = Page { order: Order::Newest, limit: 33, after: None };
    assert_eq!(logs.entries(filter("f"), newest).await.entries, whole[whole.len() - 33..]);
    let failed = Filter { status: Some("5xx".parse().unwrap()), ..filter("f") };
    assert_eq!(all(&logs, &failed, 7).await.len(), 40);
    assert_eq!(
        all(&logs, &Filter { functions: Vec::new(), ..filter("") }, 999).await.len(),
        2 * (700 + 700 + 40)
    );
}

#[tokio::test]
async fn what_is_damaged_or_gone_is_noted_and_the_rest_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let logs = healthy(folder.path());
    let lost = write(&logs, "f", 200, 10);
    ship_all(&logs).await.unwrap();
    let [listed] = &logs.store.list(store::segment::PREFIX, "").await.unwrap()[..] else {
        panic!("there is one")
    };
    let found = write(&logs, "f", 200, 10);
    ship_all(&logs).await.unwrap();
    let path = folder.path().join("store").join(&listed.key);
    let whole = std::fs::read(&path).unwrap();
    for damage in [20, whole.len() - 60, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[damage] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let answer = logs
            .entries(filter("f"), Page { order: Order::OldestFirst, limit: 100, after: None })
            .await;
        assert_eq!((answer.entries.len(), answer.notes.len()), (20, 1), "{:?}", answer.notes);
        assert!(answer.notes[0].contains(&listed.key), "{:?}", answer.notes);
        assert!(logs.invocation(found[3]).await.record.is_some());
        let unknown = logs.invocation(lost[3]).await;
        assert!(unknown.record.is_none() && !unknown.notes.is_empty());
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(logs.invocation(found[3]).await.record.is_some());
}

/// The next that a follower is told.
async fn told(follower: &mut tokio::sync::mpsc::Receiver<Update>) -> Update {
    tokio::time::timeout(Duration::from_secs(20), follower.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_follower_is_told_everything_once_and_how_much_it_has_missed() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Arc::new(healthy(folder.path()));
    let mut follower = follow(Arc::clone(&logs), filter("f"));
    write(&logs, "g", 200, 5);
    let mut ids = write(&logs, "f", 200, 20);
    let mut lines = Vec::new();
    while lines.len() < 20 {
        if let Update::Entry(Entry::Line(line)) = told(&mut follower).await {
            lines.push(line.invocation);
        }
    }
    assert_eq!(lines, ids.iter().map(ToString::to_string).collect::<Vec<_>>());
    ship_all(&logs).await.unwrap();
    // More than can wait, and nobody reads.
    ids = write(&logs, "f", 200, 6000);
    let mut counted = 0;
    while counted < 2 * ids.len() as u64 {
        match told(&mut follower).await {
            Update::Entry(Entry::Line(_) | Entry::Invocation(_)) => counted += 1,
            Update::Missed(missed) => counted += missed,
            other => panic!("{other:?}"),
        }
    }
    // The last of those before was told when its line was, or comes first of these.
    assert!(counted <= 2 * ids.len() as u64 + 20, "{counted}");
}

#[tokio::test]
async fn every_worker_of_the_roster_gets_a_segment_and_the_end_comes_when_all_are_shipped() {
    let folder = tempfile::tempdir().unwrap();
    let logs = healthy(folder.path());
    let roster = watch::Sender::new(Roster::new());
    let (commands, mut received) = tokio::sync::mpsc::channel(1);
    let (end, ended) = oneshot::channel();
    let worker = |slot| WorkerId { slot, incarnation: 1 };
    let kept = keeper::run(&logs, (roster.subscribe(), ended), &commands);
    let story = async {
        roster.send_modify(|roster| roster.extend([0, 1].map(worker)));
        let mut given = Roster::new();
        while given.len() < 2 {
            let Some(Command::Spool { worker, .. }) = received.recv().await else {
                panic!("the log asks for nothing else")
            };
            given.insert(worker);
        }
        assert_eq!(given, [0, 1].map(worker).into());
        // Between two looks one has come and all have gone.
        roster.send_if_modified(|roster| roster.insert(worker(2)));
        roster.send_modify(Roster::clear);
        let (done, is_done) = oneshot::channel();
        end.send(done).unwrap();
        is_done.await.unwrap();
    };
    tokio::join!(kept, story);
    assert!(received.try_recv().is_err(), "one that has gone before it was seen needs no segment");
    assert_eq!(logs.counts.sealed.load(Relaxed), 2);
    assert_eq!(logs.spool.segments().unwrap(), []);
}
