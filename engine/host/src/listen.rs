//! Listening sockets: one for each shard and address, which share the port (SO_REUSEPORT,
//! socket(7)).
//!
//! They are opened here, or adopted from the process that opened them. A [`Listener`] owns its
//! socket; this module keeps none.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::str::FromStr;

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections the kernel completes before a shard accepts them. net.core.somaxconn may
/// lower it.
const BACKLOG: i32 = 4096;
/// How much of a reply the kernel may hold that it has not sent yet (TCP_NOTSENT_LOWAT, tcp(7)).
/// Bytes that are sent and not acknowledged do not count.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// How many seconds the kernel holds a connection back until its first bytes arrive
/// (TCP_DEFER_ACCEPT, tcp(7)).
const DEFER_ACCEPT_S: libc::c_int = 1;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{address:?} is no address: {source}; expected HOST:PORT, for example 127.0.0.1:8080")]
    Resolve { address: String, source: io::Error },
    #[error("cannot listen on {address}: {source}{hint}")]
    Bind { address: SocketAddr, source: io::Error, hint: &'static str },
    #[error(
        "the inherited fd {number} cannot be listened on: {what}; expected a listening TCP socket"
    )]
    Unfit { number: i32, what: String },
}

/// What clients speak on a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    /// HTTP inside of TLS.
    Https,
}

/// Where to listen, and what clients speak there: `HOST:PORT` or `http://HOST:PORT`, or
/// `https://HOST:PORT`. Whether the host exists shows when it is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub scheme: Scheme,
    /// HOST:PORT.
    pub authority: String,
}

/// Returns whether `text` has the form HOST:PORT. Whether the host exists shows when it is resolved.
pub fn is_authority(text: &str) -> bool {
    let parts = text.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, authority) = match text.split_once("://") {
            None => (Scheme::Http, text),
            Some(("http", authority)) => (Scheme::Http, authority),
            Some(("https", authority)) => (Scheme::Https, authority),
            Some((other, _)) => {
                return Err(format!(
                    "{other}:// is not listened for; expected http:// or https://"
                ));
            }
        };
        // A slash at the end is how many write a URL.
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        match is_authority(authority) {
            true => Ok(Self { scheme, authority: authority.to_owned() }),
            false => {
                Err("expected HOST:PORT or https://HOST:PORT, for example 127.0.0.1:8080".into())
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Http => f.write_str(&self.authority),
            Scheme::Https => write!(f, "https://{}", self.authority),
        }
    }
}

/// The URL of what is served at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Url {
    pub scheme: Scheme,
    pub address: SocketAddr,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    pub socket: TcpListener,
    pub scheme: Scheme,
}

