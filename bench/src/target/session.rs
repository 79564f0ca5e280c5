//! One blocking connection that carries one request after the other, for what is asked once or
//! timed singly. Owns its socket; closed on drop.

use std::io::{self, Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use super::{Error, Target};
use crate::reply::ReplyParser;

const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A request up to this fits any socket's buffer, and is written without a thread to write it.
const SHORT_REQUEST_BYTES: usize = 4096;

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
    stream: TcpStream,
    authority: String,
}

impl Session {
    /// Connects.
    pub fn open(target: &Target) -> Result<Self, Error> {
        let stream = target.connect()?;
        let set =
            stream.set_read_timeout(Some(READ_TIMEOUT)).and_then(|()| stream.set_nodelay(true));
        let authority = target.authority.clone();
        match set {
            Ok(()) => Ok(Self { stream, authority }),
            Err(source) => Err(Error::Fetch { authority, source }),
        }
    }

    /// Sends a request and reads its reply. A long request is the connection's last: its reply may
    /// come before all of it has left, and then the rest stays unsent.
    pub fn exchange(&mut self, request: &[u8]) -> Result<Fetched, Error> {
        if request.len() <= SHORT_REQUEST_BYTES {
            self.stream.write_all(request).map_err(|source| self.broken(source))?;
            return self.read(request);
        }
        thread::scope(|scope| {
            let mut writer = &self.stream;
            scope.spawn(move || writer.write_all(request));
            let read = self.read(request);
            // Wakes the writer, should nobody want the rest. Already closed is as good.
            let _ = self.stream.shutdown(Shutdown::Both);
            read
        })
    }

    fn read(&self, request: &[u8]) -> Result<Fetched, Error> {
        let unreadable = |source| Error::Reply { authority: self.authority.clone(), source };
        let (mut parser, mut body, mut wire_bytes) = (ReplyParser::default(), Vec::new(), 0);
        parser.expect(request.starts_with(b"HEAD "));
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = (&self.stream).read(&mut buffer).map_err(|source| self.broken(source))?;
            let head = if count == 0 {
                Some(parser.end().map_err(unreadable)?)
            } else {
                let (used, head) = parser
                    .feed(&buffer[..count], &mut |part| body.extend_from_slice(part))
                    .map_err(unreadable)?;
                wire_bytes += used;
                head
            };
            if let Some(head) = head {
                return Ok(Fetched { status: head.status, body, wire_bytes });
            }
        }
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::Fetch { authority: self.authority.clone(), source }
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
