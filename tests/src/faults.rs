//! A proxy between a node and the server of its bucket that does harm as it is told: it drops,
//! delays, cuts and falsifies.
//!
//! It takes one request a connection and whole, has the server answer it on a connection of its
//! own, and does the harm to that. A thread a connection, which ends with it. To its clients it can
//! speak TLS.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::tls::Authority;

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the server's answer.
    None,
    /// The connection ends before the server has heard of it.
    Drop,
    /// The server does what is asked, and its answer is lost.
    Lose,
    /// The answer comes late.
    Delay(Duration),
    /// Only half of the answer's body comes, or half of its head when it has none.
    Cut,
    /// One byte of the answer's body is another one.
    Falsify,
    /// One byte of the request's body is another one.
    FalsifyRequest,
    /// An answer in the server's name, with that status and S3's word for it.
    Answer(u16, &'static str),
    /// A page of something that is not S3.
    Page(u16),
    /// No answer at all, for as long as the client waits.
    Silence,
    /// The answer's head and half of its body, and then nothing for as long as the client waits.
    Stall,
}

type Plan = Arc<Mutex<Box<dyn FnMut(&str) -> Fault + Send>>>;

/// A running proxy. It lives as long as the test's process.
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
    /// Starts one before `server`, on a free port of 127.0.0.1; it does no harm yet.
    #[must_use]
    pub fn before(server: SocketAddr) -> Self {
        Self::start(server, None)
    }

    /// The same, and its clients speak TLS with it: it is `localhost` by this authority.
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
                // That somebody goes away in the middle is what this is for.
                thread::spawn(move || drop(serve(client, tls, server, &plan, &count)));
            }
        });
        Self { address, plan, requests }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `plan` says by its first line what happens to a request.
    pub fn plan(&self, plan: impl FnMut(&str) -> Fault + Send + 'static) {
        *self.plan.lock().expect("no holder panics") = Box::new(plan);
    }

    /// From now on the same happens to every request.
    pub fn always(&self, fault: Fault) {
        self.plan(move |_| fault);
    }

    /// How many requests have come.
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
                "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>by the test</Message></Error>"
            );
            return answer(client, status, "application/xml", &body);
        }
        Fault::Page(status) => {
            return answer(client, status, "text/html", "<html><body>It works!</body></html>");
        }
        Fault::FalsifyRequest => falsify(&mut body),
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
        Fault::Falsify => falsify(&mut reply[body_at..]),
        Fault::Stall => {
            client.write_all(&reply[..body_at + (reply.len() - body_at) / 2])?;
            while client.read(&mut [0])? > 0 {}
            return Ok(());
        }
        _ => {}
    }
    client.write_all(&reply)
}

fn falsify(bytes: &mut [u8]) {
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
        "HTTP/1.1 {status} So\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    client.write_all((head + body).as_bytes())
}

/// A request's head, and its body by Content-Length. None when the client has left instead.
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
