//! Request heads: `abi::head::parse` on any bytes.
//!
//! Besides not panicking: no line ends without CR, a head is the same whatever follows it, every
//! shorter part of it is incomplete, the limits hold, and a second reading of its lines, as plain
//! as can be, agrees on host and framing.
#![no_main]

use std::sync::LazyLock;

use abi::authority::is_authority;
use abi::head::{Framing, Head, HeadError, Parsed, parse};
use abi::limits::HEAD_BYTES_MAX;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let parsed = parse(bytes);
    match &parsed {
        Ok(Parsed::Complete(head)) => {
            assert!(head.length <= bytes.len() && head.length <= HEAD_BYTES_MAX);
            let alone = &bytes[..head.length];
            assert_eq!(parse(alone), parsed, "the head alone reads differently");
            for cut in [alone.len() / 4, alone.len() / 2, alone.len() - 1] {
                assert_eq!(
                    parse(&alone[..cut]),
                    Ok(Parsed::Partial),
                    "the first {cut} bytes of a good head"
                );
            }
            assert!(
                alone.split(|byte| *byte == b'\n').rev().skip(1).all(|line| line.ends_with(b"\r")),
                "a bare LF"
            );
            check_lines(head, alone);
            check_limit(head, alone);
        }
        Ok(Parsed::Partial) => {
            assert!(bytes.len() < HEAD_BYTES_MAX);
            for cut in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
                assert_eq!(
                    parse(&bytes[..cut]),
                    Ok(Parsed::Partial),
                    "the first {cut} bytes of what is partial"
                );
            }
        }
        // Refused is refused, whatever more comes. (A head that is too large may still be malformed
        // as well.)
        Err(HeadError::Malformed(_)) => {
            let more = [bytes, b"\r\nHost: a\r\n\r\n"].concat();
            assert!(parse(&more).is_err(), "more bytes made a good head of a malformed one");
        }
        Err(HeadError::TooLarge) => {}
    }
});

/// Reads the header lines again, knowing nothing but line ends and colons.
fn check_lines(head: &Head<'_>, bytes: &[u8]) {
    let text = bytes.trim_ascii_start();
    let lines = text.split(|byte| *byte == b'\n').skip(1);
    let (mut lengths, mut codings, mut hosts) = (Vec::new(), 0, Vec::new());
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            assert!(line.trim_ascii().is_empty(), "a header without a colon");
            continue;
        };
        let value = line[colon + 1..].trim_ascii();
        match line[..colon].to_ascii_lowercase().as_slice() {
            b"content-length" => {
                lengths
                    .push(str::from_utf8(value).ok().and_then(|value| value.parse::<u64>().ok()));
            }
            b"transfer-encoding" => codings += 1,
            b"host" => hosts.push(value),
            _ => {}
        }
    }
    match head.framing {
        Framing::None => assert!(codings == 0 && lengths.iter().all(|length| *length == Some(0))),
        Framing::Length(0) => panic!("a length of 0 is Framing::None"),
        Framing::Length(found) => {
            assert!(
                codings == 0
                    && !lengths.is_empty()
                    && lengths.iter().all(|length| *length == Some(found))
            );
        }
        Framing::Chunked => assert!(codings == 1 && lengths.is_empty()),
    }
    assert!(hosts.len() <= 1, "two Host headers");
    let authority = match head.target.split_once("://") {
        Some((_scheme, rest)) if !head.target.starts_with('/') => {
            rest.split(['/', '?', '#']).next()
        }
        _ => None,
    };
    let expected = authority.map(str::as_bytes).or(hosts.first().copied());
    assert_eq!(head.host.map(str::as_bytes), expected, "the host");
    if let Some(host) = head.host {
        // Whoever it is from, it is routed by.
        assert!(is_authority(host), "the host {host:?} is not a host and its port");
        assert!(
            !host.contains(['/', '?', '#', '@', '\\', ' ']),
            "the host {host:?} has more than a host in it"
        );
    }
}

/// A head of exactly the largest size is good, and one byte longer is refused. Empty lines before a
/// head are skipped, which makes any head as long as wanted.
fn check_limit(head: &Head<'_>, bytes: &[u8]) {
    static EMPTY_LINES: LazyLock<Vec<u8>> =
        LazyLock::new(|| b"\r\n".repeat(HEAD_BYTES_MAX / 2 + 1));
    // Parsing so much for every input would take most of the time.
    if bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)) % 16 != 0 {
        return;
    }
    let room = HEAD_BYTES_MAX - bytes.len();
    let longest = [&EMPTY_LINES[..room / 2 * 2], bytes].concat();
    assert_eq!(parse(&longest), Ok(Parsed::Complete(Head { length: longest.len(), ..*head })));
    assert_eq!(parse(&[&b"\r\n"[..], &longest].concat()), Err(HeadError::TooLarge));
}
