//! Errors that the node answers itself: `application/problem+json` (RFC 9457) with the invocation
//! id.
//!
//! One place for what each error says, used by shards, which write the whole reply, and by workers,
//! which need only its parts. Pure; owns no fds.

use crate::domain;
use crate::head::HeadError;
use crate::invocation_id::InvocationId;
use crate::route::NotFound;

/// The media type of every error of the node's.
pub const CONTENT_TYPE: &str = "application/problem+json";
/// The header that bears the invocation id on every reply.
pub const INVOCATION_ID_HEADER: &str = "sockhop-invocation-id";
/// After how many seconds a client refused with 503 may try again.
pub const RETRY_AFTER_S: &str = "1";

/// How much of a reply its request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Head and body.
    Whole,
    /// The head alone, as the method is HEAD (RFC 9110 9.3.2).
    HeadOnly,
}

impl Reply {
    /// Returns what the request asks for that begins with `bytes`, as far as they tell: a request
    /// that is refused need not be whole or well formed.
    #[must_use]
    pub fn to(bytes: &[u8]) -> Self {
        let line = bytes
            .iter()
            .position(|byte| !matches!(byte, b'\r' | b'\n'))
            .map_or(bytes, |start| &bytes[start..]);
        if line.starts_with(b"HEAD ") { Self::HeadOnly } else { Self::Whole }
    }
}

/// An error for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What went wrong, and where it helps, what to do.
    pub detail: String,
}

impl Problem {
    /// An error with its status and explanation.
    #[must_use]
    pub fn new(status: u16, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// No function of that name.
    #[must_use]
    pub fn unknown_function(name: &str) -> Self {
        if name.is_empty() {
            return Self::new(404, "the path names no function; expected /NAME/...");
        }
        let shown = shortened(name);
        match name.contains('@') {
            true => Self::new(
                404,
                format!(
                    "{shown:?} is no version or alias of a function here, or more than one version"
                ),
            ),
            false => Self::new(404, format!("there is no function {shown:?} here")),
        }
    }

    /// Nothing is served at that host.
    #[must_use]
    pub fn unknown_host(host: Option<&str>) -> Self {
        match host.filter(|host| !host.is_empty()) {
            None => Self::new(404, "the request names no host, and functions are found by it here"),
            Some(host) => Self::new(
                404,
                format!("no function is served for the host {:?} here", shortened(host)),
            ),
        }
    }

    /// What the status is called (RFC 9110 15).
    #[must_use]
    pub fn title(&self) -> &'static str {
        match self.status {
            400 => "Bad Request",
            404 => "Not Found",
            408 => "Request Timeout",
            413 => "Content Too Large",
            426 => "Upgrade Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            _ => "Internal Server Error",
        }
    }

    /// Whether the reply says when to try again.
    #[must_use]
    pub fn retry_after(&self) -> bool {
        matches!(self.status, 429 | 503)
    }

    /// The reply's body: JSON, and a line end for whoever reads it at a terminal.
    #[must_use]
    pub fn body(&self, id: InvocationId) -> String {
        let body = serde_json::json!({
            "status": self.status,
            "title": self.title(),
            "detail": self.detail,
            "invocation_id": id.to_string(),
        });
        format!("{body}\n")
    }

    /// The reply as it goes over the wire; the connection is closed behind it.
    #[must_use]
    pub fn reply(&self, id: InvocationId, asked: Reply) -> Vec<u8> {
        let body = self.body(id);
        let sent = if asked == Reply::HeadOnly { "" } else { &body };
        let retry = if self.retry_after() {
            format!("retry-after: {RETRY_AFTER_S}\r\n")
        } else {
            String::new()
        };
        format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {}\r\n{INVOCATION_ID_HEADER}: {id}\r\n\
             {retry}connection: close\r\n\r\n{sent}",
            self.status,
            self.title(),
            body.len(),
        )
        .into_bytes()
    }
}

/// What a client named: shown, but not all of a long one.
fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}

impl From<NotFound<'_>> for Problem {
    fn from(missing: NotFound<'_>) -> Self {
        match missing {
            NotFound::Function(name) => Self::unknown_function(name),
            NotFound::Host(host) => Self::unknown_host(host),
            NotFound::Target { host, prefix, function, alias } => {
                let at = if alias.is_empty() { "" } else { "@" };
                let domain = domain::shown(host, prefix);
                let target = format!("{function}{at}{alias}");
                Self::new(
                    404,
                    format!(
                        "the domain {domain} is for the function {target:?}, which is not there"
                    ),
                )
            }
        }
    }
}

impl From<HeadError> for Problem {
    fn from(error: HeadError) -> Self {
        let status = match error {
            HeadError::Malformed(_) => 400,
            HeadError::TooLarge => 431,
        };
        Self::new(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_well_formed_http_and_json() {
        let id = InvocationId::new();
        let reply = Problem::unknown_function("a\"b\r\nX: y").reply(id, Reply::Whole);
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Response::new(&mut headers);
        let length = parsed.parse(&reply).unwrap().unwrap();
        assert_eq!(parsed.code, Some(404));
        let header =
            |name: &str| parsed.headers.iter().find(|h| h.name == name).map(|h| h.value.to_vec());
        assert_eq!(
            header("content-length").unwrap(),
            (reply.len() - length).to_string().as_bytes()
        );
        assert_eq!(header(INVOCATION_ID_HEADER).unwrap(), id.to_string().as_bytes());
        assert_eq!(header("retry-after"), None);
        let json: serde_json::Value = serde_json::from_slice(&reply[length..]).unwrap();
        assert_eq!(json["status"], 404);
        assert_eq!(json["invocation_id"], id.to_string());
        let busy = Problem::new(503, "full").reply(id, Reply::Whole);
        assert!(String::from_utf8(busy).unwrap().contains("\r\nretry-after: 1\r\n"));
    }
    #[test]
    fn what_is_not_found_is_named() {
        let long = "x".repeat(9999);
        let said = |missing| Problem::from(missing).detail;
        let (host, prefix, function) = ("example.com", "/api", "web");
        assert_eq!(
            said(NotFound::Target { host, prefix, function, alias: "" }),
            "the domain example.com/api/* is for the function \"web\", which is not there"
        );
        assert_eq!(
            said(NotFound::Target { host, prefix: "", function, alias: "beta" }),
            "the domain example.com is for the function \"web@beta\", which is not there"
        );
        assert!(said(NotFound::Host(Some("h"))).contains("host \"h\""));
        assert!(said(NotFound::Host(None)).contains("names no host"));
        assert!(said(NotFound::Host(Some(&long))).len() < 200);
        assert!(said(NotFound::Function("")).contains("/NAME/"));
    }

    #[test]
    fn a_reply_to_head_is_the_head_of_the_whole_one() {
        let (problem, id) = (Problem::new(404, "no"), InvocationId::new());
        let (whole, head) = (problem.reply(id, Reply::Whole), problem.reply(id, Reply::HeadOnly));
        assert!(
            head.ends_with(b"\r\n\r\n")
                && whole == [&head[..], problem.body(id).as_bytes()].concat()
        );
        for bytes in ["HEAD / HTTP/1.1\r\n", "\r\nHEAD /", "HEAD \0"] {
            assert_eq!(Reply::to(bytes.as_bytes()), Reply::HeadOnly, "{bytes:?}");
        }
        for bytes in
            ["", "\r\n", "GET /HEAD / HTTP/1.1\r\n", "head / HTTP/1.1", "HEADS / HTTP/1.1", "HEAD"]
        {
            assert_eq!(Reply::to(bytes.as_bytes()), Reply::Whole, "{bytes:?}");
        }
    }
}
