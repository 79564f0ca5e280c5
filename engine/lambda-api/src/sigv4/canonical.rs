//! The canonical request: what both sides make of a request's head, and sign. Pure; owns no fds.

use std::fmt::Write as _;

use http::HeaderMap;
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::SignatureError;

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same of a path, whose slashes stay.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// The parameter that has a presigned request's signature, and so is not signed.
pub(super) const SIGNATURE_PARAMETER: &str = "X-Amz-Signature";

/// Returns the canonical request. `payload` is the hash of the body, or what stands for it.
///
/// # Errors
/// Returns [`SignatureError::Mismatch`] if a signed header is not there.
pub(super) fn request(
    head: &Parts,
    signed_headers: &[String],
    payload: &str,
) -> Result<String, SignatureError> {
    let mut text = String::with_capacity(512);
    let query = query(head.uri.query().unwrap_or_default());
    // Writing to a string does not fail.
    let _ = write!(text, "{}\n{}\n{query}\n", head.method, path(head.uri.path()));
    for name in signed_headers {
        let value = header(&head.headers, name).ok_or(SignatureError::Mismatch)?;
        let _ = writeln!(text, "{name}:{value}");
    }
    let _ = write!(text, "\n{}\n{payload}", signed_headers.join(";"));
    Ok(text)
}

/// Returns `path` without empty and dot segments (RFC 3986 5.2.4), encoded as if it were not
/// encoded already: every service but S3 has it so.
fn path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut text = format!("/{}", segments.join("/"));
    if path.ends_with('/') && !segments.is_empty() {
        text.push('/');
    }
    utf8_percent_encode(&text, RESERVED_IN_PATH).to_string()
}

/// Returns `query` with its parameters encoded in the one way there is, sorted, and without the
/// signature.
fn query(query: &str) -> String {
    let mut parameters: Vec<(String, String)> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .map(|(name, value)| (encode_again(name), encode_again(value)))
        .filter(|(name, _)| name != SIGNATURE_PARAMETER)
        .collect();
    parameters.sort_unstable();
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Returns `text` decoded, and encoded as signatures have it. A plus is a space, as forms have it,
/// and as it is read behind the check.
fn encode_again(text: &str) -> String {
    let spaced = text.replace('+', " ");
    let bytes: Vec<u8> = percent_decode_str(&spaced).collect();
    percent_encoding::percent_encode(&bytes, RESERVED).to_string()
}

/// Returns the values of a header, one behind the other, each without spaces at its ends and with
/// one space for several. Returns `None` if there is no such header, or its value is no text.
fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let values: Option<Vec<String>> = values
        .map(|value| {
            // Clients sign the bytes that they send.
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            let words: Vec<&str> = value.split_ascii_whitespace().collect();
            Some(words.join(" "))
        })
        .collect();
    Some(values?.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_encoded_a_second_time() {
        for (sent, canonical) in [
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a//b/./c/../d", "/a/b/d"),
            ("/../a", "/a"),
            ("/a%3Ab", "/a%253Ab"),
            ("/a:b$c~d", "/a%3Ab%24c~d"),
        ] {
            assert_eq!(path(sent), canonical, "{sent}");
        }
    }

    #[test]
    fn a_query_is_sorted_by_name_and_value() {
        for (sent, canonical) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1&a", "a=&a=1&a=2"),
            ("Qualifier=$LATEST", "Qualifier=%24LATEST"),
            ("q=%24latest&q=%7e", "q=%24latest&q=~"),
            ("a=x+y&b=x%20y", "a=x%20y&b=x%20y"),
            ("X-Amz-Signature=00&a=b%3Dc=d", "a=b%3Dc%3Dd"),
            ("&&a=1&", "a=1"),
        ] {
            assert_eq!(query(sent), canonical, "{sent}");
        }
    }

    #[test]
    fn spaces_in_headers_become_one() {
        let mut headers = HeaderMap::new();
        headers.append("a", "  x   y\tz ".parse().unwrap());
        headers.append("a", "second".parse().unwrap());
        headers.append("empty", "".parse().unwrap());
        assert_eq!(header(&headers, "a").as_deref(), Some("x y z,second"));
        assert_eq!(header(&headers, "empty").as_deref(), Some(""));
        assert_eq!(header(&headers, "none"), None);
    }
}
