//! HTTP/2 by hand: a test writes the frames itself, wrong ones too, and reads what comes back. Owns
//! the socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Types of frames (RFC 9113 6).
pub mod kind {
    #![expect(missing_docs, reason = "the RFC's own names")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames (RFC 9113 6).
pub mod flag {
    #![expect(missing_docs, reason = "the RFC's own names")]
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 0x20;
}

/// What every connection of a client begins with (RFC 9113 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `SETTINGS_HEADER_TABLE_SIZE` of 0: replies are told without a table.
const NO_TABLE: [u8; 6] = [0, 1, 0, 0, 0, 0];
/// The longest wait for a frame.
const STUCK: Duration = Duration::from_secs(30);

trait Socket: Read + Write + Send {}
impl<T: Read + Write + Send> Socket for T {}

/// A connection.
pub struct Frames {
    socket: Box<dyn Socket>,
    /// A second handle of the socket below, for its options.
    tcp: TcpStream,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").finish_non_exhaustive()
    }
}

/// A frame that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

/// What comes of a stream, or of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A reply with this status.
    Status(u16),
    /// A stream error with this code.
    Reset(u32),
    /// A connection error with this code.
    GoAway(u32),
    /// The connection has ended without a word.
    Closed,
}

/// Returns a frame as it is sent.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame's length");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Returns a field as a literal that goes into no table (RFC 7541 6.2.2), whatever is in it.
#[must_use]
pub fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name.as_ref(), value.as_ref()] {
        field.extend(length(text.len()));
        field.extend_from_slice(text);
    }
    field
}

/// Returns the length of a string that is not Huffman-coded (RFC 7541 5.1).
fn length(length: usize) -> Vec<u8> {
    const PREFIX_MAX: usize = 127;
    let byte = |number: usize| u8::try_from(number).expect("it is masked");
    if length < PREFIX_MAX {
        return vec![byte(length)];
    }
    let (mut coded, mut rest) = (vec![byte(PREFIX_MAX)], length - PREFIX_MAX);
    while rest >= 128 {
        coded.push(byte(rest % 128) | 128);
        rest /= 128;
    }
    coded.push(byte(rest));
    coded
}

/// Returns the fields of a header block.
#[must_use]
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// Returns the pseudo-headers of a request.
#[must_use]
pub fn request(method: &str, path: &str) -> Vec<u8> {
    let scheme = "http";
    block(&[(":method", method), (":scheme", scheme), (":authority", "localhost"), (":path", path)])
}

/// Returns a HEADERS frame of a whole block, with further flags.
#[must_use]
pub fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | flags, stream, block)
}

/// Returns a GET without a body.
#[must_use]
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, flag::END_STREAM, &request("GET", path))
}

impl Frames {
    /// Connects without TLS, and says nothing.
    #[must_use]
    pub fn silent(address: SocketAddr) -> Self {
        let tcp = connect(address);
        Self { socket: Box::new(handle(&tcp)), tcp }
    }

    /// Connects, without TLS if there is no `tls`, with a preface. The other side's settings are
    /// acknowledged, and it has acknowledged ours.
    #[must_use]
    pub fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Self {
        let mut frames = match tls {
            None => Self::silent(address),
            Some(config) => Self::inside(address, config),
        };
        let settings = frame(kind::SETTINGS, 0, 0, &NO_TABLE);
        frames.send(&[PREFACE, &settings].concat());
        let (mut theirs, mut acknowledged) = (false, false);
        while !theirs || !acknowledged {
            let frame = frames.receive().expect("the server's settings");
            match (frame.kind, frame.flags) {
                (kind::SETTINGS, flag::ACK) => acknowledged = true,
                (kind::SETTINGS, _) => theirs = true,
                _ => {}
            }
        }
        frames.send(&frame(kind::SETTINGS, flag::ACK, 0, b""));
        frames
    }

    fn inside(address: SocketAddr, config: &ClientConfig) -> Self {
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = "localhost".try_into().expect("a name");
        let tls = ClientConnection::new(Arc::new(config), name).expect("settings");
        let tcp = connect(address);
        Self { socket: Box::new(StreamOwned::new(tls, handle(&tcp))), tcp }
    }

    /// A write fails that takes longer.
    pub fn limit_writes(&self, limit: Duration) {
        self.tcp.set_write_timeout(Some(limit)).expect("a time");
    }

