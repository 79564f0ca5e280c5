//! What a worker asks of the engine for a function, and what it is answered: of the function's state
//! and of its jobs, in messages of a socket apart from the one by which the engine controls the
//! worker.
//!
//! A worker states which function asks, and the engine checks that against what the worker may run
//! and what the function was granted. A question has an id that its answer bears, so that many may
//! be on their way. Every message is bounded ([`crate::limits`]) and fits into one packet. One alone
//! carries an fd: that of sealed memory with a request that is to become a job. Owns no fds.

#![allow(
    missing_docs,
    reason = "rkyv's derives make resolvers without docs; every type of ours has them"
)]

use rkyv::{Archive, Deserialize, Serialize};

use crate::channel::Message;
use crate::job::{Progress, Refused};
use crate::limits;
use crate::name;

/// The name by which each function opens the bucket of its own.
pub const DEFAULT_BUCKET: &str = "default";

/// What is added to a number.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delta {
    /// Of `wasi:keyvalue@0.2.0-draft`.
    Unsigned(u64),
    /// Of `wasi:keyvalue@0.2.0-draft2`.
    Signed(i64),
}

/// Where a list of keys goes on.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// Behind this key. The empty one is before all.
    After(String),
    /// Behind so many keys.
    Skip(u64),
}

/// What is done with a bucket.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Answered [`Answer::Entry`].
    Get {
        /// Whose value.
        key: String,
    },
    /// Answered [`Answer::Exists`].
    Exists {
        /// Which key.
        key: String,
    },
    /// Answered [`Answer::Keys`], sorted by their bytes.
    List {
        /// The end of the page before.
        from: Position,
    },
    /// Answered [`Answer::Entries`]: as many of the first keys as fit, at least one.
    GetMany {
        /// Whose values.
        keys: Vec<String>,
    },
    /// Answered [`Answer::Done`].
    Set {
        /// Whose value.
        key: String,
        /// The value.
        value: Vec<u8>,
    },
    /// Sets the value if it has not changed. Answered [`Answer::Swapped`].
    Swap {
        /// Whose value.
        key: String,
        /// The revision that the key must still have; 0 if it must not be there.
        revision: u64,
        /// The value.
        value: Vec<u8>,
    },
    /// Answered [`Answer::Number`].
    Increment {
        /// Whose value, which is a number in decimal digits.
        key: String,
        /// What is added; of a key that is not there, to 0.
        delta: Delta,
    },
    /// Answered [`Answer::Done`]. All are set, or none.
    SetMany {
        /// Keys and values.
        entries: Vec<(String, Vec<u8>)>,
    },
    /// Answered [`Answer::Done`]. Those that are not there are passed over.
    DeleteMany {
        /// Which keys.
        keys: Vec<String>,
    },
}

impl Operation {
    /// Returns whether it can change the bucket.
    #[must_use]
    pub fn is_write(&self) -> bool {
        match self {
            Self::Get { .. } | Self::Exists { .. } | Self::List { .. } | Self::GetMany { .. } => {
                false
            }
            Self::Set { .. }
            | Self::Swap { .. }
            | Self::Increment { .. }
            | Self::SetMany { .. }
            | Self::DeleteMany { .. } => true,
        }
    }

    /// Returns how many bytes of keys and values it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Get { key } | Self::Exists { key } | Self::Increment { key, .. } => key.len(),
            Self::List { from: Position::After(key) } => key.len(),
            Self::List { from: Position::Skip(_) } => 0,
            Self::GetMany { keys } | Self::DeleteMany { keys } => {
                keys.iter().map(String::len).sum()
            }
            Self::Set { key, value } | Self::Swap { key, value, .. } => key.len() + value.len(),
            Self::SetMany { entries } => {
                entries.iter().map(|(key, value)| key.len() + value.len()).sum()
            }
        }
    }

    /// Checks keys, values and their number against their limits.
    ///
    /// # Errors
    /// What is beyond which limit, as the guest is told.
    pub fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Get { key } | Self::Exists { key } | Self::Increment { key, .. } => {
                check_key(key)
            }
            Self::List { from: Position::After(key) } if key.is_empty() => Ok(()),
            Self::List { from: Position::After(key) } => check_key(key),
            Self::List { from: Position::Skip(_) } => Ok(()),
            Self::Set { key, value } | Self::Swap { key, value, .. } => {
                check_key(key).and_then(|()| check_value(value))
            }
            Self::GetMany { keys } | Self::DeleteMany { keys } => {
                check_count(keys.len())?;
                keys.iter().try_for_each(|key| check_key(key))?;
                self.check_bytes()
            }
            Self::SetMany { entries } => {
                check_count(entries.len())?;
                entries.iter().try_for_each(|(key, value)| {
                    check_key(key).and_then(|()| check_value(value))
                })?;
                self.check_bytes()
            }
        }
    }

    fn check_bytes(&self) -> Result<(), &'static str> {
        if self.bytes() > limits::STATE_CALL_BYTES_MAX {
            Err("one call has more than 130 KiB of keys and values")
        } else {
            Ok(())
        }
    }
}

