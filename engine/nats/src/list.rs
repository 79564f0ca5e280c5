//! Lists of what is in a bucket. Owns no fds.
//!
//! A replica answers, perhaps with what was before. Who must know that a list is no older than
//! something looks whether that is in it.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream as Messages;
use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::bucket::{Bucket, Entry, LIST_TIMEOUT, OPERATION, as_away, away};
use crate::error::{Failure, with_causes};

/// How long the keys of a bucket may take to be listed with their values.
const LIST_VALUES_TIMEOUT: Duration = Duration::from_secs(60);
/// How many are asked for at a time.
const LIST_MESSAGES: usize = 5000;
/// A list that nobody goes on with is forgotten after this.
const LIST_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// After so long it is asked again what is left of a list.
const PAUSE: Duration = Duration::from_millis(20);

impl Bucket {
    /// Returns the keys that begin with `prefix`, which ends with a dot, in no order, each with its
    /// revision.
    ///
    /// # Errors
    /// [`Failure::Away`].
    pub async fn keys(&self, prefix: &str) -> Result<Vec<(String, u64)>, Failure> {
        let stream = self.ready().await?;
        let listed = self.listed(stream, vec![format!("{}>", self.subject(prefix))], true);
        let listed = self.link.ask(LIST_TIMEOUT, listed).await.map_err(as_away)?;
        Ok(listed.into_iter().map(|(key, entry)| (key, entry.revision)).collect())
    }

    /// Returns the keys that match one of `patterns`, of which no two may match the same, in no
    /// order, each with its value.
    ///
    /// # Errors
    /// [`Failure::Away`].
    pub async fn entries(&self, patterns: &[&str]) -> Result<Vec<(String, Entry)>, Failure> {
        let stream = self.ready().await?;
        let subjects = patterns.iter().map(|pattern| self.subject(pattern)).collect();
        let listed = self.listed(stream, subjects, false);
        self.link.ask(LIST_VALUES_TIMEOUT, listed).await.map_err(as_away)
    }

    async fn listed(
        &self,
        stream: Messages<()>,
        filter_subjects: Vec<String>,
        headers_only: bool,
    ) -> Result<Vec<(String, Entry)>, Failure> {
        let away_of = |error: &(dyn std::error::Error + 'static)| away(&with_causes(error));
        let config = pull::Config {
            filter_subjects,
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            headers_only,
            memory_storage: true,
            inactive_threshold: LIST_IDLE_TIMEOUT,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| away_of(&error))?;
        let start = self.subject("");
        // The last state of each: what is written meanwhile comes again.
        let mut found: HashMap<String, Option<Entry>> = HashMap::new();
        let mut left = consumer.cached_info().num_pending;
        while left > 0 {
            let fetched = consumer.fetch().max_messages(LIST_MESSAGES).messages().await;
            let mut messages = fetched.map_err(|error| away_of(&error))?;
            let mut is_empty = true;
            while let Some(message) = messages.next().await {
                let message = message.map_err(|error| away(&error.to_string()))?;
                let info = message.info().map_err(|error| away(&error.to_string()))?;
                let (revision, pending) = (info.stream_sequence, info.pending);
                let is_mark =
                    message.headers.as_ref().is_some_and(|of| of.get(OPERATION).is_some());
                if let Some(key) = message.subject.strip_prefix(&start) {
                    // A part of what has come would keep all of it.
                    let value = Bytes::copy_from_slice(&message.payload);
                    let entry = (!is_mark).then_some(Entry { revision, value });
                    found.insert(key.to_owned(), entry);
                }
                (left, is_empty) = (pending, false);
            }
            if is_empty {
                // What was left has gone meanwhile, or does not come just now.
                let info = consumer.get_info().await.map_err(|error| away_of(&error))?;
                left = info.num_pending;
                tokio::time::sleep(PAUSE).await;
            }
        }
        let name = consumer.cached_info().name.clone();
        // Otherwise it passes by itself.
        self.link.spawn(async move { drop(stream.delete_consumer(&name).await) });
        Ok(found.into_iter().filter_map(|(key, entry)| Some((key, entry?))).collect())
    }
}
