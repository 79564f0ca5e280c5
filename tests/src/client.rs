//! An HTTP/1.1 client on a blocking socket that leaves every byte and every packet to the test.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use serde_json::Value;

/// The longest that a read or a write may take. A test that waits longer fails instead of hanging.
const STUCK: Duration = Duration::from_secs(30);
/// More than any head that the node sends.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A connection, and the bytes that have been read ahead of it.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    ahead: Vec<u8>,
}

/// The status and the headers of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
}

/// A complete reply.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status and the headers.
    pub head: Head,
    /// The body without its chunked coding.
    pub body: Vec<u8>,
}

/// A reply that is not complete, or that has no head.
#[derive(Debug)]
pub struct Cut {
    /// The head, if it was received.
    pub head: Option<Head>,
    /// The part of the body that was received.
    pub body: Vec<u8>,
    /// How the connection ended.
    pub cause: String,
}

impl Connection {
    /// Connects to `address`, or returns the error.
    pub fn try_open(address: SocketAddr) -> std::io::Result<Self> {
        Self::on(TcpStream::connect_timeout(&address, STUCK)?)
    }

    /// Connects to `address` from another address of this machine (127.0.0.0/8).
    pub fn open_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let SocketAddr::V4(target) = address else { panic!("{address} is no IPv4 address") };
        let open = || -> nix::Result<TcpStream> {
            let socket =
                socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(source, 0)))?;
            connect(socket.as_raw_fd(), &SockaddrIn::from(target))?;
            Ok(socket.into())
        };
        let stream =
            open().unwrap_or_else(|errno| panic!("connecting from {source} to {address}: {errno}"));
        Self::on(stream).expect("options that every socket has")
    }

    /// Connects to a Unix socket. Panics if nobody listens there.
    pub fn open_unix(path: &Path) -> Self {
        Self::try_open_unix(path)
            .unwrap_or_else(|error| panic!("connecting to {}: {error}", path.display()))
    }

    /// The same, where it may be that nobody listens.
    pub fn try_open_unix(path: &Path) -> std::io::Result<Self> {
        // The calls are the same for every stream socket.
        Self::with_limits(TcpStream::from(OwnedFd::from(UnixStream::connect(path)?)))
    }

    fn on(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        Self::with_limits(stream)
    }

    fn with_limits(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(STUCK))?;
        stream.set_write_timeout(Some(STUCK))?;
        Ok(Self { stream, ahead: Vec::new() })
    }

    /// Connects to `address`. Panics if nobody listens there.
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap_or_else(|e| panic!("connecting to {address}: {e}"))
    }

    /// Returns a second handle of the socket, for another thread to write to.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("an fd to spare")
    }

    /// Returns the socket, and the bytes that have been read ahead of it.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.ahead)
    }

    /// Writes `bytes`, or returns the error: for requests that the node may refuse half-way.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Writes `bytes` in one call, which is one packet if they are few.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the node takes what a test sends");
    }

    /// Shuts down the sending half of the connection.
    pub fn end_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("still connected");
    }

    /// Shuts down the sending half of a connection that the node may have ended already.
    pub fn end_sending_if_open(&self) {
        _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends a GET and reads the reply. The connection stays open.
    pub fn get(&mut self, target: &str) -> Reply {
        self.send(request("GET", target, &[], b""));
        self.reply()
    }

    /// Sends a POST with a Content-Length and reads the reply. The connection stays open.
    pub fn post(&mut self, target: &str, body: &[u8]) -> Reply {
        self.send(request("POST", target, &[], body));
        self.reply()
    }

    /// Sends `bytes` from a second thread while this one reads `replies` replies, so that neither
    /// side can block the other.
    pub fn exchange(&mut self, bytes: &[u8], replies: usize) -> Vec<Reply> {
        let mut writer = self.writer();
        thread::scope(|scope| {
            let sender = scope.spawn(move || writer.write_all(bytes));
            let replies = (0..replies).map(|_| self.reply()).collect();
            sender
                .join()
                .expect("the writer does not panic")
                .expect("the node takes what a test sends");
            replies
        })
    }

    /// Sends a request and reads its reply as [`Self::exchange`] does. The write may fail, since
    /// the node need not read the body to its end.
    pub fn exchange_unread(&mut self, bytes: &[u8]) -> Reply {
        let mut writer = self.writer();
        thread::scope(|scope| {
            scope.spawn(move || writer.write_all(bytes).is_ok());
            self.reply()
        })
    }

    /// Reads a reply. Panics if it is not complete.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        match self.try_reply() {
            Ok(reply) => reply,
            Err(cut) => panic!("no whole reply: {cut:#?}"),
        }
    }

    /// Reads a reply after any `100 Continue`, or returns the part that was received.
    pub fn try_reply(&mut self) -> Result<Reply, Cut> {
        let mut head = Err(String::new());
        for _ in 0..3 {
            head = self.try_head();
            if !matches!(&head, Ok(head) if head.status == 100) {
                break;
            }
        }
        let head = head.map_err(|cause| Cut { head: None, body: Vec::new(), cause })?;
        let mut body = Vec::new();
        match self.try_body(&head, |piece| body.extend_from_slice(piece)) {
            Ok(()) => Ok(Reply { head, body }),
            Err(cause) => Err(Cut { head: Some(head), body, cause }),
        }
    }

    /// Reads a head, and checks what every reply of the node must have.
    #[track_caller]
    pub fn head(&mut self) -> Head {
        self.try_head().unwrap_or_else(|cause| panic!("no head: {cause}"))
    }

    fn try_head(&mut self) -> Result<Head, String> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 100];
            let mut parsed = httparse::Response::new(&mut headers);
            let end =
                parsed.parse(&self.ahead).map_err(|e| format!("{e}: {:?}", show(&self.ahead)))?;
            if let httparse::Status::Complete(end) = end {
                let head = Head {
                    status: parsed.code.expect("complete"),
                    headers: parsed
                        .headers
                        .iter()
                        .map(|h| (h.name.to_lowercase(), show(h.value)))
                        .collect(),
                };
                self.ahead.drain(..end);
                if head.status != 100 {
                    head.invocation_id();
                }
                return Ok(head);
            }
            assert!(self.ahead.len() < HEAD_BYTES_MAX, "an endless head");
            self.read_more().map_err(|cause| format!("{cause} after {:?}", show(&self.ahead)))?;
        }
    }

    /// Reads the body that belongs to `head`, and calls `piece` with every part as it is received.
    pub fn try_body(&mut self, head: &Head, mut piece: impl FnMut(&[u8])) -> Result<(), String> {
        if matches!(head.status, 100..=199 | 204 | 304) {
            return Ok(());
        }
        match (head.get("transfer-encoding"), head.get("content-length")) {
            (Some("chunked"), None) => self.chunks(&mut piece),
            (None, Some(length)) => {
                let length = length.parse().map_err(|_| format!("content-length {length:?}"))?;
                self.exactly(length, &mut piece)
            }
            // A body without either ends with the connection, and one that was cut would look the
            // same. No node may send one to an HTTP/1.1 client.
            framing => Err(format!("framed by {framing:?}")),
        }
    }

    fn chunks(&mut self, piece: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(digits, 16).map_err(|_| format!("chunk size {line:?}"))?;
            if size == 0 {
                // Trailers, up to the empty line.
                while !self.line()?.is_empty() {}
                return Ok(());
            }
            self.exactly(size, piece)?;
            let end = self.line()?;
            if !end.is_empty() {
                return Err(format!("{end:?} behind a chunk"));
            }
        }
    }

    fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|pair| pair == b"\r\n") {
                let line = show(&self.ahead[..end]);
                self.ahead.drain(..end + 2);
                return Ok(line);
            }
            if self.ahead.len() > HEAD_BYTES_MAX {
                return Err("an endless line".to_owned());
            }
            self.read_more()?;
        }
    }

    fn exactly(&mut self, mut length: usize, piece: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        while length > 0 {
            if self.ahead.is_empty() {
                self.read_more()?;
            }
            let taken = length.min(self.ahead.len());
            piece(&self.ahead[..taken]);
            self.ahead.drain(..taken);
            length -= taken;
        }
        Ok(())
    }

    fn read_more(&mut self) -> Result<(), String> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => Err("the connection ended".to_owned()),
            Ok(n) => {
                self.ahead.extend_from_slice(&piece[..n]);
                Ok(())
            }
            Err(e) => Err(e.to_string()),
        }
    }

    /// Reads to the end of the connection, and panics if it does not end. A reset is an end too.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.ahead);
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => rest,
            Err(e) => panic!("the connection does not end: {e}; so far {:?}", show(&rest)),
        }
    }

    /// Returns whether the connection is open and nothing has been received. Does not wait.
    pub fn silent(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let looked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a socket");
        self.ahead.is_empty() && matches!(looked, Err(e) if e.kind() == ErrorKind::WouldBlock)
    }
}

