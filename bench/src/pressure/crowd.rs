//! A crowd of clients that use a node's resources: idle, slow, deaf and resetting ones, and those
//! that are slow with a handshake of TLS.
//!
//! Owns their sockets, which are opened in `gather` and `press` and closed by drop. They are bound
//! to several addresses of 127.0.0.0/8, so that neither ports nor the node's limit on connections
//! of one address run out. One thread drives all of them, and spreads its work evenly over time: a
//! burst would delay the healthy client.

use std::io::{self, ErrorKind, Read, Write as _};
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
use crate::reply::ReplyParser;
use crate::tls::{Stream, Tls};
use crate::{interrupt, target};

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
/// A node's default time limit for a head, and for a handshake.
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
    /// They are idle after one request inside of TLS.
    IdleSecure,
    /// They send a ClientHello and nothing more. A client that is turned away comes back.
    Stopped,
    /// They send a byte of a ClientHello every second. A client that is turned away comes back.
    SlowHello,
}

impl Behaviour {
    /// Returns whether the node has nothing to do once all clients are there.
    pub fn rests(self) -> bool {
        matches!(self, Self::Idle | Self::Deaf | Self::IdleSecure)
    }

    /// Returns whether they, and the healthy client beside them, come to a node with TLS.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::IdleSecure | Self::Stopped | Self::SlowHello)
    }

    /// Returns whether each of them has its turn, again and again.
    fn takes_turns(self) -> bool {
        matches!(self, Self::Slow | Self::Stopped | Self::SlowHello)
    }

    /// Returns how many files one of them may take in one process: what ends TLS has the client's
    /// socket, and for a moment both ends of a pair.
    pub fn files(self) -> u32 {
        if self == Self::IdleSecure { 3 } else { 1 }
    }

    /// Returns the time over which the clients arrive. If the slow ones arrived at once, their time
    /// limits would also end in one moment, again and again.
    pub fn spread(self) -> Duration {
        if self.takes_turns() { HEAD_TIMEOUT } else { Duration::ZERO }
    }

    /// Returns the options that make the node keep them for the length of the measurement.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Self::Idle | Self::IdleSecure => &["--idle-timeout", "10m"],
            Self::Deaf => &["--write-timeout", "10m"],
            Self::Slow | Self::Resetting | Self::Stopped | Self::SlowHello => &[],
        }
    }

    /// Returns its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle, kept alive",
            Self::Slow => "slow heads",
            Self::Deaf => "deaf to a large reply",
            Self::Resetting => "resets per second",
            Self::IdleSecure => "idle inside of TLS",
            Self::Stopped => "stopped handshakes",
            Self::SlowHello => "slow ClientHellos",
        }
    }
}

/// One of the clients.
#[derive(Debug)]
struct Member {
    stream: Stream<TcpStream>,
    /// The bytes of a ClientHello that it has sent.
    sent: usize,
}

/// The clients of a crowd.
#[derive(Debug)]
pub struct Crowd {
    behaviour: Behaviour,
    address: SocketAddrV4,
    hello: String,
    flood: String,
    /// What the clients of a node with TLS speak, and what they say first.
    tls: Option<(Tls, Vec<u8>)>,
    /// The connections open at a time, or the resets per second of [`Behaviour::Resetting`].
    count: usize,
    members: Vec<Member>,
}

