//! Turns the head of a request into the request that its function sees. Pure; owns no fds.

use abi::head::{Head, Header, is_reserved};
use abi::problem::Problem;
use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, EXPECT, FORWARDED, HOST, TE, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::encode::Asked;
use super::incoming::Continue;
use crate::origin::FORWARDED_PREFIX;
use crate::run::BarePrefix;

/// The positions of a head's parts in its bytes.
///
/// The head is parsed in the read buffer, which is then split. This is the part of the parsing that
/// outlives the split.
pub(super) struct Outline {
    method: Method,
    minor_version: u8,
    target: (usize, usize),
    /// The target's authority. If there is one it is the request's host, whatever the Host header
    /// says (RFC 9112 3.2.2).
    authority: Option<(usize, usize)>,
    headers: Vec<[(usize, usize); 2]>,
    length: usize,
}

impl Outline {
    /// Returns the outline of a head that was parsed at the start of `buffer`.
    pub(super) fn new(buffer: &[u8], head: &Head<'_>, headers: &[Header<'_>]) -> Option<Self> {
        let at = |part: &[u8]| match part.len() {
            // An empty part needs no position, and may point outside of the buffer.
            0 => (0, 0),
            length => (part.as_ptr().addr().wrapping_sub(buffer.as_ptr().addr()), length),
        };
        Some(Self {
            method: Method::from_bytes(head.method.as_bytes()).ok()?,
            minor_version: head.minor_version,
            target: at(head.target.as_bytes()),
            authority: head
                .host
                .filter(|_| !head.target.starts_with('/'))
                .map(|host| at(host.as_bytes())),
            headers: headers
                .iter()
                .map(|header| [at(header.name.as_bytes()), at(header.value)])
                .collect(),
            length: head.length,
        })
    }

    /// Takes the head off the front of `buffer` and returns the request. The first `prefix_length`
    /// bytes of its path name the function, and move to a header.
    pub(super) fn take(
        self,
        buffer: &mut BytesMut,
        prefix_length: usize,
    ) -> Result<Message, Problem> {
        let bytes = buffer.split_to(self.length).freeze();
        let part = |(start, length): (usize, usize)| bytes.slice(start..start + length);
        // There is room for the prefix, for the headers of `forwarded`, and for a host.
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 4);
        // What the headers are about is noted here, because looking for one that is not there costs
        // more.
        let (mut forwarded, mut has_host, mut has_options) = (false, false, false);
        let mut reserved = false;
        for [name, value] in self.headers {
            let name = HeaderName::from_bytes(&part(name));
            let value = HeaderValue::from_maybe_shared(part(value));
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(Problem::new(400, "a header is not well formed"));
            };
            forwarded |= name == FORWARDED || name.as_str().starts_with("x-forwarded-");
            has_host |= name == HOST;
            reserved |= is_reserved(name.as_str());
            has_options |= name == CONNECTION || name == EXPECT || name == TE;
            headers.append(name, value);
        }
        let options = has_options.then_some(&headers);
        let asked = asked(&self.method, self.minor_version, options);
        let upgrades = self.minor_version > 0
            && options.is_some_and(|headers| {
                headers.contains_key(UPGRADE) && named(headers, CONNECTION, "upgrade")
            });
        let continues = if self.minor_version > 0 && options.is_some_and(expects_continue) {
            Continue::Expected
        } else {
            Continue::Settled
        };
        // The function sees the host that the request was routed by. A request of HTTP/1.0 may have
        // no host, but a component is promised one.
        match self.authority.map(part).map(HeaderValue::from_maybe_shared) {
            Some(Ok(authority)) => _ = headers.insert(HOST, authority),
            Some(Err(_)) => {
                return Err(Problem::new(400, "the target's authority is not well formed"));
            }
            None if !has_host => _ = headers.insert(HOST, HeaderValue::from_static("localhost")),
            None => {}
        }
        if forwarded {
            headers.remove(&FORWARDED_PREFIX);
        }
        let Seen { uri, prefix, is_bare } = seen(part(self.target), prefix_length)?;
        if let Some(prefix) = &prefix {
            headers.insert(&FORWARDED_PREFIX, prefix.clone());
        }
        let mut request = Request::new(());
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.version_mut() =
            if self.minor_version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
        *request.headers_mut() = headers;
        if is_bare {
            request.extensions_mut().insert(BarePrefix);
        }
        Ok(Message { request, asked, continues, upgrades, prefix, forwarded, reserved })
    }
}

