//! What is kept of a job, and how it stands in the database. Pure; owns no fds.
//!
//! The record of a job changes with each attempt, its request does not: so they stand apart.
//! Records are JSON, to which a later build can add fields. Each has a number of its layout before
//! it, and a checksum.

use database::entry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The layout of what is encoded here.
const LAYOUT: u64 = 1;

/// How a job reaches what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// As a request to the function.
    Function,
    /// As an event, the way the API of AWS Lambda invokes.
    Event,
    /// Not to the function: to this URL, which is told what came of a job of it.
    Callback(String),
}

/// An attempt that has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// The status of the reply, if there was one.
    pub status: Option<u16>,
    /// The id of the invocation, by which the log has it.
    pub invocation: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Why and since when a job is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// In milliseconds since 1970.
    pub at_ms: u64,
    /// A sentence.
    pub reason: String,
}

/// What changes of a job, and what lists of jobs show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The function's name.
    pub function: String,
    /// The alias or the version that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// How it gets there.
    pub target: Target,
    /// The URL that is told what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
    /// The id of the job of which this one tells what came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// When it was submitted, in milliseconds since 1970.
    pub enqueued_ms: u64,
    /// From when its age counts: since it was submitted, or retried as a dead letter.
    pub since_ms: u64,
    /// It is not tried before.
    pub due_ms: u64,
    /// How many attempts have failed since then.
    #[serde(default)]
    pub attempts: u32,
    /// How large its request is.
    pub bytes: u64,
    /// The last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Attempt>,
    /// Set for a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub death: Option<Death>,
}

impl Record {
    /// Returns what is kept at first of a job that is due now.
    #[must_use]
    pub fn new(function: &str, target: Target, request: &Request, now_ms: u64) -> Self {
        Self {
            function: function.to_owned(),
            reference: None,
            target,
            callback: None,
            about: None,
            enqueued_ms: now_ms,
            since_ms: now_ms,
            due_ms: now_ms,
            attempts: 0,
            bytes: request.bytes(),
            last: None,
            death: None,
        }
    }

    /// Returns whether it tells what came of another job. What comes of such a job nobody is told:
    /// that would have no end.
    #[must_use]
    pub fn is_message(&self) -> bool {
        self.about.is_some() || matches!(self.target, Target::Callback(_))
    }

    /// Returns what is kept of the job if it is to be tried now. A dead letter has all its attempts
    /// again.
    #[must_use]
    pub fn retried(self, now_ms: u64) -> Self {
        match self.death {
            None => Self { due_ms: now_ms, ..self },
            Some(_) => Self { attempts: 0, since_ms: now_ms, due_ms: now_ms, death: None, ..self },
        }
    }
}

/// What is kept for a while of a job that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The function's name.
    pub function: String,
    /// When it was submitted, in milliseconds since 1970.
    pub enqueued_ms: u64,
    /// When it was done, in milliseconds since 1970.
    pub ended_ms: u64,
    /// How many attempts it took.
    pub attempts: u32,
    /// The last of them.
    pub last: Attempt,
}

/// The head of a job's request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The method.
    pub method: String,
    /// The path, and the query if there is one.
    pub path_and_query: String,
    /// The headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A job's request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns how many bytes it counts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let Head { method, path_and_query, headers } = &self.head;
        let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        (method.len() + path_and_query.len() + headers + self.body.len()) as u64
    }
}

/// Bytes that are no such value as they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

impl From<Damaged> for database::Fault {
    fn from(_: Damaged) -> Self {
        Self::Damaged("a job is not as it was written".to_owned())
    }
}

/// Returns the bytes of a record.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and options of them can always be written.
    entry::encode(LAYOUT, &serde_json::to_vec(value).unwrap_or_default())
}

/// Returns the record that [`encode`] was given.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damaged> {
    serde_json::from_slice(laid_out(bytes)?).map_err(|_| Damaged)
}

/// Returns the bytes of a request.
pub(crate) fn encode_request(request: &Request) -> Vec<u8> {
    let mut bytes = postcard::to_allocvec(&request.head).unwrap_or_default();
    bytes.extend(&request.body);
    entry::encode(LAYOUT, &bytes)
}

/// Returns the request that [`encode_request`] was given.
pub(crate) fn decode_request(bytes: &[u8]) -> Result<Request, Damaged> {
    let (head, body) = postcard::take_from_bytes(laid_out(bytes)?).map_err(|_| Damaged)?;
    Ok(Request { head, body: body.to_owned() })
}

fn laid_out(bytes: &[u8]) -> Result<&[u8], Damaged> {
    match entry::decode(bytes) {
        Ok((LAYOUT, value)) => Ok(value),
        _ => Err(Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_request_is_read_as_it_was_written_or_not_at_all(
            method in "[A-Z]{1,9}", path_and_query: String, body: Vec<u8>,
            headers: Vec<(String, Vec<u8>)>, at: prop::sample::Index, with in 1..=u8::MAX,
        ) {
            let request = Request { head: Head { method, path_and_query, headers }, body };
            let mut bytes = encode_request(&request);
            prop_assert_eq!(decode_request(&bytes), Ok(request));
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            prop_assert_eq!(decode_request(&bytes), Err(Damaged));
        }
    }

    #[test]
    fn a_record_of_a_later_build_can_have_more() {
        let text = r#"{"function":"hello","target":"event","enqueued_ms":1,
            "since_ms":2,"due_ms":3,"bytes":4,"colour":"green"}"#;
        let record: Record = decode(&entry::encode(LAYOUT, text.as_bytes())).unwrap();
        assert_eq!((record.attempts, record.target), (0, Target::Event));
        assert_eq!(decode::<Record>(&entry::encode(LAYOUT + 1, text.as_bytes())), Err(Damaged));
    }
}
