//! Reads a query string: one value of it, or all of them in order. A library for the guests that
//! take one, not a guest.

use std::str::FromStr;

/// The value of `name` in `query`, or `default` if it is not there. Nothing is decoded.
///
/// # Errors
///
/// If it is there but does not parse.
pub fn value<T: FromStr>(query: Option<&str>, name: &str, default: T) -> Result<T, T::Err> {
    query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        .map_or(Ok(default), str::parse)
}

/// All pairs of `query` as they stand, the values percent-decoded; one without a `=` has an empty
/// value.
pub fn pairs(query: &str) -> impl Iterator<Item = (&str, Vec<u8>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name, decode(value))
    })
}

/// Decodes `%XX`, and nothing else: a `+` is a plus. What only looks like an escape stays as it is.
#[must_use]
pub fn decode(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        rest = if let Some((high, low)) = escaped {
            bytes.push(high << 4 | low);
            &rest[3..]
        } else {
            bytes.push(*first);
            after
        };
    }
    bytes
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
