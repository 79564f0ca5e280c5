//! Jobs: requests that the node keeps and makes of a function later, and what a worker says of them
//! to the engine.
//!
//! A worker puts a [`Submission`] into sealed memory, whose fd goes with its question on the state
//! socket ([`crate::state`]). The engine trusts none of it: [`Submission::open`] copies the bytes
//! out, validates the archive, and checks every part against its limit and its syntax, so that what
//! is kept is a request that can be made. Owns no fds.

#![allow(
    missing_docs,
    reason = "rkyv's derives make resolvers without docs; every type of ours has them"
)]

use std::os::fd::{AsFd, OwnedFd};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rkyv::rancor::Error as ArchiveError;
use rkyv::{Archive, Deserialize, Serialize};

use crate::envelope::{self, EnvelopeError};
use crate::head::is_reserved;
use crate::invocation_id::InvocationId;
use crate::limits::{
    JOB_BODY_BYTES_MAX, JOB_HEAD_BYTES_MAX, JOB_HEADERS_MAX, JOB_SUBMISSION_BYTES_MAX,
};
use crate::reference::Reference;
use crate::sealed::{self, SealedError};

/// A job's id. It has the form of an invocation's, and is the job's idempotency key.
pub type JobId = InvocationId;

/// The header by which a function knows that it is called for a job: the job's id.
pub const ID_HEADER: &str = "sockhop-job";
/// The header that says which attempt it is; 1 is the first.
pub const ATTEMPT_HEADER: &str = "sockhop-job-attempt";
/// The header of a job by which the node tells what came of another one: the id of that.
pub const ABOUT_HEADER: &str = "sockhop-job-about";
/// Where a client asks about a job: this and the id, at its function's address.
pub const STATUS_PATH: &str = "/.well-known/sockhop/jobs/";

/// What the memory of a submission is for.
const MEMORY: &str = "job";
/// What a header counts besides its name and its value, when it is sent.
const HEADER_BYTES: usize = 4;

/// Headers that are not of the request, but of the connection that it came by or of its framing.
const CONNECTION_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn is_of_connection(name: &str) -> bool {
    CONNECTION_HEADERS.contains(&name)
}

/// A request that is to become a job.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// What of the function is called, as it stands behind an `@`. `None` for the alias `active`.
    pub alias_or_version: Option<String>,
    /// The request's method.
    pub method: String,
    /// The path as the function sees it, and the query.
    pub path_and_query: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// What is wrong with a submission.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    /// Not the memory that was expected.
    #[error(transparent)]
    Memory(#[from] SealedError),
    /// Not an archive of this build.
    #[error("a job's request cannot be read: {0}")]
    Archive(#[from] EnvelopeError),
    /// It is no request that can be made.
    #[error("a job's request is refused: {0}")]
    Request(&'static str),
}

impl From<ArchiveError> for SubmissionError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error.into())
    }
}

impl Submission {
    /// Returns the submission of a request, without the headers that a job does not keep: those of
    /// the connection that it came by, and those that the node sets. It may be beyond its limits.
    #[must_use]
    pub fn new(
        alias_or_version: Option<String>,
        method: &Method,
        path_and_query: &str,
        headers: &HeaderMap,
        body: Vec<u8>,
    ) -> Self {
        let kept = headers.iter().filter(|(name, _)| {
            let name = name.as_str();
            !is_of_connection(name) && !is_reserved(name)
        });
        let kept = kept.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
        Self {
            alias_or_version,
            method: method.as_str().to_owned(),
            path_and_query: path_and_query.to_owned(),
            headers: kept.collect(),
            body,
        }
    }

    /// Returns how many bytes everything but the body has, as it is sent.
    #[must_use]
    pub fn head_bytes(&self) -> usize {
        let headers =
            self.headers.iter().map(|(name, value)| name.len() + value.len() + HEADER_BYTES);
        self.method.len() + self.path_and_query.len() + headers.sum::<usize>()
    }

    /// Returns how many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.head_bytes() + self.body.len()
    }

    /// Checks that it is a request that can be made, within its limits.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.body.len() > JOB_BODY_BYTES_MAX {
            return Err("its body is larger than 1 MiB");
        }
        if self.headers.len() > JOB_HEADERS_MAX {
            return Err("it has more than 90 headers");
        }
        if self.head_bytes() > JOB_HEAD_BYTES_MAX {
            return Err("its head is larger than 60 KiB");
        }
        if self.alias_or_version.as_deref().is_some_and(|of| Reference::read(of).is_none()) {
            return Err("it is for no alias and no version");
        }
        if !Method::from_bytes(self.method.as_bytes()).is_ok_and(|method| method != Method::CONNECT)
        {
            return Err("its method is not well formed");
        }
        let path = PathAndQuery::try_from(self.path_and_query.as_str());
        // A fragment would be cut off, and is never sent.
        if !path.is_ok_and(|path| path.as_str() == self.path_and_query)
            || !self.path_and_query.starts_with('/')
        {
            return Err("its path is not well formed");
        }
        self.headers.iter().try_for_each(|(name, value)| check_header(name, value))
    }

    /// Puts it into sealed memory. The caller owns the fd.
    ///
    /// # Errors
    /// If memory or file descriptors run out.
    pub fn seal(&self) -> Result<OwnedFd, SubmissionError> {
        Ok(sealed::create(MEMORY, &envelope::pack(self)?)?)
    }

    /// Copies it out of memory that somebody else has sealed, and checks it.
    ///
    /// # Errors
    /// [`SubmissionError`] if the memory is none of [`Self::seal`], or what is in it is no request
    /// within the limits.
    pub fn open(fd: impl AsFd) -> Result<Self, SubmissionError> {
        Self::read(&sealed::read(MEMORY, fd, JOB_SUBMISSION_BYTES_MAX)?)
    }

    /// Reads it from its bytes, aligned as an archive's are, and checks it.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub fn read(bytes: &[u8]) -> Result<Self, SubmissionError> {
        let submission: Self = rkyv::from_bytes::<_, ArchiveError>(envelope::archive_of(bytes)?)?;
        submission.check().map_err(SubmissionError::Request)?;
        Ok(submission)
    }
}

