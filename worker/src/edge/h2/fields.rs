//! What HTTP/2 says of fields, beyond what the library looks after. Pure; owns no fds.

use http::header::{CONNECTION, COOKIE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields about a connection of HTTP/1, of which there is none here (RFC 9113 8.2.2).
static CONNECTION_SPECIFIC: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Removes the fields that a message of HTTP/2 must not have.
pub(super) fn remove_connection_specific(fields: &mut HeaderMap) {
    for name in &CONNECTION_SPECIFIC {
        fields.remove(name);
    }
}

/// Joins the crumbs of a Cookie that a client has sent apart (RFC 9113 8.2.3). Whoever reads it
/// next may speak HTTP/1, where there is one.
pub(super) fn join_cookies(fields: &mut HeaderMap) {
    if fields.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Parts of values make a value.
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        fields.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_joined_and_nothing_else_is() {
        let mut fields = HeaderMap::new();
        for value in ["a=1", "b=2; c=3", "d=4"] {
            fields.append(COOKIE, HeaderValue::from_static(value));
            fields.append("accept", HeaderValue::from_static(value));
        }
        join_cookies(&mut fields);
        assert_eq!(fields.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3; d=4"]);
        assert_eq!(fields.get_all("accept").iter().count(), 3);
        join_cookies(&mut fields);
        assert_eq!(fields.get_all(COOKIE).iter().count(), 1);
    }

    #[test]
    fn what_is_about_a_connection_goes() {
        let mut fields = HeaderMap::new();
        for name in ["connection", "keep-alive", "transfer-encoding", "upgrade", "x-kept"] {
            fields.insert(name, HeaderValue::from_static("a"));
        }
        remove_connection_specific(&mut fields);
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["x-kept"]);
    }
}