/// Checks a key.
///
/// # Errors
/// What a key must be.
pub fn check_key(key: &str) -> Result<(), &'static str> {
    match key.len() {
        0 => Err("a key is empty"),
        1..=limits::STATE_KEY_BYTES_MAX => Ok(()),
        _ => Err("a key is longer than 1 KiB"),
    }
}

/// Checks a value.
///
/// # Errors
/// What a value must be.
pub fn check_value(value: &[u8]) -> Result<(), &'static str> {
    if value.len() > limits::STATE_VALUE_BYTES_MAX {
        Err("a value is longer than 128 KiB")
    } else {
        Ok(())
    }
}

fn check_count(count: usize) -> Result<(), &'static str> {
    if count > limits::STATE_BATCH_KEYS_MAX {
        Err("a batch has more than 1000 keys")
    } else {
        Ok(())
    }
}

/// A value as it is kept.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Another one after each change of the value. Never 0.
    pub revision: u64,
    /// The value.
    pub value: Vec<u8>,
}

/// Why nothing was done.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The function was not granted the bucket, or the worker does not run the function.
    Denied,
    /// What was asked for cannot be done, whenever it is asked for.
    Refused(String),
    /// The bucket is as full as the function may make it.
    Full(String),
    /// The node cannot do it now.
    Unavailable(String),
}

/// What came of an [`Operation`].
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The value, if the key is there.
    Entry(Option<Entry>),
    /// Whether the key is there.
    Exists(bool),
    /// A page of keys.
    Keys {
        /// The keys.
        keys: Vec<String>,
        /// Whether there are others behind them.
        more: bool,
    },
    /// The values of the first keys that were asked for.
    Entries(Vec<Option<Vec<u8>>>),
    /// It is done, and survives a crash.
    Done,
    /// Whether the value was set, which then survives a crash.
    Swapped(bool),
    /// What the number has become, which survives a crash.
    Number(Delta),
    /// Nothing was done.
    Failed(Failure),
}

impl Answer {
    /// Returns how many bytes of keys and values it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Entry(Some(entry)) => entry.value.len(),
            Self::Keys { keys, .. } => keys.iter().map(String::len).sum(),
            Self::Entries(values) => values.iter().flatten().map(Vec::len).sum(),
            Self::Entry(None)
            | Self::Exists(_)
            | Self::Done
            | Self::Swapped(_)
            | Self::Number(_)
            | Self::Failed(_) => 0,
        }
    }
}

/// What is asked for a function.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Something is to be done with a bucket. Answered [`Response::State`].
    State {
        /// A bucket that the function was granted. `None` for its own.
        bucket: Option<String>,
        /// What is to be done.
        operation: Operation,
    },
    /// A request is to become a job of the function's. It is a [`crate::job::Submission`] in the
    /// memory whose fd comes along. Answered [`Response::Submitted`].
    Submit,
    /// How far is a job of the function's? Answered [`Response::Progress`].
    Progress {
        /// The job's id.
        job: [u8; 16],
    },
}

/// Worker to engine.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What the answer is to bear.
    pub id: u64,
    /// The function that asks.
    pub function: String,
    /// What is asked for it.
    pub query: Query,
}

/// What came of a [`Query`].
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Of what was to be done with a bucket.
    State(Answer),
    /// The id of the job, which survives a crash, or why there is none.
    Submitted(Result<[u8; 16], Refused>),
    /// How far the job is, `None` if the function has no such job, or a sentence that says why that
    /// is not known now.
    Progress(Result<Option<Progress>, String>),
}

/// Engine to worker.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// That of the question.
    pub id: u64,
    /// What came of it.
    pub response: Response,
}

impl Message for Question {
    fn fd_count(&self) -> usize {
        usize::from(matches!(self.query, Query::Submit))
    }

    fn check(&self) -> Result<(), &'static str> {
        if name::check(&self.function).is_err() {
            return Err("Question.function is no function's name");
        }
        let Query::State { bucket, operation } = &self.query else { return Ok(()) };
        if bucket.as_deref().is_some_and(|bucket| name::check(bucket).is_err()) {
            return Err("Question.bucket is no bucket's name");
        }
        operation.check()
    }
}

impl Message for Answered {
    fn fd_count(&self) -> usize {
        0
    }

    fn check(&self) -> Result<(), &'static str> {
        // What is longer does not fit into a packet.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Channel, ReceiveBuffer, ReceiveError};
    use crate::job::State;
    use proptest::prelude::*;
    use std::os::fd::AsFd as _;

    fn question(operation: Operation) -> Question {
        let query = Query::State { bucket: None, operation };
        Question { id: 7, function: "shop".to_owned(), query }
    }

    fn get(key: &str) -> Operation {
        Operation::Get { key: key.to_owned() }
    }

