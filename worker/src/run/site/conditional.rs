//! Preconditions of requests, in the order of RFC 9110 13.2.2. Pure; owns no fds.
//!
//! Files have entity tags and no dates: which of two versions is newer says nothing about which of
//! them a client has, once a rollback was made. So If-Modified-Since and If-Unmodified-Since are
//! ignored, as they must be without a date (13.1.3, 13.1.4), and a date in If-Range is never true.

use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, Method};

/// What a request's preconditions have decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision<'r> {
    /// It is answered, with this range of the file if there is one.
    Go { range: Option<&'r str> },
    /// The client has the file already: 304.
    NotModified,
    /// What the client relies on is not so: 412.
    Failed,
}

/// Decides about a GET or HEAD for a file with the strong entity tag `etag`, in its quotes.
pub(super) fn decide<'r>(method: &Method, headers: &'r HeaderMap, etag: &str) -> Decision<'r> {
    // Steps 1 and 2.
    if headers.contains_key(IF_MATCH) && !lists(headers, &IF_MATCH, etag, Comparison::Strong) {
        return Decision::Failed;
    }
    // Steps 3 and 4.
    if headers.contains_key(IF_NONE_MATCH) && lists(headers, &IF_NONE_MATCH, etag, Comparison::Weak)
    {
        return Decision::NotModified;
    }
    // Step 5. A range of anything but GET is ignored (14.2).
    let range = headers.get(RANGE).filter(|_| *method == Method::GET);
    let same = headers.get(IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes());
    Decision::Go { range: range.filter(|_| same).and_then(|range| range.to_str().ok()) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// A weak tag is equal to none.
    Strong,
    /// A weak tag is equal to the strong one.
    Weak,
}

/// Returns whether the values of a header have `etag` in their list, or are `*`.
fn lists(headers: &HeaderMap, name: &http::HeaderName, etag: &str, comparison: Comparison) -> bool {
    headers.get_all(name).iter().any(|value| {
        let value = value.as_bytes().trim_ascii();
        value == b"*"
            || tags(value).any(|(is_weak, tag)| {
                tag == etag.as_bytes() && !(is_weak && comparison == Comparison::Strong)
            })
    })
}

/// Returns the tags of a list, each with whether it is weak. A tag may have commas in it. What is
/// behind something that is no tag is left out.
fn tags(list: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    let mut rest = list;
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', behind @ ..] = rest {
            rest = behind;
        }
        let (is_weak, opaque) = match rest.strip_prefix(b"W/") {
            Some(opaque) => (true, opaque),
            None => (false, rest),
        };
        let inside = opaque.strip_prefix(b"\"")?;
        let end = inside.iter().position(|byte| *byte == b'"')? + 2;
        let (tag, behind) = opaque.split_at_checked(end)?;
        rest = behind;
        Some((is_weak, tag))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use proptest::prelude::*;

    use super::*;

    const ETAG: &str = "\"abc\"";

    fn with<'h>(headers: &'h mut HeaderMap, given: &[(&str, &str)]) -> &'h HeaderMap {
        for (name, value) in given {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn decided(given: &[(&str, &str)]) -> &'static str {
        let mut headers = HeaderMap::new();
        match decide(&Method::GET, with(&mut headers, given), ETAG) {
            Decision::Go { range: None } => "200",
            Decision::Go { range: Some(_) } => "206",
            Decision::NotModified => "304",
            Decision::Failed => "412",
        }
    }

    #[test]
    fn preconditions_are_decided_in_their_order() {
        const LONG_AGO: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const FAR_AHEAD: &str = "Fri, 06 Nov 2094 08:49:37 GMT";
        for (given, expected) in [
            (&[][..], "200"),
            (&[("if-match", "*")], "200"),
            (&[("if-match", "\"abc\"")], "200"),
            (&[("if-match", "\"x\", \"abc\"")], "200"),
            (&[("if-match", "\"x\""), ("if-match", "\"abc\"")], "200"),
            (&[("if-match", "\"x\"")], "412"),
            (&[("if-match", "W/\"abc\"")], "412"),
            (&[("if-match", "")], "412"),
            (&[("if-match", "\"x\""), ("if-none-match", "\"abc\"")], "412"),
            (&[("if-match", "\"abc\""), ("if-none-match", "\"abc\"")], "304"),
            (&[("if-none-match", "*")], "304"),
            (&[("if-none-match", "\"abc\"")], "304"),
            (&[("if-none-match", "W/\"abc\"")], "304"),
            (&[("if-none-match", "\"a,b\" , W/\"abc\"")], "304"),
            (&[("if-none-match", "\"x\""), ("if-none-match", "\"abc\"")], "304"),
            (&[("if-none-match", "\"x\"")], "200"),
            (&[("if-none-match", "abc")], "200"),
            (&[("if-none-match", "\"abc")], "200"),
            (&[("if-none-match", "w/\"abc\"")], "200"),
            // There is no date to compare with.
            (&[("if-modified-since", FAR_AHEAD)], "200"),
            (&[("if-unmodified-since", LONG_AGO)], "200"),
            (&[("if-none-match", "\"x\""), ("if-modified-since", FAR_AHEAD)], "200"),
            (&[("if-match", "\"abc\""), ("if-unmodified-since", LONG_AGO)], "200"),
            (&[("range", "bytes=0-1")], "206"),
            (&[("range", "bytes=0-1"), ("if-range", "\"abc\"")], "206"),
            (&[("range", "bytes=0-1"), ("if-range", "\"x\"")], "200"),
            (&[("range", "bytes=0-1"), ("if-range", "W/\"abc\"")], "200"),
            (&[("range", "bytes=0-1"), ("if-range", FAR_AHEAD)], "200"),
            (&[("range", "bytes=0-1"), ("if-none-match", "\"abc\"")], "304"),
            (&[("range", "bytes=0-1"), ("if-match", "\"x\"")], "412"),
            (&[("if-range", "\"abc\"")], "200"),
        ] {
            assert_eq!(decided(given), expected, "{given:?}");
        }
    }

    #[test]
    fn only_get_has_ranges() {
        let mut headers = HeaderMap::new();
        let headers = with(&mut headers, &[("range", "bytes=0-1")]);
        assert_eq!(decide(&Method::HEAD, headers, ETAG), Decision::Go { range: None });
    }

    proptest! {
        /// A list of any tags with ours in it has ours.
        #[test]
        fn a_tag_is_found_among_others(tags in proptest::collection::vec("(W/)?\"[a-d,*]{0,4}\"", 0..5), at in 0_usize..5) {
            let mut list = tags.clone();
            list.insert(at.min(tags.len()), ETAG.to_owned());
            prop_assert_eq!(decided(&[("if-none-match", &list.join(", "))]), "304");
            prop_assert_eq!(decided(&[("if-match", &list.join(","))]), "200");
        }

        #[test]
        fn any_bytes_are_read(value in "[ -~]{0,30}") {
            let _ = decided(&[("if-none-match", &value), ("if-match", &value), ("if-range", &value)]);
        }
    }
}
