//! What the Runtime API says of an event in the header fields of `/runtime/invocation/next`. Pure.
//! Owns no fds.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::timestamp;

const REQUEST_ID: &str = "Lambda-Runtime-Aws-Request-Id";
const DEADLINE_MS: &str = "Lambda-Runtime-Deadline-Ms";
const TRACE_ID: &str = "Lambda-Runtime-Trace-Id";

/// What is said of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The id of the invocation, which stands in the paths that its result and its error are posted
    /// to. It has nothing that would have to be encoded there.
    pub request_id: String,
    /// When the invocation times out, in milliseconds since 1970.
    pub deadline_unix_ms: u64,
    /// The trace that the invocation belongs to, if it does, as `X-Amzn-Trace-Id` writes it.
    pub trace_id: Option<String>,
}

/// Why the header fields cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NextError {
    /// A field is not there.
    #[error("the Runtime API sent an event without the header {0}")]
    Missing(&'static str),
    /// A field is not ASCII.
    #[error("the Runtime API sent the header {0} with characters that are not ASCII")]
    NotText(&'static str),
    /// The id has characters that would have to be encoded in a path.
    #[error(
        "the Runtime API sent the header {REQUEST_ID} with something else than letters, digits, \
         '-', '.', '_' and '~'"
    )]
    NotAnId,
    /// The deadline is not a number.
    #[error(
        "the Runtime API sent the header {DEADLINE_MS} with something else than milliseconds since \
         1970"
    )]
    NotATime,
}

impl Next {
    /// Returns what `headers` say of the event that they came with.
    ///
    /// # Errors
    ///
    /// Returns a [`NextError`] that names the field which is not there or cannot be read.
    pub fn read(headers: &HeaderMap) -> Result<Self, NextError> {
        let request_id = text(headers, REQUEST_ID)?.ok_or(NextError::Missing(REQUEST_ID))?;
        let is_unreserved =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        // Whole segments of dots would lead out of the path.
        let is_dots = request_id.bytes().all(|byte| byte == b'.');
        if is_dots || !request_id.bytes().all(is_unreserved) {
            return Err(NextError::NotAnId);
        }
        let deadline = text(headers, DEADLINE_MS)?.ok_or(NextError::Missing(DEADLINE_MS))?;
        Ok(Self {
            request_id: request_id.to_owned(),
            deadline_unix_ms: deadline.parse().map_err(|_| NextError::NotATime)?,
            trace_id: text(headers, TRACE_ID)?.map(str::to_owned).filter(|id| !id.is_empty()),
        })
    }

    /// Returns how much time the invocation has at `now`.
    #[must_use]
    pub fn time_left(&self, now: SystemTime) -> Duration {
        Duration::from_millis(self.deadline_unix_ms.saturating_sub(timestamp::unix_ms(now)))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, NextError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value.to_str().map(Some).map_err(|_| NextError::NotText(name))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn of(fields: &[(&str, &[u8])]) -> Result<Next, NextError> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            headers.insert(name, HeaderValue::from_bytes(value).unwrap());
        }
        Next::read(&headers)
    }

    #[test]
    fn an_event_comes_with_its_id_its_deadline_and_its_trace() {
        let id = (REQUEST_ID, &b"8476a536-e9f4-11e8-9739-2dfe598c3fcd"[..]);
        let deadline = (DEADLINE_MS, &b"1542409706888"[..]);
        let next = of(&[id, deadline, (TRACE_ID, b"Root=1;Sampled=1")]).unwrap();
        assert_eq!(next.request_id, "8476a536-e9f4-11e8-9739-2dfe598c3fcd");
        assert_eq!(next.deadline_unix_ms, 1_542_409_706_888);
        assert_eq!(next.trace_id.as_deref(), Some("Root=1;Sampled=1"));
        assert_eq!(of(&[id, deadline]).unwrap().trace_id, None);
        assert_eq!(of(&[id, deadline, (TRACE_ID, b"")]).unwrap().trace_id, None);
    }

    #[test]
    fn an_error_names_the_field() {
        let id = (REQUEST_ID, &b"1"[..]);
        let deadline = (DEADLINE_MS, &b"2"[..]);
        assert_eq!(of(&[deadline]), Err(NextError::Missing(REQUEST_ID)));
        assert_eq!(of(&[id]), Err(NextError::Missing(DEADLINE_MS)));
        assert_eq!(of(&[id, deadline, (TRACE_ID, b"\xff")]), Err(NextError::NotText(TRACE_ID)));
        for bad in [&b""[..], b".", b"..", b"a/b", b"a?b", b"a b"] {
            assert_eq!(of(&[(REQUEST_ID, bad), deadline]), Err(NextError::NotAnId));
        }
        for bad in [&b""[..], b"-1", b"1.5", b"x", b"99999999999999999999"] {
            let error = of(&[id, (DEADLINE_MS, bad)]).unwrap_err();
            assert_eq!(error, NextError::NotATime);
            assert!(error.to_string().contains(DEADLINE_MS));
        }
    }

    #[test]
    fn time_is_left_until_the_deadline() {
        let next = of(&[(REQUEST_ID, b"1"), (DEADLINE_MS, b"1500")]).unwrap();
        let at = |ms| next.time_left(SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!(at(1_000), Duration::from_millis(500));
        assert_eq!(at(2_000), Duration::ZERO);
    }
}
