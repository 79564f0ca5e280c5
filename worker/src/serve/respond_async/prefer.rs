//! The header `Prefer` (RFC 7240), as far as it asks for a reply before the request is run. Pure;
//! owns no fds.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header's name.
pub(super) static PREFER: HeaderName = HeaderName::from_static("prefer");
/// The preference.
pub(super) const RESPOND_ASYNC: &str = "respond-async";

/// Returns whether a request prefers to be answered before it is run.
///
/// All headers of the name are one list, and of two preferences with equal names the first counts
/// (RFC 7240 2). One with a value is another preference than the one without, which is the only one
/// that is known. Parameters do not matter, and neither does an element that is not well formed.
pub(super) fn prefers_async(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(&PREFER).iter();
    let named = lines.flat_map(|line| elements(line.as_bytes())).find_map(respond_async);
    named.is_some_and(|has_value| !has_value)
}

/// Takes the preference out of a request's headers, as it was applied, and leaves the others.
pub(super) fn take(headers: &mut HeaderMap) {
    let rest = |line: &HeaderValue| {
        let others = elements(line.as_bytes()).filter(|element| respond_async(element).is_none());
        let others: Vec<&[u8]> = others.collect();
        HeaderValue::from_bytes(&others.join(&b", "[..])).ok().filter(|_| !others.is_empty())
    };
    let left: Vec<HeaderValue> = headers.get_all(&PREFER).iter().filter_map(rest).collect();
    headers.remove(&PREFER);
    left.into_iter().for_each(|line| _ = headers.append(&PREFER, line));
}

/// Returns whether `respond-async` has a value in this element. Returns `None` if the element is
/// another preference, or none.
fn respond_async(element: &[u8]) -> Option<bool> {
    let preference = parts(element, b';').next()?;
    let (name, value) = match preference.iter().position(|byte| *byte == b'=') {
        Some(at) => (&preference[..at], preference[at + 1..].trim_ascii()),
        None => (preference, &b""[..]),
    };
    // An empty value is none (RFC 7240 2).
    let is_named = name.trim_ascii().eq_ignore_ascii_case(RESPOND_ASYNC.as_bytes());
    is_named.then_some(!matches!(value, b"" | b"\"\""))
}

/// Returns the elements of a list, without those that are empty.
fn elements(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    parts(line, b',').filter(|part| !part.is_empty())
}

/// Returns the parts between the separators that are not within a quoted string, without spaces
/// around them. A string that does not end goes to the end.
fn parts(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = text.iter().position(|byte| {
            let ends = !is_quoted && *byte == separator;
            is_quoted ^= *byte == b'"' && !is_escaped;
            is_escaped = is_quoted && *byte == b'\\' && !is_escaped;
            ends
        });
        rest = end.map(|end| &text[end + 1..]);
        Some(text[..end.unwrap_or(text.len())].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&PREFER, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn the_preference_is_found_in_whatever_list_it_stands() {
        for lines in [
            &["respond-async"][..],
            &["Respond-Async"],
            &[" respond-async\t"],
            &["wait=10, respond-async"],
            &["respond-async, wait=10"],
            &["respond-async;a=b;c"],
            &["respond-async ; a=\"x, y;z\""],
            &["respond-async=\"\""],
            &["respond-async="],
            &["return=minimal", "respond-async"],
            &[",, respond-async,"],
            &["foo=\"a\\\"b, c\", respond-async"],
            &["respond-async, respond-async=no"],
            &["=, ;, respond-async"],
        ] {
            assert!(prefers_async(&headers(lines)), "{lines:?}");
        }
    }

    #[test]
    fn other_preferences_are_not_it() {
        for lines in [
            &[][..],
            &[""],
            &["respond-asynchronously"],
            &["respond async"],
            &["foo=\"respond-async\""],
            &["foo=\"a, respond-async\""],
            &["foo=\"a\\\", respond-async\""],
            &["foo;respond-async"],
            &["foo=respond-async"],
            &["foo=\"unfinished, respond-async"],
            // The first one counts, and this is another than the one that is known.
            &["respond-async=no, respond-async"],
            &["respond-async=1", "respond-async"],
        ] {
            assert!(!prefers_async(&headers(lines)), "{lines:?}");
        }
    }

    #[test]
    fn what_was_applied_is_taken_out_and_the_rest_is_left() {
        for (lines, left) in [
            (&["respond-async"][..], &[][..]),
            (&["respond-async, wait=10", "return=minimal"], &["wait=10", "return=minimal"]),
            (&["a=\"x, y\" , Respond-Async;z, b"], &["a=\"x, y\", b"]),
            (&["respond-async", "respond-async=no"], &[]),
        ] {
            let mut headers = headers(lines);
            take(&mut headers);
            let kept: Vec<_> = headers.get_all(&PREFER).iter().collect();
            assert_eq!(kept, left, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_is_survived_and_taken_out(
            lines in prop::collection::vec("[ -~\t]{0,40}|([,;=\"\\\\ ]|respond-async){0,12}", 0..4),
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let mut headers = headers(&lines);
            take(&mut headers);
            prop_assert!(!prefers_async(&headers));
        }
    }
}
