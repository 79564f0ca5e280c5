//! The target of a request: path and query, from the parts that an event has of them. Pure. Owns no
//! fds.

use http::uri::{InvalidUri, PathAndQuery};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::fields::Members;

/// What may not stand in a path as it is (RFC 3986 3.3). A percent sign may: what it begins has
/// been encoded by the client.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/')
    .remove(b'%');

/// What may not stand in a query as it is (RFC 3986 3.4).
const QUERY: &AsciiSet = &PATH.remove(b'?');

/// Returns the target made of `path` and `query`, byte for byte. What cannot stand in a target is
/// percent-encoded: HTTP APIs decode a path before they pass it on.
///
/// # Errors
///
/// Returns [`InvalidUri`] if the target is longer than any can be.
pub(super) fn target(path: &str, query: &str) -> Result<PathAndQuery, InvalidUri> {
    let path = match path {
        "" => "/".to_owned(),
        "*" if query.is_empty() => return Ok(PathAndQuery::from_static("*")),
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("/{path}"),
    };
    let whole = |path: &str, query: &str| match query {
        "" => path.to_owned(),
        _ => format!("{path}?{query}"),
    };
    // Parsing cuts a fragment off, so what comes of it is compared.
    let kept = whole(&path, query).parse::<PathAndQuery>().ok();
    let kept = kept.filter(|kept| {
        kept.path() == path && kept.query().unwrap_or_default() == query && kept.as_str().is_ascii()
    });
    match kept {
        Some(kept) => Ok(kept),
        None => {
            let path = utf8_percent_encode(&path, PATH).to_string();
            whole(&path, &utf8_percent_encode(query, QUERY).to_string()).parse()
        }
    }
}

/// Returns the query that `parameters` are the decoded names and values of.
pub(super) fn encoded_query(parameters: &Members) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs(parameters) {
        query.append_pair(name, value);
    }
    query.finish()
}

/// Returns the query that `parameters` are the names and values of, as the client sent them: a load
/// balancer does not decode them.
pub(super) fn raw_query(parameters: &Members) -> String {
    let parts: Vec<String> =
        pairs(parameters).map(|(name, value)| format!("{name}={value}")).collect();
    parts.join("&")
}

fn pairs(parameters: &Members) -> impl Iterator<Item = (&str, &str)> {
    parameters
        .0
        .iter()
        .flat_map(|(name, values)| values.iter().map(|value| (name.as_str(), value.as_str())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn targets_are_kept_and_what_cannot_stand_in_one_is_encoded() {
        for (path, query, expected) in [
            ("/a%20b/%2F", "x=%20&y", "/a%20b/%2F?x=%20&y"),
            ("//a", "?", "//a??"),
            ("/{a}|", "{}|", "/{a}|?{}|"),
            ("/a", "\"", "/a?%22"),
            ("", "", "/"),
            ("a", "", "/a"),
            ("*", "", "*"),
            ("*", "a", "/*?a"),
            ("/a b", "c d", "/a%20b?c%20d"),
            ("/ü", "", "/%C3%BC"),
            ("/a?b", "c", "/a%3Fb?c"),
            ("/a#b", "c#d", "/a%23b?c%23d"),
            ("/a%2", "\u{0}", "/a%2?%00"),
        ] {
            assert_eq!(target(path, query).unwrap(), expected);
        }
        assert!(target(&"/a".repeat(40_000), "").is_err());
    }

    #[test]
    fn parameters_make_a_query() {
        let parameters: Members =
            serde_json::from_str(r#"{"b":["1 2","&"],"a%20":"%20","c":""}"#).unwrap();
        assert_eq!(encoded_query(&parameters), "b=1+2&b=%26&a%2520=%2520&c=");
        assert_eq!(raw_query(&parameters), "b=1 2&b=&&a%20=%20&c=");
    }

    proptest! {
        #[test]
        fn any_text_makes_a_target(path in ".{0,30}", query in ".{0,30}") {
            prop_assert!(target(&path, &query).is_ok());
        }
    }
}
