//! When a handler is ready: as soon as it answers `GET /`, whatever it answers
//! (`DefaultHttpWorkerService.IsWorkerReady` of Azure's host). Pure; owns no fds.

use std::time::{Duration, Instant};

use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Request, Uri};

use crate::headers::USER_AGENT_VALUE;

/// The pause between two attempts.
pub const READY_INTERVAL: Duration = Duration::from_millis(25);
/// How long after its start a handler may not be ready.
pub const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// The handler gets invocations.
    Ready,
    /// The next attempt is due at this time.
    AttemptAt(Instant),
    /// The handler is given up.
    TimedOut,
}

/// Returns the request by which the handler at `port` is tried.
#[must_use]
pub fn request(port: u16) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_static("/");
    // Digits are allowed in a header.
    if let Ok(host) = HeaderValue::try_from(format!("127.0.0.1:{port}")) {
        request.headers_mut().insert(HOST, host);
    }
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
    request
}

/// Returns what follows from an attempt that began at `began`, when the process was started at
/// `started` and it is `now`. `answered` says whether a response came, of any status. A connection
/// that is refused or breaks is none.
#[must_use]
pub fn after_attempt(started: Instant, began: Instant, now: Instant, answered: bool) -> Readiness {
    if answered {
        return Readiness::Ready;
    }
    let next = (began + READY_INTERVAL).max(now);
    if next >= started + READY_TIMEOUT {
        return Readiness::TimedOut;
    }
    Readiness::AttemptAt(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_made_until_one_is_answered_or_the_time_is_over() {
        let started = Instant::now();
        let at = |ms| started + Duration::from_millis(ms);
        assert_eq!(after_attempt(started, at(0), at(1), true), Readiness::Ready);
        assert_eq!(after_attempt(started, at(0), at(40_000), true), Readiness::Ready);
        assert_eq!(after_attempt(started, at(0), at(1), false), Readiness::AttemptAt(at(25)));
        assert_eq!(after_attempt(started, at(0), at(60), false), Readiness::AttemptAt(at(60)));
        assert_eq!(after_attempt(started, at(29_980), at(29_981), false), Readiness::TimedOut);
    }

    #[test]
    fn the_request_is_for_the_root() {
        let request = request(8081);
        assert_eq!(request.uri(), "/");
        assert_eq!(request.headers()[HOST], "127.0.0.1:8081");
    }
}
