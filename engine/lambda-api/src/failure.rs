//! An error on its way to a client, in AWS's JSON shape. Owns no fds.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::error::LambdaError;
use crate::names::NameError;
use crate::sigv4::SignatureError;

/// The header that SDKs choose the exception's class by.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// An answer that says what went wrong.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    name: &'static str,
    message: String,
    reason: Option<&'static str>,
    retry_after_s: Option<u64>,
}

/// The body.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "Type")]
    whose: &'static str,
    #[serde(rename = "Message")]
    message: &'a str,
    #[serde(rename = "Reason", skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl Failure {
    /// Returns the failure of a request that took too long to come.
    pub(crate) fn too_slow(message: &str) -> Self {
        Self {
            status: StatusCode::REQUEST_TIMEOUT,
            name: "RequestTimeoutException",
            message: message.to_owned(),
            reason: None,
            retry_after_s: None,
        }
    }

    /// Returns the failure of a path that no operation has.
    pub(crate) fn unknown_operation(message: String) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            name: "UnknownOperationException",
            message,
            reason: None,
            retry_after_s: None,
        }
    }
}

impl From<LambdaError> for Failure {
    fn from(error: LambdaError) -> Self {
        let (status, name) = error.status_and_name();
        let message = error.to_string();
        let (reason, retry_after_s) = match &error {
            LambdaError::TooManyRequests { reason, retry_after, .. } => {
                // Rounded up: a client that comes too early is refused again.
                let seconds = retry_after.as_millis().div_ceil(1000).try_into();
                (Some(reason.name()), Some(seconds.unwrap_or(u64::MAX)))
            }
            _ => (None, None),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, name, message, reason, retry_after_s }
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        LambdaError::from(error).into()
    }
}

impl From<SignatureError> for Failure {
    fn from(error: SignatureError) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            name: error.code(),
            message: error.to_string(),
            reason: None,
            retry_after_s: None,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let whose = if self.status.is_server_error() { "Service" } else { "User" };
        let document = Document { whose, message: &self.message, reason: self.reason };
        let body = serde_json::to_string(&document).unwrap_or_default();
        let head = [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (ERROR_TYPE, HeaderValue::from_static(self.name)),
        ];
        let mut response = (self.status, head, body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
