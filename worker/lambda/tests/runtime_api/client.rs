//! A process of which a test writes every byte, and the API that it talks to.

use std::cell::Cell;
use std::future::Future;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::{Duration, Instant};

use lambda::runtime_api::{Begun, Config, Invocation, RuntimeApi};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

pub const NEXT: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n";

/// Runs `test` on one thread, and fails if it hangs.
pub fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), test).await.unwrap();
    });
}

pub fn config() -> Config {
    Config {
        function_name: "hello".to_owned(),
        function_version: "7".to_owned(),
        handler: "bootstrap".to_owned(),
        region: "us-east-1".to_owned(),
        account_id: "012345678901".to_owned(),
        concurrency: NonZeroUsize::MIN,
        external_extensions: Vec::new(),
        clock: Instant::now,
    }
}

/// An API that listens on a port of its own.
pub struct Node {
    pub api: Rc<RuntimeApi>,
    port: u16,
    next_id: Cell<u32>,
}

impl Node {
    pub async fn start(config: Config) -> Self {
        let api = RuntimeApi::new(config);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = api.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(accepting.clone().serve(stream));
            }
        });
        Self { api, port, next_id: Cell::new(0) }
    }

    pub async fn connect(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, read: Vec::new() }
    }

    /// Begins an invocation. Its id is `id-0`, `id-1` and so on.
    pub fn begin(&self) -> Begun {
        let number = self.next_id.replace(self.next_id.get() + 1);
        self.api.begin(invocation(&format!("id-{number}"))).unwrap()
    }

    /// Starts an API whose process runs the invocation `id-0`.
    pub async fn running() -> (Self, Client, Begun) {
        let node = Self::start(config()).await;
        let mut client = node.connect().await;
        client.send(NEXT).await;
        node.api.initialized().await.unwrap();
        let begun = node.begin();
        assert_eq!(client.response().await.status, 200);
        (node, client, begun)
    }
}

pub fn invocation(id: &str) -> Invocation {
    Invocation {
        id: id.to_owned(),
        event: format!("{{\"id\":\"{id}\"}}").into(),
        content_type: None,
        deadline_unix_ms: 1_681_837_306_806,
        qualifier: None,
        trace_id: None,
        client_context: None,
        cognito: None,
        tenant_id: None,
    }
}

/// One connection of a process.
pub struct Client {
    pub stream: TcpStream,
    read: Vec<u8>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn error_type(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(json["errorMessage"].is_string());
        json["errorType"].as_str().unwrap().to_owned()
    }
}

impl Client {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends a request with a body of known length.
    pub async fn post(&mut self, path: &str, headers: &str, body: &[u8]) {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n");
        self.send(head).await;
        self.send(body).await;
    }

    /// Sends the head of a request with chunks.
    pub async fn post_chunked(&mut self, path: &str, headers: &str) {
        self.send(format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{headers}\r\n"
        ))
        .await;
    }

    pub async fn chunk(&mut self, data: &[u8]) {
        self.send(format!("{:x}\r\n", data.len())).await;
        self.send(data).await;
        self.send("\r\n").await;
    }

    pub async fn response_to(&mut self, path: &str, headers: &str, body: &[u8]) -> Response {
        self.post(path, headers, body).await;
        self.response().await
    }

    pub async fn next(&mut self) -> Response {
        self.send(NEXT).await;
        self.response().await
    }

    /// Reads a response that has a Content-Length.
    pub async fn response(&mut self) -> Response {
        let end = loop {
            let found = self.read.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(at) = found {
                break at;
            }
            assert!(self.read_more().await, "the connection was closed before a response");
        };
        let head = String::from_utf8(self.read[..end].to_vec()).unwrap();
        self.read.drain(..end + 4);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = Response { status, head, body: String::new() };
        let length = response.header("content-length").map_or(0, |text| text.parse().unwrap());
        while self.read.len() < length {
            assert!(self.read_more().await, "the connection was closed in a response");
        }
        response.body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        response
    }

    /// Returns false at the end of the connection.
    pub async fn read_more(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let length = self.stream.read(&mut bytes).await.unwrap();
        self.read.extend_from_slice(&bytes[..length]);
        length > 0
    }
}

pub fn response_path(id: &str) -> String {
    format!("/2018-06-01/runtime/invocation/{id}/response")
}

pub fn error_path(id: &str) -> String {
    format!("/2018-06-01/runtime/invocation/{id}/error")
}
