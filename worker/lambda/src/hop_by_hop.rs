//! Header fields that concern one connection and are not passed on (RFC 9110 7.6.1). Owns no fds.

use http::{HeaderMap, HeaderName, header};

/// Returns `headers` without the fields that concern one connection only.
pub(crate) fn removed(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        if !is_for_one_connection(name, headers) {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// Returns whether the field `name` concerns one connection only: by its own meaning, or because
/// the field `Connection` of `headers` names it. The body's length counts as such, because it is
/// worked out anew.
pub(crate) fn is_for_one_connection(name: &HeaderName, headers: &HeaderMap) -> bool {
    is_always(name) || is_named_in_connection(name, headers)
}

fn is_always(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ]
    .contains(name)
        || ["keep-alive", "proxy-connection"].contains(&name.as_str())
}

fn is_named_in_connection(name: &HeaderName, headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|named| named.trim().eq_ignore_ascii_case(name.as_str()))
}
