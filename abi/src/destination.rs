//! Where the node sends what has become of a job: to a function, or to a URL. Pure; owns no fds.

use http::Uri;

use crate::name;
use crate::reference::{Reference, split};

/// The longest URL.
pub const URL_BYTES_MAX: usize = 2048;

/// Who gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A function, by an alias or a version if there is a reference.
    Function {
        /// Its name.
        name: &'a str,
        /// What stands behind the `@`.
        reference: Option<&'a str>,
    },
    /// A URL, which it is posted to.
    Url(&'a str),
}

impl<'a> Destination<'a> {
    /// Reads `NAME`, `NAME@ALIAS`, `NAME@VERSION` or a URL. Returns `None` if it is nothing of these.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        if is_url(text) {
            return Some(Self::Url(text));
        }
        let (name, reference) = split(text);
        let fits = name::check(name).is_ok()
            && reference.is_none_or(|reference| Reference::read(reference).is_some());
        fits.then_some(Self::Function { name, reference })
    }
}

/// Returns whether a request can be made to `text`: to `http://HOST/PATH` or `https://HOST/PATH`,
/// without a user.
#[must_use]
pub fn is_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let Some(authority) = uri.authority() else { return false };
    // A user would stand before the host.
    let port = authority.as_str().strip_prefix(authority.host());
    let is_number = |port: &str| port.parse::<u16>().is_ok();
    matches!(uri.scheme_str(), Some("http" | "https"))
        && !authority.host().is_empty()
        && port.is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(is_number))
        && text.len() <= URL_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_told_from_a_url() {
        let function = |name, reference| Some(Destination::Function { name, reference });
        assert_eq!(Destination::read("letters"), function("letters", None));
        assert_eq!(Destination::read("letters@beta"), function("letters", Some("beta")));
        for url in ["http://example.com", "https://example.com:8443/a?b=c", "http://[::1]/"] {
            assert_eq!(Destination::read(url), Some(Destination::Url(url)));
        }
        let long = format!("http://a/{}", "x".repeat(URL_BYTES_MAX));
        for neither in [
            "",
            "A",
            "a@",
            "a@b@c",
            "/a",
            "ftp://a/",
            "http:///a",
            "http://a:b/",
            "file:///etc/passwd",
            "http://u:p@a/",
            "http://a b/",
            &long,
        ] {
            assert_eq!(Destination::read(neither), None, "{neither}");
        }
    }
}
