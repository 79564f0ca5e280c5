//! A crowd of clients that use a node's resources: idle, slow, deaf and resetting ones.
//!
//! Owns their sockets, which are opened in `gather` and `press` and closed by drop. They are bound
//! to several addresses of 127.0.0.0/8, so that neither ports nor the node's limit on connections
//! of one address run out. One thread drives all of them, and spreads its work evenly over time: a
//! burst would delay the healthy client.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::alone::Error;
use crate::interrupt;
use crate::reply::ReplyParser;

/// The connections of one address: fewer than any limit on ports or on connections of an address.
const CONNECTIONS_PER_SOURCE: usize = 5000;
/// The time limit of the crowd's connects and reads. The node may be slow to the crowd, but not for
/// ever.
const PATIENCE_SECONDS: i64 = 10;
/// The interval of the crowd's work.
const TICK: Duration = Duration::from_millis(10);
/// The connections that are left to the healthy client, which has fewer.
const ROOM: usize = 100;
/// The ticks between two bytes of a slow client: a second.
const TICKS_PER_TURN: usize = 100;
/// A node's default time limit for a head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The least parts that the resets of a second are spread over: at most twice the usual number in a
/// tick.
const RESETS_PER_TICK_SHARE: u64 = 50;
/// The length of a reply that no node sends whole before it notices that nobody reads.
const DEAF_BYTES: u64 = 1_000_000_000;
/// The length of a reply that takes little work, but is longer than what is read before the reset.
const RESET_BYTES: u64 = 256 * 1024;

/// The behaviour of the crowd's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// They send one request, read the reply, and do nothing more.
    Idle,
    /// They send a byte of a head every second. A client that is turned away comes back.
    Slow,
    /// They request a large reply and do not read it.
    Deaf,
    /// They connect, and reset the connection in the middle of the request, of the reply, or
    /// between the two.
    Resetting,
}

impl Behaviour {
    /// Returns whether the node has nothing to do once all clients are there.
    pub fn rests(self) -> bool {
        matches!(self, Self::Idle | Self::Deaf)
    }

    /// Returns the time over which the clients arrive. If the slow ones arrived at once, their time
    /// limits would also end in one moment, again and again.
    pub fn spread(self) -> Duration {
        if self == Self::Slow { HEAD_TIMEOUT } else { Duration::ZERO }
    }

    /// Returns the options that make the node keep them for the length of the measurement.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Self::Idle => &["--idle-timeout", "10m"],
            Self::Deaf => &["--write-timeout", "10m"],
            Self::Slow | Self::Resetting => &[],
        }
    }

    /// Returns its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle, kept alive",
            Self::Slow => "slow heads",
            Self::Deaf => "deaf to a large reply",
            Self::Resetting => "resets per second",
        }
    }
}

/// The clients of a crowd.
#[derive(Debug)]
pub struct Crowd {
    behaviour: Behaviour,
    address: SocketAddrV4,
    hello: String,
    flood: String,
    /// The connections open at a time, or the resets per second of [`Behaviour::Resetting`].
    count: usize,
    members: Vec<TcpStream>,
}

