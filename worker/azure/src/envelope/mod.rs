//! Requests as JSON, which is how a handler gets them unless `enableForwardingHttpRequest` is on:
//! [`request()`] puts a request into an envelope, [`InvocationResult`] reads what comes back.
//! Pure; owns no fds.

mod members;
mod reply;
mod request;

pub use self::reply::{InvocationResult, ReplyError};
pub use self::request::{Request, request};