    /// Sends bytes. The other side may have closed already.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.try_send(bytes);
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the other side takes none.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes)?;
        self.socket.flush()
    }

    /// Returns the next frame. Returns `None` if the connection has ended.
    pub fn receive(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits");
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.socket.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing comes, and the connection does not end: {error}")
            }
            Err(_) => None,
        }
    }

    /// Returns what comes of a stream.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        while let Some(frame) = self.receive() {
            match frame.kind {
                kind::HEADERS if frame.stream == stream => match status(&frame.payload) {
                    100..200 => {}
                    status => return Outcome::Status(status),
                },
                kind::RST_STREAM if frame.stream == stream => {
                    return Outcome::Reset(number(&frame.payload));
                }
                kind::GOAWAY if number(&frame.payload[4..]) != 0 => {
                    return Outcome::GoAway(number(&frame.payload[4..]));
                }
                _ => {}
            }
        }
        Outcome::Closed
    }

    /// Returns what the next DATA of a stream has. Panics if its connection ends before.
    #[track_caller]
    pub fn data(&mut self, stream: u32) -> Vec<u8> {
        loop {
            let frame = self.receive().expect("the connection goes on");
            if (frame.kind, frame.stream) == (kind::DATA, stream) {
                return frame.payload;
            }
        }
    }

    /// Returns the rest of the body of a reply whose head has come. Panics if it is cut.
    #[track_caller]
    pub fn body(&mut self, stream: u32) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let frame = self.receive().expect("the rest of a body");
            if frame.stream != stream {
                continue;
            }
            assert!(matches!(frame.kind, kind::DATA | kind::HEADERS), "{frame:?}");
            if frame.kind == kind::DATA {
                body.extend_from_slice(&frame.payload);
            }
            if frame.flags & flag::END_STREAM != 0 {
                return body;
            }
        }
    }

    /// Returns once the other side has handled everything that was sent: it answers a PING.
    #[track_caller]
    pub fn settle(&mut self) {
        assert!(self.is_settled(), "the connection goes on");
    }

    /// The same. Returns `false` if the connection has ended.
    pub fn is_settled(&mut self) -> bool {
        const PAYLOAD: &[u8] = b"settled?";
        self.send(&frame(kind::PING, 0, 0, PAYLOAD));
        while let Some(frame) = self.receive() {
            if (frame.kind, frame.flags) == (kind::PING, flag::ACK) && frame.payload == PAYLOAD {
                return true;
            }
        }
        false
    }
}

fn handle(socket: &TcpStream) -> TcpStream {
    socket.try_clone().expect("an fd to spare")
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("a listener");
    socket.set_nodelay(true).expect("a socket");
    socket.set_read_timeout(Some(STUCK)).expect("a time");
    socket.set_write_timeout(Some(STUCK)).expect("a time");
    socket
}

/// Returns the first number of 32 bits.
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

/// Returns the status that a header block begins with: whole from the static table, or as digits
/// (RFC 7541 appendices A and B). A table's size may stand before it.
fn status(mut block: &[u8]) -> u16 {
    while let [0x20..0x3f, rest @ ..] = block {
        block = rest;
    }
    match block[0] {
        0x88 => return 200,
        0x89 => return 204,
        0x8a => return 206,
        0x8b => return 304,
        0x8c => return 400,
        0x8d => return 404,
        0x8e => return 500,
        _ => {}
    }
    // The name is that of an entry of the static table, `:status`.
    assert!([0x08, 0x18, 0x48].contains(&block[0]), "no status: {block:x?}");
    let length = usize::from(block[1] & 0x7f);
    let text = &block[2..2 + length];
    let digits = if block[1] & 0x80 == 0 { text.to_vec() } else { digits(text) };
    String::from_utf8_lossy(&digits).parse().expect("three digits")
}

/// Returns three digits that are Huffman-coded (RFC 7541 appendix B).
fn digits(coded: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> =
        coded.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let value = |bits: &[u8]| bits.iter().fold(0, |value, bit| value << 1 | bit);
    let (mut digits, mut at) = (Vec::new(), 0);
    while digits.len() < 3 {
        let short = value(&bits[at..at + 5]);
        if short < 3 {
            digits.push(b'0' + short);
            at += 5;
        } else {
            digits.push(b'3' + value(&bits[at..at + 6]) - 0x19);
            at += 6;
        }
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_however_it_is_told() {
        assert_eq!(status(&[0x88]), 200);
        assert_eq!(status(&[0x20, 0x88]), 200);
        assert_eq!(status(b"\x08\x03431"), 431);
        // From RFC 7541 C.6.1 and C.6.2.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), 302);
        assert_eq!(status(&[0x48, 0x83, 0x64, 0x0e, 0xff]), 307);
    }

    #[test]
    fn lengths_are_as_the_rfc_has_them() {
        // RFC 7541 C.1.3 has 1337 with a prefix of five bits; this has seven.
        assert_eq!(length(10), [10]);
        assert_eq!(length(127), [127, 0]);
        assert_eq!(length(1337), [127, 0xba, 0x09]);
    }
}