impl Crowd {
    /// Opens all connections, evenly over `spread`, and brings each to its lasting state. If the
    /// node answers 503 to the next of the idle, it has as many as it takes, and a few are closed
    /// to make room for others.
    pub fn gather(
        behaviour: Behaviour,
        address: SocketAddrV4,
        paths: [&str; 2],
        count: u32,
        spread: Duration,
    ) -> Result<Self, Error> {
        let [hello, flood] =
            paths.map(|path| format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"));
        let bytes = if behaviour == Behaviour::Deaf { DEAF_BYTES } else { RESET_BYTES };
        let flood = flood.replacen(" HTTP/", &format!("?bytes={bytes} HTTP/"), 1);
        let mut crowd =
            Self { behaviour, address, hello, flood, count: count as usize, members: Vec::new() };
        let started = Instant::now();
        if behaviour != Behaviour::Resetting {
            for number in 0..crowd.count {
                interrupt::check()?;
                let due = started + spread * u32::try_from(number).unwrap_or(0) / count;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                match crowd.admit(number) {
                    Ok(member) => crowd.members.push(member),
                    Err(error) if number > 0 && error.kind() == io::ErrorKind::QuotaExceeded => {
                        crowd.members.truncate(number.saturating_sub(ROOM));
                        break;
                    }
                    Err(source) => {
                        return Err(Error::Crowd {
                            number,
                            address: SocketAddr::V4(address),
                            source,
                        });
                    }
                }
            }
        }
        Ok(crowd)
    }

    /// Returns the number of its connections, or its resets per second.
    pub fn count(&self) -> u32 {
        let count =
            if self.behaviour == Behaviour::Resetting { self.count } else { self.members.len() };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Runs the crowd until `stop` is set. Returns how many connections were opened again, or
    /// reset.
    pub fn press(&mut self, stop: &AtomicBool) -> u64 {
        let (started, count) = (Instant::now(), self.count as u64);
        let (mut done, mut tried, mut ticks) = (0, 0, 0_u32);
        while !stop.load(Ordering::Relaxed) {
            match self.behaviour {
                Behaviour::Idle | Behaviour::Deaf => {}
                Behaviour::Slow => done += self.turn(ticks as usize % TICKS_PER_TURN),
                Behaviour::Resetting => {
                    let due = count
                        * u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
                        / 1000;
                    // A thread that falls behind does not catch up all at once.
                    let most = 1 + count / RESETS_PER_TICK_SHARE;
                    for _ in 0..due.saturating_sub(tried).min(most) {
                        done += u64::from(self.reset(tried).is_ok());
                        tried += 1;
                    }
                }
            }
            ticks += 1;
            thread::sleep((started + TICK * ticks).saturating_duration_since(Instant::now()));
        }
        done
    }

    /// Returns the number of connections that the node has not ended, and how many of them have
    /// begun to get a reply of 200.
    pub fn open(&self) -> (usize, usize) {
        let mut start = [0; 12];
        let (mut open, mut ok) = (0, 0);
        for member in &self.members {
            match member.peek(&mut start) {
                Ok(0) => {}
                Ok(count) => {
                    open += 1;
                    ok += usize::from(start.get(..count) == Some(b"HTTP/1.1 200"));
                }
                Err(error) => open += usize::from(error.kind() == io::ErrorKind::WouldBlock),
            }
        }
        (open, ok)
    }

    /// Opens the connection with this number, and sends its first bytes.
    fn admit(&self, number: usize) -> io::Result<TcpStream> {
        let mut stream = open(number, self.address)?;
        match self.behaviour {
            Behaviour::Idle => {
                stream.write_all(self.hello.as_bytes())?;
                read_reply(&mut stream)?;
            }
            Behaviour::Slow => stream.write_all(self.hello.trim_end().as_bytes())?,
            Behaviour::Deaf => stream.write_all(self.flood.as_bytes())?,
            Behaviour::Resetting => {}
        }
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    /// Sends a byte from every slow client whose turn it is. Opens those again that were ended.
    fn turn(&mut self, turn: usize) -> u64 {
        let mut opened = 0;
        for number in (turn..self.members.len()).step_by(TICKS_PER_TURN) {
            let mut member = &self.members[number];
            let waits = matches!(member.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            if waits && member.write(b"a").is_ok() {
                continue;
            }
            // The client is refused for now, and tries again at its next turn.
            if let Ok(stream) = self.admit(number) {
                self.members[number] = stream;
                opened += 1;
            }
        }
        opened
    }

    fn reset(&self, number: u64) -> io::Result<()> {
        let mut stream =
            open(usize::try_from(number).unwrap_or(0) % CONNECTIONS_PER_SOURCE, self.address)?;
        setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
        match number % 3 {
            0 => stream
                .write_all(self.hello.get(..self.hello.len() / 2).unwrap_or_default().as_bytes())?,
            1 => stream.write_all(self.hello.as_bytes())?,
            _ => {
                stream.write_all(self.flood.as_bytes())?;
                stream.read_exact(&mut [0; 1024])?;
            }
        }
        Ok(())
    }
}

/// Connects from the address that belongs to the number.
fn open(number: usize, address: SocketAddrV4) -> io::Result<TcpStream> {
    // 127.0.0.1 is the healthy client's.
    let source = Ipv4Addr::from(
        u32::from(Ipv4Addr::LOCALHOST)
            + 1
            + u32::try_from(number / CONNECTIONS_PER_SOURCE).unwrap_or(0),
    );
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let patience = TimeVal::seconds(PATIENCE_SECONDS);
    setsockopt(&socket, sockopt::SendTimeout, &patience)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(source, 0)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(address))?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn read_reply(stream: &mut TcpStream) -> io::Result<()> {
    let (mut parser, mut buffer) = (ReplyParser::default(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let parsed = parser.feed(&buffer[..count], &mut |_| {});
        match parsed.map_err(io::Error::other)?.1 {
            Some(head) if head.status == 200 => return Ok(()),
            Some(head) if head.status == 503 => return Err(io::ErrorKind::QuotaExceeded.into()),
            Some(head) => return Err(io::Error::other(format!("status {}", head.status))),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn listener() -> (TcpListener, SocketAddrV4) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!("bound to IPv4")
        };
        (listener, address)
    }

    #[test]
    fn a_crowd_comes_from_several_addresses() {
        let (listener, address) = listener();
        for (number, source) in [
            (0, Ipv4Addr::new(127, 0, 0, 2)),
            (CONNECTIONS_PER_SOURCE, Ipv4Addr::new(127, 0, 0, 3)),
        ] {
            let stream = open(number, address).unwrap();
            assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
            assert_eq!(stream.local_addr().unwrap().ip(), source);
        }
    }

    #[test]
    fn who_is_turned_away_is_not_open_and_comes_back_if_slow() {
        let (listener, address) = listener();
        let mut crowd =
            Crowd::gather(Behaviour::Slow, address, ["/a", "/b"], 2, Duration::ZERO).unwrap();
        let (mut first, _) = listener.accept().unwrap();
        let second = listener.accept().unwrap();
        assert_eq!(crowd.open(), (2, 0));
        first.write_all(b"HTTP/1.1 408 Late\r\n\r\n").unwrap();
        drop(first);
        assert_eq!((0..TICKS_PER_TURN).map(|turn| crowd.turn(turn)).sum::<u64>(), 1);
        let mut head = [0; 64];
        let count = listener.accept().unwrap().0.read(&mut head).unwrap();
        assert!(
            head[..count].starts_with(b"GET /a HTTP/1.1\r\nHost: ")
                && !head[..count].ends_with(b"\n")
        );
        drop(second);
    }

    #[test]
    fn a_reset_is_one() {
        let (listener, address) = listener();
        let crowd =
            Crowd::gather(Behaviour::Resetting, address, ["/a", "/b"], 1, Duration::ZERO).unwrap();
        crowd.reset(1).unwrap();
        let mut request = Vec::new();
        let error = listener.accept().unwrap().0.read_to_end(&mut request).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
