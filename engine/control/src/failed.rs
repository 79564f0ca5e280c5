//! An error on its way to a client: the one place where a fault becomes a status. Owns no fds.

use std::fmt::Display;

use api::errors::ErrorAnswer;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use host::fault::{ClientFault, Fault, FunctionFault, NodeFault, Retry, StoreFault, Whose};

use crate::functions::ChangeError;

/// An error, and whose fault it is.
#[derive(Debug)]
pub(crate) struct Failed {
    fault: Fault,
    /// A sentence for people.
    pub(crate) error: String,
}

impl Failed {
    pub(crate) fn new(fault: Fault, error: impl Display) -> Self {
        Self { fault, error: error.to_string() }
    }
}

impl From<ChangeError> for Failed {
    fn from(error: ChangeError) -> Self {
        Self::new(error.fault(), error)
    }
}

/// Returns the error of a request that cannot mean anything.
pub(crate) fn bad_request(what: impl Display) -> Failed {
    Failed::new(Fault::INVALID, what)
}

/// Returns the status that says whose fault it is.
pub(crate) fn status(fault: Fault) -> StatusCode {
    match fault.whose {
        Whose::Client(ClientFault::Invalid) => StatusCode::BAD_REQUEST,
        Whose::Client(ClientFault::Unauthorized) => StatusCode::UNAUTHORIZED,
        Whose::Client(ClientFault::NotFound) => StatusCode::NOT_FOUND,
        Whose::Client(ClientFault::Conflict) => StatusCode::CONFLICT,
        Whose::Client(ClientFault::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Whose::Function(FunctionFault::Unfit) => StatusCode::UNPROCESSABLE_ENTITY,
        Whose::Function(FunctionFault::Unreached) => StatusCode::BAD_GATEWAY,
        Whose::Node(NodeFault::Unavailable) | Whose::Store(StoreFault::Away) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Whose::Node(NodeFault::Full) | Whose::Store(StoreFault::Full) => {
            StatusCode::INSUFFICIENT_STORAGE
        }
        Whose::Node(NodeFault::Broken) | Whose::Store(StoreFault::Broken) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// Returns the value of `Retry-After` for a fault that passes by itself. Clients repeat their
/// request by it, so what may last has none.
fn retry_after(fault: Fault) -> Option<HeaderValue> {
    match fault.retry {
        Retry::Soon => Some(HeaderValue::from_static(abi::problem::RETRY_AFTER_S)),
        Retry::Never | Retry::Later => None,
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        // A terminal's next prompt begins a line.
        let error = serde_json::to_string(&ErrorAnswer { error: self.error });
        let body = format!("{}\n", error.unwrap_or_default());
        let head = [(CONTENT_TYPE, "application/json")];
        let mut response = (status(self.fault), head, body).into_response();
        if let Some(after) = retry_after(self.fault) {
            response.headers_mut().insert(RETRY_AFTER, after);
        }
        response
    }
}

#[cfg(test)]
#[path = "failed_tests.rs"]
mod tests;
