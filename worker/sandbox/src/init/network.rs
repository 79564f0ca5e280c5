//! Loopback, and the listeners that the worker asked for. They are the worker's once it has them: a
//! socket keeps its network namespace until the last copy of it is closed.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};

use abi::sandbox::{FromSandbox, Sandbox, Step};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::failure::{Failure, OrFail as _};
use super::shares_network;

/// A listener, and the message that it goes with.
pub(super) type Listener = (FromSandbox, OwnedFd);

/// Sets the network namespace up, if there is one, and makes the listeners.
pub(super) fn set_up(sandbox: &Sandbox) -> Result<Vec<Listener>, Failure> {
    if !shares_network(sandbox) {
        loopback_up().or_fail(Step::Network, || "setting up the loopback interface".into())?;
        // A program may use any port of a network that it has for itself. In a /proc that cannot be
        // written to, those below 1024 stay closed to it.
        let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    }
    listeners(sandbox)
}

/// Makes the listeners.
pub(super) fn listeners(sandbox: &Sandbox) -> Result<Vec<Listener>, Failure> {
    let make = |asked: &u16| {
        let asked = *asked;
        let wanted = if shares_network(sandbox) { 0 } else { asked };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let port = listener.local_addr()?.port();
            Ok((FromSandbox::Listener { asked, port }, listener.into()))
        });
        listener.or_fail(Step::Network, || format!("listening on 127.0.0.1:{asked}"))
    };
    sandbox.listen.iter().map(make).collect()
}

/// Sets `lo` up. The kernel gives it its addresses, 127.0.0.1 and ::1.
fn loopback_up() -> io::Result<()> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all zeroes is a value of this C struct, of integers and a union of such.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).unwrap_or(1);
    // SAFETY: the request is an ifreq, which SIOCSIFFLAGS reads (netdevice(7)); the socket is open.
    match unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
