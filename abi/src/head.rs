//! Reading a request's head far enough to route it and to find its end (RFC 9112).
//!
//! The engine looks at the target and Host of a first request; the worker does so for every
//! request, and needs to know where the message ends, so that bytes of the next one are never given
//! to the wrong function. Stricter than HTTP asks where leniency would let two readers disagree
//! about where a message ends. Pure functions; owns no fds.

use std::mem::MaybeUninit;

pub use httparse::Header;
use httparse::Status;

use crate::authority::is_authority;
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX};

/// What a connection of HTTP/2 begins with (RFC 9113 3.4). No request of HTTP/1 does.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// So many bytes of it tell it from a request.
const HTTP2_TOLD_BYTES: usize = b"PRI *".len();

/// Returns whether a connection that begins with `bytes` is one of HTTP/2.
#[must_use]
pub fn is_http2(bytes: &[u8]) -> bool {
    let length = bytes.len().min(HTTP2_PREFACE.len());
    length >= HTTP2_TOLD_BYTES && bytes[..length] == HTTP2_PREFACE[..length]
}

/// What the headers begin with that say what of the node has sent a request: a schedule, or a job.
const RESERVED_PREFIXES: [&str; 2] = ["sockhop-cron", "sockhop-job"];

/// Returns whether the node alone sets a header of this name, which is in lower case. A client's is
/// taken out of its request.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Where a request's body ends (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// With the head: there is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
}

/// What is needed of a complete head. Borrows the bytes it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// Bytes up to and including the empty line.
    pub length: usize,
    /// The method as sent.
    pub method: &'a str,
    /// The version is HTTP/1 and this.
    pub minor_version: u8,
    /// The request-target as sent.
    pub target: &'a str,
    /// The Host header's value, or the authority of a target in absolute form, which wins (RFC 9112
    /// 3.2.2). `None` only in HTTP/1.0.
    pub host: Option<&'a str>,
    /// Where the body ends.
    pub framing: Framing,
}

/// Whether a head is all there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// More bytes are needed.
    Partial,
    /// It is.
    Complete(Head<'a>),
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Answered 400.
    #[error("{0}")]
    Malformed(&'static str),
    /// Answered 431.
    #[error(
        "the request's head is larger than {HEAD_BYTES_MAX} bytes or has more than {HEADERS_MAX} headers"
    )]
    TooLarge,
}

use HeadError::Malformed;

/// Room for the headers of one head.
pub type HeaderRoom<'a> = [MaybeUninit<Header<'a>>; HEADERS_MAX];

/// Room for headers, with none in it.
#[must_use]
pub const fn header_room<'a>() -> HeaderRoom<'a> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

/// Parses the head at the start of `bytes`.
///
/// # Errors
/// [`HeadError`] when no further bytes can make it a request that is served.
pub fn parse(bytes: &[u8]) -> Result<Parsed<'_>, HeadError> {
    parse_into(bytes, &mut header_room()).map(|(parsed, _)| parsed)
}

