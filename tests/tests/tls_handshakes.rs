//! Handshakes of TLS as clients other than rustls begin them, in whatever pieces; and what older
//! versions had and no client gets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use harness::client::request;
use harness::tls::{Site, tls_address};
use harness::{Node, Running, wait};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);
/// The type of a record that is part of a handshake and not encrypted (RFC 8446 5.1).
const HANDSHAKE: u8 = 22;
/// The type of a handshake's message in it (RFC 8446 4).
const SERVER_HELLO: u8 = 2;

/// A socket whose records of a handshake are written again as smaller ones, each in a segment of
/// its own.
struct Records {
    socket: TcpStream,
    /// The most that a record has.
    bytes_max: usize,
}

impl Read for Records {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Records {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut rest = bytes;
        // rustls writes whole records.
        while let [kind, major, minor, high, low, behind @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (payload, behind) = behind.split_at(length);
            let most = if *kind == HANDSHAKE { self.bytes_max } else { length };
            for piece in payload.chunks(most.max(1)) {
                let [high, low] = u16::try_from(piece.len()).unwrap().to_be_bytes();
                let head = [*kind, *major, *minor, high, low];
                self.socket.write_all(&[&head[..], piece].concat())?;
            }
            rest = behind;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.socket.flush()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

fn client(config: &ClientConfig) -> ClientConnection {
    let name = "localhost".try_into().unwrap();
    ClientConnection::new(Arc::new(config.clone()), name).unwrap()
}

/// Returns a configuration whose ClientHello does not fit into a packet.
fn large(site: &Site) -> ClientConfig {
    let mut config = ClientConfig::clone(&site.authority.client());
    // RFC 8701: a client names protocols, too, that nobody knows.
    config.alpn_protocols = (0..10_u8).map(|number| vec![b'a' + number; 250]).collect();
    config.alpn_protocols.insert(3, vec![0x0a, 0x0a]);
    config.alpn_protocols.push(b"http/1.1".to_vec());
    config
}

#[test]
fn a_hello_may_be_large_and_come_in_pieces() {
    let site = Site::default();
    let node = site.node().start();
    node.deploy("hello", "hello", &[]);
    let (small, large) = (ClientConfig::clone(&site.authority.client()), large(&site));
    let mut hello = Vec::new();
    client(&large).write_tls(&mut hello).unwrap();
    assert!(hello.len() > 2500, "{} bytes", hello.len());
    for config in [&small, &large] {
        for bytes_max in [1, 7, 1400] {
            let socket = Records { socket: connect(tls_address(&node)), bytes_max };
            let mut tls = StreamOwned::new(client(config), socket);
            tls.write_all(&request("GET", "/hello/", &[("connection", "close")], b"")).unwrap();
            let mut reply = String::new();
            tls.read_to_string(&mut reply).unwrap();
            assert!(reply.contains("Hello, world!"), "{bytes_max}: {reply}");
        }
    }
    node.stop();
}

#[test]
fn who_stops_in_a_handshake_does_not_hold_up_a_node_that_stops() {
    let site = Site::default();
    let node = site.node().option("--head-timeout", "1m").option("--drain-timeout", "1m");
    let mut node = node.start();
    let mut hello = Vec::new();
    client(&ClientConfig::clone(&site.authority.client())).write_tls(&mut hello).unwrap();
    let mut stopped = connect(tls_address(&node));
    stopped.write_all(&hello).unwrap();
    // The server's part has come: the handshake is under way.
    stopped.read_exact(&mut [0]).unwrap();
    node.stop_within(SOON);
    let mut rest = Vec::new();
    stopped.read_to_end(&mut rest).unwrap();
}

/// Returns a number of two bytes.
fn number(bytes: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Returns a ClientHello with a cipher suite and an extension more, which nobody knows
/// (RFC 8701).
fn with_grease(record: &[u8]) -> Vec<u8> {
    // The record's head, the message's, a version and what is random (RFC 8446 4.1.2).
    let session = 5 + 4 + 2 + 32;
    let suites = session + 1 + usize::from(record[session]);
    let compression = suites + 2 + number(&record[suites..]);
    let extensions = compression + 1 + usize::from(record[compression]);
    let more = |length: usize, by: usize| u16::try_from(length + by).unwrap().to_be_bytes();
    let message = [
        &record[9..suites],
        &more(number(&record[suites..]), 2),
        &[0x1a, 0x1a],
        &record[suites + 2..extensions],
        &more(number(&record[extensions..]), 5),
        &[0x2a, 0x2a, 0, 1, 0],
        &record[extensions + 2..],
    ]
    .concat();
    let mut hello = vec![HANDSHAKE, 3, 1];
    hello.extend(more(message.len(), 4));
    hello.extend([1, 0]);
    hello.extend(more(message.len(), 0));
    [hello, message].concat()
}

#[test]
fn what_nobody_knows_in_a_hello_is_passed_over() {
    let site = Site::default();
    let node = site.node().start();
    let mut hello = Vec::new();
    client(&site.authority.client()).write_tls(&mut hello).unwrap();
    let mut socket = connect(tls_address(&node));
    socket.write_all(&with_grease(&hello)).unwrap();
    let mut answer = [0; 6];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!((answer[0], answer[5]), (HANDSHAKE, SERVER_HELLO), "no alert: {answer:?}");
    // A handshake that stops here would hold up the node's end.
    drop(socket);
    node.stop();
}

/// Returns `openssl s_client` to a node.
fn s_client(node: &Node, options: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    let address = format!("127.0.0.1:{}", tls_address(node).port());
    command.args(["s_client", "-connect", &address, "-servername", "localhost"]).args(options);
    command
}

#[test]
fn nobody_can_negotiate_again() {
    let site = Site::default();
    let node = site.node().start();
    node.deploy("hello", "hello", &[]);
    let (stdin, mut input) = std::io::pipe().unwrap();
    let mut command = s_client(&node, &["-tls1_2"]);
    let mut running = Running::spawn_with(&mut command, Stdio::from(stdin));
    wait::until("a handshake", SOON, || running.stdout().contains("Verify return").then_some(()));
    // What the program takes for an order.
    input.write_all(b"R\n").unwrap();
    wait::until("it tries", SOON, || {
        (running.stdout() + &running.stderr()).contains("RENEGOTIATING").then_some(())
    });
    running.wait_exit(SOON);
    let said = running.stdout() + &running.stderr();
    assert!(said.contains("no renegotiation") || said.contains("unexpected message"), "{said}");
    node.stop();
}

#[test]
fn nothing_can_be_sent_before_the_handshake_and_played_again() {
    let site = Site::default();
    let node = site.node().start();
    node.deploy("hello", "hello", &[]);
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("early"), request("GET", "/hello/", &[("connection", "close")], b""))
        .unwrap();
    // The session comes with the first bytes, so a request is made.
    let (stdin, mut input) = std::io::pipe().unwrap();
    let mut command = s_client(&node, &["-tls1_3", "-ign_eof", "-sess_out", &at("session")]);
    let running = Running::spawn_with(&mut command, Stdio::from(stdin));
    input.write_all(&request("GET", "/hello/", &[("connection", "close")], b"")).unwrap();
    let first = running.finish(SOON);
    assert!(first.stdout.contains("Hello, world!"), "{first:?}");
    assert!(first.stdout.contains("Max Early Data: 0"), "{first:?}");
    let mut command =
        s_client(&node, &["-tls1_3", "-sess_in", &at("session"), "-early_data", &at("early")]);
    let second = Running::spawn(&mut command).finish(SOON);
    assert!(second.stdout.contains("Reused, TLSv1.3"), "{second:?}");
    assert!(second.stdout.contains("Early data was not sent"), "{second:?}");
    node.stop();
}
