//! The file `_redirects`, as Netlify and Cloudflare Pages have it: from where, where to, and the
//! status. Pure; owns no fds.
//!
//! ```text
//! /old        /new           301
//! /blog/*     /posts/:splat
//! /*          /index.html    200
//! ```

use abi::limits::SITE_RULES_MAX;
use abi::site::pattern::{PATTERN_BYTES_MAX, Pattern};
use abi::site::{REDIRECT_STATUSES, Redirect};
use http::HeaderValue;

use super::{REDIRECTS_FILE, SiteError, of_line};
use crate::limits::quoted;

/// The status of a redirect that has none.
const DEFAULT_STATUS: u16 = 301;

/// Reads the redirects of a file.
///
/// # Errors
/// [`SiteError::Rule`] with the first line that is not understood.
pub(super) fn parse(text: &str) -> Result<Vec<Redirect>, SiteError> {
    let mut redirects = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if redirects.len() == SITE_RULES_MAX {
            let why = format!("there are more than {SITE_RULES_MAX} redirects");
            return Err(of_line(REDIRECTS_FILE, at, why));
        }
        let redirect = redirect(line).map_err(|why| of_line(REDIRECTS_FILE, at, why))?;
        redirects.push(redirect);
    }
    Ok(redirects)
}

fn redirect(line: &str) -> Result<Redirect, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (from, to, status) = match *words.as_slice() {
        [from, to] => (from, to, None),
        [from, to, status] => (from, to, Some(status)),
        _ => {
            return Err(format!(
                "{:?} is no redirect; expected FROM TO STATUS, and neither conditions nor parameters of queries",
                quoted(line)
            ));
        }
    };
    if Pattern::new(from).is_none() {
        return Err(format!(
            "{:?} is no path; expected for example /blog/* or /users/:id",
            quoted(from)
        ));
    }
    let (status, forced) = match status {
        None => (DEFAULT_STATUS, false),
        Some(text) => {
            let digits = text.strip_suffix('!').unwrap_or(text);
            let known = digits.parse().ok().filter(|status| REDIRECT_STATUSES.contains(status));
            let known = known.ok_or_else(|| {
                format!("{:?} is no status; expected one of {REDIRECT_STATUSES:?}", quoted(text))
            })?;
            (known, text.ends_with('!'))
        }
    };
    let is_own = to.starts_with('/') && !to.starts_with("//");
    let is_url = to.starts_with("https://") || to.starts_with("http://");
    let fits = to.len() <= PATTERN_BYTES_MAX && HeaderValue::from_str(to).is_ok();
    match status {
        _ if !fits => Err(format!("{:?} cannot be sent to; encode it", quoted(to))),
        200 | 404 if !is_own => Err(format!(
            "{:?} is not of this site, and with the status {status} its file would be sent; expected a path",
            quoted(to)
        )),
        _ if is_own || is_url => {
            Ok(Redirect { from: from.to_owned(), to: to.to_owned(), status, forced })
        }
        _ => Err(format!("{:?} is neither a path nor a URL of http or https", quoted(to))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_a_line_each() {
        let text = "# old\n/a /b\n/blog/*  /posts/:splat 302 # moved\n\n/* /index.html 200!\n\
                    /x https://x.test/:y 308\n";
        let redirects = parse(text).unwrap();
        let told: Vec<_> = redirects
            .iter()
            .map(|redirect| (redirect.from.as_str(), redirect.to.as_str(), redirect.status))
            .collect();
        let expected = [
            ("/a", "/b", 301),
            ("/blog/*", "/posts/:splat", 302),
            ("/*", "/index.html", 200),
            ("/x", "https://x.test/:y", 308),
        ];
        assert_eq!(told, expected);
        assert!(redirects[2].forced && !redirects[0].forced);
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        for (text, words) in [
            ("/a\n", "line 1: \"/a\" is no redirect"),
            ("\n/a /b 301 Country=de\n", "line 2"),
            ("a /b\n", "\"a\" is no path"),
            ("/a /b 500\n", "\"500\" is no status"),
            ("/a //evil.test\n", "neither a path nor a URL"),
            ("/a javascript:x\n", "neither a path nor a URL"),
            ("/a https://x.test 200\n", "not of this site"),
        ] {
            let why = parse(text).unwrap_err().to_string();
            assert!(why.contains("_redirects") && why.contains(words), "{text:?}: {why}");
        }
    }
}
