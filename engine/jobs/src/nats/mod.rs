//! Jobs in NATS, for all nodes that share it.
//!
//! Everything is in one key-value bucket ([`keys`] says under which names). Each job is the node's
//! that its record names, and that node alone runs it. A node gives [signs of life](nodes): when one
//! has gone, those that are left take over its jobs ([`reader`]). Writes are batches that take
//! effect whole ([`writer`]), by what [`plan`] says, and if nobody else has changed the same jobs;
//! [`ledger`] is what this node knows of its own. So a node that was cut off changes no job that is
//! another's by now. While NATS is away, all of this fails. [`carry`] brings jobs over that were kept
//! in a database of the node before. Runs on the thread of [`nats::Link`]; owns no fds.

mod carry;
mod keys;
mod ledger;
mod nodes;
mod plan;
#[cfg(test)]
mod plan_tests;
mod reader;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use database::Mode;
use futures_util::StreamExt as _;
use nats::{Bucket, Change, Failure};

use self::keys::Sign;
use self::ledger::Ledger;
use self::nodes::{Found, LEASE, Nodes, RENEW};
use self::plan::Work;
use self::writer::Queue;
use crate::JobId;
use crate::local::Local;
use crate::record;
use crate::store::{Answer, Done, News, OnNews, Store, Task};

/// How often all is looked at, whether there are news or not.
const LOOK_INTERVAL: Duration = Duration::from_secs(600);
/// How long a sign of life stays.
const SIGN_TTL: Duration = Duration::from_secs(60);
/// How long a node that stops waits until the others know.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a node is called.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Its host, for messages.
    pub host: String,
}

/// Jobs in a bucket of NATS.
#[derive(Debug)]
pub struct InNats {
    shared: Arc<Shared>,
    /// The database of this node, if it has one.
    before: Mutex<Option<Local>>,
}

struct Shared {
    nats: Bucket,
    /// The id of this node.
    node: String,
    host: String,
    ledger: Mutex<Ledger>,
    nodes: Mutex<Nodes>,
    queue: Mutex<Queue>,
    on_news: OnceLock<OnNews>,
    /// How many messages there were in the bucket a moment ago.
    messages: AtomicU64,
    /// Whether something was written or not: that is not known.
    is_doubtful: AtomicBool,
    /// Whether there was a job of a node that has gone, which is another one's to take over.
    is_left_over: AtomicBool,
    /// Whether this node takes over all that it finds then, as nobody else has.
    takes_all: AtomicBool,
    /// Whether another engine of this node goes on.
    is_handed_over: AtomicBool,
    /// Whether this node runs no more.
    has_left: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("nats", &self.nats).finish_non_exhaustive()
    }
}

impl InNats {
    /// Returns what keeps the jobs of `node` in `nats`. Those that are in the database in the file
    /// `before`, if there is one, are brought there once [owned](Store::own).
    ///
    /// # Errors
    /// If the database is there, and its thread cannot be started.
    pub fn start(nats: Bucket, node: Node, before: &Path) -> std::io::Result<Self> {
        let before = match before.try_exists()? {
            true => Some(Local::start(before.to_owned(), Mode::Owned)?),
            false => None,
        };
        let shared = Arc::new(Shared {
            nats,
            nodes: Mutex::new(Nodes::new(node.id.clone())),
            node: node.id,
            host: node.host,
            ledger: Mutex::default(),
            queue: Mutex::default(),
            on_news: OnceLock::new(),
            messages: AtomicU64::new(0),
            is_doubtful: AtomicBool::new(false),
            is_left_over: AtomicBool::new(false),
            takes_all: AtomicBool::new(false),
            is_handed_over: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
        });
        Ok(Self { shared, before: Mutex::new(before) })
    }
}