impl Crowd {
    /// Opens all connections, evenly over `spread`, and brings each to its lasting state. If the
    /// node answers 503 to the next of the idle, it has as many as it takes, and a few are closed
    /// to make room for others.
    pub fn gather(
        behaviour: Behaviour,
        address: SocketAddrV4,
        tls: Option<Tls>,
        paths: [&str; 2],
        count: u32,
        spread: Duration,
    ) -> Result<Self, Error> {
        let hello = tls.as_ref().map(Tls::client_hello).transpose().map_err(target::Error::from)?;
        let tls = tls.zip(hello);
        let [hello, flood] =
            paths.map(|path| format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"));
        let bytes = if behaviour == Behaviour::Deaf { DEAF_BYTES } else { RESET_BYTES };
        let flood = flood.replacen(" HTTP/", &format!("?bytes={bytes} HTTP/"), 1);
        let (count_usize, members) = (count as usize, Vec::new());
        let mut crowd = Self { behaviour, address, hello, flood, tls, count: count_usize, members };
        let started = Instant::now();
        if behaviour != Behaviour::Resetting {
            for number in 0..crowd.count {
                interrupt::check()?;
                let due = started + spread * u32::try_from(number).unwrap_or(0) / count;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                match crowd.admit(number) {
                    Ok(member) => crowd.members.push(member),
                    Err(error) if number > 0 && crowd.is_full(&error) => {
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

    /// Returns whether the node has told the next one to go. It closes those that speak TLS without
    /// a word.
    fn is_full(&self, error: &io::Error) -> bool {
        let ends = [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof];
        error.kind() == ErrorKind::QuotaExceeded
            || (self.tls.is_some() && ends.contains(&error.kind()))
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
                Behaviour::Idle | Behaviour::Deaf | Behaviour::IdleSecure => {}
                Behaviour::Slow | Behaviour::Stopped | Behaviour::SlowHello => {
                    done += self.turn(ticks as usize % TICKS_PER_TURN);
                }
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
            match member.stream.socket().peek(&mut start) {
                Ok(0) => {}
                Ok(count) => {
                    open += 1;
                    ok += usize::from(start.get(..count) == Some(b"HTTP/1.1 200"));
                }
                Err(error) => open += usize::from(error.kind() == ErrorKind::WouldBlock),
            }
        }
        (open, ok)
    }

    /// Opens the connection with this number, and sends its first bytes.
    fn admit(&self, number: usize) -> io::Result<Member> {
        let mut socket = open(number, self.address)?;
        let mut sent = 0;
        match (self.behaviour, &self.tls) {
            (Behaviour::Idle, _) => {
                socket.write_all(self.hello.as_bytes())?;
                read_reply(&mut socket)?;
            }
            (Behaviour::IdleSecure, Some((tls, _))) => {
                let mut stream = Stream::new(socket, Some(tls)).map_err(io::Error::other)?;
                stream.write_all(self.hello.as_bytes())?;
                read_reply(&mut stream)?;
                stream.socket().set_nonblocking(true)?;
                return Ok(Member { stream, sent });
            }
            (Behaviour::Stopped, Some((_, hello))) => socket.write_all(hello)?,
            (Behaviour::SlowHello, Some((_, hello))) => {
                sent = 1;
                socket.write_all(hello.get(..sent).unwrap_or_default())?;
            }
            (Behaviour::Slow, _) => socket.write_all(self.hello.trim_end().as_bytes())?,
            (Behaviour::Deaf, _) => socket.write_all(self.flood.as_bytes())?,
            (Behaviour::Resetting | Behaviour::IdleSecure, _)
            | (Behaviour::Stopped | Behaviour::SlowHello, None) => {}
        }
        socket.set_nonblocking(true)?;
        Ok(Member { stream: Stream::Plain(socket), sent })
    }

    /// Sends a byte from every slow client whose turn it is. Opens those again that were ended.
    fn turn(&mut self, turn: usize) -> u64 {
        let mut opened = 0;
        for number in (turn..self.members.len()).step_by(TICKS_PER_TURN) {
            let member = &mut self.members[number];
            let mut socket = member.stream.socket();
            let next = match (self.behaviour, &self.tls) {
                (Behaviour::Stopped, _) => &[],
                (_, Some((_, hello))) => hello.get(member.sent..=member.sent).unwrap_or(&[]),
                _ => b"a".as_slice(),
            };
            member.sent += next.len();
            if is_open(socket) && (next.is_empty() || socket.write(next).is_ok()) {
                continue;
            }
            // The client is refused for now, and tries again at its next turn.
            if let Ok(member) = self.admit(number) {
                self.members[number] = member;
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

/// Reads away what has come. Returns whether more may.
fn is_open(mut socket: &TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

fn read_reply(stream: &mut impl Read) -> io::Result<()> {
    let (mut parser, mut buffer) = (ReplyParser::default(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let parsed = parser.feed(&buffer[..count], &mut |_| {});
        match parsed.map_err(io::Error::other)?.1 {
            Some(head) if head.status == 200 => return Ok(()),
            Some(head) if head.status == 503 => return Err(ErrorKind::QuotaExceeded.into()),
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
            Crowd::gather(Behaviour::Slow, address, None, ["/a", "/b"], 2, Duration::ZERO).unwrap();
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
    fn who_is_slow_with_a_handshake_sends_one_hello_bytewise_and_begins_again_when_it_is_closed() {
        let (listener, address) = listener();
        let tls = Tls::new("127.0.0.1", b"http/1.1", false).unwrap();
        let gather = |behaviour| {
            let tls = Some(tls.clone());
            Crowd::gather(behaviour, address, tls, ["/a", "/b"], 1, Duration::ZERO).unwrap()
        };
        let mut crowd = gather(Behaviour::SlowHello);
        let (mut server, _) = listener.accept().unwrap();
        let (_, hello) = crowd.tls.clone().unwrap();
        assert_eq!((0..5 * TICKS_PER_TURN).map(|turn| crowd.turn(turn % 100)).sum::<u64>(), 0);
        let mut read = [0; 6];
        server.read_exact(&mut read).unwrap();
        assert_eq!(read, hello[..6]);
        let mut crowd = gather(Behaviour::Stopped);
        let (mut server, _) = listener.accept().unwrap();
        let mut read = vec![0; hello.len()];
        server.read_exact(&mut read).unwrap();
        assert_eq!(read[0], 22, "a handshake's record");
        server.write_all(b"the server's part").unwrap();
        assert_eq!(crowd.turn(0), 0);
        drop(server);
        assert_eq!(crowd.turn(0), 1);
        listener.accept().unwrap();
    }

    #[test]
    fn a_reset_is_one() {
        let (listener, address) = listener();
        let crowd =
            Crowd::gather(Behaviour::Resetting, address, None, ["/a", "/b"], 1, Duration::ZERO)
                .unwrap();
        crowd.reset(1).unwrap();
        let mut request = Vec::new();
        let error = listener.accept().unwrap().0.read_to_end(&mut request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
