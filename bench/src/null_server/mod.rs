//! The `null-server` command: answers every request with the same bytes, at once or after a set
//! time.
//!
//! It does the least that a server can do, so that a load on it costs what the harness and the
//! kernel cost: the floor of every comparison, which shows it as a server of its own. With a delay
//! it is the slow upstream of functions that call out. One thread, one epoll.
//!
//! Owns the listener and, in each `Peer`, a socket; closed by drop, when the other side has closed
//! or asked for it.

mod peer;

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use crate::cli::NullServerArguments;
use crate::interrupt;
use peer::{Next, Peer, Reply};

const LISTENER: Token = Token(0);
const READ_BUFFER_BYTES: usize = 64 * 1024;
const EVENTS_PER_POLL: usize = 1024;
/// How often a signal is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No body.
    #[error("cannot read the body from {} ({source})", path.display())]
    Body {
        /// As given.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No listener, no epoll.
    #[error("cannot serve on 127.0.0.1 ({0}); raise the limit on open files (ulimit -n)?")]
    Serve(#[from] io::Error),
    /// More connections than files.
    #[error(transparent)]
    OpenFiles(#[from] crate::client::OpenFilesError),
}

/// The command: serves until a signal ends it.
pub fn command(arguments: &NullServerArguments) -> Result<(), Error> {
    let body = match &arguments.body_file {
        Some(path) => {
            std::fs::read(path).map_err(|source| Error::Body { path: path.clone(), source })?
        }
        None => arguments.body.clone().into_bytes(),
    };
    let most = crate::client::open_files_max()?;
    crate::client::allow_open_files(most)?;
    let mut server = Server::new(&body, Duration::from_millis(arguments.delay_ms))?;
    println!("ready http://{}", server.listener.local_addr()?);
    io::stdout().flush()?;
    // The signal is how it is meant to end.
    while interrupt::check().is_ok() {
        server.turn()?;
    }
    Ok(())
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    reply: Reply,
    delay: Duration,
    peers: HashMap<usize, Peer>,
    /// Never used twice, so that no late reply finds another peer.
    next: usize,
    /// Replies that wait for their time, in order of it.
    due: VecDeque<(Instant, usize)>,
    events: Option<Events>,
    buffer: Vec<u8>,
}

impl Server {
    fn new(body: &[u8], delay: Duration) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let reply = |close: &str| {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{close}Content-Length: {}\r\n\r\n",
                body.len()
            );
            [head.as_bytes(), body].concat()
        };
        Ok(Self {
            poll,
            listener,
            reply: Reply {
                keep: reply(""),
                close: reply("Connection: close\r\n"),
                body_bytes: body.len(),
            },
            delay,
            peers: HashMap::new(),
            next: 1,
            due: VecDeque::new(),
            events: Some(Events::with_capacity(EVENTS_PER_POLL)),
            buffer: vec![0; READ_BUFFER_BYTES],
        })
    }

    /// Waits for something, and does what there is to do.
    fn turn(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let wait =
            self.due.front().map_or(LOOK, |(due, _)| due.saturating_duration_since(now).min(LOOK));
        let Some(mut events) = self.events.take() else { unreachable!("a turn gives them back") };
        let polled = self.poll.poll(&mut events, Some(wait));
        if let Err(error) = polled
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(error);
        }
        for event in &events {
            match event.token() {
                LISTENER => self.accept(),
                Token(id) => self.serve(id),
            }
        }
        self.events = Some(events);
        let now = Instant::now();
        while self.due.front().is_some_and(|&(due, _)| due <= now) {
            let Some((_, id)) = self.due.pop_front() else { break };
            self.reply(id);
        }
        Ok(())
    }

    fn accept(&mut self) {
        // Until there is none left, or no file for one: then the next event tries again.
        while let Ok((mut stream, _)) = self.listener.accept() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registered = self.poll.registry().register(&mut stream, Token(self.next), interest);
            if registered.and_then(|()| stream.set_nodelay(true)).is_ok() {
                self.peers.insert(self.next, Peer::new(stream));
                self.next += 1;
            }
        }
    }

    /// Reads what has come, and goes on with what did not fit before.
    fn serve(&mut self, id: usize) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match peer.advance(&self.reply, &mut self.buffer) {
            Next::Event => {}
            Next::Close => drop(self.peers.remove(&id)),
            Next::Reply if self.delay.is_zero() => self.reply(id),
            Next::Reply => self.due.push_back((Instant::now() + self.delay, id)),
        }
    }

    fn reply(&mut self, id: usize) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.begin_reply();
        // The next request may be here already.
        self.serve(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Request, Session, Target};

    /// A server on a thread of its own, which ends with the test process.
    fn start(body: &'static [u8], delay: Duration) -> Target {
        let mut server = Server::new(body, delay).unwrap();
        let target =
            Target::parse(&format!("http://{}/", server.listener.local_addr().unwrap())).unwrap();
        std::thread::spawn(move || while server.turn().is_ok() {});
        target
    }

    #[test]
    fn every_request_gets_the_same() {
        let target = start(b"fixed", Duration::ZERO);
        let mut session = Session::open(&target).unwrap();
        for _ in 0..3 {
            assert_eq!(session.exchange(&target.get()).unwrap().body, b"fixed");
        }
        let head = Request::new(Some("HEAD"), &[], None).unwrap();
        assert!(target.fetch(&head).unwrap().body.is_empty());
        let post = Request::post(crate::load::payload(300_000));
        let fetched = target.fetch(&post).unwrap();
        assert_eq!((fetched.status, &*fetched.body), (200, &b"fixed"[..]));
        let closing = target.bytes(&Request::get(), false);
        let mut session = Session::open(&target).unwrap();
        assert_eq!(session.exchange(&closing).unwrap().body, b"fixed");
        assert!(session.exchange(&closing).is_err(), "the connection is over");
    }

    #[test]
    fn a_slow_one_takes_its_time() {
        let target = start(b"late", Duration::from_millis(80));
        let started = Instant::now();
        assert_eq!(target.fetch(&Request::get()).unwrap().body, b"late");
        assert!(started.elapsed() >= Duration::from_millis(80));
    }

    #[test]
    fn noise_ends_the_connection_and_nothing_else() {
        let target = start(b"fixed", Duration::ZERO);
        assert!(Session::open(&target).unwrap().exchange(b"\0\x01 noise\r\n\r\n").is_err());
        assert_eq!(target.fetch(&Request::get()).unwrap().body, b"fixed");
    }
}