impl Store for InNats {
    fn submit(&self, task: Task, done: Done) {
        if task.is_write() {
            return self.shared.write(Work::Task(task), done);
        }
        let shared = Arc::clone(&self.shared);
        self.shared.nats.spawn(async move {
            let read = match &task {
                Task::Load(id) => shared.load(*id).await,
                Task::Show(id) => shared.show(*id).await,
                Task::List(filter) => shared.list(filter).await,
                // The others write.
                _ => shared.scan().await,
            };
            done(read.unwrap_or_else(|failure| unavailable(&failure.to_string())));
        });
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn listen(&self, on_news: OnNews) {
        let _ = self.shared.on_news.set(on_news);
        self.shared.nats.spawn(Arc::clone(&self.shared).keep_alive());
        self.shared.nats.spawn(Arc::clone(&self.shared).keep_listening());
    }

    fn share(&self) {
        self.shared.is_handed_over.store(true, Relaxed);
    }

    fn own(&self) {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before {
            self.shared.nats.spawn(carry::carry_over(Arc::clone(&self.shared), before));
        }
    }

    fn close(&self) {
        if self.shared.is_handed_over.load(Relaxed) {
            return;
        }
        self.shared.has_left.store(true, Relaxed);
        let (shared, (left, leave)) = (Arc::clone(&self.shared), sync_channel(1));
        self.shared.nats.spawn(async move {
            if let Err(failure) = shared.renew().await {
                tracing::debug!("other nodes take over this one's jobs later: {failure}");
            }
            let _ = left.send(());
        });
        let _ = leave.recv_timeout(LEAVE_TIMEOUT);
    }
}

impl Shared {
    /// Gives a sign of life, or of the end. Returns its revision, and sees which others are there.
    async fn renew(&self) -> Result<u64, Failure> {
        let sign = Sign { host: self.host.clone(), has_left: self.has_left.load(Relaxed) };
        let sign = Change::set(keys::node(&self.node), record::encode(&sign)).for_only(SIGN_TTL);
        let revision = self.nats.write(vec![sign]).await?;
        let names = self.nats.matching(keys::NODES).await?;
        let signs = self.nats.get_many(names.clone()).await?;
        let found = names.iter().zip(signs).filter_map(|(name, entry)| {
            let (node, entry) = (keys::node_of(name)?.to_owned(), entry?);
            let Sign { host, has_left } = record::decode(&entry.value).unwrap_or_default();
            Some(Found { node, revision: entry.revision, host, has_left })
        });
        self.lock_nodes().see(found.collect(), Instant::now());
        self.messages.store(self.nats.messages().await?, Relaxed);
        Ok(revision)
    }

    /// Gives signs of life, and says when all is to be looked at again.
    async fn keep_alive(self: Arc<Self>) {
        let (mut renewed, mut look) = (Instant::now(), Instant::now() + LOOK_INTERVAL);
        while !self.has_left.load(Relaxed) {
            match self.renew().await {
                Ok(_) => {
                    let now = Instant::now();
                    let was_late =
                        now.duration_since(std::mem::replace(&mut renewed, now)) >= LEASE;
                    let has_lost_one = self.lock_nodes().has_lost_one(now);
                    if self.is_left_over.swap(false, Relaxed) {
                        look = look.min(now + LEASE);
                        self.takes_all.store(true, Relaxed);
                    }
                    let is_doubtful = self.is_doubtful.swap(false, Relaxed);
                    if was_late || has_lost_one || is_doubtful || look <= now {
                        look = now + LOOK_INTERVAL;
                        self.tell(News::All);
                    }
                }
                Err(failure) => {
                    tracing::debug!("this node gives no sign of life: {failure}");
                    self.lock_nodes().pause(Instant::now());
                    // Others may take over meanwhile.
                    self.is_doubtful.store(true, Relaxed);
                }
            }
            tokio::time::sleep(RENEW).await;
        }
    }

    /// Passes on what other nodes say of this one's jobs.
    async fn keep_listening(self: Arc<Self>) {
        loop {
            match self.nats.listen(&self.node).await {
                Ok(mut told) => {
                    while let Some(text) = told.next().await {
                        let id = std::str::from_utf8(&text).ok().and_then(|id| id.parse().ok());
                        id.into_iter().for_each(|id| self.tell(News::Job(id)));
                    }
                }
                Err(failure) => tracing::warn!("other nodes are not heard: {failure}"),
            }
            tokio::time::sleep(RENEW).await;
        }
    }

    fn tell(&self, news: News) {
        if let Some(on_news) = self.on_news.get() {
            on_news(news);
        }
    }

    fn name_of(&self, node: &str) -> String {
        self.lock_nodes().name_of(node)
    }

    fn lock_ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(why: &str) -> Answer {
    Answer::Unavailable(why.to_owned())
}

fn damaged(id: JobId) -> String {
    format!("what NATS has of the job {id} is damaged; remove its keys there")
}
