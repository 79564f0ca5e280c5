//! Listening sockets: one a shard and address, all sharing the port (SO_REUSEPORT, socket(7)).
//!
//! Gives its callers the sockets; keeps none.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections the kernel completes for us before a shard has accepted them; net.core.somaxconn may lower it.
const BACKLOG: i32 = 4096;
/// For how long the kernel keeps a connection to itself until its first bytes are there (TCP_DEFER_ACCEPT, tcp(7)).
const DEFER_ACCEPT_S: libc::c_int = 1;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("{address:?} is no address: {source}; expected HOST:PORT, for example 127.0.0.1:8080")]
    Resolve { address: String, source: io::Error },
    #[error("cannot listen on {address}: {source}{hint}")]
    Bind { address: SocketAddr, source: io::Error, hint: &'static str },
}

/// The sockets of one shard, and the addresses they turned out to have.
pub(crate) type Listeners = Vec<TcpListener>;

/// Opens `shards` times a socket for every address that `addresses` resolve to, v4 and v6. Port 0 becomes one free port,
/// the same for all shards. Returns the sockets by shard, and the addresses.
///
/// # Errors
/// [`ListenError`] naming the address.
pub(crate) fn open(addresses: &[String], shards: usize) -> Result<(Vec<Listeners>, Vec<SocketAddr>), ListenError> {
    let mut by_shard: Vec<Listeners> = (0..shards).map(|_| Vec::new()).collect();
    let mut bound = Vec::new();
    for address in addresses {
        let resolved = address.to_socket_addrs();
        let resolved = resolved.map_err(|source| ListenError::Resolve { address: address.clone(), source })?;
        for mut address in resolved {
            // Without SO_REUSEPORT first: it would let a second server of the same user share the port by mistake.
            if address.port() != 0 {
                drop(socket(address, false)?);
            }
            for listeners in &mut by_shard {
                let listener = socket(address, true)?;
                address = listener.local_addr().map_err(|source| bind_error(address, source))?;
                listeners.push(listener);
            }
            bound.push(address);
        }
    }
    Ok((by_shard, bound))
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
        // Inherited by every accepted socket, which saves the worker a system call a connection.
        socket.set_tcp_nodelay(true)?;
        defer_accept(&socket)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|source| bind_error(address, source))
}

/// Most connections then arrive with their head, and one look is enough. No library we use has the option.
fn defer_accept(socket: &Socket) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or_default();
    // SAFETY: the value is a live c_int of the length given, and the fd is borrowed from a live socket.
    let done = unsafe {
        let value = std::ptr::from_ref(&DEFER_ACCEPT_S).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, value, length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bind_error(address: SocketAddr, source: io::Error) -> ListenError {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => "; another program has this port: stop it, or choose another with --listen",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has this address",
        _ => "",
    };
    ListenError::Bind { address, source, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_one_port_and_nobody_else_does() {
        let (by_shard, bound) = open(&["127.0.0.1:0".into()], 3).unwrap();
        assert_eq!(by_shard.len(), 3);
        assert!(by_shard.iter().all(|listeners| listeners[0].local_addr().unwrap() == bound[0]));
        let taken = open(&[bound[0].to_string()], 1).unwrap_err().to_string();
        assert!(taken.contains("another program has this port"), "{taken}");
        let nonsense = open(&["nonsense".into()], 1).unwrap_err().to_string();
        assert!(nonsense.contains("HOST:PORT"), "{nonsense}");
    }
}
