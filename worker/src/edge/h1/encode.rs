//! The encoding of a reply: its head, and the framing of its body (RFC 9112 6, RFC 9110 8.6). Pure;
//! owns no fds.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, StatusCode};

/// Headers that a guest cannot set: the node writes them itself, or they are about the connection.
const NOT_THE_GUESTS: [HeaderName; 4] =
    [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, HeaderName::from_static("keep-alive")];

/// The properties of a request that its reply depends on.
#[derive(Debug, Clone, Copy)]
pub(in crate::edge) struct Asked {
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub(in crate::edge) minor_version: u8,
    /// Whether the method is HEAD.
    pub(in crate::edge) head_only: bool,
    /// Whether the client wants to keep the connection.
    pub(in crate::edge) keep_alive: bool,
    /// Whether the client accepts trailers (`TE: trailers`).
    pub(in crate::edge) trailers: bool,
}

/// The framing of a reply's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum Framing {
    /// No bytes follow the head. The length that it declares, if any, is that of the reply to GET.
    Bodiless {
        length: Option<u64>,
    },
    /// This many bytes follow.
    Length(u64),
    Chunked,
    /// The body ends with the connection, because the client is too old for chunks.
    UntilClose,
    /// The connection changes its protocol: what follows is that protocol's, until the end.
    Changed,
}

/// Returns the framing of a body of `whole` bytes, or of a streamed body for which its guest may
/// have `declared` a length.
pub(in crate::edge) fn framing(
    asked: Asked,
    status: StatusCode,
    declared: Option<u64>,
    whole: Option<u64>,
) -> Framing {
    match status {
        StatusCode::SWITCHING_PROTOCOLS => Framing::Changed,
        StatusCode::NO_CONTENT => Framing::Bodiless { length: None },
        StatusCode::NOT_MODIFIED => Framing::Bodiless { length: declared },
        _ if asked.head_only => {
            Framing::Bodiless { length: declared.or(whole.filter(|length| *length > 0)) }
        }
        _ => match (whole.or(declared), asked.minor_version) {
            (Some(length), _) => Framing::Length(length),
            (None, 0) => Framing::UntilClose,
            (None, _) => Framing::Chunked,
        },
    }
}

/// Appends the head of a reply to `out`.
pub(super) fn head(
    out: &mut Vec<u8>,
    asked: Asked,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    id: &[u8; 36],
    date: &[u8],
) {
    out.reserve(256 + headers.len() * 64);
    out.extend_from_slice(if asked.minor_version == 0 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        if !NOT_THE_GUESTS.contains(name) && name.as_str() != abi::problem::INVOCATION_ID_HEADER {
            line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    line(out, abi::problem::INVOCATION_ID_HEADER.as_bytes(), id);
    if !headers.contains_key(DATE) {
        line(out, b"date", date);
    }
    match framing {
        Framing::Bodiless { length: Some(length) } | Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => line(out, b"transfer-encoding", b"chunked"),
        Framing::Bodiless { length: None } | Framing::UntilClose => {}
        Framing::Changed => {
            line(out, b"connection", b"upgrade");
            out.extend_from_slice(b"\r\n");
            return;
        }
    }
    match (asked.keep_alive, asked.minor_version) {
        (false, _) => line(out, b"connection", b"close"),
        (true, 0) => line(out, b"connection", b"keep-alive"),
        (true, _) => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the line that begins a chunk.
pub(super) fn chunk(out: &mut Vec<u8>, length: usize) {
    // By hand, as `write!` would go through the formatting machinery for each piece of a stream.
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|digit| DIGITS[(length >> (digit * 4)) & 15]));
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a chunked body. Fields that only make sense in a head are left out (RFC 9110
/// 6.5.1).
pub(super) fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if !NOT_THE_GUESTS.contains(name) && name.as_str() != "trailer" {
            line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ASKED: Asked =
        Asked { minor_version: 1, head_only: false, keep_alive: true, trailers: false };

    fn text(asked: Asked, headers: &HeaderMap, framing: Framing) -> String {
        let mut out = Vec::new();
        head(&mut out, asked, StatusCode::OK, headers, framing, &[b'i'; 36], b"now");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn heads_say_how_their_bodies_end() {
        let headers: HeaderMap = [("x-a", "b"), ("connection", "upgrade"), ("content-length", "9")]
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect();
        let id = "i".repeat(36);
        let common = format!("x-a: b\r\nsockhop-invocation-id: {id}\r\ndate: now\r\n");
        let keep = text(ASKED, &headers, Framing::Length(120));
        assert_eq!(keep, format!("HTTP/1.1 200 OK\r\n{common}content-length: 120\r\n\r\n"));
        let close = text(Asked { keep_alive: false, ..ASKED }, &headers, Framing::Chunked);
        assert_eq!(
            close,
            format!(
                "HTTP/1.1 200 OK\r\n{common}transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
            )
        );
        let old =
            text(Asked { minor_version: 0, ..ASKED }, &headers, Framing::Bodiless { length: None });
        assert_eq!(old, format!("HTTP/1.0 200 OK\r\n{common}connection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn framings() {
        let (ok, old) = (StatusCode::OK, Asked { minor_version: 0, ..ASKED });
        let head = Asked { head_only: true, ..ASKED };
        for (asked, status, declared, whole, expected) in [
            (ASKED, ok, None, Some(0), Framing::Length(0)),
            (ASKED, ok, Some(7), None, Framing::Length(7)),
            (ASKED, ok, None, None, Framing::Chunked),
            (old, ok, None, None, Framing::UntilClose),
            (old, ok, Some(7), None, Framing::Length(7)),
            (head, ok, Some(7), Some(0), Framing::Bodiless { length: Some(7) }),
            (head, ok, None, Some(0), Framing::Bodiless { length: None }),
            (ASKED, StatusCode::NO_CONTENT, Some(0), Some(0), Framing::Bodiless { length: None }),
            (
                ASKED,
                StatusCode::NOT_MODIFIED,
                Some(5),
                Some(0),
                Framing::Bodiless { length: Some(5) },
            ),
        ] {
            assert_eq!(
                framing(asked, status, declared, whole),
                expected,
                "{status} {declared:?} {whole:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn lengths_are_written_as_the_standard_library_does(length: usize) {
            let mut out = Vec::new();
            chunk(&mut out, length);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{length:x}\r\n"));
        }
    }
}
