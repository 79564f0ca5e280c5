//! Why an invocation has no result, and how callers are told. Owns no fds.

use std::time::Duration;

use bytes::Bytes;

use crate::error_body::type_and_message;
use crate::exit::Exit;
use crate::limits::RESPONSE_BYTES_MAX;

/// Why an invocation has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The function reported an error.
    Function {
        /// Its type, as [`accepted_type`](crate::error_body::accepted_type) leaves it.
        error_type: String,
        /// The error as the function wrote it.
        body: Bytes,
    },
    /// The result is longer than [`RESPONSE_BYTES_MAX`].
    TooLarge {
        /// How long it is.
        size_bytes: u64,
    },
    /// The runtime asked for a response mode that does not exist.
    BadResponseMode,
    /// The connection ended before the result did.
    Truncated,
    /// The process ended.
    Exited(Exit),
    /// The time for the invocation was up.
    TimedOut {
        /// How long it might have taken.
        limit: Duration,
    },
}

impl Failure {
    /// Returns the type of the error, for callers, logs and counters.
    #[must_use]
    pub fn error_type(&self) -> &str {
        match self {
            Self::Function { error_type, .. } => error_type,
            Self::TooLarge { .. } => "Function.ResponseSizeTooLarge",
            Self::BadResponseMode => "Runtime.InvalidResponseModeHeader",
            Self::Truncated => "Runtime.TruncatedResponse",
            Self::Exited(_) => "Runtime.ExitError",
            Self::TimedOut { .. } => "Sandbox.Timedout",
        }
    }

    /// Returns the error that a caller of the invocation `id` gets, as JSON. An error that a
    /// function reported stands as the function wrote it: Go's stack traces are objects, others'
    /// are text, and Rust has none.
    #[must_use]
    pub fn body(&self, id: &str) -> Bytes {
        let message = match self {
            Self::Function { body, .. } if !body.is_empty() => return body.clone(),
            Self::Function { .. } => {
                format!("RequestId: {id} Error: the runtime reported an error without saying which")
            }
            Self::TooLarge { size_bytes } => format!(
                "Response payload size ({size_bytes} bytes) exceeded maximum allowed payload size \
                 ({RESPONSE_BYTES_MAX} bytes)."
            ),
            Self::BadResponseMode => {
                format!("RequestId: {id} Error: the runtime asked for an unknown response mode")
            }
            Self::Truncated => {
                format!("RequestId: {id} Error: the runtime's response ended before its end")
            }
            Self::Exited(exit) => format!("RequestId: {id} Error: {exit}"),
            Self::TimedOut { limit } => {
                format!(
                    "RequestId: {id} Error: Task timed out after {:.2} seconds",
                    limit.as_secs_f64()
                )
            }
        };
        type_and_message(self.error_type(), &message)
    }
}

/// Returns the error that a caller gets when the process ended while it ran the invocation `id`.
#[must_use]
pub fn exit_error(id: &str, exit: Exit) -> Bytes {
    Failure::Exited(exit).body(id)
}

/// Returns the error that a caller gets when the invocation `id` took longer than `limit`.
#[must_use]
pub fn timed_out(id: &str, limit: Duration) -> Bytes {
    Failure::TimedOut { limit }.body(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_errors_read_as_on_lambda() {
        let limit = Duration::from_secs(3);
        for (body, error_type, message) in [
            (
                exit_error("42", Exit::Status(1)),
                "Runtime.ExitError",
                "RequestId: 42 Error: Runtime exited with error: exit status 1",
            ),
            (
                timed_out("42", limit),
                "Sandbox.Timedout",
                "RequestId: 42 Error: Task timed out after 3.00 seconds",
            ),
            (
                Failure::TooLarge { size_bytes: 7_000_000 }.body("42"),
                "Function.ResponseSizeTooLarge",
                "Response payload size (7000000 bytes) exceeded maximum allowed payload size \
                 (6291556 bytes).",
            ),
        ] {
            let expected = format!(r#"{{"errorType":"{error_type}","errorMessage":"{message}"}}"#);
            assert_eq!(body, expected);
        }
    }

    #[test]
    fn a_functions_own_error_is_passed_on_as_it_is() {
        let body = Bytes::from_static(br#"{"stackTrace":[{"path":"a","line":1,"label":"b"}]}"#);
        let failure =
            Failure::Function { error_type: "Runtime.Unknown".into(), body: body.clone() };
        assert_eq!(failure.body("42"), body);
    }
}
