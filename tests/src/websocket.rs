//! A client of WebSocket: tungstenite over a socket whose handshake is the harness's own, so that a
//! test can send what no client would. Owns the socket.

use std::io::{self, ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};

use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::client::{Connection, Head, Reply, head};

/// The bit of a frame that ends its message (RFC 6455 5.2).
pub const END: u8 = 0x80;
/// A frame of text.
pub const TEXT: u8 = 1;
/// A frame of bytes.
pub const BINARY: u8 = 2;
/// A frame that ends the connection.
pub const CLOSE: u8 = 8;
/// A frame that asks for a pong.
pub const PING: u8 = 9;
/// The answer to a ping.
pub const PONG: u8 = 10;

/// The key and its answer of RFC 6455, 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The headers of a handshake.
pub const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", KEY),
];

/// A connection that was accepted.
#[derive(Debug)]
pub struct Client {
    socket: WebSocket<TcpStream>,
    /// The head of the reply that has accepted it.
    pub head: Head,
}

impl Client {
    /// Asks for a connection, with these headers besides those of the handshake.
    ///
    /// # Errors
    /// The reply that refuses it.
    pub fn try_open(
        address: SocketAddr,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Reply> {
        Self::on(Connection::open(address), target, headers)
    }

    /// The same on a connection that may have had requests before.
    ///
    /// # Errors
    /// The reply that refuses it.
    pub fn on(
        mut connection: Connection,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Reply> {
        connection.send(head("GET", target, &[&HANDSHAKE[..], headers].concat()));
        let head = connection.head();
        if head.status != 101 {
            let mut body = Vec::new();
            let whole = connection.try_body(&head, |piece| body.extend_from_slice(piece));
            whole.expect("a whole reply");
            return Err(Reply { head, body });
        }
        assert_eq!(head.get("sec-websocket-accept"), Some(ACCEPT));
        let (stream, ahead) = connection.into_parts();
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let socket = WebSocket::from_partially_read(stream, ahead, Role::Client, Some(config));
        Ok(Self { socket, head })
    }

    /// Opens a connection. Panics if it is refused.
    #[track_caller]
    pub fn open(address: SocketAddr, target: &str) -> Self {
        match Self::try_open(address, target, &[]) {
            Ok(client) => client,
            Err(reply) => panic!("no WebSocket connection: {reply:#?}"),
        }
    }

    /// Sends a message.
    #[track_caller]
    pub fn send(&mut self, message: Message) {
        self.socket.send(message).expect("the node takes what a test sends");
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).expect("the node takes what a test sends");
    }

    /// Returns the next message, pongs among them. Pings are answered.
    #[track_caller]
    pub fn receive(&mut self) -> Message {
        loop {
            match self.socket.read() {
                Ok(Message::Ping(_)) => {}
                Ok(message) => return message,
                Err(error) => panic!("no message: {error}"),
            }
        }
    }

    /// Returns the next message, which is text.
    #[track_caller]
    pub fn text(&mut self) -> String {
        match self.receive() {
            Message::Text(text) => text.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// Sends text, and returns the text that comes next.
    #[track_caller]
    pub fn ask(&mut self, text: &str) -> String {
        self.send(Message::text(text));
        self.text()
    }

    /// Returns the id of the connection, which the guest `chat` tells.
    #[track_caller]
    pub fn id(&mut self) -> String {
        self.ask("id")
    }

    /// Closes the connection and waits for its end. Returns the node's code.
    #[track_caller]
    pub fn close(&mut self, frame: Option<CloseFrame>) -> u16 {
        self.socket.close(frame).expect("still open");
        self.end().0
    }

    /// Reads to the end of the connection. Returns the code and the reason of the node's close
    /// frame: 1006 if there was none.
    #[track_caller]
    pub fn end(&mut self) -> (u16, String) {
        let mut end = (1006, String::new());
        loop {
            match self.socket.read() {
                Ok(Message::Close(Some(frame))) => {
                    end = (frame.code.into(), frame.reason.to_string());
                }
                Ok(Message::Close(None)) => end = (1005, String::new()),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("the connection does not end; so far {end:?}")
                }
                Err(_) => return end,
            }
        }
    }

    /// Returns the socket, which the node sees cut when it is dropped.
    pub fn into_stream(self) -> TcpStream {
        let stream = self.socket.get_ref().try_clone().expect("an fd to spare");
        drop(self);
        stream
    }

    /// Reads whatever comes to the end of the stream.
    pub fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = self.socket.get_mut().read_to_end(&mut rest);
        rest
    }
}

/// Reads a frame of a server. Returns its opcode and payload.
///
/// # Errors
/// If it does not come whole.
pub fn read_frame(mut stream: impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut start = [0; 2];
    stream.read_exact(&mut start)?;
    let length = match start[1] {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            u64::from(u16::from_be_bytes(length))
        }
        127 => {
            let mut length = [0; 8];
            stream.read_exact(&mut length)?;
            u64::from_be_bytes(length)
        }
        length => length.into(),
    };
    let mut payload = Vec::new();
    stream.by_ref().take(length).read_to_end(&mut payload)?;
    match payload.len() as u64 == length {
        true => Ok((start[0] & 0x0f, payload)),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// Returns a client's frame under the mask 1, 2, 3, 4. `first` has the opcode and the bits before
/// it.
#[must_use]
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![first];
    match (u8::try_from(body.len()), u16::try_from(body.len())) {
        (Ok(length @ 0..126), _) => frame.push(0x80 | length),
        (_, Ok(length)) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(body.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(body.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
