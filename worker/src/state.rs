//! This worker's questions to the engine about functions' state and their jobs, by a socket of their
//! own.
//!
//! A question is sent at once, and its answer comes by its id: many are on their way at a time, and
//! whoever waits for one does not hold up the thread. Who no longer waits is forgotten. Owns this
//! worker's end of the socket.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use abi::channel::{Channel, ReceiveBuffer, ReceiveError, SendError};
use abi::job::{JobId, Progress, Refused, Submission};
use abi::state::{Answer, Answered, Failure, Operation, Query, Question, Response};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

/// What a function is told where there is no engine that keeps state: in a bundle.
const NOWHERE: &str = "nothing here keeps state for functions";
/// What it is told when the engine does not answer any more.
const GONE: &str = "the engine does not answer";
/// What a worker is told where it expected another kind of answer.
const CONFUSED: &str = "the engine has answered something else";

/// The socket to the engine, once it is there.
#[derive(Default)]
pub(crate) struct State(OnceLock<Arc<Connection>>);

struct Connection {
    channel: AsyncFd<Channel>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last_id: u64,
    answers: HashMap<u64, oneshot::Sender<Response>>,
    /// Whether no more answers come.
    ended: bool,
}

impl State {
    /// Uses this end of the socket from now on. Does nothing if there is one.
    ///
    /// # Errors
    /// If the socket cannot be watched.
    pub(crate) fn connect(&self, fd: OwnedFd) -> std::io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        // SAFETY: the channel owns its fd, and goes with what that is registered for.
        let channel = unsafe { AsyncFd::register_with_interest(fd.into(), interest)? };
        let connection = Arc::new(Connection { channel, waiting: Mutex::default() });
        if self.0.set(Arc::clone(&connection)).is_ok() {
            tokio::task::spawn_local(receive(connection));
        }
        Ok(())
    }

    /// Has the engine do something with `bucket` for `function`, and returns its answer.
    pub(crate) async fn ask(
        &self,
        function: &str,
        bucket: Option<&str>,
        operation: Operation,
    ) -> Answer {
        let bucket = bucket.map(str::to_owned);
        match self.query(function, Query::State { bucket, operation }, None).await {
            Ok(Response::State(answer)) => answer,
            Ok(_) => unavailable(CONFUSED),
            Err(why) => unavailable(&why),
        }
    }

    /// Has the engine keep a job of `function`. Returns its id, which survives a crash.
    ///
    /// # Errors
    /// Why it is not kept, or not known to be.
    pub(crate) async fn submit(
        &self,
        function: &str,
        submission: Submission,
    ) -> Result<JobId, Refused> {
        let memory = submission.seal();
        drop(submission);
        let memory = memory.map_err(|error| Refused::Unavailable(error.to_string()))?;
        match self.query(function, Query::Submit, Some(memory)).await {
            Ok(Response::Submitted(kept)) => kept.map(JobId::from_bytes),
            Ok(_) => Err(Refused::Unavailable(CONFUSED.to_owned())),
            Err(why) => Err(Refused::Unavailable(why)),
        }
    }

    /// Returns how far a job of `function` is. Returns `None` if it has no such job.
    ///
    /// # Errors
    /// Why that is not known.
    pub(crate) async fn progress(
        &self,
        function: &str,
        job: JobId,
    ) -> Result<Option<Progress>, String> {
        match self.query(function, Query::Progress { job: job.bytes() }, None).await? {
            Response::Progress(progress) => progress,
            _ => Err(CONFUSED.to_owned()),
        }
    }

    /// Sends a query for `function` with the fd that goes with it, and waits for what comes of it.
    async fn query(
        &self,
        function: &str,
        query: Query,
        fd: Option<OwnedFd>,
    ) -> Result<Response, String> {
        let connection = self.0.get().ok_or(NOWHERE)?;
        let (id, response) = connection.expect_answer().ok_or(GONE)?;
        let _forget = Forget { connection, id };
        let question = Question { id, function: function.to_owned(), query };
        connection.send(&question, fd.as_ref().map(OwnedFd::as_fd)).await?;
        // The engine has a copy of the fd.
        drop(fd);
        response.await.map_err(|_| GONE.to_owned())
    }
}

