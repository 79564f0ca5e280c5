//! A server for guests that make requests. The path chooses the answer, and the server counts its
//! connections.
//!
//! | path             | what it does                                                            |
//! |------------------|-------------------------------------------------------------------------|
//! | `/ok`            | `ok`, with a header of its own                                          |
//! | `/seen`          | what it was sent: request line, headers and body                        |
//! | `/status/CODE`   | that status; with a `location` and without a body                       |
//! | `/chunked`       | two chunks and a trailer                                                |
//! | `/large`         | [`LARGE`] bytes, as [`large`] gives them                                |
//! | `/pieces`        | in chunks what the test hands to [`Upstream::send_piece`], as it comes  |
//! | `/together/N`    | `ok`, once N requests wait for that; then for the next N                |
//! | `/silent`        | nothing, for as long as the client waits                                |
//! | `/stalled`       | a head and `begin`, then nothing for as long as the client waits        |
//! | `/cut`           | half of the body that was promised, then the end                        |
//! | `/cut-chunked`   | the same in chunks                                                      |
//! | `/cut-head`      | half of a head, then the end                                            |
//! | `/no-head`       | the end                                                                 |
//! | `/no-http`       | what is not HTTP                                                        |
//! | `/early-hints`   | a 103, then `ok`                                                        |
//!
//! Each connection has a thread, which ends with it. A request that the server cannot read panics
//! there, and the client gets no answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;

use crate::bytes::body;

/// The length of the body at `/large`.
pub const LARGE: usize = 4 * 1024 * 1024;

/// Returns the body at `/large`.
pub fn large() -> Vec<u8> {
    body(LARGE, 77)
}

/// A running server. It runs as long as the test's process.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    pieces: mpsc::Sender<Vec<u8>>,
}

#[derive(Debug)]
struct Shared {
    accepted: AtomicUsize,
    ended: AtomicUsize,
    waiting: Mutex<usize>,
    came: Condvar,
    pieces: Mutex<mpsc::Receiver<Vec<u8>>>,
}

impl Upstream {
    /// Starts a server on a free port of 127.0.0.1.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let (pieces, receiver) = mpsc::channel();
        let shared = Arc::new(Shared {
            accepted: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            waiting: Mutex::new(0),
            came: Condvar::new(),
            pieces: Mutex::new(receiver),
        });
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&ours);
                shared.accepted.fetch_add(1, Ordering::AcqRel);
                let stream = stream.expect("an fd to spare");
                thread::spawn(move || {
                    // The connection counts as ended also if a request makes this thread panic.
                    let _ended = Ended(&shared);
                    serve(stream, &shared);
                });
            }
        });
        Self { address, shared, pieces }
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the query with which the guest `fetch` requests `path` of this server.
    pub fn query(&self, path: &str) -> String {
        format!("url=http://{}{path}", self.address)
    }

    /// Returns the number of connections so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Acquire)
    }

    /// Returns the number of connections that have not ended.
    pub fn open(&self) -> usize {
        // In this order, no connection has ended that was not counted as accepted.
        let ended = self.shared.ended.load(Ordering::Acquire);
        self.accepted() - ended
    }

    /// Sends one piece of the answer at `/pieces`. An empty one ends it.
    pub fn send_piece(&self, piece: impl Into<Vec<u8>>) {
        self.pieces.send(piece.into()).expect("the receiver lives as long as this");
    }
}

struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::AcqRel);
    }
}

