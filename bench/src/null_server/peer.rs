//! One connection of the null server. Owns its socket; closed by drop.

use std::io::{self, Read as _, Write as _};

use mio::net::TcpStream;

const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;

/// The reply to every request.
#[derive(Debug)]
pub struct Reply {
    /// The reply on a connection that stays open.
    pub keep: Vec<u8>,
    /// The reply on a connection that ends with it.
    pub close: Vec<u8>,
    /// The length of the body, which a HEAD does not get.
    pub body_bytes: usize,
}

/// The next step of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Wait for the next event.
    Event,
    /// A whole request has arrived: its reply is due.
    Reply,
    /// Close the connection.
    Close,
}

#[derive(Debug)]
enum State {
    /// A head is being read.
    Head,
    /// This many bytes of a body are still to come.
    Body(u64),
    /// The time of the reply has not come.
    Waiting,
    /// This many bytes of the reply were sent.
    Replying(usize),
}

#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    state: State,
    input: Vec<u8>,
    /// Whether the client asked for the connection to end.
    close: bool,
    /// Whether the client asked for the head alone.
    head_only: bool,
}

impl Peer {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, state: State::Head, input: Vec::new(), close: false, head_only: false }
    }

    /// Proceeds until it must wait.
    pub fn advance(&mut self, reply: &Reply, buffer: &mut [u8]) -> Next {
        loop {
            match self.state {
                State::Waiting => return Next::Event,
                State::Replying(sent) => {
                    let whole = if self.close { &reply.close } else { &reply.keep };
                    let whole =
                        &whole[..whole.len() - if self.head_only { reply.body_bytes } else { 0 }];
                    let Some(rest) = whole.get(sent..).filter(|rest| !rest.is_empty()) else {
                        if self.close {
                            return Next::Close;
                        }
                        self.state = State::Head;
                        continue;
                    };
                    match self.stream.write(rest) {
                        Ok(count) => self.state = State::Replying(sent + count),
                        Err(error) => return after_error(&error),
                    }
                }
                State::Head | State::Body(_) => match self.take() {
                    Some(next) => return next,
                    None => match self.stream.read(buffer) {
                        Ok(0) => return Next::Close,
                        Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                        Err(error) => return after_error(&error),
                    },
                },
            }
        }
    }

    /// Begins the reply, whose time has come.
    pub fn begin_reply(&mut self) {
        self.state = State::Replying(0);
    }

    /// Takes a request, or a part of one, out of what was read. Returns `None` if more must arrive
    /// first.
    fn take(&mut self) -> Option<Next> {
        if matches!(self.state, State::Head) {
            if self.input.is_empty() {
                return None;
            }
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut request = httparse::Request::new(&mut headers);
            let length = match request.parse(&self.input) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) if self.input.len() < HEAD_BYTES_MAX => return None,
                Ok(httparse::Status::Partial) | Err(_) => return Some(Next::Close),
            };
            self.head_only = request.method == Some("HEAD");
            let mut body = 0;
            for header in request.headers.iter() {
                if header.name.eq_ignore_ascii_case("content-length") {
                    let Some(value) =
                        std::str::from_utf8(header.value).ok().and_then(|value| value.parse().ok())
                    else {
                        return Some(Next::Close);
                    };
                    body = value;
                } else if header.name.eq_ignore_ascii_case("connection") {
                    self.close = header.value.eq_ignore_ascii_case(b"close");
                }
            }
            self.input.drain(..length);
            self.state = State::Body(body);
        }
        if let State::Body(left) = &mut self.state {
            let here = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
            self.input.drain(..here);
            *left -= here as u64;
            if *left > 0 {
                return None;
            }
        }
        self.state = State::Waiting;
        Some(Next::Reply)
    }
}

/// Returns the next step after an error. Only a temporary one keeps the connection.
fn after_error(error: &io::Error) -> Next {
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
        Next::Event
    } else {
        Next::Close
    }
}
