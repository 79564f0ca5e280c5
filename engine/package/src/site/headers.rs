//! The file `_headers`, as Netlify and Cloudflare Pages have it: a path, and below it, indented, the
//! headers of its replies. Pure; owns no fds.
//!
//! ```text
//! # Names of files in /assets have their digests in them.
//! /assets/*
//!   Cache-Control: public, max-age=31536000, immutable
//!   ! X-Content-Type-Options
//! ```

use abi::limits::SITE_RULES_MAX;
use abi::site::HeaderRule;
use abi::site::pattern::Pattern;
use http::{HeaderName, HeaderValue, header};

use super::{HEADERS_FILE, SiteError, of_line};
use crate::limits::quoted;

/// Headers that are the node's to write: of them depends where a reply ends, and what it is.
const NOT_TO_BE_SET: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::DATE,
    header::ETAG,
    header::TRANSFER_ENCODING,
    header::TRAILER,
];

/// Reads the rules of a file.
///
/// # Errors
/// [`SiteError::Rule`] with the first line that is not understood.
pub(super) fn parse(text: &str) -> Result<Vec<HeaderRule>, SiteError> {
    let mut rules = Vec::<HeaderRule>::new();
    for (at, line) in text.lines().enumerate() {
        let wrong = |why: String| of_line(HEADERS_FILE, at, why);
        let (trimmed, is_indented) = (line.trim(), line.starts_with([' ', '\t']));
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if !is_indented {
            if Pattern::new(trimmed).is_none() {
                let path = quoted(trimmed);
                return Err(wrong(format!(
                    "{path:?} is no path; expected for example /assets/* or /users/:id, with its headers indented below"
                )));
            }
            if rules.len() == SITE_RULES_MAX {
                return Err(wrong(format!("there are more than {SITE_RULES_MAX} paths")));
            }
            let (removed, set) = Default::default();
            rules.push(HeaderRule { path: trimmed.to_owned(), removed, set });
            continue;
        }
        let Some(rule) = rules.last_mut() else {
            return Err(wrong("it is indented, and there is no path above it".to_owned()));
        };
        if let Some(name) = trimmed.strip_prefix('!') {
            rule.removed.push(header_name(name).map_err(wrong)?);
            continue;
        }
        let Some((name, value)) = trimmed.split_once(':') else {
            let header = quoted(trimmed);
            return Err(wrong(format!("{header:?} is no header; expected NAME: VALUE")));
        };
        let (name, value) = (header_name(name).map_err(wrong)?, value.trim());
        if HeaderValue::from_str(value).is_err() {
            return Err(wrong(format!(
                "the value of {name} has characters that no header can have"
            )));
        }
        rule.set.push((name, value.to_owned()));
    }
    Ok(rules)
}

/// Returns the name of a header that may be set, in small letters.
fn header_name(text: &str) -> Result<String, String> {
    let name = HeaderName::from_bytes(text.trim().as_bytes());
    let name = name.map_err(|_| format!("{:?} is no header's name", quoted(text.trim())))?;
    match NOT_TO_BE_SET.contains(&name) {
        true => Err(format!("the header {name} is the node's to write; leave it out")),
        false => Ok(name.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_paths_with_headers_below() {
        let text = "# all\n/*\n  X-Frame-Options: DENY\n\t! Cache-Control\n\n/a/:id\n  link: <x>; rel=y:z\n";
        let rules = parse(text).unwrap();
        assert_eq!(rules.len(), 2);
        assert_eq!((rules[0].path.as_str(), rules[1].path.as_str()), ("/*", "/a/:id"));
        assert_eq!(rules[0].removed, ["cache-control"]);
        assert_eq!(rules[0].set, [("x-frame-options".to_owned(), "DENY".to_owned())]);
        assert_eq!(rules[1].set, [("link".to_owned(), "<x>; rel=y:z".to_owned())]);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        for (text, words) in [
            ("\nassets\n", "line 2: \"assets\" is no path"),
            ("  a: b\n", "line 1: it is indented"),
            ("/*\n  nothing\n", "line 2: \"nothing\" is no header"),
            ("/*\n  a b: c\n", "line 2: \"a b\" is no header's name"),
            ("/*\n  content-length: 3\n", "content-length is the node's"),
            ("/*\n  ! etag\n", "etag is the node's"),
            ("/*\n  a: \u{7f}\n", "the value of a has characters"),
        ] {
            let why = parse(text).unwrap_err().to_string();
            assert!(why.contains("_headers") && why.contains(words), "{text:?}: {why}");
        }
    }
}