fn unavailable(why: &str) -> Answer {
    Answer::Failed(Failure::Unavailable(why.to_owned()))
}

impl Connection {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the id of a new question, and where its answer comes. Returns `None` if none does.
    fn expect_answer(&self) -> Option<(u64, oneshot::Receiver<Response>)> {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting();
        if waiting.ended {
            return None;
        }
        waiting.last_id += 1;
        let id = waiting.last_id;
        waiting.answers.insert(id, sender);
        Some((id, answer))
    }

    async fn send(&self, question: &Question, fd: Option<BorrowedFd<'_>>) -> Result<(), String> {
        loop {
            match self.channel.get_ref().send(question, fd) {
                Ok(()) => return Ok(()),
                Err(SendError::Busy) => {
                    let ready = self.channel.writable().await;
                    ready.map_err(|error| error.to_string())?.clear_ready();
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Passes an answer on, if somebody still waits for it.
    fn answer(&self, Answered { id, response }: Answered) {
        let waiting = self.waiting().answers.remove(&id);
        drop(waiting.map(|waiting| waiting.send(response)));
    }
}

/// Forgets a question when nobody waits for its answer any more.
struct Forget<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.connection.waiting().answers.remove(&self.id);
    }
}

/// Passes answers on until the engine has gone.
async fn receive(connection: Arc<Connection>) {
    let mut buffer = ReceiveBuffer::default();
    loop {
        let Ok(mut ready) = connection.channel.readable().await else { break };
        match connection.channel.get_ref().receive::<Answered>(&mut buffer) {
            Ok(received) => connection.answer(received.message),
            Err(ReceiveError::Empty) => ready.clear_ready(),
            Err(error) => {
                tracing::debug!("no more answers of the engine: {error}");
                break;
            }
        }
    }
    let mut waiting = connection.waiting();
    waiting.ended = true;
    waiting.answers.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    fn get(key: &str) -> Operation {
        Operation::Get { key: key.to_owned() }
    }

    async fn next(engine: &Channel) -> Question {
        loop {
            match engine.receive::<Question>(&mut ReceiveBuffer::default()) {
                Ok(received) => return received.message,
                Err(ReceiveError::Empty) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[tokio::test]
    async fn answers_find_their_questions_in_whatever_order_they_come() {
        let (engine, worker) = Channel::pair().unwrap();
        let state = Arc::new(State::default());
        let asked = |key: &'static str| {
            let state = Arc::clone(&state);
            tokio::task::spawn_local(async move { state.ask("a", Some("b"), get(key)).await })
        };
        let run = async {
            assert_eq!(state.ask("a", None, get("x")).await, unavailable(NOWHERE));
            state.connect(worker.into()).unwrap();
            let (first, second) = (asked("1"), asked("2"));
            let (one, two) = (next(&engine).await, next(&engine).await);
            assert_eq!(&*one.function, "a");
            let of = |key| Query::State { bucket: Some("b".to_owned()), operation: get(key) };
            assert_eq!((one.query, two.query), (of("1"), of("2")));
            for (id, exists) in [(two.id, true), (99, true), (one.id, false)] {
                let response = Response::State(Answer::Exists(exists));
                engine.send(&Answered { id, response }, None).unwrap();
            }
            assert_eq!(first.await.unwrap(), Answer::Exists(false));
            assert_eq!(second.await.unwrap(), Answer::Exists(true));
            let dropped = asked("3");
            next(&engine).await;
            dropped.abort();
            assert!(dropped.await.is_err());
            assert!(state.0.get().unwrap().waiting().answers.is_empty());
            let last = asked("4");
            next(&engine).await;
            drop(engine);
            assert_eq!(last.await.unwrap(), unavailable(GONE));
            assert_eq!(state.ask("a", None, get("5")).await, unavailable(GONE));
        };
        LocalSet::new().run_until(run).await;
    }
}
