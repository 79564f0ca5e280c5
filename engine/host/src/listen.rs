//! Listening sockets: one for each shard and address, which share the port (SO_REUSEPORT,
//! socket(7)), or one Unix socket for all shards.
//!
//! They are opened here, or adopted from the process that opened them. A [`Listener`] owns its
//! socket; this module keeps none.

mod address;
mod unix;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

pub use address::{Address, Place, Scheme, Spoken, Unresolved, Url, is_authority};
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
    #[error("cannot listen on the Unix socket {path:?}: {source}{hint}")]
    Unix { path: PathBuf, source: io::Error, hint: &'static str },
    #[error("cannot listen on {address}: {source}{hint}")]
    Bind { address: SocketAddr, source: io::Error, hint: &'static str },
    #[error(
        "the inherited fd {number} cannot be listened on: {what}; expected a listening TCP or Unix \
         socket"
    )]
    Unfit { number: i32, what: String },
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    pub socket: Socket,
    pub spoken: Spoken,
    /// Whether it is a Unix socket whose file this node is to remove.
    pub owns_file: bool,
}

impl Listener {
    /// Returns the URL of what is served there.
    ///
    /// # Errors
    /// When the socket has no address; a listening one always has.
    pub fn url(&self) -> io::Result<Url> {
        let address = self.socket.local_addr()?;
        let path = || address.as_pathname().map(|path| Place::Unix(path.to_owned()));
        let place = address.as_socket().map(Place::Tcp).or_else(path);
        // The name of a Unix socket that is in no file system is not shown.
        let place = place.unwrap_or_else(|| Place::Unix(PathBuf::new()));
        Ok(Url { spoken: self.spoken, place })
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
/// becomes one free port, the same for all shards. A Unix socket is one for all shards.
///
/// # Errors
/// [`ListenError`] naming the address.
pub fn open(addresses: &[Address], shards: usize) -> Result<Vec<Listener>, ListenError> {
    let mut sockets = Vec::new();
    for address in addresses {
        let spoken = address.spoken;
        let resolved = address.resolve();
        let resolved = resolved
            .map_err(|source| ListenError::Resolve { address: address.to_string(), source })?;
        for place in resolved {
            let mut address = match place {
                Place::Tcp(address) => address,
                Place::Unix(path) => {
                    let socket = unix::open(&path)?;
                    sockets.push(Listener { socket, spoken, owns_file: true });
                    continue;
                }
            };
            // Without SO_REUSEPORT first: it would let a second server of the same user share the
            // port by mistake.
            if address.port() != 0 {
                drop(socket(address, false)?);
            }
            for _ in 0..shards {
                let socket = socket(address, true)?;
                let bound = socket.local_addr().map_err(|source| bind_error(address, source))?;
                address = bound.as_socket().unwrap_or(address);
                sockets.push(Listener { socket, spoken, owns_file: false });
            }
        }
    }
    Ok(sockets)
}

/// Adopts a socket that another process has opened: the init system, or the engine before this one.
/// The file of a Unix socket is this node's if that process says so.
///
/// # Errors
/// [`ListenError::Unfit`] when it is not a listening TCP or Unix socket.
pub fn adopt(fd: OwnedFd, spoken: Spoken, owns_file: bool) -> Result<Listener, ListenError> {
    let number = fd.as_raw_fd();
    let unfit = |what: &dyn fmt::Display| ListenError::Unfit { number, what: what.to_string() };
    let socket = Socket::from(fd);
    let kind = socket.r#type().map_err(|error| unfit(&error))?;
    let domain = socket.domain().map_err(|error| unfit(&error))?;
    if kind != Type::STREAM || ![Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&domain) {
        return Err(unfit(&"it is not a TCP or Unix socket"));
    }
    if !socket.is_listener().map_err(|error| unfit(&error))? {
        return Err(unfit(&"it does not listen"));
    }
    let set = match domain {
        // A shard waits until a socket is readable, and its accept must not block then.
        Domain::UNIX => socket.set_nonblocking(true),
        _ => set_options(&socket),
    };
    set.map_err(|error| unfit(&error))?;
    Ok(Listener { socket, spoken, owns_file: owns_file && domain == Domain::UNIX })
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

/// Returns the files of Unix sockets that are to be removed when nobody listens there any more.
pub fn owned_files(sockets: &[Listener]) -> Vec<PathBuf> {
    let owned = sockets.iter().filter(|listener| listener.owns_file);
    let address = owned.filter_map(|listener| listener.socket.local_addr().ok());
    address.filter_map(|address| address.as_pathname().map(Path::to_owned)).collect()
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
            let (socket, spoken) = (own[at].try_clone()?, url.spoken);
            by_shard[shard].push(Listener { socket, spoken, owns_file: false });
        }
    }
    Ok(by_shard)
}

/// Returns which shard accepts from which socket, of sockets that have one address.
fn pairs(shards: usize, sockets: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..shards.max(sockets)).map(move |at| (at % shards, at % sockets))
}

fn socket(address: SocketAddr, share_port: bool) -> Result<Socket, ListenError> {
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
        Ok(socket)
    };
    open().map_err(|source| bind_error(address, source))
}

/// Sets the options that every listening TCP socket has, whoever opened it.
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
    use std::net::TcpListener;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn shards_share_one_port_and_nobody_else_does() {
        let sockets = open(&[address("127.0.0.1:0")], 3).unwrap();
        let bound = urls(&sockets).unwrap();
        assert_eq!((sockets.len(), bound.len()), (3, 1));
        let taken = open(&[address(&bound[0].to_string())], 1).unwrap_err().to_string();
        assert!(taken.contains("another program has this port"), "{taken}");
    }

    #[test]
    fn nothing_is_paced_within_this_machine() {
        let congestion_of = |address: &str| {
            let sockets = open(&[self::address(address)], 1).unwrap();
            let name = sockets[0].socket.tcp_congestion().unwrap();
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
        let folder = tempfile::tempdir().unwrap();
        let unix = format!("unix:{}?proxy-protocol", folder.path().join("a.sock").display());
        let all = [address("127.0.0.1:0"), address("https://127.0.0.1:0"), address(&unix)];
        let sockets = open(&all, 1).unwrap();
        assert_eq!(urls(&sockets).unwrap()[2].to_string(), unix);
        assert_eq!(owned_files(&sockets), [folder.path().join("a.sock")]);
        let by_shard = distribute(&sockets, 2).unwrap();
        for listeners in by_shard {
            assert_eq!(urls(&listeners).unwrap(), urls(&sockets).unwrap());
        }
    }

    #[test]
    fn only_listening_sockets_are_adopted() {
        let adopt = |fd: OwnedFd| adopt(fd, Spoken::HTTP, true);
        let said = |fd: OwnedFd| adopt(fd).unwrap_err().to_string();
        assert!(said(std::fs::File::open("/dev/null").unwrap().into()).contains("fd "));
        let (unix, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(said(unix.into()).contains("does not listen"));
        assert!(
            said(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into())
                .contains("not a TCP or Unix socket")
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(said(stream.into()).contains("does not listen"));
        assert!(!adopt(listener.into()).unwrap().owns_file);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(owned_files(&[adopt(listener.into()).unwrap()]), [path]);
    }
}
