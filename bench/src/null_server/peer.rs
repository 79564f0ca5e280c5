//! One connection of the null server. Owns its socket; closed by drop.

use std::io::{self, Read as _, Write as _};

use mio::net::TcpStream;

const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;

/// What is replied, always.
#[derive(Debug)]
pub struct Reply {
    /// On a connection that stays.
    pub keep: Vec<u8>,
    /// On one that ends with it.
    pub close: Vec<u8>,
    /// Of either, what a HEAD does not get.
    pub body_bytes: usize,
}

/// What a connection has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// The next event.
    Nothing,
    /// A whole request is here.
    Reply,
    /// To be closed.
    End,
}

#[derive(Debug)]
enum State {
    /// A head is read.
    Head,
    /// So many bytes of a body are still to come.
    Body(u64),
    /// The reply's time has not come.
    Waiting,
    /// So many bytes of the reply have left.
    Replying(usize),
}

#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    state: State,
    input: Vec<u8>,
    /// Whether the client asked for the connection's end.
    close: bool,
    /// Whether it asked for the head alone.
    head_only: bool,
}

impl Peer {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, state: State::Head, input: Vec::new(), close: false, head_only: false }
    }

    /// Goes as far as it goes.
    pub fn advance(&mut self, reply: &Reply, buffer: &mut [u8]) -> Wants {
        loop {
            match self.state {
                State::Waiting => return Wants::Nothing,
                State::Replying(sent) => {
                    let whole = if self.close { &reply.close } else { &reply.keep };
                    let whole =
                        &whole[..whole.len() - if self.head_only { reply.body_bytes } else { 0 }];
                    let Some(rest) = whole.get(sent..).filter(|rest| !rest.is_empty()) else {
                        if self.close {
                            return Wants::End;
                        }
                        self.state = State::Head;
                        continue;
                    };
                    match self.stream.write(rest) {
                        Ok(count) => self.state = State::Replying(sent + count),
                        Err(error) => return waits(&error),
                    }
                }
                State::Head | State::Body(_) => match self.take() {
                    Some(wants) => return wants,
                    None => match self.stream.read(buffer) {
                        Ok(0) => return Wants::End,
                        Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                        Err(error) => return waits(&error),
                    },
                },
            }
        }
    }

    /// The reply's time has come.
    pub fn begin_reply(&mut self) {
        self.state = State::Replying(0);
    }

    /// Takes a request, or a part of one, out of what was read. None when more must come.
    fn take(&mut self) -> Option<Wants> {
        if matches!(self.state, State::Head) {
            if self.input.is_empty() {
                return None;
            }
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut request = httparse::Request::new(&mut headers);
            let length = match request.parse(&self.input) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) if self.input.len() < HEAD_BYTES_MAX => return None,
                Ok(httparse::Status::Partial) | Err(_) => return Some(Wants::End),
            };
            self.head_only = request.method == Some("HEAD");
            let mut body = 0;
            for header in request.headers.iter() {
                if header.name.eq_ignore_ascii_case("content-length") {
                    let Some(value) =
                        std::str::from_utf8(header.value).ok().and_then(|value| value.parse().ok())
                    else {
                        return Some(Wants::End);
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
        Some(Wants::Reply)
    }
}

/// Only an error that passes keeps a connection.
fn waits(error: &io::Error) -> Wants {
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
        Wants::Nothing
    } else {
        Wants::End
    }
}
