//! A server on `$PORT` that tries to get out of its sandbox, or to harm its neighbours, in the way
//! that the path says, and replies with what came of it as JSON: `{"result":"ok"}` or the name of
//! the error such as `{"result":"EPERM"}`, and what else it has seen.
//!
//! | module      | paths                                                                     |
//! |-------------|---------------------------------------------------------------------------|
//! | `files`     | `/read?path=`, `/write?path=`, `/list?path=`, `/fds`, `/send-fds`,        |
//! |             | `/identity`                                                               |
//! | `processes` | `/processes`, `/memory?pid=`, `/ptrace?pid=`, `/process-vm?pid=`,         |
//! |             | `/kill?pid=&signal=`, `/daemon?name=`, `/ignore-term`, `/exec?path=`      |
//! | `kernel`    | `/call?name=`, one of the system calls that a sandbox is to refuse;       |
//! |             | `/calls`, all of them                                                     |
//! | `network`   | `/connect?address=`, `/send-udp?address=`, `/connect-unix?path=`,         |
//! |             | `/socket?kind=`                                                           |
//! | `resources` | `/fork-bomb?max=`, `/threads?max=`, `/fill?path=&mib=`, `/allocate?mib=`, |
//! |             | `/open-files?max=`, `/spam?mib=`, `/spin`                                 |
//!
//! Any other path is answered `Hello, world!`. Each of these must fail or come to a limit; the node
//! must not notice, and nothing may be left behind.

mod files;
mod kernel;
mod network;
mod processes;
mod resources;

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::str::FromStr;
use std::thread;

use nix::errno::Errno;
use serde_json::{Value, json};

/// The query of a request.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(text: &str) -> Self {
        let pairs = query::pairs(text);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self(pairs.map(|(name, value)| (name.to_owned(), text(value))).collect())
    }

    fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        let found = self.0.iter().find(|(n, _)| n == name);
        found.map_or(default, |(_, value)| value)
    }

    fn number<T: FromStr>(&self, name: &str, default: T) -> T {
        self.text(name, "").parse().unwrap_or(default)
    }
}

/// Returns the name of an error, such as `EPERM`.
fn name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => format!("{:?}", Errno::from_raw(code)),
        None => format!("{:?}", error.kind()),
    }
}

/// Returns the reply for what an attempt came to, with `seen` if it was successful.
fn outcome(result: io::Result<Value>) -> Value {
    match result {
        Ok(Value::Null) => json!({ "result": "ok" }),
        Ok(seen) => json!({ "result": "ok", "seen": seen }),
        Err(error) => json!({ "result": name(&error) }),
    }
}

/// Returns the result of a system call that says -1 if it fails.
fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn main() -> io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    loop {
        // Also where no further fd or thread is to be had, this goes on.
        let Ok((stream, _)) = listener.accept() else { continue };
        let _ = thread::Builder::new().spawn(|| serve(stream));
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut target = None;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        if !line.is_empty() {
            target = target.or_else(|| Some(line.split(' ').nth(1)?.to_owned()));
            continue;
        }
        let (kind, body) = answer(&target.take().unwrap_or_default());
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
    Ok(())
}

/// Does what the target says. Returns the type and the text of the reply.
fn answer(target: &str) -> (&'static str, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = Query::of(query);
    let done = files::attempt(path, &query)
        .or_else(|| processes::attempt(path, &query))
        .or_else(|| kernel::attempt(path, &query))
        .or_else(|| network::attempt(path, &query))
        .or_else(|| resources::attempt(path, &query));
    match done {
        Some(value) => ("application/json", value.to_string()),
        None => ("text/plain", "Hello, world!".to_owned()),
    }
}
