//! A proxy between a node and the server of its bucket. A test chooses the fault of each request:
//! the proxy drops, delays, cuts or corrupts it, or its answer.
//!
//! The proxy reads one whole request from each connection, sends it to the server on a new
//! connection, and applies the fault. Each connection has a thread, which ends with it. The proxy
//! can speak TLS with its clients.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::tls::Authority;

/// The fault of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None: the client gets the server's answer.
    None,
    /// The connection ends, and the server does not get the request.
    Drop,
    /// The server does what the request asks, and its answer is lost.
    Lose,
    /// The answer is delayed.
    Delay(Duration),
    /// The client gets half of the answer's body, or half of its head if there is no body.
    Cut,
    /// One byte of the answer's body is changed.
    Corrupt,
    /// One byte of the request's body is changed.
    CorruptRequest,
    /// The proxy answers with this status and this error code of S3.
    Answer(u16, &'static str),
    /// The proxy answers with this status and a page that is not of S3.
    Page(u16),
    /// The client gets no answer, for as long as it waits.
    Silence,
    /// The client gets the answer's head and half of its body, and then nothing for as long as it
    /// waits.
    Stall,
}

type Plan = Arc<Mutex<Box<dyn FnMut(&str) -> Fault + Send>>>;

/// A running proxy. It runs as long as the test's process.
pub struct Proxy {
    address: SocketAddr,
    plan: Plan,
    requests: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("address", &self.address)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

impl Proxy {
    /// Starts a proxy before `server`, on a free port of 127.0.0.1. It applies no fault yet.
    #[must_use]
    pub fn before(server: SocketAddr) -> Self {
        Self::start(server, None)
    }

    /// Starts a proxy whose clients speak TLS with it. It has a certificate for `localhost` of this
    /// authority.
    #[must_use]
    pub fn with_tls(server: SocketAddr, authority: &Authority) -> Self {
        Self::start(server, Some(authority.server("localhost")))
    }

    fn start(server: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let plan: Plan = Arc::new(Mutex::new(Box::new(|_| Fault::None)));
        let requests = Arc::new(AtomicUsize::new(0));
        let (ours, count) = (Arc::clone(&plan), Arc::clone(&requests));
        thread::spawn(move || {
            for client in listener.incoming() {
                let (plan, count, tls) = (Arc::clone(&ours), Arc::clone(&count), tls.clone());
                let client = client.expect("an fd to spare");
                // Errors are expected: clients leave in the middle of a fault.
                thread::spawn(move || drop(serve(client, tls, server, &plan, &count)));
            }
        });
        Self { address, plan, requests }
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls `plan` with the first line of each request from now on, to choose its fault.
    pub fn plan(&self, plan: impl FnMut(&str) -> Fault + Send + 'static) {
        *self.plan.lock().expect("no holder panics") = Box::new(plan);
    }

    /// Applies the same fault to every request from now on.
    pub fn always(&self, fault: Fault) {
        self.plan(move |_| fault);
    }

    /// Returns the number of requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }
}

/// Serves one client, and ends its connection.
fn serve(
    mut client: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    server: SocketAddr,
    plan: &Plan,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    match tls {
        None => pass_on(&mut client, server, plan, count)?,
        Some(tls) => {
            let connection = ServerConnection::new(tls).expect("a configuration that works");
            let mut stream = StreamOwned::new(connection, client.try_clone()?);
            pass_on(&mut stream, server, plan, count)?;
            stream.conn.send_close_notify();
            stream.flush()?;
        }
    }
    client.shutdown(Shutdown::Both)
}

fn pass_on(
    client: &mut (impl Read + Write),
    server: SocketAddr,
    plan: &Plan,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    let Some((head, mut body)) = read_request(client)? else { return Ok(()) };
    count.fetch_add(1, SeqCst);
    let line = head.lines().next().unwrap_or_default().to_owned();
    let fault = plan.lock().expect("no holder panics")(&line);
    match fault {
        Fault::Drop => return Ok(()),
        Fault::Silence => {
            while client.read(&mut [0])? > 0 {}
            return Ok(());
        }
        Fault::Answer(status, code) => {
            let body = format!(
                "<?xml version=\"1.0\"?>\
                 <Error><Code>{code}</Code><Message>by the test</Message></Error>"
            );
            return answer(client, status, "application/xml", &body);
        }
        Fault::Page(status) => {
            return answer(client, status, "text/html", "<html><body>It works!</body></html>");
        }
        Fault::CorruptRequest => corrupt(&mut body),
        _ => {}
    }
    let mut upstream = TcpStream::connect(server)?;
    // One request a connection, so that the answer ends with it.
    let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    upstream.write_all(head.as_bytes())?;
    upstream.write_all(&body)?;
    let mut reply = Vec::new();
    upstream.read_to_end(&mut reply)?;
    let body_at =
        reply.windows(4).position(|end| end == b"\r\n\r\n").map_or(reply.len(), |at| at + 4);
    match fault {
        Fault::Lose => return Ok(()),
        Fault::Delay(time) => thread::sleep(time),
        Fault::Cut if body_at < reply.len() => {
            reply.truncate(body_at + (reply.len() - body_at) / 2)
        }
        Fault::Cut => reply.truncate(body_at / 2),
        Fault::Corrupt => corrupt(&mut reply[body_at..]),
        Fault::Stall => {
            client.write_all(&reply[..body_at + (reply.len() - body_at) / 2])?;
            while client.read(&mut [0])? > 0 {}
            return Ok(());
        }
        _ => {}
    }
    client.write_all(&reply)
}

fn corrupt(bytes: &mut [u8]) {
    let at = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
}

fn answer(
    client: &mut impl Write,
    status: u16,
    content_type: &str,
    body: &str,
) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} So\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    client.write_all((head + body).as_bytes())
}

/// Reads the head of a request, and its body by Content-Length. Returns `None` if the client has
/// left.
fn read_request(client: &mut impl Read) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
        let mut piece = [0; 8192];
        let read = client.read(&mut piece)?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece[..read]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = bytes.split_off(end);
    let missing: u64 = length.unwrap_or(0_u64).saturating_sub(body.len() as u64);
    client.take(missing).read_to_end(&mut body)?;
    Ok(Some((head, body)))
}