/// A request's head: the function's part, and the connection's.
pub(super) struct Message {
    pub(super) request: Request<()>,
    pub(super) asked: Asked,
    pub(super) continues: Continue,
    /// Whether the client asks to change the protocol (RFC 9110 7.8).
    pub(super) upgrades: bool,
    /// The prefix that was taken off the path.
    pub(super) prefix: Option<HeaderValue>,
    /// Whether some header says whom the request was forwarded for, by whom or how.
    pub(super) forwarded: bool,
    /// Whether it has a header that the node alone sets.
    pub(super) reserved: bool,
}

/// Returns whether a header with a list has `token` in it.
fn named(headers: &HeaderMap, header: HeaderName, token: &str) -> bool {
    let mut values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
}

/// Returns what is asked of the connection. `options` are the headers, if one of them may say it.
fn asked(method: &Method, minor_version: u8, options: Option<&HeaderMap>) -> Asked {
    let head_only = method == Method::HEAD;
    let Some(headers) = options else {
        return Asked { minor_version, head_only, keep_alive: minor_version > 0, trailers: false };
    };
    let named = |header, token| named(headers, header, token);
    let keep_alive =
        !named(CONNECTION, "close") && (minor_version > 0 || named(CONNECTION, "keep-alive"));
    Asked { minor_version, head_only, keep_alive, trailers: named(TE, "trailers") }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// A request's target as its function sees it.
pub(in crate::edge) struct Seen {
    pub(in crate::edge) uri: Uri,
    /// The prefix that was taken off its path.
    pub(in crate::edge) prefix: Option<HeaderValue>,
    /// Whether there was nothing behind the prefix, not even a slash.
    pub(in crate::edge) is_bare: bool,
}

/// Returns the target as the function sees it.
pub(in crate::edge) fn seen(target: Bytes, prefix_length: usize) -> Result<Seen, Problem> {
    let whole = |uri| Ok(Seen { uri, prefix: None, is_bare: false });
    let unfit = || Problem::new(400, "the request's target is not a path");
    if !target.starts_with(b"/") {
        let uri = Uri::from_maybe_shared(target).map_err(|_| unfit())?;
        if prefix_length == 0 {
            return whole(uri);
        }
        let path = Bytes::copy_from_slice(
            uri.path_and_query().map_or("/", PathAndQuery::as_str).as_bytes(),
        );
        let (path, prefix, is_bare) = split(&path, prefix_length).ok_or_else(unfit)?;
        let mut parts = uri.into_parts();
        parts.path_and_query = Some(path);
        let uri = Uri::from_parts(parts).map_err(|_| unfit())?;
        return Ok(Seen { uri, prefix: Some(prefix), is_bare });
    }
    if prefix_length == 0 {
        return whole(PathAndQuery::from_maybe_shared(target).map_err(|_| unfit())?.into());
    }
    let (path, prefix, is_bare) = split(&target, prefix_length).ok_or_else(unfit)?;
    Ok(Seen { uri: path.into(), prefix: Some(prefix), is_bare })
}

/// Returns what is behind the prefix, the prefix, and whether the former began without a slash.
fn split(path: &Bytes, prefix_length: usize) -> Option<(PathAndQuery, HeaderValue, bool)> {
    if prefix_length > path.len() {
        return None;
    }
    let prefix = HeaderValue::from_maybe_shared(path.slice(..prefix_length)).ok()?;
    let rest = path.slice(prefix_length..);
    let is_bare = !rest.starts_with(b"/");
    let rest = if is_bare { [b"/", &rest[..]].concat().into() } else { rest };
    Some((PathAndQuery::from_maybe_shared(rest).ok()?, prefix, is_bare))
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::head::{Parsed, header_room, parse_into};

    fn message(text: &str, prefix_length: usize) -> Result<Message, Problem> {
        let mut buffer = BytesMut::from(text);
        let outline = {
            let mut room = header_room();
            let Ok((Parsed::Complete(head), headers)) = parse_into(&buffer, &mut room) else {
                panic!("{text:?}")
            };
            Outline::new(&buffer, &head, headers).unwrap()
        };
        let message = outline.take(&mut buffer, prefix_length);
        assert_eq!(&buffer[..], b"rest");
        message
    }

    #[test]
    fn the_function_sees_its_own_path() {
        for (target, prefix_length, path) in [
            ("/a/b?c", 2, "/b?c"),
            ("/a", 2, "/"),
            ("/a?c", 2, "/?c"),
            ("/a/b", 0, "/a/b"),
            ("http://h/a/b", 2, "http://h/b"),
        ] {
            let text = format!(
                "GET {target} HTTP/1.1\r\nHost: x\r\nX-Forwarded-Prefix: /evil\r\n\r\nrest"
            );
            let request = message(&text, prefix_length).unwrap().request;
            assert_eq!(request.uri().to_string(), path, "{target}");
            let is_bare = request.extensions().get::<BarePrefix>().is_some();
            assert_eq!(is_bare, matches!(target, "/a" | "/a?c"), "{target}");
            let prefix =
                request.headers().get("x-forwarded-prefix").map(|value| value.to_str().unwrap());
            assert_eq!(prefix, (prefix_length > 0).then_some("/a"), "{target}");
        }
        assert!(
            message("GET /a<b HTTP/1.1\r\nHost: x\r\n\r\nrest", 2)
                .is_err_and(|problem| problem.status == 400)
        );
    }

    #[test]
    fn the_host_is_that_which_the_request_was_routed_by() {
        for (target, host) in [
            ("/a", "x:1"),
            ("http://u.test:8/a", "u.test:8"),
            ("http://u.test?b", "u.test"),
            ("*", "x:1"),
        ] {
            let request = message(&format!("GET {target} HTTP/1.1\r\nHost: x:1\r\n\r\nrest"), 0)
                .unwrap()
                .request;
            let hosts: Vec<_> = request.headers().get_all(HOST).iter().collect();
            assert_eq!(hosts, [host], "{target}");
        }
        let old = message("GET / HTTP/1.0\r\n\r\nrest", 0).unwrap().request;
        assert_eq!(old.headers()[HOST], "localhost");
    }

    #[test]
    fn headers_that_say_whom_a_request_is_from_are_noticed_however_they_are_written() {
        let forwarded = |line: &str| {
            message(&format!("GET /f/a HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\nrest"), 2).unwrap()
        };
        for line in [
            "Forwarded: for=a",
            "X-FORWARDED-FOR: a",
            "x-forwarded-host: a",
            "X-Forwarded-Prefix: /b",
        ] {
            assert!(forwarded(line).forwarded, "{line}");
        }
        assert_eq!(forwarded("X-Forwarded-Prefix: /b").request.headers()[&FORWARDED_PREFIX], "/f");
        assert!(!forwarded("Accept: */*").forwarded);
        assert!(
            forwarded("Sockhop-CRON: a").reserved && forwarded("sockhop-cron-time: a").reserved
        );
        assert!(
            forwarded("SOCKHOP-job: a").reserved && forwarded("sockhop-job-attempt: 1").reserved
        );
        assert!(!forwarded("sockhop-trial: a").reserved);
    }

    #[test]
    fn an_upgrade_is_asked_for_in_both_headers() {
        let upgrades = |version: &str, lines: &str| {
            let text = format!("GET / HTTP/{version}\r\nHost: x\r\n{lines}\r\nrest");
            message(&text, 0).unwrap().upgrades
        };
        assert!(upgrades("1.1", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"));
        assert!(!upgrades("1.1", "Connection: Upgrade\r\n"));
        assert!(!upgrades("1.1", "Upgrade: websocket\r\n"));
        assert!(!upgrades("1.0", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    }

    #[test]
    fn what_the_client_asks_of_the_connection() {
        let asked = |version: &str, lines: &str| {
            let message =
                message(&format!("HEAD / HTTP/{version}\r\nHost: x\r\n{lines}\r\nrest"), 0)
                    .unwrap();
            (message.asked.keep_alive, message.asked.trailers, message.continues)
        };
        assert_eq!(asked("1.1", ""), (true, false, Continue::Settled));
        assert_eq!(asked("1.0", ""), (false, false, Continue::Settled));
        assert_eq!(
            asked("1.0", "Connection: Keep-Alive\r\nExpect: 100-continue\r\n"),
            (true, false, Continue::Settled)
        );
        assert_eq!(
            asked("1.1", "connection: te, Close\r\nTE: gzip, trailers\r\n"),
            (false, true, Continue::Settled)
        );
        assert_eq!(asked("1.1", "Expect: 100-Continue\r\n"), (true, false, Continue::Expected));
    }
}
