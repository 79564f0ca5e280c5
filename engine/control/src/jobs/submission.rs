//! What is to be kept as a job, and the checks of it: it may come from a worker, which may lie. Pure;
//! owns no fds.

pub(super) use abi::job::{ATTEMPT_HEADER, ID_HEADER};
use abi::limits::{JOB_BODY_BYTES_MAX, JOB_HEAD_BYTES_MAX};
use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderName, HeaderValue, Method};
use jobs::record::{Head, Record, Request, Target};

use super::callback;
use super::error::JobError;
use crate::token;

/// Headers that belong to the request that submits, not to the attempts.
const LEFT_OUT: [HeaderName; 11] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    token::HEADER,
];

/// An invocation that is to be made later.
#[derive(Debug, Clone)]
pub struct Submission {
    /// An alias or a version of the function. `None` for what its bare name means.
    pub reference: Option<String>,
    /// How it reaches the function.
    pub target: Target,
    /// The URL that is told what came of it.
    pub callback: Option<String>,
    /// Its method.
    pub method: String,
    /// Its path, and its query if there is one.
    pub path_and_query: String,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Submission {
    /// Checks all of it. Returns what is kept of it at `now_ms`.
    pub(super) fn check(self, function: &str, now_ms: u64) -> Result<(Record, Request), JobError> {
        let Self { reference, target, callback, method, path_and_query, headers, body } = self;
        if body.len() > JOB_BODY_BYTES_MAX {
            return Err(JobError::BodyTooLarge);
        }
        let mut head_bytes = path_and_query.len();
        let mut kept = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            head_bytes += name.len() + value.len();
            let parsed = name.parse::<HeaderName>().ok();
            let parsed = parsed.filter(|_| HeaderValue::from_bytes(&value).is_ok());
            let parsed =
                parsed.ok_or_else(|| JobError::Invalid(format!("{name:?} is no header")))?;
            if !LEFT_OUT.contains(&parsed) && !parsed.as_str().starts_with(ID_HEADER) {
                kept.push((parsed.as_str().to_owned(), value));
            }
        }
        if head_bytes > JOB_HEAD_BYTES_MAX {
            return Err(JobError::HeadTooLarge);
        }
        if Method::from_bytes(method.as_bytes()).map_or(true, |method| method == Method::CONNECT) {
            return Err(JobError::Invalid(format!("{method:?} is no method for it")));
        }
        let is_path = path_and_query.starts_with('/')
            && path_and_query.parse::<PathAndQuery>().is_ok_and(|it| it == *path_and_query);
        if !is_path {
            return Err(JobError::Invalid(format!("{path_and_query:?} is no path")));
        }
        if let Some(url) = &callback {
            callback::check(url)?;
        }
        let head = Head { method, path_and_query, headers: kept };
        let request = Request { head, body };
        let record = Record {
            function: function.to_owned(),
            reference,
            target,
            callback,
            enqueued_ms: now_ms,
            since_ms: now_ms,
            due_ms: now_ms,
            attempts: 0,
            bytes: request.bytes(),
            last: None,
            death: None,
        };
        Ok((record, request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission() -> Submission {
        Submission {
            reference: None,
            target: Target::Function,
            callback: None,
            method: "POST".to_owned(),
            path_and_query: "/a?b=c".to_owned(),
            headers: vec![("Content-Type".to_owned(), b"text/plain".to_vec())],
            body: b"x".to_vec(),
        }
    }

    #[test]
    fn only_what_is_the_functions_is_kept() {
        let mut submission = submission();
        for name in ["Connection", "content-length", "Sockhop-Job", "sockhop-job-attempt", "host"] {
            submission.headers.push((name.to_owned(), b"1".to_vec()));
        }
        let (record, request) = submission.check("web", 5).unwrap();
        let headers = vec![("content-type".to_owned(), b"text/plain".to_vec())];
        assert_eq!(request.head.headers, headers);
        assert_eq!((record.enqueued_ms, record.bytes), (5, request.bytes()));
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let refused = |change: fn(&mut Submission)| {
            let mut submission = submission();
            change(&mut submission);
            submission.check("web", 0).unwrap_err()
        };
        for change in [
            (|it| it.method = "A B".to_owned()) as fn(&mut Submission),
            |it| it.method = String::new(),
            |it| it.method = "CONNECT".to_owned(),
            |it| it.path_and_query = String::new(),
            |it| it.path_and_query = "a".to_owned(),
            |it| it.path_and_query = "/a b".to_owned(),
            |it| it.path_and_query = "/a#b".to_owned(),
            |it| it.path_and_query = "/\r\nx: y".to_owned(),
            |it| it.callback = Some("ftp://example.com/".to_owned()),
            |it| it.headers.push(("a b".to_owned(), Vec::new())),
            |it| it.headers.push(("a".to_owned(), b"\r\nx: y".to_vec())),
        ] {
            assert!(matches!(refused(change), JobError::Invalid(_)));
        }
        let body = refused(|it| it.body = vec![0; JOB_BODY_BYTES_MAX + 1]);
        assert!(matches!(body, JobError::BodyTooLarge));
        let head =
            refused(|it| it.headers = vec![("a".to_owned(), vec![b'a'; JOB_HEAD_BYTES_MAX])]);
        assert!(matches!(head, JobError::HeadTooLarge));
    }
}
