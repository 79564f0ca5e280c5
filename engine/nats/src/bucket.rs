//! A key-value bucket of JetStream. Owns no fds.
//!
//! Reads are answered by the stream's leader, and so see every write that was answered. Writes are
//! atomic batches: all of them are there or none, and only if some keys still have their revisions.
//! A key that is removed leaves a mark, which passes after a while.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_TTL,
};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream as Messages};
use async_nats::{HeaderMap, RequestErrorKind};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::sync::Mutex;

use crate::error::{Failure, StartError, with_causes};
use crate::layout;
use crate::link::{ANSWER_TIMEOUT, Link};

/// The most messages of a batch (`max_batch_size` of the server's limits, by default).
pub const BATCH_MESSAGES_MAX: usize = 1000;
/// How long the keys of a bucket may take to be listed.
pub(crate) const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a removed key's mark stays.
const MARK_TTL: Duration = Duration::from_secs(60);
/// By what a mark is known, to NATS' own tools, too.
pub(crate) const OPERATION: &str = "KV-Operation";
const REMOVED: &str = "DEL";

/// A value, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Another one after each change of the value. Never 0.
    pub revision: u64,
    /// The value.
    pub value: Bytes,
}

/// What becomes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The value that it gets; without one it is removed.
    pub value: Option<Bytes>,
    /// The revision that it must still have; 0 if it must not be there.
    pub expected: Option<u64>,
    /// After so long it passes, or its mark.
    pub ttl: Option<Duration>,
}

impl Change {
    /// Sets a value.
    #[must_use]
    pub fn set(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: Some(value.into()), expected: None, ttl: None }
    }

    /// Removes a key.
    #[must_use]
    pub fn remove(key: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, expected: None, ttl: Some(MARK_TTL) }
    }

    /// The same if the key still has this revision, 0 if it must not be there.
    #[must_use]
    pub fn if_still(self, revision: u64) -> Self {
        Self { expected: Some(revision), ..self }
    }

    /// The same with a value, or a mark, that passes after `ttl`, in seconds.
    #[must_use]
    pub fn for_only(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// Returns how many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.value.is_none() {
            headers.insert(OPERATION, REMOVED);
        }
        if let Some(ttl) = self.ttl {
            headers.insert(NATS_MESSAGE_TTL, format!("{}s", ttl.as_secs()));
        }
        if let Some(revision) = self.expected {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string());
        }
        headers
    }
}

/// A bucket. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    pub(crate) link: Link,
    name: Arc<str>,
    /// The stream, once it was found to be right.
    stream: Arc<Mutex<Option<Messages<()>>>>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("name", &self.name).field("link", &self.link).finish()
    }
}

/// What a key's last message is.
enum Found {
    Nothing,
    Mark,
    Entry(Entry),
}

impl Bucket {
    /// Returns the bucket of this name, which is made if it is not there. If NATS is away, that is
    /// done once it is back.
    ///
    /// # Errors
    /// [`StartError`] if there is one that will not do, or NATS keeps nothing.
    pub async fn open(link: Link, name: &str) -> Result<Self, StartError> {
        let bucket = Self { link, name: name.into(), stream: Arc::default() };
        let opening = bucket.clone();
        let (opened, open) = tokio::sync::oneshot::channel();
        bucket.link.spawn(async move { drop(opened.send(opening.opened().await)) });
        match open.await.unwrap_or_else(|_| Err(Closed::Failure(away("its thread has ended")))) {
            Ok(_) => Ok(bucket),
            Err(Closed::Unfit(error)) => Err(error),
            Err(Closed::Failure(failure)) => {
                tracing::error!("the bucket {name:?} cannot be used: {failure}; it is tried again");
                Ok(bucket)
            }
        }
    }

