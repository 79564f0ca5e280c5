//! What a request to a static site is answered. Pure; owns no fds.

use std::borrow::Cow;

use abi::site::pattern::{Names, Pattern, filled};
use abi::site::{ArchivedContents, ArchivedRedirect, ArchivedSite, ArchivedSiteFile};
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, LOCATION, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::conditional::{Decision, decide};
use super::encoding;
use super::lookup::{Found, decoded, find, not_found};
use super::range::{Wanted, wanted};
use super::value;

/// The methods that files have.
const METHODS: &str = "GET, HEAD";
/// A client may keep a file, and asks each time whether it is still the same: a deploy is seen at
/// once.
const CACHE_DEFAULT: &str = "public, max-age=0, must-revalidate";
const NOT_FOUND_TEXT: &str = "Not Found\n";
const NOT_ALLOWED_TEXT: &str = "Method Not Allowed\n";
/// What is encoded of a path's text where it becomes a part of a URL.
const IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A request, as far as its answer depends on it.
pub(super) struct Asked<'r> {
    pub(super) method: &'r Method,
    pub(super) path: &'r str,
    pub(super) query: Option<&'r str>,
    /// The path before it, which named the site.
    pub(super) prefix: &'r str,
    /// Whether that was all, without a slash behind it.
    pub(super) is_bare: bool,
    pub(super) headers: &'r HeaderMap,
}

/// A reply.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// A reply's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Text(&'static str),
    /// A part of the site's file.
    Part {
        offset: u64,
        bytes: u64,
    },
}

impl Answer {
    fn text(status: StatusCode, text: &'static str) -> Self {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
            (CACHE_CONTROL, HeaderValue::from_static(CACHE_DEFAULT)),
        ]);
        Self { status, headers, body: Body::Text(text) }
    }

    fn redirect(status: StatusCode, location: &str) -> Self {
        match HeaderValue::from_str(location) {
            Ok(location) => {
                let headers = HeaderMap::from_iter([(LOCATION, location)]);
                Self { status, headers, body: Body::None }
            }
            Err(_) => Self::text(StatusCode::NOT_FOUND, NOT_FOUND_TEXT),
        }
    }
}

/// Answers a request.
pub(super) fn answer(site: &ArchivedSite, asked: &Asked<'_>) -> Answer {
    if !is_read(asked.method) {
        let mut answer = Answer::text(StatusCode::METHOD_NOT_ALLOWED, NOT_ALLOWED_TEXT);
        answer.headers.insert(ALLOW, HeaderValue::from_static(METHODS));
        return answer;
    }
    let path = decoded(asked.path);
    let found = path.as_deref().and_then(|path| found(site, asked, path));
    found.unwrap_or_else(|| missing(site, asked, path.as_deref().unwrap_or("/")))
}

/// Answers a request if the site has something for it. Returns `None` if it does not.
pub(super) fn answer_if_found(site: &ArchivedSite, asked: &Asked<'_>) -> Option<Answer> {
    let path = decoded(asked.path).filter(|_| is_read(asked.method))?;
    found(site, asked, &path)
}

/// Returns whether files have this method.
fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn found(site: &ArchivedSite, asked: &Asked<'_>, path: &str) -> Option<Answer> {
    if let Some((redirect, names)) = redirect(site, path, true) {
        return Some(redirected(site, asked, path, redirect, &names));
    }
    let to_folder =
        |name: &str| Answer::redirect(StatusCode::MOVED_PERMANENTLY, &folder(name, asked.query));
    match find(site, path) {
        // Relative, as the node need not know by which address the client has come.
        Found::File(_) if asked.is_bare => {
            Some(to_folder(asked.prefix.rsplit('/').next().unwrap_or_default()))
        }
        Found::File(found) => Some(file(site, asked, path, found, StatusCode::OK)),
        Found::Folder => Some(to_folder(asked.path.rsplit('/').next().unwrap_or_default())),
        Found::Nothing => {
            let (redirect, names) = redirect(site, path, false)?;
            Some(redirected(site, asked, path, redirect, &names))
        }
    }
}

/// Returns a reference to the folder `name`, from a path that ends with that name.
fn folder(name: &str, query: Option<&str>) -> String {
    // A name with a colon would be a scheme without the dot (RFC 3986 4.2).
    match query {
        Some(query) => format!("./{name}/?{query}"),
        None => format!("./{name}/"),
    }
}

/// Returns the first redirect for a path, of those that count before files or of the others.
fn redirect<'a>(
    site: &'a ArchivedSite,
    path: &'a str,
    is_forced: bool,
) -> Option<(&'a ArchivedRedirect, Names<'a>)> {
    let redirects = site.redirects.iter().filter(|redirect| redirect.forced == is_forced);
    let mut matching = redirects
        .filter_map(|redirect| Some((redirect, Pattern::new(&redirect.from)?.matches(path)?)));
    matching.next()
}

