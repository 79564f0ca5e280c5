//! Brings jobs to NATS that this node has kept in a database of its own. Owns the database, until it
//! has nothing to bring any more.
//!
//! Each is written there before it is removed here. If the node ends in between, it is written
//! again, and may run once more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Shared;
use super::plan::Work;
use crate::local::Local;
use crate::store::{Answer, Bounds, Done, New, News, Store as _, Task};

/// After so long it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
const NO_BOUNDS: Bounds = Bounds { jobs_max: u64::MAX, bytes_max: u64::MAX };

/// Brings all that is in `before`.
pub(super) async fn carry_over(shared: Arc<Shared>, before: Local) {
    let jobs = loop {
        match ask(|done| before.submit(Task::Scan, done)).await {
            Answer::Scanned(jobs) => break jobs,
            // It is said once why.
            _ => tokio::time::sleep(AGAIN).await,
        }
    };
    let count = jobs.len();
    for job in jobs {
        let (record, request) = match ask(|done| before.submit(Task::Load(job.id), done)).await {
            Answer::Loaded(loaded) => *loaded,
            _ => {
                tracing::error!("the job {} is left in this node's own database", job.id);
                continue;
            }
        };
        let task = Task::Enqueue(New { id: job.id, record, request }, NO_BOUNDS);
        while let Answer::Unavailable(why) =
            ask(|done| shared.write(Work::Task(task.clone()), done)).await
        {
            tracing::debug!("jobs of this node's own database wait: {why}");
            tokio::time::sleep(AGAIN).await;
        }
        ask(|done| before.submit(Task::Remove(job.id), done)).await;
        shared.tell(News::Job(job.id));
    }
    before.close();
    if count > 0 {
        tracing::info!(
            "{count} asynchronous invocations that this node had kept by itself are in NATS now"
        );
    }
}

async fn ask(submit: impl FnOnce(Done)) -> Answer {
    let (done, answer) = oneshot::channel();
    submit(Box::new(move |answer| drop(done.send(answer))));
    answer.await.unwrap_or_else(|_| super::unavailable("it is closed"))
}
