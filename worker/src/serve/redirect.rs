//! Local redirects: a CGI program's reply that is a path of this server (RFC 3875 6.2.2). Pure;
//! owns no fds.
//!
//! The node answers the request for that path itself, without asking the client, if the path
//! belongs to the same function: by the version that was already chosen. Another function may be
//! served by another worker; then the reply is a 302, and the client follows it.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};

use crate::origin::FORWARDED_PREFIX;

/// The most local redirects of one request.
pub(super) const LOCAL_REDIRECTS_MAX: u32 = 5;

/// Returns the request that a reply with `target` redirects `request` to. Returns `None` if the
/// target does not belong to the same function.
pub(super) fn redirected(request: &Request<()>, target: &PathAndQuery) -> Option<Request<()>> {
    let prefix = request
        .headers()
        .get(&FORWARDED_PREFIX)
        .map_or("", |prefix| prefix.to_str().unwrap_or_default());
    let uri: Uri = match target.as_str().strip_prefix(prefix)? {
        rest if rest.starts_with('/') => rest.parse().ok()?,
        rest if rest.is_empty() || rest.starts_with('?') => format!("/{rest}").parse().ok()?,
        // The name of another function may begin with the name of this one.
        _ => return None,
    };
    let mut next = request.clone();
    *next.uri_mut() = uri;
    if next.method() != Method::HEAD {
        *next.method_mut() = Method::GET;
    }
    for about_the_body in
        [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRANSFER_ENCODING]
    {
        next.headers_mut().remove(about_the_body);
    }
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_same_function_is_asked_for_by_get() {
        for (prefix, target, expected) in [
            (None, "/x?y", Some("/x?y")),
            (None, "/", Some("/")),
            (Some("/shop"), "/shop/x?y", Some("/x?y")),
            (Some("/shop"), "/shop", Some("/")),
            (Some("/shop"), "/shop?y", Some("/?y")),
            (Some("/shop"), "/shop//x", Some("//x")),
            (Some("/shop"), "/shop2/x", None),
            (Some("/shop"), "/other/", None),
            (Some("/shop"), "/", None),
            (Some("/shop@v1"), "/shop/", None),
            (Some("/shop@v1"), "/shop@v1/x", Some("/x")),
        ] {
            let request =
                Request::post("/form").header("content-length", "5").header("cookie", "a");
            let request = prefix
                .into_iter()
                .fold(request, |request, prefix| request.header(&FORWARDED_PREFIX, prefix));
            let next = redirected(&request.body(()).unwrap(), &target.parse().unwrap());
            assert_eq!(
                next.as_ref().map(|next| next.uri().to_string()).as_deref(),
                expected,
                "{prefix:?} {target}"
            );
            let Some(next) = next else { continue };
            assert_eq!(next.method(), Method::GET);
            assert_eq!(next.headers()["cookie"], "a");
            assert!(!next.headers().contains_key(CONTENT_LENGTH));
        }
        let head =
            redirected(&Request::head("/").body(()).unwrap(), &PathAndQuery::from_static("/x"))
                .unwrap();
        assert_eq!(head.method(), Method::HEAD);
    }
}
