//! Reads one value from a query string. A library for the guests that take one, not a guest.

use std::str::FromStr;

/// The value of `name` in `query`, or `default` if it is not there.
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
