//! This worker's questions to the engine about functions' state, by a socket of their own.
//!
//! A question is sent at once, and its answer comes by its id: many are on their way at a time, and
//! whoever waits for one does not hold up the thread. Who no longer waits is forgotten. Owns this
//! worker's end of the socket.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use abi::channel::{Channel, ReceiveBuffer, ReceiveError, SendError};
use abi::state::{Answer, Answered, Failure, Operation, Question};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

/// What a function is told where there is no engine that keeps state: in a bundle.
const NOWHERE: &str = "nothing here keeps state for functions";
/// What it is told when the engine does not answer any more.
const GONE: &str = "the engine does not answer";

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
    answers: HashMap<u64, oneshot::Sender<Answer>>,
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
        let Some(connection) = self.0.get() else { return unavailable(NOWHERE) };
        let Some((id, answer)) = connection.expect_answer() else { return unavailable(GONE) };
        let _forget = Forget { connection, id };
        let (function, bucket) = (function.to_owned(), bucket.map(str::to_owned));
        let sent = connection.send(&Question { id, function, bucket, operation }).await;
        match sent {
            Ok(()) => answer.await.unwrap_or_else(|_| unavailable(GONE)),
            Err(why) => unavailable(&why),
        }
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
    fn expect_answer(&self) -> Option<(u64, oneshot::Receiver<Answer>)> {
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

    async fn send(&self, question: &Question) -> Result<(), String> {
        loop {
            match self.channel.get_ref().send(question, None) {
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
    fn answer(&self, Answered { id, answer }: Answered) {
        let waiting = self.waiting().answers.remove(&id);
        drop(waiting.map(|waiting| waiting.send(answer)));
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
                tracing::debug!("no more answers about functions' state: {error}");
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
            assert_eq!((&*one.function, one.bucket.as_deref()), ("a", Some("b")));
            assert_eq!((one.operation, two.operation), (get("1"), get("2")));
            for (id, answer) in [(two.id, true), (99, true), (one.id, false)] {
                engine.send(&Answered { id, answer: Answer::Exists(answer) }, None).unwrap();
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
