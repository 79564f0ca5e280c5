//! The parser of the head of a CGI program's reply (RFC 3875 6). Pure; owns no fds.

use http::header::{CONTENT_TYPE, LOCATION, TE, TRAILER};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS;

/// The head of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The target, if the reply is a local redirect.
    pub(super) local_redirect: Option<PathAndQuery>,
}

/// Why a program's stdout is no CGI reply, for the function's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("line {line} of its CGI header is not of the form `Name: value`")]
    NoField { line: usize },
    #[error("line {line} of its CGI header has the Status of no final reply (200 to 599)")]
    NoStatus { line: usize },
    #[error("its CGI header has {name:?} twice")]
    Twice { name: &'static str },
    #[error("its CGI header has {name:?}, which is the node's to say")]
    Forbidden { name: HeaderName },
    #[error("its CGI header has none of Content-Type, Location and Status")]
    NoCgi,
    #[error("its CGI header has too many lines")]
    TooMany,
    #[error("its CGI header does not end within {limit} bytes")]
    TooLong { limit: usize },
    #[error("its output ended before its CGI header did")]
    Ended,
}

/// Parses a head while it is being written. It looks at each byte once.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// The bytes that are known to have no further line end.
    scanned: usize,
    /// The start of the current line.
    line_at: usize,
    lines: usize,
    status: Option<StatusCode>,
    headers: HeaderMap,
}

/// Parses the head at the beginning of `bytes`. Returns the head, and its length with the empty
/// line that ends it. Returns `None` if it is not complete.
#[cfg(test)]
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
    Parser::default().advance(bytes)
}

impl Parser {
    /// Parses on in `bytes`, which has all bytes of the last call and those that have come since.
    /// Call it until it returns the head or an error.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
        while let Some(length) =
            bytes.get(self.scanned..).and_then(|new| new.iter().position(|byte| *byte == b'\n'))
        {
            let end = self.scanned + length;
            let line = &bytes[self.line_at..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.lines += 1;
            self.scanned = end + 1;
            self.line_at = self.scanned;
            if line.is_empty() {
                return self.end().map(|head| Some((head, end + 1)));
            }
            self.field(line)?;
        }
        self.scanned = bytes.len();
        Ok(None)
    }

    fn field(&mut self, line: &[u8]) -> Result<(), HeadError> {
        let malformed = HeadError::NoField { line: self.lines };
        let colon = line.iter().position(|byte| *byte == b':').ok_or_else(|| malformed.clone())?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| malformed.clone())?;
        let value =
            HeaderValue::from_bytes(trim(&line[colon + 1..])).map_err(|_| malformed.clone())?;
        if name.as_str() == "status" {
            let status =
                status(value.as_bytes()).ok_or(HeadError::NoStatus { line: self.lines })?;
            return match self.status.replace(status) {
                Some(_) => Err(HeadError::Twice { name: "Status" }),
                None => Ok(()),
            };
        }
        if name.as_str().starts_with("proxy-")
            || [TE, TRAILER].contains(&name)
            || DEFAULT_FORBIDDEN_HEADERS.contains(&name)
        {
            return Err(HeadError::Forbidden { name });
        }
        if name == LOCATION && value.is_empty() {
            return Err(malformed);
        }
        for (once, text) in [(CONTENT_TYPE, "Content-Type"), (LOCATION, "Location")] {
            if name == once && self.headers.contains_key(&name) {
                return Err(HeadError::Twice { name: text });
            }
        }
        self.headers.try_append(name, value).map(drop).map_err(|_| HeadError::TooMany)
    }

    fn end(&mut self) -> Result<Head, HeadError> {
        let headers = std::mem::take(&mut self.headers);
        let status = match self.status {
            Some(status) => status,
            None if headers.contains_key(LOCATION) => StatusCode::FOUND,
            None if headers.contains_key(CONTENT_TYPE) => StatusCode::OK,
            None => return Err(HeadError::NoCgi),
        };
        let local_redirect = if self.status.is_none() { local_redirect(&headers) } else { None };
        Ok(Head { status, headers, local_redirect })
    }
}

/// Returns the target of a local redirect: a head that has a Location and nothing else, and the
/// Location is a path of this server. With another field beside it, perhaps a cookie, the client
/// has to follow the redirect.
fn local_redirect(headers: &HeaderMap) -> Option<PathAndQuery> {
    let location = headers.get(LOCATION).filter(|_| headers.len() == 1)?.as_bytes();
    let local =
        location.starts_with(b"/") && !location.starts_with(b"//") && !location.contains(&b'#');
    if local { PathAndQuery::try_from(location).ok() } else { None }
}

/// Parses a status: three digits, and perhaps a reason, which HTTP ignores.
fn status(value: &[u8]) -> Option<StatusCode> {
    let (digits, reason) = value.split_at_checked(3)?;
    let status = StatusCode::from_bytes(digits).ok()?;
    let apart = reason.first().is_none_or(|byte| *byte == b' ');
    (apart && (200..600).contains(&status.as_u16())).then_some(status)
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
