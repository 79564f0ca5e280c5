//! Requests that no client should send, as HTTP/1.1 has them, and what they are in HTTP/2. Each is
//! sent in every way there is into a node.

use std::net::SocketAddr;

use crate::frames::{self, flag, frame, kind};
use crate::tls::{Site, tls_address};
use crate::tunnel::Tunnel;
use crate::{Connection, Node, NodeBuilder};

/// What is no request, or not one of HTTP/1.1.
pub const NO_HTTP: [(&str, &[u8]); 12] = [
    ("words", b"this is no HTTP at all\r\n\r\n"),
    ("a TLS hello", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\0\0\0\0\0\0\0\0\r\n\r\n"),
    ("an SSH banner", b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    ("no version", b"GET /hello/\r\n\r\n"),
    ("another version", b"GET /hello/ HTTP/9.9\r\nhost: a\r\n\r\n"),
    ("no target", b"GET  HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a header without a colon", b"GET /hello/ HTTP/1.1\r\nhost: a\r\nnonsense\r\n\r\n"),
    ("a space before the colon", b"GET /hello/ HTTP/1.1\r\nhost: a\r\nx-a : b\r\n\r\n"),
    ("a zero byte in a header", b"GET /hello/ HTTP/1.1\r\nhost: a\r\nx-a: b\0c\r\n\r\n"),
    ("a line feed alone", b"GET /hello/ HTTP/1.1\nhost: a\n\n"),
    ("a line feed alone behind a header", b"GET /hello/ HTTP/1.1\r\nhost: a\nx-a: b\r\n\r\n"),
    ("a line feed alone at the end", b"GET /hello/ HTTP/1.1\r\nhost: a\r\n\n"),
];

/// What is no host with its port.
pub const BAD_HOSTS: [&str; 7] = ["[::1", "a:b:c", "::1", "a:b", ":80", "a:65536", "a%zz"];

/// Lengths of bodies that two readers may take differently: what it is, the headers, and a body.
pub const LENGTHS: [(&str, &str, &str); 10] = [
    ("length beside chunked", "content-length: 5\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
    ("chunked beside length", "transfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n"),
    ("two lengths", "content-length: 5\r\ncontent-length: 6\r\n", "12345"),
    ("two lengths in one", "content-length: 5, 6\r\n", "12345"),
    ("a negative length", "content-length: -5\r\n", "12345"),
    ("a length with a plus", "content-length: +5\r\n", "12345"),
    ("a length in words", "content-length: five\r\n", "12345"),
    ("a length without end", "content-length: 99999999999999999999999\r\n", "12345"),
    ("a coding that is not the last", "transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
    ("a hidden coding", "transfer-encoding:\x0bchunked\r\n", "0\r\n\r\n"),
];

/// The request that follows one with such a length, and must not be taken for its body or for a
/// request.
pub const SMUGGLED: &str = "GET /hello/ HTTP/1.1\r\nhost: b\r\n\r\n";

/// Returns one with such a length.
#[must_use]
pub fn with_length(headers: &str, body: &str) -> String {
    format!("POST /echo/ HTTP/1.1\r\nhost: a\r\n{headers}\r\n{body}{SMUGGLED}")
}

/// A node, and a way into its TLS for a client that speaks HTTP/1.1.
#[derive(Debug)]
pub struct BothWays {
    /// The node.
    pub node: Node,
    /// What its clients trust.
    pub site: Site,
    tunnel: Tunnel,
}

impl BothWays {
    /// Starts a node with these guests.
    #[must_use]
    pub fn with(guests: &[&str]) -> Self {
        Self::built(guests, |node| node)
    }

    /// The same, with other settings.
    #[must_use]
    pub fn built(guests: &[&str], settings: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Self {
        let site = Site::default();
        let node = settings(site.node()).start();
        guests.iter().for_each(|guest| node.deploy(guest, guest, &[]));
        let tunnel = Tunnel::to(tls_address(&node), &site.authority.client(), "localhost");
        Self { node, site, tunnel }
    }

    /// Returns where a client of HTTP/1.1 connects: without TLS, and to get into it.
    #[must_use]
    pub fn addresses(&self) -> [SocketAddr; 2] {
        [self.node.addresses()[0], self.tunnel.address()]
    }

    /// Returns a connection each way.
    #[must_use]
    pub fn connections(&self) -> [Connection; 2] {
        self.addresses().map(Connection::open)
    }
}

/// Returns the frames of stream `stream` that a request in the form of HTTP/1.1 becomes if nobody
/// looks at it: its lines as fields, and what follows as DATA. Returns `None` if it has no
/// request line of three words.
#[must_use]
pub fn as_http2(request: &[u8], stream: u32) -> Option<Vec<u8>> {
    let end = request.windows(4).position(|part| part == b"\r\n\r\n")?;
    let (head, body) = (&request[..end], &request[end + 4..]);
    let mut lines = split(head, b"\r\n").into_iter();
    let words = lines.next()?.split(|byte| *byte == b' ').collect::<Vec<_>>();
    let [method, target, _] = words[..] else { return None };
    let mut fields = vec![(&b":method"[..], method), (b":scheme", b"https"), (b":path", target)];
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"host" => fields.insert(3, (b":authority", value)),
            name => fields.push((name, value)),
        }
    }
    let head = frames::headers(stream, 0, &frames::block(&fields));
    let body = frame(kind::DATA, flag::END_STREAM, stream, body);
    Some([head, body].concat())
}

fn split<'a>(mut bytes: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = bytes.windows(by.len()).position(|part| part == by) {
        parts.push(&bytes[..at]);
        bytes = &bytes[at + by.len()..];
    }
    parts.push(bytes);
    parts
}