/// The same, and gives the headers of a complete head too, which it leaves in `room`.
///
/// # Errors
/// As [`parse`].
pub fn parse_into<'h, 'a>(
    bytes: &'a [u8],
    room: &'h mut HeaderRoom<'a>,
) -> Result<(Parsed<'a>, &'h [Header<'a>]), HeadError> {
    match later_minor(bytes) {
        Some(digit) => parse_later_minor(bytes, digit, room),
        None => parse_known_minor(bytes, room),
    }
}

fn parse_known_minor<'h, 'a>(
    bytes: &'a [u8],
    room: &'h mut HeaderRoom<'a>,
) -> Result<(Parsed<'a>, &'h [Header<'a>]), HeadError> {
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, room) {
        Ok(Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
        Ok(Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok((Parsed::Partial, &[])),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(httparse::Error::Version) => return Err(Malformed("the version is not one of HTTP/1")),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => {
            return Err(Malformed("a header is not well formed"));
        }
        Err(_) => return Err(Malformed("the request line is not well formed")),
    };
    let (Some(method), Some(target), Some(minor_version)) =
        (request.method, request.path, request.version)
    else {
        return Err(Malformed("the request line is not complete"));
    };
    if has_bare_line_feed(&bytes[..length]) {
        return Err(Malformed("a line of the request's head ends without CR"));
    }
    if method == "CONNECT" {
        return Err(Malformed("CONNECT is not served: this is no proxy"));
    }
    let framing = framing(request.headers, minor_version)?;
    let named = host(request.headers)?;
    if named.is_none() && minor_version > 0 {
        return Err(Malformed("an HTTP/1.1 request needs exactly one Host header"));
    }
    // Whoever builds the request checks the path itself.
    let authority = if target.starts_with('/') { None } else { authority(target)? };
    let head = Head { length, method, minor_version, target, host: authority.or(named), framing };
    Ok((Parsed::Complete(head), request.headers))
}

/// RFC 9112 2.2 lets a reader take a line feed alone for a line's end; one that does not would see
/// other lines.
fn has_bare_line_feed(head: &[u8]) -> bool {
    let Some((first, behind)) = head.split_first() else { return false };
    // Without an early end, and over two slices, so that it is done some 16 bytes at a time.
    let bare = |found, (before, byte): (&u8, &u8)| found | ((*byte == b'\n') & (*before != b'\r'));
    head.iter().zip(behind).fold(*first == b'\n', bare)
}

/// Parses a head of HTTP/1.2 to HTTP/1.9 as one of HTTP/1.1, the latest minor version known here
/// (RFC 9110 2.5). Nobody sends them, so this may copy.
fn parse_later_minor<'h, 'a>(
    bytes: &'a [u8],
    digit: usize,
    room: &'h mut HeaderRoom<'a>,
) -> Result<(Parsed<'a>, &'h [Header<'a>]), HeadError> {
    let mut copy = bytes.to_vec();
    copy[digit] = b'1';
    let mut room_of_copy = header_room();
    let (parsed, headers) = parse_known_minor(&copy, &mut room_of_copy)?;
    let Parsed::Complete(head) = parsed else { return Ok((Parsed::Partial, &[])) };
    // The same parts, of the bytes that were given. Where an empty one is does not matter.
    let part = |part: &[u8]| -> &'a [u8] {
        let start = part.as_ptr().addr().wrapping_sub(copy.as_ptr().addr());
        bytes.get(start..start.saturating_add(part.len())).unwrap_or_default()
    };
    let text = |text: &str| std::str::from_utf8(part(text.as_bytes())).unwrap_or_default();
    let headers =
        headers.iter().map(|header| Header { name: text(header.name), value: part(header.value) });
    let headers: Vec<Header<'a>> = headers.collect();
    let head = Head {
        method: text(head.method),
        target: text(head.target),
        host: head.host.map(text),
        ..head
    };
    let headers = room[..headers.len()].write_copy_of_slice(&headers);
    Ok((Parsed::Complete(head), headers))
}

/// Where the digit of a minor version above 1 is: at the end of the first line, as far as that is
/// there.
fn later_minor(bytes: &[u8]) -> Option<usize> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let line = &bytes[start..];
    let line = &line[..memchr::memchr(b'\r', line).unwrap_or(line.len())];
    let (digit, before) = line.split_last()?;
    (matches!(digit, b'2'..=b'9') && before.ends_with(b" HTTP/1.")).then_some(start + before.len())
}

/// The authority of a target that is no path, borrowed from the target itself. An authority alone
/// is for CONNECT only (RFC 9112 3.2.3): taken for one here, it would be a host that whoever reads
/// the Host header does not know of.
fn authority(target: &str) -> Result<Option<&str>, HeadError> {
    let no_target = Malformed("the request's target is not a path or a URL");
    let uri: http::Uri = target.parse().map_err(|_| no_target)?;
    if uri.scheme().is_none() && target != "*" {
        return Err(no_target);
    }
    let Some(authority) = uri.authority() else { return Ok(None) };
    if authority.as_str().contains('@') {
        return Err(Malformed("the target names a user, which no request to a server does"));
    }
    let start = target.find("://").map_or(0, |at| at + 3);
    let authority = target.get(start..start + authority.as_str().len());
    // A URL of HTTP with an empty host is none (RFC 9110 4.2.1).
    match authority.is_some_and(|authority| !authority.is_empty() && is_authority(authority)) {
        true => Ok(authority),
        false => Err(Malformed("the target's authority is not a host and its port")),
    }
}

fn host<'a>(headers: &[Header<'a>]) -> Result<Option<&'a str>, HeadError> {
    let mut hosts = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    let Some(header) = hosts.next() else { return Ok(None) };
    if hosts.next().is_some() {
        return Err(Malformed("a request must not have two Host headers"));
    }
    let value = std::str::from_utf8(header.value).ok().filter(|value| is_authority(value));
    value.map(Some).ok_or(Malformed("the Host header is not a host and its port"))
}

