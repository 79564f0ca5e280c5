//! Where a stream goes, and whether it may. Pure; owns no fds.

use abi::authority::is_authority;
use abi::head::HeadError;
use abi::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use abi::problem::Problem;
use h2::ext::Protocol;
use http::header::HOST;
use http::request::Parts;
use http::{Method, Uri, uri};

/// The protocol that a stream may change to (RFC 8441).
pub(super) const WEBSOCKET: &str = "websocket";

/// Where a stream goes: what it is routed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    method: Method,
    /// The host and its port, in small letters.
    authority: String,
    /// The path with its query, or `*`.
    path_and_query: String,
}

/// How much of a target decides where it goes, as far as a session has learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Depth {
    /// Its host alone.
    Authority,
    /// And the first segment of its path.
    Segment,
    /// And all of its path.
    Path,
}

impl Depth {
    /// From the deepest on.
    pub(super) const ALL: [Self; 3] = [Self::Path, Self::Segment, Self::Authority];

    /// Returns the next one.
    pub(super) fn deeper(self) -> Self {
        match self {
            Self::Authority => Self::Segment,
            Self::Segment | Self::Path => Self::Path,
        }
    }
}

impl Target {
    /// Reads that of a request, whose fields it checks as RFC 9113 8.3.1 asks.
    ///
    /// # Errors
    /// What is wrong with the request, for its client.
    pub(super) fn of(request: &Parts) -> Result<Self, Problem> {
        let bad = |why: &str| Problem::new(400, why.to_owned());
        let method = match (&request.method, request.extensions.get::<Protocol>()) {
            // In the form of HTTP/1.1, a WebSocket begins with GET (RFC 8441 5).
            (&Method::CONNECT, Some(protocol)) if protocol.as_str() == WEBSOCKET => Method::GET,
            (&Method::CONNECT, Some(protocol)) => {
                let protocol = protocol.as_str();
                let why = format!("CONNECT is served for {WEBSOCKET}, and not for {protocol:?}");
                return Err(Problem::new(501, why));
            }
            (&Method::CONNECT, None) => return Err(bad("CONNECT is not served: this is no proxy")),
            (method, _) => method.clone(),
        };
        // The library takes a request without one, if it names its host in a field.
        if request.uri.path().is_empty() || request.uri.scheme_str() == Some("") {
            return Err(bad("the request has no :path, or an empty :scheme"));
        }
        if request.headers.len() > HEADERS_MAX {
            return Err(HeadError::TooLarge.into());
        }
        // The library takes a quotation mark in a name, which no token has (RFC 9110 5.6.2).
        if request.headers.keys().any(|name| name.as_str().contains('"')) {
            return Err(bad("a header is not well formed"));
        }
        let mut hosts = request.headers.get_all(HOST).iter();
        let host = hosts.next().map(|host| host.to_str().unwrap_or_default());
        if hosts.next().is_some() {
            return Err(bad("a request must not have two Host headers"));
        }
        let authority = request.uri.authority().map(uri::Authority::as_str);
        let authority = match (authority, host) {
            (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
                return Err(bad("Host and :authority of the request are not the same"));
            }
            (Some(authority), _) | (None, Some(authority)) => authority,
            (None, None) => return Err(bad("the request names no host in :authority")),
        };
        // A leg's request has it in its URL, where the library takes less than in a field.
        if authority.is_empty()
            || !is_authority(authority)
            || uri::Authority::try_from(authority).is_err()
        {
            return Err(bad("the request's :authority is not a host and its port"));
        }
        let path = request.uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
        let is_options = request.method == Method::OPTIONS && path == "*";
        if !path.starts_with('/') && !is_options {
            return Err(bad("the request's :path is not a path"));
        }
        let target = Self {
            method,
            authority: authority.to_ascii_lowercase(),
            path_and_query: path.to_owned(),
        };
        if target.head().len() > HEAD_BYTES_MAX {
            return Err(HeadError::TooLarge.into());
        }
        Ok(target)
    }

    /// Returns the head in the form of HTTP/1.1 that a leg is routed by.
    pub(super) fn head(&self) -> String {
        let Self { method, authority, .. } = self;
        format!("{method} {} HTTP/1.1\r\nhost: {authority}\r\n\r\n", self.path())
    }

