//! Runs `wasmtime serve`, to compare the node with: both serve the same guest and get the same
//! requests.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::answer::Answer;
use crate::bytes::{assert_same, chunked};
use crate::client::{Connection, head};
use crate::node::Node;
use crate::running::Running;
use crate::{guests, wait};

/// How long wasmtime may take to print its address, compiling included, on a machine that is busy
/// with other tests.
const START: Duration = Duration::from_secs(60);

/// Headers that a server adds itself. Framing is compared by the body.
const THE_SERVERS: [&str; 5] =
    ["connection", "content-length", "date", "sockhop-invocation-id", "transfer-encoding"];

/// Returns the `wasmtime` to compare with: that of `SOCKHOP_TEST_WASMTIME`, or else the one in
/// PATH.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("SOCKHOP_TEST_WASMTIME") {
        let path = PathBuf::from(named);
        assert!(path.is_file(), "SOCKHOP_TEST_WASMTIME is {}, where no file is", path.display());
        return path;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("wasmtime"))
        .find(|file| file.is_file());
    found.expect("there is no wasmtime to compare with: run scripts/test, which installs it")
}

/// A running `wasmtime serve`. It is killed when this is dropped.
#[derive(Debug)]
pub struct Wasmtime {
    running: Running,
    address: SocketAddr,
}

impl Wasmtime {
    /// Serves a guest with wasmtime's defaults, and with WASI 0.3 if the guest's name ends in
    /// `-p3`.
    #[must_use]
    pub fn serve(guest: &str) -> Self {
        let wasi = if guest.ends_with("-p3") { "-Scli,p3" } else { "-Scli" };
        Self::start(&guests::path(guest), wasi)
    }

    fn start(file: &Path, wasi: &str) -> Self {
        let mut command = Command::new(binary());
        let mut running =
            Running::spawn(command.args(["serve", wasi, "--addr", "127.0.0.1:0"]).arg(file));
        let address = wait::until("wasmtime says where it serves", START, || {
            assert!(running.exited().is_none(), "wasmtime ended before it served");
            let said = running.stderr();
            let (_, rest) = said.split_once("Serving HTTP on http://")?;
            rest.split_once('/').map(|(address, _)| address.parse().expect("an address"))
        });
        Self { running, address }
    }

    /// Returns what it has written to stderr so far, with the lines of its guest.
    pub fn stderr(&self) -> String {
        self.running.stderr()
    }

    /// Opens a new connection.
    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }
}

/// A request to both servers. The connection ends after it.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// Creates a request without a body. `path`, with its query, is what the guest sees.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        let close = ("connection".to_owned(), "close".to_owned());
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: vec![close],
            body: Vec::new(),
        }
    }

    /// Creates a GET.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends a body with a Content-Length.
    #[must_use]
    pub fn body(self, body: &[u8]) -> Self {
        self.header("content-length", &body.len().to_string()).framed(body)
    }

    /// Sends a body in chunks of `chunk` bytes.
    #[must_use]
    pub fn chunked(self, body: &[u8], chunk: usize) -> Self {
        self.header("transfer-encoding", "chunked").framed(&chunked(body, chunk))
    }

    /// Sends these bytes after the head.
    #[must_use]
    pub fn framed(mut self, bytes: &[u8]) -> Self {
        bytes.clone_into(&mut self.body);
        self
    }

    /// Returns the bytes for a server that serves the guest below `prefix`.
    fn bytes(&self, prefix: &str) -> Vec<u8> {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut bytes = head(&self.method, &format!("{prefix}{}", self.path), &headers);
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends the request while the answer is read, so that neither side can block the other.
    fn exchange(&self, mut connection: Connection, prefix: &str) -> Answer {
        let mut writer = connection.writer();
        let bytes = self.bytes(prefix);
        let came = thread::scope(|scope| {
            // A server need not read the whole body.
            scope.spawn(move || writer.write_all(&bytes).is_ok());
            connection.rest()
        });
        Answer::read(&self.method, &came)
    }
}

/// The same guest behind a node and behind `wasmtime serve`.
#[derive(Debug)]
pub struct Both {
    /// The node, which has deployed the guest under its own name.
    pub node: Node,
    /// The other server.
    pub wasmtime: Wasmtime,
    prefix: String,
}

impl Both {
    /// Starts both. The options are those of the node's `deploy`.
    #[must_use]
    pub fn serving(guest: &str, options: &[&str]) -> Self {
        let wasmtime = Wasmtime::serve(guest);
        let node = Node::start();
        node.deploy(guest, guest, options);
        Self { node, wasmtime, prefix: format!("/{guest}") }
    }

    /// Returns the answer of the node.
    pub fn ours(&self, asked: &Request) -> Answer {
        asked.exchange(self.node.connect(), &self.prefix)
    }

    /// Returns the answer of wasmtime.
    pub fn theirs(&self, asked: &Request) -> Answer {
        asked.exchange(self.wasmtime.connect(), "")
    }

    /// Waits until the node has written `text` about an invocation to the function's log.
    pub fn expect_logged(&self, text: &str) {
        wait::until(text, Duration::from_secs(5), || {
            let stderr = self.node.stderr();
            stderr
                .lines()
                .any(|line| line.contains("stream=node") && line.contains(text))
                .then_some(())
        });
    }

    /// Panics unless both answers are equal without the headers that servers add. Returns the
    /// node's answer.
    #[track_caller]
    pub fn same(&self, asked: &Request) -> Answer {
        let (ours, theirs) = (self.ours(asked), self.theirs(asked));
        let (our_rest, their_rest) = (guests_part(&ours), guests_part(&theirs));
        let shown =
            String::from_utf8_lossy(&asked.bytes("")[..]).chars().take(1000).collect::<String>();
        assert_eq!(our_rest, their_rest, "the node (left) and wasmtime (right) for {shown}");
        assert_same(&ours.body, &theirs.body);
        assert_eq!(ours.behind, b"", "nothing comes behind an answer to {shown}");
        ours
    }
}

/// Returns the part of an answer that the guest has made, without a long body. Headers of different
/// names have no order; the values of one name do.
fn guests_part(answer: &Answer) -> Answer {
    let mut answer = answer.clone();
    answer.headers.retain(|(name, _)| !THE_SERVERS.contains(&name.as_str()));
    answer.headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    if answer.body.len() > 2000 {
        answer.body = Vec::new();
    }
    answer.body = String::from_utf8_lossy(&answer.body).into_owned().into_bytes();
    answer
}
