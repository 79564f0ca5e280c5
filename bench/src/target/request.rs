//! What one request says beside where it goes: method, headers, body. No I/O and no file
//! descriptor.

use bytes::Bytes;
use http::header::HOST;

/// What the harness says itself: the framing and the life of a connection are its business.
const OURS: [&str; 3] = ["content-length", "transfer-encoding", "connection"];

/// What goes wrong here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a word HTTP knows.
    #[error("`{0}` is no method; want a word like GET, POST or DELETE")]
    Method(String),
    /// A tunnel is not what is measured here.
    #[error("CONNECT asks for a tunnel, and its reply is none that a load could check")]
    Connect,
    /// Not `NAME: VALUE`.
    #[error("`{0}` is no header; want NAME:VALUE, without line breaks")]
    Header(String),
    /// One of [`OURS`].
    #[error(
        "the header {0} is the harness's own: it follows from the body and from --keep-alive-percent"
    )]
    Ours(String),
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    method: String,
    /// Each a whole line.
    headers: Vec<String>,
    /// Whether one of them is Host.
    has_host: bool,
    /// Its body, if it has one.
    pub body: Option<Vec<u8>>,
}

impl Request {
    /// The usual one.
    pub fn get() -> Self {
        Self { method: "GET".to_owned(), headers: Vec::new(), has_host: false, body: None }
    }

    /// The other usual one.
    pub fn post(body: Vec<u8>) -> Self {
        Self { method: "POST".to_owned(), body: Some(body), ..Self::get() }
    }

    /// Any other. Without a method it is a GET, or with a body a POST.
    pub fn new(
        method: Option<&str>,
        headers: &[String],
        body: Option<Vec<u8>>,
    ) -> Result<Self, Error> {
        let method = method.unwrap_or(if body.is_some() { "POST" } else { "GET" });
        if method.is_empty() || !method.bytes().all(is_token) {
            return Err(Error::Method(method.to_owned()));
        }
        if method == "CONNECT" {
            return Err(Error::Connect);
        }
        let mut request = Self { method: method.to_owned(), body, ..Self::get() };
        for header in headers {
            let line = header.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
            let Some((name, value)) = line.filter(|(name, value)| {
                !name.is_empty()
                    && name.bytes().all(is_token)
                    && !value.bytes().any(|byte| byte.is_ascii_control())
            }) else {
                return Err(Error::Header(header.clone()));
            };
            if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
                return Err(Error::Ours(name.to_owned()));
            }
            request.has_host |= name.eq_ignore_ascii_case("host");
            request.headers.push(format!("{name}: {value}\r\n"));
        }
        Ok(request)
    }

    /// Its method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The same with one more header, `name: value`, which has no line break.
    pub fn with_header(mut self, line: &str) -> Self {
        self.headers.push(format!("{line}\r\n"));
        self
    }

    /// Whether the reply ends with its head.
    pub fn head_only(&self) -> bool {
        self.method == "HEAD"
    }

    /// Its bytes. Without a word in it HTTP/1.1 keeps a connection open, so only the last request
    /// on one has more to say.
    pub fn bytes(&self, path: &str, host: &str, keep_alive: bool) -> Vec<u8> {
        let host = if self.has_host { String::new() } else { format!("Host: {host}\r\n") };
        let length = self
            .body
            .as_ref()
            .map_or_else(String::new, |body| format!("Content-Length: {}\r\n", body.len()));
        let close = if keep_alive { "" } else { "Connection: close\r\n" };
        let head = format!(
            "{} {path} HTTP/1.1\r\n{host}{}{length}{close}\r\n",
            self.method,
            self.headers.concat()
        );
        [head.as_bytes(), self.body.as_deref().unwrap_or_default()].concat()
    }

    /// The same as HTTP/2 has it. The host of `url` is all that it says of one.
    pub fn message(&self, url: &str) -> Result<http::Request<Bytes>, http::Error> {
        let mut message = http::Request::builder().method(&*self.method).uri(url);
        for (name, value) in self.headers.iter().filter_map(|line| line.trim_end().split_once(':'))
        {
            if !name.eq_ignore_ascii_case(HOST.as_str()) {
                message = message.header(name, value.trim());
            }
        }
        message.body(self.body.clone().unwrap_or_default().into())
    }
}

/// RFC 9110 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_says_close_only_when_it_means_it() {
        let get = Request::get();
        assert_eq!(get.bytes("/x", "a", true), b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(
            get.bytes("/x", "a", false),
            b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_body_makes_it_a_post() {
        let post = Request::new(None, &[], Some(b"ab".to_vec())).unwrap();
        assert_eq!(post, Request::post(b"ab".to_vec()));
        assert_eq!(
            post.bytes("/x", "a", true),
            b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
        );
    }

    #[test]
    fn method_and_headers_are_said_as_given() {
        let headers = ["X-A: 1".to_owned(), "host:b".to_owned()];
        let request = Request::new(Some("DELETE"), &headers, None).unwrap();
        assert_eq!(
            request.bytes("/", "a", true),
            b"DELETE / HTTP/1.1\r\nX-A: 1\r\nhost: b\r\n\r\n"
        );
        assert!(Request::new(Some("HEAD"), &[], None).unwrap().head_only());
    }

    #[test]
    fn http2_has_its_headers_and_no_host() {
        let headers = ["X-A: 1".to_owned(), "host:b".to_owned()];
        let request = Request::new(None, &headers, Some(b"ab".to_vec())).unwrap();
        let message = request.message("https://a:81/x?y").unwrap();
        assert_eq!((message.method().as_str(), &message.body()[..]), ("POST", &b"ab"[..]));
        assert_eq!(message.uri().to_string(), "https://a:81/x?y");
        assert_eq!(
            (message.headers().len(), &message.headers()["x-a"]),
            (1, &"1".parse().unwrap())
        );
        assert!(request.message("https://a/ b").is_err());
    }

    #[test]
    fn what_would_break_the_framing_is_refused() {
        for header in [
            "x",
            ":1",
            "a b: 1",
            "a: 1\r\nb: 2",
            "Content-Length: 3",
            "transfer-encoding: chunked",
            "Connection: close",
        ] {
            assert!(Request::new(None, &[header.to_owned()], None).is_err(), "{header}");
        }
        for method in ["", "G T", "CONNECT", "GET\r\n"] {
            assert!(Request::new(Some(method), &[], None).is_err(), "{method}");
        }
    }

    proptest! {
        #[test]
        fn no_header_adds_a_line(header in ".{0,40}") {
            if let Ok(request) = Request::new(None, &[header], None) {
                let bytes = String::from_utf8(request.bytes("/", "a", true)).unwrap();
                let lines = bytes.matches("\r\n").count();
                prop_assert!(lines == 4 || (lines == 3 && request.has_host));
            }
        }
    }
}
