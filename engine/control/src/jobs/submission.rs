//! What is to be kept as a job, and the checks of it: it may come from a worker, which may lie. Pure;
//! owns no fds.

use abi::limits::{JOB_BODY_BYTES_MAX, JOB_HEAD_BYTES_MAX, JOB_HEADERS_MAX};
use jobs::record::{Head, Record, Request, Target};

use super::callback;
use super::error::JobError;

/// An invocation that is to be made later.
#[derive(Debug, Clone)]
pub struct Submission {
    /// How it reaches the function.
    pub target: Target,
    /// The URL that is told what came of it.
    pub callback: Option<String>,
    /// What the function is asked.
    pub request: abi::job::Submission,
}

impl Submission {
    /// Checks all of it. Returns what is kept of it at `now_ms`.
    pub(super) fn check(self, function: &str, now_ms: u64) -> Result<(Record, Request), JobError> {
        let Self { target, callback, request } = self;
        if request.body.len() > JOB_BODY_BYTES_MAX {
            return Err(JobError::BodyTooLarge);
        }
        if request.head_bytes() > JOB_HEAD_BYTES_MAX || request.headers.len() > JOB_HEADERS_MAX {
            return Err(JobError::HeadTooLarge);
        }
        request
            .check()
            .map_err(|why| JobError::Invalid(format!("the request is refused: {why}")))?;
        if let Some(url) = &callback {
            callback::check(url)?;
        }
        let abi::job::Submission { alias_or_version, method, path_and_query, headers, body } =
            request;
        let request = Request { head: Head { method, path_and_query, headers }, body };
        let record = Record::new(function, target, &request, now_ms);
        Ok((Record { reference: alias_or_version, callback, ..record }, request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission() -> Submission {
        let request = abi::job::Submission {
            alias_or_version: None,
            method: "POST".to_owned(),
            path_and_query: "/a?b=c".to_owned(),
            headers: vec![("content-type".to_owned(), b"text/plain".to_vec())],
            body: b"x".to_vec(),
        };
        Submission { target: Target::Function, callback: None, request }
    }

    #[test]
    fn what_is_kept_says_when_and_how_large_it_is() {
        let (record, request) = submission().check("web", 5).unwrap();
        assert_eq!((record.enqueued_ms, record.bytes), (5, request.bytes()));
        assert_eq!((&*record.function, &*request.head.path_and_query), ("web", "/a?b=c"));
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let refused = |change: fn(&mut Submission)| {
            let mut submission = submission();
            change(&mut submission);
            submission.check("web", 0).unwrap_err()
        };
        for change in [
            (|it| it.request.method = "A B".to_owned()) as fn(&mut Submission),
            |it| it.request.method = String::new(),
            |it| it.request.method = "CONNECT".to_owned(),
            |it| it.request.path_and_query = String::new(),
            |it| it.request.path_and_query = "a".to_owned(),
            |it| it.request.path_and_query = "/a b".to_owned(),
            |it| it.request.path_and_query = "/a#b".to_owned(),
            |it| it.request.path_and_query = "/\r\nx: y".to_owned(),
            |it| it.callback = Some("ftp://example.com/".to_owned()),
            |it| it.request.headers.push(("a b".to_owned(), Vec::new())),
            |it| it.request.headers.push(("a".to_owned(), b"\r\nx: y".to_vec())),
        ] {
            assert!(matches!(refused(change), JobError::Invalid(_)));
        }
        let body = refused(|it| it.request.body = vec![0; JOB_BODY_BYTES_MAX + 1]);
        assert!(matches!(body, JobError::BodyTooLarge));
        let head = refused(|it| {
            it.request.headers = vec![("a".to_owned(), vec![b'a'; JOB_HEAD_BYTES_MAX])]
        });
        assert!(matches!(head, JobError::HeadTooLarge));
    }
}
