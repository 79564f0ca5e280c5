//! Why the node does not do what was asked: the exceptions of the service's model. Owns no fds.

use std::time::Duration;

use crate::environment::EnvironmentError;
use crate::names::NameError;

/// Why an operation failed. Each variant is an exception of AWS Lambda and has the sentence that
/// clients show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LambdaError {
    /// 400: a parameter is not valid.
    #[error("{0}")]
    InvalidParameterValue(String),
    /// 400: the body is not what it should be.
    #[error("{0}")]
    InvalidRequestContent(String),
    /// 400: there is no room for more code.
    #[error("{0}")]
    CodeStorageExceeded(String),
    /// 404: there is no such function, version or alias.
    #[error("{0}")]
    ResourceNotFound(String),
    /// 409: it exists already, or is being changed.
    #[error("{0}")]
    ResourceConflict(String),
    /// 412: the revision is another one than the request said.
    #[error("{0}")]
    PreconditionFailed(String),
    /// 413: the body, or what is made of it, is too large.
    #[error("{0}")]
    RequestTooLarge(String),
    /// 415: the body is of a type that is not taken.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// 429: too much at a time.
    #[error("{message}")]
    TooManyRequests {
        /// Which limit it was.
        reason: ThrottleReason,
        /// After how long to try again.
        retry_after: Duration,
        /// A sentence for people.
        message: String,
    },
    /// 500: the node failed.
    #[error("{0}")]
    Service(String),
    /// 501: AWS has this operation, and this node has not.
    #[error("{0}")]
    UnsupportedOperation(String),
    /// 502: the code cannot be started.
    #[error("{0}")]
    InvalidRuntime(String),
    /// 502: the code's archive cannot be read.
    #[error("{0}")]
    InvalidZipFile(String),
    /// 502: the function is not ready yet. Clients try again.
    #[error("{0}")]
    ResourceNotReady(String),
}

/// Which limit a throttled request met, as the body's `Reason` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThrottleReason {
    /// That of all functions together.
    ConcurrentInvocationLimitExceeded,
    /// The function's own.
    ReservedFunctionConcurrentInvocationLimitExceeded,
    /// That of one caller.
    CallerRateLimitExceeded,
}

impl ThrottleReason {
    /// Returns the reason's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConcurrentInvocationLimitExceeded => "ConcurrentInvocationLimitExceeded",
            Self::ReservedFunctionConcurrentInvocationLimitExceeded => {
                "ReservedFunctionConcurrentInvocationLimitExceeded"
            }
            Self::CallerRateLimitExceeded => "CallerRateLimitExceeded",
        }
    }
}

impl LambdaError {
    /// Returns the status, and the exception's name.
    #[must_use]
    pub fn status_and_name(&self) -> (u16, &'static str) {
        match self {
            Self::InvalidParameterValue(_) => (400, "InvalidParameterValueException"),
            Self::InvalidRequestContent(_) => (400, "InvalidRequestContentException"),
            Self::CodeStorageExceeded(_) => (400, "CodeStorageExceededException"),
            Self::ResourceNotFound(_) => (404, "ResourceNotFoundException"),
            Self::ResourceConflict(_) => (409, "ResourceConflictException"),
            Self::PreconditionFailed(_) => (412, "PreconditionFailedException"),
            Self::RequestTooLarge(_) => (413, "RequestTooLargeException"),
            Self::UnsupportedMediaType(_) => (415, "UnsupportedMediaTypeException"),
            Self::TooManyRequests { .. } => (429, "TooManyRequestsException"),
            Self::Service(_) => (500, "ServiceException"),
            // Not in the service's model. SDKs show name and sentence of errors that they do not
            // know, and none of them repeats a request that was answered 501.
            Self::UnsupportedOperation(_) => (501, "UnsupportedOperationException"),
            Self::InvalidRuntime(_) => (502, "InvalidRuntimeException"),
            Self::InvalidZipFile(_) => (502, "InvalidZipFileException"),
            Self::ResourceNotReady(_) => (502, "ResourceNotReadyException"),
        }
    }
}

impl From<NameError> for LambdaError {
    fn from(error: NameError) -> Self {
        Self::InvalidParameterValue(error.to_string())
    }
}

impl From<EnvironmentError> for LambdaError {
    fn from(error: EnvironmentError) -> Self {
        Self::InvalidParameterValue(error.to_string())
    }
}
