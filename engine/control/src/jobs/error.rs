//! Why a job is not kept, or nothing is done about one. Owns no fds.

use abi::limits::{JOB_BODY_BYTES_MAX, JOB_HEAD_BYTES_MAX};
use host::fault::Fault;
use jobs::JobId;

use crate::failed::Failed;
use crate::functions::ChangeError;

/// Why a job is not kept, or nothing is done about one.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error(transparent)]
    Function(Box<ChangeError>),
    #[error("{0}")]
    Invalid(String),
    #[error("the body of an asynchronous invocation has at most {JOB_BODY_BYTES_MAX} bytes")]
    BodyTooLarge,
    #[error(
        "the path and the headers of an asynchronous invocation have at most {JOB_HEAD_BYTES_MAX} bytes"
    )]
    HeadTooLarge,
    #[error("there are too many asynchronous invocations: {0}; try again later")]
    Full(String),
    #[error("asynchronous invocations can neither be kept nor read now: {0}")]
    Unavailable(String),
    #[error("this engine does not run asynchronous invocations now: another takes over; try again")]
    NotHere,
    #[error(
        "there is no asynchronous invocation {0}; what came of one is known for a day, see `sockhop jobs list`"
    )]
    Unknown(JobId),
    #[error("the asynchronous invocation {0} runs now; wait until its attempt has ended")]
    Running(JobId),
    #[error("the asynchronous invocation {0} is done")]
    IsDone(JobId),
}

impl JobError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Function(error) => error.fault(),
            Self::Invalid(_) => Fault::INVALID,
            Self::BodyTooLarge | Self::HeadTooLarge => Fault::TOO_LARGE,
            Self::Full(_) | Self::Unavailable(_) | Self::NotHere => Fault::UNAVAILABLE.soon(),
            Self::Unknown(_) => Fault::NOT_FOUND,
            Self::Running(_) | Self::IsDone(_) => Fault::CONFLICT,
        }
    }
}

impl From<ChangeError> for JobError {
    fn from(error: ChangeError) -> Self {
        Self::Function(Box::new(error))
    }
}

impl From<JobError> for Failed {
    fn from(error: JobError) -> Self {
        Self::new(error.fault(), error)
    }
}