/// A request.
struct Request {
    line: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Request {
    /// Reads the next request of a connection. Returns `None` if the connection has ended.
    fn read(from: &mut impl BufRead) -> Option<Self> {
        let line = read_line(from).filter(|line| !line.is_empty())?;
        let headers: Vec<String> =
            std::iter::from_fn(|| read_line(from).filter(|line| !line.is_empty())).collect();
        let header = |name| {
            headers.iter().find_map(|h| h.to_lowercase().strip_prefix(name).map(str::to_owned))
        };
        let mut body = Vec::new();
        if let Some(length) = header("content-length: ") {
            body.resize(length.parse().expect("a length"), 0);
            from.read_exact(&mut body).ok()?;
        } else if header("transfer-encoding: ").is_some() {
            while let size @ 1.. =
                usize::from_str_radix(&read_line(from)?, 16).expect("a chunk's size")
            {
                from.take(size as u64).read_to_end(&mut body).ok()?;
                read_line(from)?;
            }
            while !read_line(from)?.is_empty() {}
        }
        Some(Self { line, headers, body })
    }

    fn path(&self) -> &str {
        self.line.split(' ').nth(1).expect("a request line has three parts")
    }
}

/// Reads a line. Returns `None` if the connection has ended.
fn read_line(from: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    from.read_line(&mut line).ok()?;
    Some(line.strip_suffix("\r\n")?.to_owned())
}

/// Answers requests until one of the answers, or the client, ends the connection.
fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().expect("an fd to spare"));
    while let Some(request) = Request::read(&mut reader) {
        if answer(&request, &mut stream, shared).is_none() {
            return;
        }
    }
}

/// Answers a request. Returns `None` if the connection must end: the answer says so, or the client
/// has left.
fn answer(request: &Request, stream: &mut TcpStream, shared: &Shared) -> Option<()> {
    let mut send = |bytes: &[u8]| stream.write_all(bytes).ok();
    let path = request.path();
    match path.split_once('?').map_or(path, |(path, _)| path) {
        "/ok" => send(b"HTTP/1.1 200 OK\r\nx-up: yes\r\ncontent-length: 2\r\n\r\nok"),
        "/seen" => {
            let head = [std::slice::from_ref(&request.line), &request.headers].concat();
            let mut seen = head.join("\n").into_bytes();
            seen.push(b'\n');
            seen.extend_from_slice(&request.body);
            send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", seen.len()).as_bytes())?;
            if request.line.starts_with("HEAD ") { Some(()) } else { send(&seen) }
        }
        "/chunked" => send(
            b"HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
              3\r\none\r\n3\r\ntwo\r\n0\r\nx-sum: 6\r\n\r\n",
        ),
        "/large" => {
            send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").as_bytes())?;
            send(&large())
        }
        "/pieces" => {
            send(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/x-test\r\n\
                  transfer-encoding: chunked\r\n\r\n",
            )?;
            let pieces = shared.pieces.lock().expect("no holder panics");
            loop {
                let piece = pieces.recv().unwrap_or_default();
                send(&[format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat())?;
                if piece.is_empty() {
                    return Some(());
                }
            }
        }
        "/silent" => read_until_closed(stream),
        "/stalled" => {
            send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegin")?;
            read_until_closed(stream)
        }
        "/cut" => {
            send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegin")?;
            None
        }
        "/cut-chunked" => {
            send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegin\r\n5\r\nno")?;
            None
        }
        "/cut-head" => {
            send(b"HTTP/1.1 200 OK\r\ncontent-le")?;
            None
        }
        "/no-head" => None,
        "/no-http" => {
            send(b"SSH-2.0-somebody else\r\n\r\n")?;
            None
        }
        "/early-hints" => send(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
                  HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ),
        other => match other.rsplit_once('/') {
            Some(("/status", code)) => send(
                format!(
                    "HTTP/1.1 {code} So\r\nlocation: /ok\r\n{}\r\n",
                    if code == "204" { "" } else { "content-length: 0\r\n" }
                )
                .as_bytes(),
            ),
            Some(("/together", count)) => {
                let count: usize = count.parse().expect("a number");
                let mut waiting = shared.waiting.lock().expect("no holder panics");
                *waiting += 1;
                let wanted = waiting.next_multiple_of(count);
                shared.came.notify_all();
                drop(shared.came.wait_while(waiting, |waiting| *waiting < wanted));
                send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            }
            _ => panic!("no such path: {other}"),
        },
    }
}

/// Waits until the client ends the connection: it sends nothing more before it has its answer.
fn read_until_closed(stream: &mut TcpStream) -> Option<()> {
    while stream.read(&mut [0]).is_ok_and(|count| count > 0) {}
    None
}
