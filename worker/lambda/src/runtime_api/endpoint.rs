//! Which endpoint a request is for, by its method and path. Pure. Owns no fds.

use http::Method;

use super::state::PostKind;

/// An endpoint of the Runtime, Extensions, Logs and Telemetry APIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Ping,
    Next,
    /// The response or error of the invocation with this id.
    Post(PostKind, String),
    InitError,
    ExtensionRegister,
    ExtensionNext,
    ExtensionError(ExtensionErrorKind),
    Logs,
    Telemetry,
}

/// When an extension failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionErrorKind {
    /// While it was initialized.
    Init,
    /// Afterwards; it is about to end.
    Exit,
}

/// Why a request is for no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoEndpoint {
    /// No endpoint has this path: status 404.
    Path,
    /// The path's endpoint has another method: status 405.
    Method(&'static str),
}

const RUNTIME: &str = "2018-06-01";
const EXTENSIONS: &str = "2020-01-01";
const LOGS: &str = "2020-08-15";
const TELEMETRY: &str = "2022-07-01";

impl Endpoint {
    /// Returns the endpoint of a request. Whatever stands in its path before the API's version is
    /// passed over: clients may be given a base URL with a path (cargo-lambda routes by it).
    pub(crate) fn of(method: &Method, path: &str) -> Result<Self, NoEndpoint> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let versions = [RUNTIME, EXTENSIONS, LOGS, TELEMETRY];
        let from = segments.iter().position(|segment| versions.contains(segment));
        let segments = from.and_then(|from| segments.get(from..)).ok_or(NoEndpoint::Path)?;
        let post = |kind, id: &str| Self::Post(kind, id.to_owned());
        let (expected, endpoint) = match segments {
            [RUNTIME, "ping"] => ("GET", Self::Ping),
            [RUNTIME, "runtime", "invocation", "next"] => ("GET", Self::Next),
            [RUNTIME, "runtime", "invocation", id, "response"] => {
                ("POST", post(PostKind::Response, id))
            }
            [RUNTIME, "runtime", "invocation", id, "error"] => ("POST", post(PostKind::Error, id)),
            [RUNTIME, "runtime", "init", "error"] => ("POST", Self::InitError),
            [EXTENSIONS, "extension", "register"] => ("POST", Self::ExtensionRegister),
            [EXTENSIONS, "extension", "event", "next"] => ("GET", Self::ExtensionNext),
            [EXTENSIONS, "extension", "init", "error"] => {
                ("POST", Self::ExtensionError(ExtensionErrorKind::Init))
            }
            [EXTENSIONS, "extension", "exit", "error"] => {
                ("POST", Self::ExtensionError(ExtensionErrorKind::Exit))
            }
            [LOGS, "logs"] => ("PUT", Self::Logs),
            [TELEMETRY, "telemetry"] => ("PUT", Self::Telemetry),
            _ => return Err(NoEndpoint::Path),
        };
        if method.as_str() == expected { Ok(endpoint) } else { Err(NoEndpoint::Method(expected)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_endpoints_with_and_without_a_prefix() {
        for (method, path, endpoint) in [
            ("GET", "/2018-06-01/ping", Endpoint::Ping),
            ("GET", "/2018-06-01/runtime/invocation/next", Endpoint::Next),
            ("GET", "/some/name//2018-06-01/runtime/invocation/next", Endpoint::Next),
            (
                "POST",
                "/2018-06-01/runtime/invocation/42/response",
                Endpoint::Post(PostKind::Response, "42".into()),
            ),
            (
                "POST",
                "/2018-06-01/runtime/invocation/42/error",
                Endpoint::Post(PostKind::Error, "42".into()),
            ),
            ("POST", "/x/2020-01-01/extension/register", Endpoint::ExtensionRegister),
            ("PUT", "/2022-07-01/telemetry", Endpoint::Telemetry),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Endpoint::of(&method, path), Ok(endpoint), "{path}");
        }
    }

    #[test]
    fn other_paths_and_methods_lead_nowhere() {
        for path in ["/", "", "/2018-06-01", "/2018-06-01/runtime/restore/next", "/ping", "*"] {
            assert_eq!(Endpoint::of(&Method::GET, path), Err(NoEndpoint::Path), "{path}");
        }
        let next = "/2018-06-01/runtime/invocation/next";
        assert_eq!(Endpoint::of(&Method::POST, next), Err(NoEndpoint::Method("GET")));
    }
}
