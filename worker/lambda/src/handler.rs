//! The side of a program that is itself a `bootstrap`: what the Runtime API gives it becomes an
//! HTTP request, and the response to that becomes the invocation's result.
//!
//! * [`next`] reads the header fields that an event comes with.
//! * [`incoming()`] makes a request of an event, whichever service has sent it.
//! * [`result()`] makes a result of the response, in the [`Form`] that this service expects.
//!
//! ```text
//! GET …/invocation/next ──▶ next, incoming ──▶ http::Request ──▶ the function
//! POST …/response or …/error ◀── result ◀── http::Response ◀────────┘
//! ```
//!
//! Pure. Owns no fds.
//!
//! # Example
//!
//! ```
//! use lambda::handler::{Form, incoming, result};
//!
//! let event = br#"{"version":"2.0","rawPath":"/a%20b","rawQueryString":"x=1","headers":{},
//!     "requestContext":{"http":{"method":"GET","sourceIp":"192.0.2.7"}}}"#;
//! let incoming = incoming(event)?;
//! assert_eq!(incoming.form, Form::Http2);
//! assert_eq!(incoming.request.uri(), "/a%20b?x=1");
//!
//! let response = http::Response::builder().header("content-type", "text/plain").body("hi".into());
//! let result = result(incoming.form, &response?)?;
//! assert_eq!(
//!     result,
//!     concat!(
//!         r#"{"statusCode":200,"headers":{"content-type":"text/plain"},"#,
//!         r#""body":"hi","isBase64Encoded":false}"#,
//!     )
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod fields;
mod incoming;
pub mod next;
mod result;
mod target;

pub use incoming::{Incoming, IncomingError, incoming};
pub use result::{ResultError, result};

/// Which service an event is from, and so what its results look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A function's URL, or an HTTP API of API Gateway: payload format 2.0.
    Http2,
    /// A REST API of API Gateway, or an HTTP API with payload format 1.0.
    Rest,
    /// An Application Load Balancer.
    LoadBalancer {
        /// Whether its target group has multi value headers enabled, as its events show. Such a
        /// load balancer reads no other header fields of a result.
        multi_value_headers: bool,
    },
    /// Any other event, from whoever invokes the function. It is the body of a request.
    Direct,
}
