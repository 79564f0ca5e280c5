//! The dashboard: a page that shows a node and its functions as they are, and changes them, for
//! whoever has the token. It is a client of the control API like any other, in `files/`.
//!
//! Plain HTML, CSS and JavaScript modules, with plots of its own, because a page of this size needs
//! no framework: so there is no build step, nothing to keep up to date, and nothing in it that is
//! not read here.
//!
//! [`files`] has the files in the binary, and [`router`] serves them. The page itself is asked for
//! anew each time; all else has the digest of all files in its path, and is kept by browsers for
//! as long as they like. None of it needs the token: it tells nothing of the node.
//!
//! What guests and users have written is shown as text and never as HTML. `files/dom.js` sees to
//! that, and the [`POLICY`] has browsers refuse the rest: code and connections from elsewhere,
//! code in the page, and text that is to become HTML. Owns no fds.

#![forbid(unsafe_code)]

mod files;

use axum::Router;
use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

/// What browsers let the page do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
/// Of all that is served.
const HEADERS: [(HeaderName, &str); 3] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
];

/// Returns whether the dashboard serves `path`, which then needs no token.
#[must_use]
pub fn has(path: &str) -> bool {
    path == "/" || path.starts_with("/dashboard/")
}

/// Serves the page at `/`, and what it consists of below `/dashboard/`.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(page)).route("/dashboard/{version}/{*file}", get(file))
}

async fn page(headers: HeaderMap) -> Response {
    let cached = [(CACHE_CONTROL, "no-cache"), (ETAG, files::tag())];
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    if known.flat_map(|tags| tags.split(',')).any(is_current) {
        return (StatusCode::NOT_MODIFIED, HEADERS, cached).into_response();
    }
    (HEADERS, cached, [(CONTENT_TYPE, files::HTML)], files::page()).into_response()
}

/// Returns whether a tag of `If-None-Match` is that of the page. It is compared weakly, as for GET
/// (RFC 9110 13.1.2).
fn is_current(tag: &str) -> bool {
    let tag = tag.trim();
    tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == files::tag()
}

/// Answers with a file of this build. The page of another one asks for another version, and is to
/// be loaded again.
async fn file(Path((version, path)): Path<(String, String)>) -> Response {
    match files::find(&path).filter(|_| version == files::version()) {
        Some(file) => {
            let cached = [(CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (HEADERS, cached, [(CONTENT_TYPE, file.content_type())], file.text).into_response()
        }
        None => {
            let text = "there is no such file in this build of the dashboard; load it again\n";
            (StatusCode::NOT_FOUND, HEADERS, [(CACHE_CONTROL, "no-store")], text).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        let tag = files::tag();
        assert!(is_current(tag) && is_current(&format!(" W/{tag} ")) && is_current("*"));
        assert!(!is_current("\"other\"") && !is_current(""));
    }

    #[test]
    fn nothing_else_goes_without_the_token() {
        assert!(has("/") && has("/dashboard/1/app.js"));
        for path in ["", "/v1/status", "/metrics", "/dashboard", "//"] {
            assert!(!has(path), "{path}");
        }
    }
}