fn check_header(name: &str, value: &[u8]) -> Result<(), &'static str> {
    // Whatever is not in lower case comes out otherwise.
    if !HeaderName::from_bytes(name.as_bytes()).is_ok_and(|parsed| parsed.as_str() == name) {
        return Err("a header's name is not well formed");
    }
    if HeaderValue::from_bytes(value).is_err() {
        return Err("a header's value is not well formed");
    }
    if is_of_connection(name) {
        return Err("a header is of the connection and not of the request");
    }
    match is_reserved(name) {
        true => Err("a header is the node's to set"),
        false => Ok(()),
    }
}

/// Why a job was not taken.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The worker does not run the function, or no version of it takes jobs.
    Denied,
    /// There are as many as may be.
    Full(String),
    /// The node cannot keep it now.
    Unavailable(String),
}

/// How far a job is.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It waits for its first attempt, or for another.
    Queued,
    /// An attempt is on its way.
    Running,
    /// The function has done it.
    Done,
    /// It is tried no more.
    Dead,
}

impl State {
    /// Returns its name in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }

    /// Returns whether nothing follows any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Dead)
    }
}

/// What a client is told of its job.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How far it is.
    pub state: State,
    /// How many attempts have ended, but for those that were put off.
    pub attempts: u32,
    /// The status of the last attempt's reply. `None` if it had none.
    pub status: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn submission() -> Submission {
        Submission {
            alias_or_version: Some("staging".to_owned()),
            method: "POST".to_owned(),
            path_and_query: "/a/b?c=d".to_owned(),
            headers: vec![("content-type".to_owned(), b"text/plain".to_vec())],
            body: b"hello".to_vec(),
        }
    }

    #[test]
    fn the_largest_crosses_in_sealed_memory() {
        let mut largest = submission();
        largest.body = vec![7; JOB_BODY_BYTES_MAX];
        largest.headers = vec![("x".to_owned(), Vec::new()); JOB_HEADERS_MAX];
        largest.headers[0].1 = vec![b'y'; JOB_HEAD_BYTES_MAX - largest.head_bytes()];
        for submission in [submission(), largest] {
            assert_eq!(submission.check(), Ok(()));
            assert_eq!(Submission::open(submission.seal().unwrap()).unwrap(), submission);
        }
    }

    #[test]
    fn a_job_keeps_the_headers_of_its_request_alone() {
        let mut headers = HeaderMap::new();
        for name in ["host", "content-length", "connection", "sockhop-job", "sockhop-cron-time"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        let made = Submission::new(None, &Method::PUT, "/", &headers, Vec::new());
        let kept: Vec<_> = made.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(kept, [("x-a", &b"1"[..]), ("x-a", b"2")]);
        assert_eq!(made.check(), Ok(()));
    }

    #[test]
    fn a_request_that_cannot_be_made_is_refused() {
        type Change = fn(&mut Submission);
        let changes: [Change; 18] = [
            |it| it.body = vec![7; JOB_BODY_BYTES_MAX + 1],
            |it| it.headers[0].1 = vec![b'y'; JOB_HEAD_BYTES_MAX],
            |it| it.headers = vec![("x".to_owned(), Vec::new()); JOB_HEADERS_MAX + 1],
            |it| it.alias_or_version = Some("../x".to_owned()),
            |it| it.alias_or_version = Some(String::new()),
            |it| it.method = String::new(),
            |it| it.method = "GET /".to_owned(),
            |it| it.method = "CONNECT".to_owned(),
            |it| it.path_and_query = String::new(),
            |it| it.path_and_query = "*".to_owned(),
            |it| it.path_and_query = "/a#b".to_owned(),
            |it| it.path_and_query = "/a b".to_owned(),
            |it| it.path_and_query = "/a\r\nx: y".to_owned(),
            |it| it.headers[0].0 = "Content-Type".to_owned(),
            |it| it.headers[0].1 = b"a\r\nb: c".to_vec(),
            |it| it.headers[0].0 = "transfer-encoding".to_owned(),
            |it| it.headers[0].0 = ATTEMPT_HEADER.to_owned(),
            |it| it.headers[0].0 = "sockhop-cron".to_owned(),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut changed = submission();
            change(&mut changed);
            assert!(changed.check().is_err(), "change {at}");
            assert!(Submission::open(changed.seal().unwrap()).is_err(), "change {at}");
        }
    }

    #[test]
    fn memory_that_its_sender_can_still_change_is_refused() {
        let open = sealed::unsealed(MEMORY).unwrap();
        assert!(matches!(Submission::open(open), Err(SubmissionError::Memory(_))));
        let (read, _write) = nix::unistd::pipe().unwrap();
        assert!(matches!(Submission::open(read), Err(SubmissionError::Memory(_))));
        let garbage = sealed::create(MEMORY, &[0xa5; 100]).unwrap();
        assert!(matches!(Submission::open(garbage), Err(SubmissionError::Archive(_))));
    }

    proptest! {
        #[test]
        fn any_flipped_byte_is_survived(at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let mut bytes = envelope::pack(&submission()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let end = cut.index(bytes.len()) + 1;
            for bytes in [&bytes[..], &bytes[..end]] {
                if let Ok(read) = Submission::read(bytes) {
                    prop_assert_eq!(read.check(), Ok(()));
                }
            }
        }
    }
}
