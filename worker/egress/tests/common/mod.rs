//! A proxy on a port of 127.0.0.1, servers behind it, and clients that write bytes and read them.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use abi::outbound::AllowList;
use egress::{ConnectError, Limits, Proxy};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

/// How long a step of a test may take on a busy machine.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a test on one thread, as the worker does.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { timeout(2 * STEP_TIMEOUT, test).await.unwrap() })
}

/// What a name leads to.
#[derive(Debug, Clone)]
pub enum Way {
    To(SocketAddr),
    Denied,
    Silent,
}

/// The proxy under test, and what it has done.
pub struct Node {
    pub address: SocketAddr,
    pub denied: Rc<RefCell<Vec<String>>>,
    /// Every host that a connection was asked for.
    pub connects: Rc<RefCell<Vec<String>>>,
}

impl Node {
    pub async fn client(&self) -> Client {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }
}

/// Starts a proxy that allows `patterns`, where `ways` are the names that resolve.
pub async fn node(
    patterns: &[&str],
    ways: impl IntoIterator<Item = (&'static str, Way)>,
    limits: Limits,
) -> Node {
    let ways: HashMap<&str, Way> = ways.into_iter().collect();
    let allow = Arc::new(AllowList::new(patterns.iter().copied()).unwrap());
    let (denied, connects) = (Rc::default(), Rc::default());
    let asked: Rc<RefCell<Vec<String>>> = Rc::clone(&connects);
    let connect = move |host: &str, _port: u16| {
        asked.borrow_mut().push(host.to_owned());
        let way = ways.get(host).cloned();
        async move {
            match way {
                Some(Way::To(address)) => TcpStream::connect(address)
                    .await
                    .map_err(|error| ConnectError::Unreachable(error.into())),
                Some(Way::Denied) => Err(ConnectError::Denied("[that address is private]".into())),
                Some(Way::Silent) => pending().await,
                None => Err(ConnectError::Unreachable("the name has no address".into())),
            }
        }
    };
    let proxy = Rc::new(Proxy::new(allow, connect, limits));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let log: Rc<RefCell<Vec<String>>> = Rc::clone(&denied);
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let log = Rc::clone(&log);
            let on_denied = move |text: &str| log.borrow_mut().push(text.to_owned());
            spawn_local(Rc::clone(&proxy).serve(stream, on_denied));
        }
    });
    Node { address, denied, connects }
}

/// Starts a server that gives each of its connections to `serve`, with the connection's number.
pub async fn server<F: Future<Output = ()> + 'static>(
    serve: impl Fn(usize, Client) -> F + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            spawn_local(serve(number, Client::new(stream)));
        }
    });
    address
}

/// Starts a server that sends back what it gets, and ends when its client does.
pub async fn echo() -> SocketAddr {
    server(|_, client| async move {
        let (mut read, mut write) = client.0.into_inner().into_split();
        drop(tokio::io::copy(&mut read, &mut write).await);
    })
    .await
}

/// One end of a connection. Each step has its time.
pub struct Client(pub BufReader<TcpStream>);

impl Client {
    pub fn new(stream: TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(STEP_TIMEOUT, self.0.write_all(bytes.as_ref())).await.unwrap().unwrap();
    }

    pub async fn end(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// Reads a head up to its empty line.
    pub async fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = timeout(STEP_TIMEOUT, self.0.read_line(&mut head)).await.unwrap().unwrap();
            assert_ne!(read, 0, "the connection ended in a head: {head:?}");
        }
        head
    }

    pub async fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        timeout(STEP_TIMEOUT, self.0.read_exact(&mut bytes)).await.unwrap().unwrap();
        bytes
    }

    /// Reads until the other side has ended.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        timeout(STEP_TIMEOUT, self.0.read_to_end(&mut bytes)).await.unwrap().unwrap();
        bytes
    }

    /// Reads a reply whose body has a length, and returns its head and its body.
    pub async fn reply(&mut self) -> (String, String) {
        let head = self.head().await;
        let lowered = head.to_ascii_lowercase();
        let length = lowered.split_once("content-length: ").unwrap().1;
        let length = length.split_once("\r\n").unwrap().0.parse().unwrap();
        let body = String::from_utf8(self.exactly(length).await).unwrap();
        (head, body)
    }

    /// Waits until the other side has ended or broken the connection, whatever it sends before.
    pub async fn ended(&mut self) {
        let mut bytes = Vec::new();
        drop(timeout(STEP_TIMEOUT, self.0.read_to_end(&mut bytes)).await.unwrap());
    }

    /// Asks for a tunnel, and returns the reply's head.
    pub async fn connect(&mut self, authority: &str) -> String {
        self.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
        self.head().await
    }
}