fn redirected(
    site: &ArchivedSite,
    asked: &Asked<'_>,
    path: &str,
    redirect: &ArchivedRedirect,
    names: &Names<'_>,
) -> Answer {
    let status = StatusCode::from_u16(redirect.status.to_native()).unwrap_or(StatusCode::FOUND);
    if !status.is_redirection() {
        let to = filled(&redirect.to, names);
        return match find(site, to.split(['?', '#']).next().unwrap_or_default()) {
            Found::File(found) => file(site, asked, path, found, status),
            Found::Folder | Found::Nothing => missing(site, asked, path),
        };
    }
    let encoded: Vec<(&str, Cow<'_, str>)> = names
        .iter()
        .map(|(name, text)| (*name, utf8_percent_encode(text, IN_PATH).into()))
        .collect();
    let names = encoded.iter().map(|(name, text)| (*name, &**text)).collect();
    let mut to = filled(&redirect.to, &names);
    if redirect.to.starts_with('/') {
        // Two slashes at its beginning would make a host of what follows.
        to = format!("{}/{}", asked.prefix, to.trim_start_matches('/'));
    }
    if let (Some(query), false) = (asked.query, to.contains(['?', '#'])) {
        to = format!("{to}?{query}");
    }
    Answer::redirect(status, &to)
}

fn missing(site: &ArchivedSite, asked: &Asked<'_>, path: &str) -> Answer {
    match not_found(site, path) {
        Some(page) => file(site, asked, path, page, StatusCode::NOT_FOUND),
        None => Answer::text(StatusCode::NOT_FOUND, NOT_FOUND_TEXT),
    }
}

/// Answers with a file, or with what the request's preconditions and range make of it. Those are
/// about files that are there (RFC 9110 13.2.1).
fn file(
    site: &ArchivedSite,
    asked: &Asked<'_>,
    path: &str,
    file: &ArchivedSiteFile,
    status: StatusCode,
) -> Answer {
    let (contents, coding) = encoding::chosen(file, asked.headers);
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(CONTENT_TYPE, value(&file.media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(CACHE_DEFAULT));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    if !file.variants.is_empty() {
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    let (offset, length) = contents.range();
    let sends = |body| if *asked.method == Method::HEAD { Body::None } else { body };
    let whole = Body::Part { offset, bytes: length };
    if status != StatusCode::OK {
        headers.insert(CONTENT_LENGTH, length.into());
        chosen_headers(site, path, &mut headers);
        return Answer { status, headers, body: sends(whole) };
    }
    let etag = etag(contents);
    headers.insert(ETAG, value(&etag));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    chosen_headers(site, path, &mut headers);
    let (status, body, sent) = match decide(asked.method, asked.headers, &etag) {
        Decision::NotModified => {
            // What describes the body goes with it (RFC 9110 15.4.5).
            for name in [CONTENT_TYPE, CONTENT_ENCODING, ACCEPT_RANGES] {
                headers.remove(name);
            }
            return Answer { status: StatusCode::NOT_MODIFIED, headers, body: Body::None };
        }
        Decision::Failed => {
            return Answer::text(StatusCode::PRECONDITION_FAILED, "Precondition Failed\n");
        }
        Decision::Go { range } => match wanted(range, length) {
            Wanted::Whole => (StatusCode::OK, whole, length),
            Wanted::Part { first, bytes } => {
                let range = format!("bytes {first}-{}/{length}", first + bytes - 1);
                headers.insert(CONTENT_RANGE, value(&range));
                let part = Body::Part { offset: offset + first, bytes };
                (StatusCode::PARTIAL_CONTENT, part, bytes)
            }
            Wanted::Unsatisfiable => {
                let mut answer =
                    Answer::text(StatusCode::RANGE_NOT_SATISFIABLE, "Range Not Satisfiable\n");
                answer.headers.insert(CONTENT_RANGE, value(&format!("bytes */{length}")));
                return answer;
            }
        },
    };
    headers.insert(CONTENT_LENGTH, sent.into());
    Answer { status, headers, body: sends(body) }
}

/// Returns the strong entity tag of contents, in its quotes.
fn etag(contents: &ArchivedContents) -> String {
    let mut digits = [0; 32];
    // There is room for two digits of each byte.
    let _ = hex::encode_to_slice(contents.digest, &mut digits);
    format!("\"{}\"", String::from_utf8_lossy(&digits))
}

/// Sets the headers that the site's rules choose for a path. The first of a name replaces what the
/// node would send, further ones are sent beside it.
fn chosen_headers(site: &ArchivedSite, path: &str, headers: &mut HeaderMap) {
    let mut set = Vec::new();
    for rule in site.headers.iter() {
        if Pattern::new(&rule.path).and_then(|pattern| pattern.matches(path)).is_none() {
            continue;
        }
        for name in rule.removed.iter() {
            headers.remove(name.as_str());
            set.retain(|other| other != name.as_str());
        }
        for pair in rule.set.iter() {
            let Ok(name) = HeaderName::from_bytes(pair.0.as_bytes()) else { continue };
            // What a reply varies by is added to, as caches would confuse codings.
            if set.contains(&name) || name == VARY {
                headers.append(name, value(&pair.1));
            } else {
                set.push(name.clone());
                headers.insert(name, value(&pair.1));
            }
        }
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;

#[cfg(test)]
pub(super) use self::tests::samples;
