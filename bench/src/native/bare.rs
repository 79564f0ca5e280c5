//! Programs without a node: each is started, asked once, and kept. Owns the process, and the
//! connection that it was asked by; a `bootstrap`'s is that of its Runtime API, of which this has
//! the two calls that it takes to have an event answered.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{BODY, Error, Guest, PATIENCE};
use crate::server::{self, Child, Program, SERVER_CORE};
use crate::target::{Session, Target};

/// How bubblewrap is told to make a sandbox like a node's, but for the network. Its file system of
/// its own is not at `/tmp`, where the program may be.
const BWRAP: [&str; 14] = [
    "--unshare-user",
    "--unshare-ipc",
    "--unshare-pid",
    "--unshare-uts",
    "--unshare-cgroup",
    "--ro-bind",
    "/",
    "/",
    "--proc",
    "/proc",
    "--tmpfs",
    "/run",
    "--die-with-parent",
    "--",
];
const EVENT: &str = "HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: 1\r\n\
    lambda-runtime-deadline-ms: 9999999999999\r\ncontent-type: application/json\r\n\
    content-length: 2\r\n\r\n{}";
const TAKEN: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
/// More than a `bootstrap` that says hello sends at once.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// A program that has replied, and what it was asked by.
#[derive(Debug)]
pub struct Bare {
    pub child: Child,
    _asked_by: AskedBy,
}

/// Kept open, as a node keeps it.
#[derive(Debug)]
enum AskedBy {
    Client { _session: Session },
    RuntimeApi { _stream: TcpStream },
}

/// Starts a program, through bubblewrap if that is given, and asks it once. Returns it, and the
/// time from its start to its reply.
pub fn start(guest: &Guest, bwrap: Option<&Path>) -> Result<(Bare, Duration), Error> {
    match guest.program {
        Program::Server => start_server(guest, bwrap),
        _ => start_bootstrap(guest, bwrap),
    }
}

fn start_server(guest: &Guest, bwrap: Option<&Path>) -> Result<(Bare, Duration), Error> {
    let addresses = server::free_addresses(1)?;
    let [address] = addresses[..] else { unreachable!("one was asked for") };
    let target = Target::parse(&format!("http://{address}/"))?;
    let request = target.get();
    let child = run(server::server_command(&guest.file, address), bwrap)?;
    let mut session = loop {
        // Without a pause: the client has a core of its own.
        match Session::open(&target) {
            Ok(session) => break session,
            Err(error) if child.started().elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => crate::interrupt::check()?,
        }
    };
    let fetched = session.exchange(&request)?;
    let took = child.started().elapsed();
    if fetched.body != BODY {
        return Err(wrong(&child, &fetched.body));
    }
    Ok((Bare { child, _asked_by: AskedBy::Client { _session: session } }, took))
}

fn start_bootstrap(guest: &Guest, bwrap: Option<&Path>) -> Result<(Bare, Duration), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(server::Error::Port)?;
    let api = listener.local_addr().map_err(server::Error::Port)?.to_string();
    listener.set_nonblocking(true).map_err(server::Error::Port)?;
    let child = run(server::bootstrap_command(&guest.file, guest.name, &api), bwrap)?;
    let failed = |error: io::Error| Error::Bare {
        command: child.command().to_owned(),
        why: format!("does not speak to its Runtime API ({error}; its log: {})", child.log()),
    };
    let mut stream = accept(&listener, child.started()).map_err(failed)?;
    read_request(&mut stream).map_err(failed)?;
    stream.write_all(EVENT.as_bytes()).map_err(failed)?;
    let reply = read_request(&mut stream).map_err(failed)?;
    let took = child.started().elapsed();
    stream.write_all(TAKEN.as_bytes()).map_err(failed)?;
    if !reply.windows(BODY.len()).any(|part| part == BODY) {
        return Err(wrong(&child, &reply));
    }
    Ok((Bare { child, _asked_by: AskedBy::RuntimeApi { _stream: stream } }, took))
}

fn run(command: Command, bwrap: Option<&Path>) -> Result<Child, Error> {
    let command = match bwrap {
        Some(bwrap) => wrapped(&command, bwrap),
        None => command,
    };
    let scratch = server::scratch("program").map_err(server::Error::from)?;
    Ok(Child::start("program", SERVER_CORE, command, scratch).map_err(server::Error::from)?)
}

fn wrapped(command: &Command, bwrap: &Path) -> Command {
    let mut outer = Command::new(bwrap);
    outer.args(BWRAP).arg(command.get_program()).args(command.get_args());
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}

fn wrong(child: &Child, reply: &[u8]) -> Error {
    let reply: String = String::from_utf8_lossy(reply).chars().take(80).collect();
    Error::Bare { command: child.command().to_owned(), why: format!("replies `{reply}`") }
}

/// Takes the program's connection as soon as it is there.
fn accept(listener: &TcpListener, started: Instant) -> io::Result<TcpStream> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Err(_) if started.elapsed() > PATIENCE => return Err(ErrorKind::TimedOut.into()),
            Err(_) => {
                if crate::interrupt::check().is_err() {
                    return Err(ErrorKind::Interrupted.into());
                }
            }
        }
    }
}

/// Reads one request, and returns its body.
fn read_request(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(body) = body(&bytes)? {
            return Ok(body.to_vec());
        }
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(io::Error::other("its request is too long"));
        }
    }
}

/// Returns the body of a request with a `content-length` or none. `None` if more is to come.
fn body(bytes: &[u8]) -> io::Result<Option<&[u8]>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let start = match request.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Complete(start) => start,
        httparse::Status::Partial => return Ok(None),
    };
    let header =
        request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = match header {
        None => 0,
        Some(header) => std::str::from_utf8(header.value)
            .ok()
            .and_then(|text| text.trim().parse::<usize>().ok())
            .ok_or_else(|| io::Error::other("its content-length is no number"))?,
    };
    Ok(start.checked_add(length).and_then(|end| bytes.get(start..end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_body_is_there_when_all_of_it_is() {
        assert_eq!(body(b"GET / HTTP/1.1\r\n\r\n").unwrap(), Some(&b""[..]));
        let request = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(body(request).unwrap(), Some(&b"abc"[..]));
        for end in 1..request.len() {
            assert_eq!(body(&request[..end]).unwrap(), None);
        }
        assert!(body(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n").is_err());
        assert!(body(b"\0\0\0\0").is_err());
    }

    #[test]
    fn bubblewrap_runs_the_same_command() {
        let mut command = Command::new("/program");
        command.env("PORT", "1").arg("a");
        let outer = wrapped(&command, Path::new("/bwrap"));
        assert_eq!(outer.get_program(), "/bwrap");
        let args: Vec<_> = outer.get_args().collect();
        assert!(args.ends_with(&["--".as_ref(), "/program".as_ref(), "a".as_ref()]), "{args:?}");
        assert!(outer.get_envs().eq([("PORT".as_ref(), Some("1".as_ref()))]));
    }

    proptest! {
        #[test]
        fn any_request_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = body(&bytes);
        }
    }
}
