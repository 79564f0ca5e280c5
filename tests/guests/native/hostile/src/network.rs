//! Attempts to reach what is outside of the sandbox's network.

use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Query, checked, outcome};

/// How long a connection may take: nothing that is refused takes any time.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn attempt(path: &str, query: &Query) -> Option<Value> {
    Some(match path {
        "/connect" => outcome(connect(query.text("address", "169.254.169.254:80"))),
        "/send-udp" => outcome(send_udp(query.text("address", "169.254.169.254:53"))),
        "/connect-unix" => outcome(
            UnixStream::connect(query.text("path", "/var/run/docker.sock")).map(|_| Value::Null),
        ),
        "/socket" => match kind(query.text("kind", "raw")) {
            Some((family, of_type, protocol)) => outcome(socket(family, of_type, protocol)),
            None => json!({ "result": "no such kind here" }),
        },
        _ => return None,
    })
}

fn connect(address: &str) -> io::Result<Value> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    TcpStream::connect_timeout(&address, PATIENCE)?;
    Ok(Value::Null)
}

fn send_udp(address: &str) -> io::Result<Value> {
    UdpSocket::bind("0.0.0.0:0")?.send_to(b"hostile", address)?;
    Ok(Value::Null)
}

fn kind(name: &str) -> Option<(i32, i32, i32)> {
    Some(match name {
        "raw" => (libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        "raw6" => (libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
        "packet" => (libc::AF_PACKET, libc::SOCK_RAW, 0),
        "route" => (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE),
        "netfilter" => (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER),
        "audit" => (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT),
        "vsock" => (libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        "alg" => (libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        "bluetooth" => (libc::AF_BLUETOOTH, libc::SOCK_RAW, 0),
        "can" => (libc::AF_CAN, libc::SOCK_RAW, 0),
        _ => return None,
    })
}

fn socket(family: i32, of_type: i32, protocol: i32) -> io::Result<Value> {
    // SAFETY: the call takes no pointers; the fd is closed below and used by nobody else.
    let fd = checked(libc::c_long::from(unsafe { libc::socket(family, of_type, protocol) }))?;
    // SAFETY: it was opened above.
    unsafe { libc::close(i32::try_from(fd).unwrap_or(-1)) };
    Ok(Value::Null)
}