impl Listener {
    /// Returns the URL of what is served there.
    ///
    /// # Errors
    /// When the socket has no address; a listening one always has.
    pub fn url(&self) -> io::Result<Url> {
        Ok(Url { scheme: self.scheme, address: self.socket.local_addr()? })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The sockets of one shard.
pub type Listeners = Vec<Listener>;

/// Opens `shards` sockets for every address that `addresses` resolve to, IPv4 and IPv6. Port 0
/// becomes one free port, the same for all shards.
///
/// # Errors
/// [`ListenError`] naming the address.
pub fn open(addresses: &[Address], shards: usize) -> Result<Vec<Listener>, ListenError> {
    let mut sockets = Vec::new();
    for Address { scheme, authority } in addresses {
        let resolved = authority.to_socket_addrs();
        let resolved = resolved
            .map_err(|source| ListenError::Resolve { address: authority.clone(), source })?;
        for mut address in resolved {
            // Without SO_REUSEPORT first: it would let a second server of the same user share the
            // port by mistake.
            if address.port() != 0 {
                drop(socket(address, false)?);
            }
            for _ in 0..shards {
                let socket = socket(address, true)?;
                address = socket.local_addr().map_err(|source| bind_error(address, source))?;
                sockets.push(Listener { socket, scheme: *scheme });
            }
        }
    }
    Ok(sockets)
}

/// Adopts a socket that another process has opened: the init system, or the engine before this one.
/// Clients speak `scheme` there.
///
/// # Errors
/// [`ListenError::Unfit`] when it is not a listening TCP socket.
pub fn adopt(fd: OwnedFd, scheme: Scheme) -> Result<Listener, ListenError> {
    let number = fd.as_raw_fd();
    let unfit = |what: &dyn fmt::Display| ListenError::Unfit { number, what: what.to_string() };
    let socket = Socket::from(fd);
    let kind = socket.r#type().map_err(|error| unfit(&error))?;
    let domain = socket.domain().map_err(|error| unfit(&error))?;
    if kind != Type::STREAM || ![Domain::IPV4, Domain::IPV6].contains(&domain) {
        return Err(unfit(&"it is not a TCP socket"));
    }
    if !socket.is_listener().map_err(|error| unfit(&error))? {
        return Err(unfit(&"it does not listen"));
    }
    set_options(&socket).map_err(|error| unfit(&error))?;
    Ok(Listener { socket: socket.into(), scheme })
}

/// Returns the URLs of `sockets`, each once, in the order of their first sockets.
///
/// # Errors
/// When a socket has no address; a listening one always has.
pub fn urls(sockets: &[Listener]) -> io::Result<Vec<Url>> {
    let mut urls = Vec::new();
    for socket in sockets {
        let url = socket.url()?;
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    Ok(urls)
}

/// Distributes `sockets` among the shards. Every socket has a shard, or clients that the kernel
/// assigns to it would hang. Every shard has a socket for each address, which it shares if there
/// are too few.
///
/// # Errors
/// When the process has no file descriptors left.
pub fn distribute(sockets: &[Listener], shards: usize) -> io::Result<Vec<Listeners>> {
    let mut by_shard: Vec<Listeners> = (0..shards).map(|_| Vec::new()).collect();
    for url in urls(sockets)? {
        let mut own = Vec::new();
        for socket in sockets {
            if socket.url()? == url {
                own.push(&socket.socket);
            }
        }
        for (shard, at) in pairs(shards, own.len()) {
            by_shard[shard].push(Listener { socket: own[at].try_clone()?, scheme: url.scheme });
        }
    }
    Ok(by_shard)
}

/// Returns which shard accepts from which socket, of sockets that have one address.
fn pairs(shards: usize, sockets: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..shards.max(sockets)).map(move |at| (at % shards, at % sockets))
}

fn socket(address: SocketAddr, share_port: bool) -> Result<TcpListener, ListenError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if share_port {
            socket.set_reuse_port(true)?;
        }
        if address.is_ipv6() {
            // An IPv4 listener on the same port is a socket of its own.
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        set_options(&socket)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|source| bind_error(address, source))
}

/// Sets the options that every listening socket has, whoever opened it.
fn set_options(socket: &Socket) -> io::Result<()> {
    // A shard waits until a socket is readable, and its accept must not block then.
    socket.set_nonblocking(true)?;
    // Inherited by every accepted socket, which saves the worker a system call a connection.
    socket.set_tcp_nodelay(true)?;
    // This is inherited, too: what a client does not read stays in the guest, and does not fill
    // megabytes of the kernel's memory.
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    if socket.local_addr()?.as_socket().is_some_and(|address| address.ip().is_loopback()) {
        // The loopback interface needs no congestion control, and pacing, as BBR does it, sets a
        // timer for every piece of a large reply. Every kernel has Reno. If one refuses it, replies
        // are only slower.
        let _ = socket.set_tcp_congestion(b"reno");
    }
    defer_accept(socket)
}

/// Has the kernel hold connections back until their first bytes arrive: most of them then have
/// their whole head at the first peek. No library that the engine uses has this option.
fn defer_accept(socket: &Socket) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or_default();
    // SAFETY: the value is a live c_int of the length given, and the fd is borrowed from a live
    // socket.
    let done = unsafe {
        let value = std::ptr::from_ref(&DEFER_ACCEPT_S).cast();
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            value,
            length,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bind_error(address: SocketAddr, source: io::Error) -> ListenError {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program has this port: stop it, or choose another with --listen"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has this address",
        _ => "",
    };
    ListenError::Bind { address, source, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn shards_share_one_port_and_nobody_else_does() {
        let sockets = open(&[address("127.0.0.1:0")], 3).unwrap();
        let bound = urls(&sockets).unwrap();
        assert_eq!((sockets.len(), bound.len()), (3, 1));
        let taken = open(&[address(&bound[0].address.to_string())], 1).unwrap_err().to_string();
        assert!(taken.contains("another program has this port"), "{taken}");
    }

    #[test]
    fn an_address_says_what_is_spoken_there() {
        for (text, scheme, written) in [
            ("127.0.0.1:80", Scheme::Http, "127.0.0.1:80"),
            ("http://[::]:80", Scheme::Http, "[::]:80"),
            ("https://0.0.0.0:443/", Scheme::Https, "https://0.0.0.0:443"),
        ] {
            let address = address(text);
            assert_eq!((address.scheme, address.to_string()), (scheme, written.to_owned()));
        }
        let said = |text: &str| text.parse::<Address>().unwrap_err();
        assert!(said("nonsense").contains("HOST:PORT"));
        assert!(said("https://:443").contains("HOST:PORT"));
        assert!(said("https://a:443/path").contains("HOST:PORT"));
        assert!(said("ftp://a:21").contains("https://"));
    }

    #[test]
    fn nothing_is_paced_within_this_machine() {
        let congestion_of = |address: &str| {
            let sockets = open(&[self::address(address)], 1).unwrap();
            let socket = Socket::from(sockets[0].socket.try_clone().unwrap());
            let name = socket.tcp_congestion().unwrap();
            String::from_utf8(name).unwrap().trim_end_matches('\0').to_owned()
        };
        assert_eq!(congestion_of("127.0.0.1:0"), "reno");
        let of_the_machine =
            std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap();
        assert_eq!(congestion_of("0.0.0.0:0"), of_the_machine.trim());
    }

    #[test]
    fn every_socket_has_a_shard_and_every_shard_a_socket() {
        for (shards, sockets) in
            (1..6).flat_map(|shards| (1..6).map(move |sockets| (shards, sockets)))
        {
            let pairs: Vec<_> = pairs(shards, sockets).collect();
            assert!((0..shards).all(|shard| pairs.iter().any(|pair| pair.0 == shard)), "{pairs:?}");
            assert!(
                (0..sockets).all(|socket| pairs.iter().any(|pair| pair.1 == socket)),
                "{pairs:?}"
            );
            assert_eq!(pairs.len(), shards.max(sockets), "none twice: {pairs:?}");
        }
        let both = [address("127.0.0.1:0"), address("https://127.0.0.1:0")];
        let sockets = open(&both, 1).unwrap();
        let by_shard = distribute(&sockets, 2).unwrap();
        for listeners in by_shard {
            assert_eq!(urls(&listeners).unwrap(), urls(&sockets).unwrap());
        }
    }

    #[test]
    fn only_listening_tcp_sockets_are_adopted() {
        let said = |fd: OwnedFd| adopt(fd, Scheme::Http).unwrap_err().to_string();
        assert!(said(std::fs::File::open("/dev/null").unwrap().into()).contains("fd "));
        let (unix, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(said(unix.into()).contains("not a TCP socket"));
        assert!(
            said(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into())
                .contains("not a TCP socket")
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(said(stream.into()).contains("does not listen"));
        assert!(adopt(listener.into(), Scheme::Http).is_ok());
    }
}