/// RFC 9112 6.3, with everything refused that two readers could take differently.
fn framing(headers: &[Header<'_>], minor_version: u8) -> Result<Framing, HeadError> {
    let mut length = None;
    let mut chunked = false;
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            let digits = !header.value.is_empty() && header.value.iter().all(u8::is_ascii_digit);
            let value = std::str::from_utf8(header.value)
                .ok()
                .filter(|_| digits)
                .and_then(|text| text.parse::<u64>().ok());
            let value = value.ok_or(Malformed("Content-Length is not a number"))?;
            if length.is_some_and(|other| other != value) {
                return Err(Malformed("a request must not have two different Content-Lengths"));
            }
            length = Some(value);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed("the only Transfer-Encoding served is chunked, once"));
            }
            chunked = true;
        }
    }
    match (chunked, length) {
        (true, Some(_)) => {
            Err(Malformed("a request must not have both Content-Length and Transfer-Encoding"))
        }
        (true, None) if minor_version == 0 => {
            Err(Malformed("an HTTP/1.0 request cannot be chunked"))
        }
        (true, None) => Ok(Framing::Chunked),
        (false, Some(0) | None) => Ok(Framing::None),
        (false, Some(length)) => Ok(Framing::Length(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn complete(text: &str) -> Head<'_> {
        match parse(text.as_bytes()) {
            Ok(Parsed::Complete(head)) => head,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_plain_head() {
        let text = "GET /a?b HTTP/1.1\r\nHost: x:1\r\n\r\nrest";
        let head = complete(text);
        assert_eq!((head.length, head.target, head.host), (text.len() - 4, "/a?b", Some("x:1")));
        assert_eq!((head.method, head.minor_version), ("GET", 1));
        assert_eq!(head.framing, Framing::None);
    }

    #[test]
    fn a_connection_of_http2_is_told_by_its_first_bytes() {
        for (bytes, told) in [
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", true),
            ("PRI * HTTP", true),
            ("PRI *", true),
            ("PRI ", false),
            ("", false),
            ("PRI / HTTP/1.1\r\nHost: a\r\n\r\n", false),
            ("PRI * HTTP/1.1\r\nHost: a\r\n\r\n", false),
        ] {
            assert_eq!(is_http2(bytes.as_bytes()), told, "{bytes:?}");
        }
    }

    #[test]
    fn framings() {
        let with = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(complete(&with("Content-Length: 5\r\n")).framing, Framing::Length(5));
        assert_eq!(
            complete(&with("Content-Length: 5\r\nContent-Length: 5\r\n")).framing,
            Framing::Length(5)
        );
        assert_eq!(complete(&with("Content-Length: 0\r\n")).framing, Framing::None);
        assert_eq!(complete(&with("Transfer-Encoding: Chunked\r\n")).framing, Framing::Chunked);
    }

    #[test]
    fn the_authority_of_an_absolute_target_wins() {
        let head = complete("GET http://u.example:8/x HTTP/1.1\r\nHost: other\r\n\r\n");
        assert_eq!((head.host, head.target), (Some("u.example:8"), "http://u.example:8/x"));
        assert_eq!(complete("GET / HTTP/1.0\r\n\r\n").host, None);
        assert_eq!(complete("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").target, "*");
    }

    #[test]
    fn a_later_minor_version_is_read_as_the_latest_known() {
        for text in [
            "GET /a?b HTTP/1.2\r\nHost: x:1\r\nX-A: b \r\nX-C:\r\n\r\nrest",
            "\r\nPUT http://h/ HTTP/1.9\r\nHost: x\r\n\r\n",
        ] {
            let (mut room, mut known_room) = (header_room(), header_room());
            let (parsed, headers) = parse_into(text.as_bytes(), &mut room).unwrap();
            let known = text.replace("HTTP/1.2", "HTTP/1.1").replace("HTTP/1.9", "HTTP/1.1");
            assert_eq!((parsed, headers), parse_into(known.as_bytes(), &mut known_room).unwrap());
            // What is given back are parts of what was given.
            let Parsed::Complete(head) = parsed else { panic!("{parsed:?}") };
            let range = text.as_bytes().as_ptr_range();
            assert!(
                range.contains(&head.target.as_ptr())
                    && range.contains(&head.host.unwrap().as_ptr())
            );
            assert!(headers.iter().all(|header| range.contains(&header.name.as_ptr())));
            for cut in 0..head.length {
                assert_eq!(parse(&text.as_bytes()[..cut]), Ok(Parsed::Partial), "{cut}");
            }
        }
    }

    #[test]
    fn what_is_malformed() {
        for (text, part) in [
            ("GET / HTTP/1.1\r\n\r\n", "Host"),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "two Host"),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "Host"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "both",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                "two different",
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "number"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
                "number",
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "chunked"),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "1.0"),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT"),
            ("GET / HTTP/1.1\r\nHost: a\r\n x: y\r\n\r\n", "header"),
            ("GET http://a.example:80@b/ HTTP/1.1\r\nHost: b\r\n\r\n", "user"),
            ("PUT a.example HTTP/1.1\r\nHost: b\r\n\r\n", "a path or a URL"),
            ("GET a.example:80 HTTP/1.1\r\nHost: b\r\n\r\n", "a path or a URL"),
            ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "Host"),
            ("GET / HTTP/1.1\r\nHost: a:b:c\r\n\r\n", "Host"),
            ("GET http://a:b:c/ HTTP/1.1\r\nHost: a\r\n\r\n", "a path or a URL"),
            ("GET http://:80/ HTTP/1.1\r\nHost: a\r\n\r\n", "host and its port"),
            ("GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n\r\n", "host and its port"),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", "without CR"),
            ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", "without CR"),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", "without CR"),
            ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "without CR"),
            ("GET / HTTP/1.12\r\nHost: a\r\n\r\n", "request line"),
            ("GET / HTTP/1.2\r\n\r\n", "Host"),
            ("GET / HTTP/3.0\r\n\r\n", "version"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version"),
            ("\x16\x03\x01\x02\x00\x01", "request line"),
        ] {
            match parse(text.as_bytes()) {
                Err(Malformed(why)) => assert!(why.contains(part), "{text:?}: {why}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_too_large() {
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(HEAD_BYTES_MAX));
        assert_eq!(parse(long.as_bytes()), Err(HeadError::TooLarge));
        assert_eq!(parse(format!("{long}\r\n\r\n").as_bytes()), Err(HeadError::TooLarge));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(HEADERS_MAX));
        assert_eq!(parse(many.as_bytes()), Err(HeadError::TooLarge));
        assert_eq!(parse(b"GET / HT"), Ok(Parsed::Partial));
        assert_eq!(parse(b""), Ok(Parsed::Partial));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _ = parse(&bytes);
        }

        /// A prefix of a good head is partial, and more bytes behind it change nothing.
        #[test]
        fn a_head_is_the_same_however_it_is_cut(cut in 0usize..100, tail in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = "POST /abc?d=e HTTP/1.1\r\nHost: host.example\r\nContent-Length: 12\r\nX-Y: z\r\n\r\n";
            let cut = cut.min(text.len() - 1);
            prop_assert_eq!(parse(&text.as_bytes()[..cut]), Ok(Parsed::Partial));
            let mut longer = text.as_bytes().to_vec();
            longer.extend_from_slice(&tail);
            prop_assert_eq!(parse(&longer), parse(text.as_bytes()));
        }
    }
}