    #[test]
    fn keys_and_values_are_held_to_their_limits() {
        let longest = "k".repeat(limits::STATE_KEY_BYTES_MAX);
        for key in ["a", "/", "..", "\0", "a/../b", "ü", &longest] {
            assert_eq!(get(key).check(), Ok(()), "{key:?}");
        }
        for key in [String::new(), longest.clone() + "k", "k".repeat(1 << 20)] {
            assert!(get(&key).check().is_err(), "{} bytes", key.len());
        }
        let set = |length| Operation::Set { key: longest.clone(), value: vec![7; length] };
        assert_eq!(set(limits::STATE_VALUE_BYTES_MAX).check(), Ok(()));
        assert!(set(limits::STATE_VALUE_BYTES_MAX + 1).check().is_err());
        let many = |count| Operation::GetMany { keys: vec!["k".to_owned(); count] };
        assert_eq!(many(limits::STATE_BATCH_KEYS_MAX).check(), Ok(()));
        assert!(many(limits::STATE_BATCH_KEYS_MAX + 1).check().is_err());
        let value = || ("k".to_owned(), vec![7; limits::STATE_VALUE_BYTES_MAX]);
        assert!(Operation::SetMany { entries: vec![value(), value()] }.check().is_err());
        let query = Query::State { bucket: Some("../x".to_owned()), operation: get("a") };
        let other = Question { query, ..question(get("a")) };
        assert!(other.check().is_err());
    }

    /// In a packet, whatever room the kernel grants.
    #[test]
    fn the_longest_of_each_fits() {
        let (worker, engine) = Channel::pair().unwrap();
        let mut buffer = ReceiveBuffer::default();
        let key = || "k".repeat(limits::STATE_KEY_BYTES_MAX);
        let value = vec![7; limits::STATE_VALUE_BYTES_MAX];
        let small = (0..limits::STATE_BATCH_KEYS_MAX).map(|_| ("k".repeat(64), vec![7; 66]));
        for operation in [
            Operation::Set { key: key(), value: value.clone() },
            Operation::SetMany { entries: small.collect() },
            Operation::GetMany { keys: vec!["k".repeat(130); limits::STATE_BATCH_KEYS_MAX] },
        ] {
            let question = question(operation);
            assert_eq!(question.check(), Ok(()));
            worker.send(&question, None).unwrap();
            assert_eq!(engine.receive::<Question>(&mut buffer).unwrap().message, question);
        }
        let half = vec![7; limits::STATE_VALUE_BYTES_MAX / 2];
        let page = limits::STATE_PAGE_BYTES_MAX / limits::STATE_PAGE_KEYS_MAX;
        for answer in [
            Answer::Entry(Some(Entry { revision: 1, value })),
            Answer::Entries(vec![Some(half.clone()), Some(half), None]),
            Answer::Keys { keys: vec!["k".repeat(page); limits::STATE_PAGE_KEYS_MAX], more: true },
        ] {
            let answered = Answered { id: 7, response: Response::State(answer) };
            engine.send(&answered, None).unwrap();
            assert_eq!(worker.receive::<Answered>(&mut buffer).unwrap().message, answered);
        }
    }

    #[test]
    fn a_submission_alone_comes_with_an_fd() {
        let (worker, engine) = Channel::pair().unwrap();
        let mut buffer = ReceiveBuffer::default();
        let memory = crate::sealed::create("test", b"a job").unwrap();
        let asks = |query| Question { query, ..question(get("a")) };
        worker.send(&asks(Query::Submit), Some(memory.as_fd())).unwrap();
        assert!(engine.receive::<Question>(&mut buffer).unwrap().fd.is_some());
        for (query, fd) in [
            (Query::Submit, None),
            (Query::Progress { job: [7; 16] }, Some(memory.as_fd())),
            (Query::State { bucket: None, operation: get("a") }, Some(memory.as_fd())),
        ] {
            let packed = crate::envelope::pack(&asks(query)).unwrap();
            worker.send_packet(&packed, fd).unwrap();
            let received = engine.receive::<Question>(&mut buffer);
            assert!(matches!(received, Err(ReceiveError::Malformed(_))), "{received:?}");
        }
        let progress = Progress { state: State::Done, attempts: 2, status: Some(204) };
        for response in [
            Response::Submitted(Ok([7; 16])),
            Response::Submitted(Err(Refused::Full("full".to_owned()))),
            Response::Progress(Ok(Some(progress))),
            Response::Progress(Ok(None)),
            Response::Progress(Err("away".to_owned())),
        ] {
            let answered = Answered { id: 7, response };
            engine.send(&answered, None).unwrap();
            assert_eq!(worker.receive::<Answered>(&mut buffer).unwrap().message, answered);
        }
    }

    proptest! {
        #[test]
        fn any_flipped_byte_is_survived(at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let (worker, engine) = Channel::pair().unwrap();
            let operation = Operation::Swap { key: "a".into(), revision: 3, value: b"b".to_vec() };
            let mut bytes = crate::envelope::pack(&question(operation)).unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            for packet in [&bytes[..], &bytes[..=cut.index(at + 1)]] {
                worker.send_packet(packet, None).unwrap();
                match engine.receive::<Question>(&mut ReceiveBuffer::default()) {
                    Ok(received) => prop_assert_eq!(received.message.check(), Ok(())),
                    Err(ReceiveError::Malformed(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}