    /// Has NATS' thread do this.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.link.spawn(task);
    }

    /// Returns the value of a key, if it has one.
    ///
    /// # Errors
    /// [`Failure::Away`].
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Failure> {
        Ok(match self.last(key).await? {
            Found::Entry(entry) => Some(entry),
            Found::Nothing | Found::Mark => None,
        })
    }

    /// Returns the values of some keys, in their order.
    ///
    /// # Errors
    /// [`Failure::Away`].
    pub async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>, Failure> {
        // As many as a server takes at a time from each.
        const AT_A_TIME: usize = 64;
        let values = futures_util::stream::iter(keys)
            .map(|key| async move { self.get(&key).await })
            .buffered(AT_A_TIME);
        values.try_collect().await
    }

    async fn last(&self, key: &str) -> Result<Found, Failure> {
        let stream = self.ready().await?;
        let subject = self.subject(key);
        let read = async {
            match stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => {
                    let is_mark = message.headers.get(OPERATION).is_some();
                    let (revision, value) = (message.sequence, message.payload);
                    Ok(if is_mark { Found::Mark } else { Found::Entry(Entry { revision, value }) })
                }
                Err(error) => match error.kind() {
                    LastRawMessageErrorKind::NoMessageFound => Ok(Found::Nothing),
                    LastRawMessageErrorKind::JetStream(error) => Err(self.refused(&error).await),
                    _ => Err(away(&with_causes(&error))),
                },
            }
        };
        self.link.ask(ANSWER_TIMEOUT, read).await.map_err(as_away)
    }

    /// Does all of this, if every key still has the revision that it must have, and otherwise
    /// nothing. Returns the revision that the last key has then; that of the one before it is one
    /// less, and so on.
    ///
    /// # Errors
    /// [`Failure`] says whether nothing was done, or that it is not known.
    pub async fn write(&self, changes: Vec<Change>) -> Result<u64, Failure> {
        debug_assert!((1..=BATCH_MESSAGES_MAX).contains(&changes.len()));
        self.ready().await?;
        self.link.ask(ANSWER_TIMEOUT, self.publish(changes)).await
    }

    async fn publish(&self, changes: Vec<Change>) -> Result<u64, Failure> {
        let (client, count) = (self.link.client(), changes.len());
        let batch = (count > 1).then(|| uuid::Uuid::now_v7().simple().to_string());
        let mut messages = changes.into_iter().enumerate().map(|(at, change)| {
            let mut headers = change.headers();
            if let Some(batch) = &batch {
                headers.insert(NATS_BATCH_ID, batch.as_str());
                headers.insert(NATS_BATCH_SEQUENCE, (at + 1).to_string());
                if at + 1 == count {
                    headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
                }
            }
            (self.subject(&change.key), headers, change.value.unwrap_or_default())
        });
        for (subject, headers, value) in messages.by_ref().take(count - 1) {
            let sent = client.publish_with_headers(subject, headers, value);
            sent.await.map_err(|error| away(&with_causes(&error)))?;
        }
        let Some((subject, headers, value)) = messages.next() else { return Ok(0) };
        let answer = client.request_with_headers(subject, headers, value).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                self.forget().await;
                return Err(away("nobody keeps the bucket just now"));
            }
            Err(error) => return Err(Failure::Unanswered(with_causes(&error))),
        };
        match serde_json::from_slice::<Response<PublishAck>>(&answer.payload) {
            Ok(Response::Ok(ack)) => Ok(ack.sequence),
            Ok(Response::Err { error }) => match error.error_code() {
                ErrorCode::STREAM_WRONG_LAST_SEQUENCE
                | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT
                // Parts were lost on the way, to a leader that is one no more.
                | ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH => Err(Failure::Conflict),
                _ => Err(self.refused(&error).await),
            },
            Err(error) => {
                Err(Failure::Unanswered(format!("its answer is not understood: {error}")))
            }
        }
    }

    /// Removes every key that begins with `prefix`, which ends with a dot.
    ///
    /// # Errors
    /// [`Failure`] says whether nothing was done, or that it is not known.
    pub async fn purge(&self, prefix: &str) -> Result<(), Failure> {
        let stream = self.ready().await?;
        let subject = format!("{}>", self.subject(prefix));
        let purged = async {
            match stream.purge().filter(subject).await {
                Ok(_) => Ok(()),
                Err(error) => Err(Failure::Unanswered(with_causes(&error))),
            }
        };
        self.link.ask(ANSWER_TIMEOUT, purged).await
    }

    /// Returns the keys that match `pattern`, in no order, those that were removed a moment ago
    /// too. For patterns that match few.
    ///
    /// # Errors
    /// [`Failure::Away`].
    pub async fn matching(&self, pattern: &str) -> Result<Vec<String>, Failure> {
        let stream = self.ready().await?;
        let prefix = self.subject("");
        let listed = async {
            let found = stream.info_with_subjects(self.subject(pattern)).await;
            let mut found = found.map_err(|error| away(&with_causes(&error)))?;
            let mut keys = Vec::new();
            while let Some((subject, _)) =
                found.try_next().await.map_err(|error| away(&with_causes(&error)))?
            {
                keys.extend(subject.strip_prefix(&prefix).map(str::to_owned));
            }
            Ok(keys)
        };
        self.link.ask(LIST_TIMEOUT, listed).await.map_err(as_away)
    }

    /// Returns how many messages there are: keys with values, and marks.
    ///
    /// # Errors
    /// [`Failure::Away`].
    pub async fn messages(&self) -> Result<u64, Failure> {
        let stream = self.ready().await?;
        let counted = async {
            let info = stream.get_info().await.map_err(|error| away(&with_causes(&error)))?;
            Ok(info.state.messages)
        };
        self.link.ask(ANSWER_TIMEOUT, counted).await.map_err(as_away)
    }

    /// Tells whoever listens to `topic` this, perhaps in vain: it is kept nowhere.
    pub async fn tell(&self, topic: &str, what: String) {
        if self.link.is_connected() {
            let sent = self.link.client().publish(self.topic(topic), what.into()).await;
            sent.unwrap_or_else(|error| tracing::debug!("nobody is told of {topic:?}: {error}"));
        }
    }

    /// Returns what is told about `topic` from now on.
    ///
    /// # Errors
    /// [`Failure::Away`].
    pub async fn listen(
        &self,
        topic: &str,
    ) -> Result<impl Stream<Item = Bytes> + Send + use<>, Failure> {
        let told = self.link.client().subscribe(self.topic(topic)).await;
        let told = told.map_err(|error| away(&with_causes(&error)))?;
        Ok(told.map(|message| message.payload))
    }

    fn topic(&self, topic: &str) -> String {
        format!("sockhop.{}.{topic}", self.name)
    }

    pub(crate) fn subject(&self, key: &str) -> String {
        format!("{}{key}", layout::subject_prefix(&self.name))
    }

    /// Returns the stream, which is looked for, and made, if that was not done since it was there
    /// last.
    pub(crate) async fn ready(&self) -> Result<Messages<()>, Failure> {
        self.opened().await.map_err(|closed| match closed {
            Closed::Failure(failure) => as_away(failure),
            Closed::Unfit(error) => away(&error.to_string()),
        })
    }

    async fn opened(&self) -> Result<Messages<()>, Closed> {
        let opened = async {
            let mut known = self.stream.lock().await;
            Ok(match &*known {
                Some(stream) => Ok(stream.clone()),
                None => self.find_or_make().await.map(|stream| known.insert(stream).clone()),
            })
        };
        self.link.ask(ANSWER_TIMEOUT, opened).await.map_err(Closed::Failure)?
    }

    async fn find_or_make(&self) -> Result<Messages<()>, Closed> {
        let (context, name) = (self.link.context(), layout::stream_name(&self.name));
        let found = match context.get_stream(&name).await {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    let config = layout::config(&self.name, self.link.is_cluster());
                    let made = context.create_stream(config).await;
                    made.map_err(|error| Closed::Failure(away(&with_causes(&error))))?
                }
                GetStreamErrorKind::JetStream(error)
                    if [
                        ErrorCode::JETSTREAM_NOT_ENABLED,
                        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
                    ]
                    .contains(&error.error_code()) =>
                {
                    return Err(Closed::Unfit(StartError::NoJetStream {
                        reason: error.to_string(),
                    }));
                }
                GetStreamErrorKind::Request
                    if !self.link.has_jetstream() && !self.link.is_cluster() =>
                {
                    let reason = "it has not switched it on".to_owned();
                    return Err(Closed::Unfit(StartError::NoJetStream { reason }));
                }
                _ => return Err(Closed::Failure(away(&with_causes(&error)))),
            },
        };
        let config = &found.cached_info().config;
        layout::check(config).map_err(|reason| {
            Closed::Unfit(StartError::Bucket { bucket: self.name.to_string(), reason })
        })?;
        let copies = config.num_replicas;
        tracing::info!("the bucket {:?} in NATS is there; copies of it: {copies}", self.name);
        context
            .get_stream_no_info(&name)
            .await
            .map_err(|error| Closed::Failure(away(&with_causes(&error))))
    }

    /// Looks for the stream anew at the next use.
    async fn forget(&self) {
        *self.stream.lock().await = None;
    }

    /// Returns the failure that an answer of JetStream is. Nothing was done.
    async fn refused(&self, error: &async_nats::jetstream::Error) -> Failure {
        if error.error_code() == ErrorCode::STREAM_NOT_FOUND {
            self.forget().await;
        }
        away(&error.to_string())
    }
}

/// Why there is no stream.
enum Closed {
    /// For now.
    Failure(Failure),
    /// Until somebody changes something.
    Unfit(StartError),
}

pub(crate) fn away(why: &str) -> Failure {
    Failure::Away(why.to_owned())
}

/// Nothing can have been done by what only reads.
pub(crate) fn as_away(failure: Failure) -> Failure {
    match failure {
        Failure::Unanswered(why) => Failure::Away(why),
        other => other,
    }
}