    /// Returns what targets have in common that go the same way, if so much decides.
    pub(super) fn key(&self, depth: Depth) -> (Depth, String) {
        let path = self.path();
        let length = match depth {
            Depth::Authority => 0,
            Depth::Segment => path[1..].find('/').map_or(path.len(), |at| at + 1),
            Depth::Path => path.len(),
        };
        (depth, format!("{}{}", self.host(), &path[..length]))
    }

    /// Returns the URL, for a request on a leg.
    pub(super) fn url(&self, https: bool) -> Result<Uri, http::Error> {
        let scheme = if https { "https" } else { "http" };
        let authority = self.authority.as_str();
        let path = self.path_and_query.as_str();
        Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build()
    }

    /// Returns the host without its port, which decides nothing.
    fn host(&self) -> &str {
        let end = self.authority.rfind(']').map_or(0, |bracket| bracket + 1);
        let port = self.authority[end..].find(':').map_or(self.authority.len(), |at| end + at);
        &self.authority[..port]
    }

    fn path(&self) -> &str {
        self.path_and_query.split('?').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, Request};
    use proptest::prelude::*;

    fn target(request: http::request::Builder) -> Result<Target, u16> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Target::of(&parts).map_err(|problem| problem.status)
    }

    #[test]
    fn host_and_authority_must_agree() {
        let get = |uri: &str| Request::get(uri);
        let good = target(get("https://A.example:8/b?c").header("host", "a.EXAMPLE:8")).unwrap();
        assert_eq!(good.head(), "GET /b HTTP/1.1\r\nhost: a.example:8\r\n\r\n");
        assert_eq!(good.url(true).unwrap(), "https://a.example:8/b?c");
        assert_eq!(target(get("/b").header("host", "a")).unwrap().authority, "a");
        // What the library makes of a request without :path and :authority.
        let nowhere = Uri::from_parts(uri::Parts::default()).unwrap();
        for bad in [
            get("https://a/").header("host", "b"),
            get("https://a/").header("host", "a").header("host", "a"),
            get("https://u@a/"),
            get("https://a:99999/"),
            get("/b"),
            get("/b").header("host", "a b"),
            get("/b").header("host", "a%41b"),
            get("https://a/").header(HeaderName::from_lowercase(b"x\"y").unwrap(), "z"),
            Request::builder().uri(nowhere).header("host", "a"),
            get("*").header("host", "a"),
            Request::builder().method("CONNECT").uri("a:80"),
        ] {
            assert_eq!(target(bad), Err(400));
        }
        let mut many = get("https://a/");
        for _ in 0..=HEADERS_MAX {
            many = many.header("x", "y");
        }
        assert_eq!(target(many), Err(431));
        let long = format!("/{}", "b".repeat(65_530));
        assert_eq!(target(get(&long).header("host", "a")), Err(431));
        let connect = |protocol| {
            target(Request::connect("https://a/b").extension(Protocol::from_static(protocol)))
        };
        assert_eq!(connect(WEBSOCKET).unwrap().head(), "GET /b HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(connect("webtransport"), Err(501));
        let options = Request::options("*").header("host", "a");
        assert_eq!(target(options).unwrap().head(), "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n");
    }

    #[test]
    fn what_targets_have_in_common() {
        let key = |path: &str, depth| {
            target(Request::get(path).header("host", "a")).unwrap().key(depth).1
        };
        let of_host = |host: &str| {
            target(Request::get("/").header("host", host)).unwrap().key(Depth::Authority).1
        };
        assert_eq!((of_host("A:80"), of_host("[::1]:80")), ("a".to_owned(), "[::1]".to_owned()));
        for (path, segment, whole) in [
            ("/b/c?d", "a/b", "a/b/c"),
            ("/b?d/e", "a/b", "a/b"),
            ("/", "a/", "a/"),
            ("//", "a/", "a//"),
        ] {
            assert_eq!(key(path, Depth::Authority), "a");
            assert_eq!(key(path, Depth::Segment), segment, "{path}");
            assert_eq!(key(path, Depth::Path), whole, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_request_is_survived(path in "[!-~]{0,20}", host in proptest::option::of("[ -~]{0,9}")) {
            let mut request = Request::get(&path);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            if let Ok(request) = request.body(()) {
                let (parts, ()) = request.into_parts();
                if let Ok(target) = Target::of(&parts) {
                    let _ = (target.url(true), target.head());
                    for depth in Depth::ALL {
                        prop_assert!(target.key(depth).1.len() <= target.head().len());
                    }
                }
            }
        }
    }
}