impl Head {
    /// Returns the value of a header. Panics if the reply has it more than once.
    #[track_caller]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut found =
            self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let first = found.next();
        assert!(found.next().is_none(), "{name} twice: {self:#?}");
        first
    }

    /// Returns the invocation id that every reply has. Panics unless it is a UUID of version 7.
    #[track_caller]
    pub fn invocation_id(&self) -> &str {
        let id = self.get("sockhop-invocation-id");
        let id = id.unwrap_or_else(|| panic!("a reply without sockhop-invocation-id: {self:#?}"));
        let hyphens = [8, 13, 18, 23];
        let well_formed = id.len() == 36
            && id.bytes().enumerate().all(|(i, b)| match b {
                b'-' => hyphens.contains(&i),
                b => !hyphens.contains(&i) && b.is_ascii_hexdigit(),
            });
        assert!(well_formed && id.as_bytes()[14] == b'7', "no UUIDv7: {id:?}");
        id
    }
}

impl Reply {
    /// Returns the status code.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        show(&self.body)
    }

    /// Returns the body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.text()))
    }

    /// Checks that this is an error of the node itself with this status, as
    /// `application/problem+json`, and returns its detail.
    #[track_caller]
    pub fn expect_problem(&self, status: u16) -> String {
        assert_eq!(self.status(), status, "{:#?}\n{}", self.head, self.text());
        assert_eq!(
            self.head.get("content-type"),
            Some("application/problem+json"),
            "{:#?}",
            self.head
        );
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["invocation_id"], self.head.invocation_id(), "{problem}");
        assert!(problem["title"].as_str().is_some_and(|t| !t.is_empty()), "{problem}");
        problem["detail"].as_str().unwrap_or_else(|| panic!("no detail: {problem}")).to_owned()
    }

    /// Checks that this is the answer of the hello guests.
    #[track_caller]
    pub fn expect_hello(&self) {
        assert_eq!(self.status(), 200, "{:#?}\n{}", self.head, self.text());
        assert_eq!(self.text(), "Hello, world!");
    }
}

/// Returns a request with a Host, the given headers, and a Content-Length if there is a body.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = head(method, target, headers);
    out.truncate(out.len() - 2);
    if !body.is_empty() {
        out.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

/// Returns the head of a request with a Host and the given headers. The test frames the body
/// itself.
pub fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = format!("{method} {target} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        out += "host: node.test\r\n";
    }
    for (name, value) in headers {
        out += &format!("{name}: {value}\r\n");
    }
    (out + "\r\n").into_bytes()
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
