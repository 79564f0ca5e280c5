//! One blocking connection that carries one request after the other, for what is asked once or
//! timed singly. Owns its socket; closed on drop.

use std::io::{self, Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Error, Target};
use crate::reply::{self, ReplyParser};
use crate::tls::{self, Stream};

const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A request up to this fits any socket's buffer, and is written without a thread to write it.
const SHORT_REQUEST_BYTES: usize = 4096;
const BUFFER_BYTES: usize = 16 * 1024;

/// One reply, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its status.
    pub status: u16,
    /// Its body, out of its chunks.
    pub body: Vec<u8>,
    /// What crossed the wire, head and framing included.
    pub wire_bytes: usize,
}

/// A connection with nothing on its way.
#[derive(Debug)]
pub struct Session {
    stream: Stream<TcpStream>,
    authority: String,
}

impl Session {
    /// Connects.
    pub fn open(target: &Target) -> Result<Self, Error> {
        let tls = target.tls(tls::HTTP1, false)?;
        let socket = target.connect()?;
        let authority = target.authority.clone();
        let set = socket
            .set_nodelay(true)
            .and_then(|()| socket.set_read_timeout(Some(READ_TIMEOUT)))
            // Reading and writing take turns inside of TLS, so neither may wait.
            .and_then(|()| socket.set_nonblocking(tls.is_some()));
        if let Err(source) = set {
            return Err(Error::Fetch { authority, source });
        }
        let stream = Stream::new(socket, tls.as_ref()).map_err(tls::Error::from)?;
        Ok(Self { stream, authority })
    }

    /// Sends a request and reads its reply. A long request is the connection's last: its reply may
    /// come before all of it has left, and then the rest stays unsent.
    pub fn exchange(&mut self, request: &[u8]) -> Result<Fetched, Error> {
        let mut reading = Reading::new(request);
        let Self { stream, authority } = self;
        let exchanged = match stream {
            Stream::Tls { .. } => exchange_in_turns(stream, request, &mut reading),
            Stream::Plain(socket) if request.len() <= SHORT_REQUEST_BYTES => socket
                .write_all(request)
                .map_err(Broken::from)
                .and_then(|()| read_all(socket, &mut reading)),
            Stream::Plain(socket) => thread::scope(|scope| {
                let mut writer = &*socket;
                scope.spawn(move || writer.write_all(request));
                let read = read_all(socket, &mut reading);
                // Wakes the writer, should nobody want the rest. Already closed is as good.
                let _ = socket.shutdown(Shutdown::Both);
                read
            }),
        };
        let authority = || authority.clone();
        exchanged.map_err(|broken| match broken {
            Broken::Socket(source) => Error::Fetch { authority: authority(), source },
            Broken::Reply(source) => Error::Reply { authority: authority(), source },
        })
    }
}

/// Why there is no reply.
#[derive(Debug)]
enum Broken {
    Socket(io::Error),
    Reply(reply::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

/// A reply that is being read.
struct Reading {
    parser: ReplyParser,
    body: Vec<u8>,
    wire_bytes: usize,
}

impl Reading {
    fn new(request: &[u8]) -> Self {
        let mut parser = ReplyParser::default();
        parser.expect(request.starts_with(b"HEAD "));
        Self { parser, body: Vec::new(), wire_bytes: 0 }
    }

    /// Takes what was read, or the end, if that is nothing. Returns the reply once it is whole.
    fn take(&mut self, read: &[u8]) -> Result<Option<Fetched>, Broken> {
        let head = if read.is_empty() {
            Some(self.parser.end().map_err(Broken::Reply)?)
        } else {
            let Self { parser, body, .. } = self;
            let (used, head) = parser
                .feed(read, &mut |part| body.extend_from_slice(part))
                .map_err(Broken::Reply)?;
            self.wire_bytes += used;
            head
        };
        Ok(head.map(|head| Fetched {
            status: head.status,
            body: std::mem::take(&mut self.body),
            wire_bytes: self.wire_bytes,
        }))
    }
}

fn read_all(mut socket: &TcpStream, reading: &mut Reading) -> Result<Fetched, Broken> {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let count = socket.read(&mut buffer)?;
        if let Some(fetched) = reading.take(&buffer[..count])? {
            return Ok(fetched);
        }
    }
}

/// Writes and reads, whichever the socket is ready for.
fn exchange_in_turns(
    stream: &mut Stream<TcpStream>,
    request: &[u8],
    reading: &mut Reading,
) -> Result<Fetched, Broken> {
    let (mut rest, mut buffer) = (request, [0; BUFFER_BYTES]);
    loop {
        while !rest.is_empty()
            && let Some(count) = unless_it_waits(stream.write(rest))?
        {
            rest = &rest[count..];
        }
        while let Some(count) = unless_it_waits(stream.read(&mut buffer))? {
            if let Some(fetched) = reading.take(&buffer[..count])? {
                return Ok(fetched);
            }
        }
        let mut wanted = PollFlags::POLLIN;
        wanted.set(PollFlags::POLLOUT, stream.wants_write());
        let socket = PollFd::new(stream.socket().as_fd(), wanted);
        if poll(&mut [socket], PollTimeout::try_from(READ_TIMEOUT).unwrap_or(PollTimeout::MAX))
            .map_err(io::Error::from)?
            == 0
        {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
    }
}

/// Makes a call that would have to wait one that has done nothing.
fn unless_it_waits(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn session(serve: impl FnOnce(TcpStream) + Send + 'static) -> Session {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || serve(listener.accept().unwrap().0));
        Session::open(&Target::parse(&url).unwrap()).unwrap()
    }

    #[test]
    fn one_connection_carries_several_short_requests() {
        let mut session = session(|mut stream| {
            let mut request = [0; 4];
            while stream.read_exact(&mut request).is_ok() {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").unwrap();
                stream.write_all(&request).unwrap();
            }
        });
        for request in [b"abcd", b"efgh"] {
            assert_eq!(session.exchange(request).unwrap().body, request);
        }
    }

    #[test]
    fn a_long_request_that_is_refused_does_not_hang() {
        let mut session = session(|mut stream| {
            stream.write_all(b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n").unwrap();
            thread::sleep(Duration::from_secs(3));
        });
        assert_eq!(session.exchange(&vec![0; 32 << 20]).unwrap().status, 413);
    }
}
