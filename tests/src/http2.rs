//! A client of HTTP/2 whose every step a test decides. Its thread owns the socket.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The longest wait for any step.
const LIMIT: Duration = Duration::from_secs(30);
/// So much may come that nobody reads: much more than of one stream.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// A connection of HTTP/2.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A stream that the client may still send on.
#[derive(Debug)]
pub struct Stream {
    /// The reply to come.
    pub response: ResponseFuture,
    /// The request's body.
    pub sender: SendStream<Bytes>,
}

/// A whole reply.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// The fields behind its body.
    pub trailers: HeaderMap,
}

impl Reply {
    /// Returns its body, which is text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// Opens a connection without TLS, whose client knows that HTTP/2 is served.
    ///
    /// # Errors
    /// If the connection cannot be opened.
    pub fn try_plain(address: SocketAddr) -> Result<Self, h2::Error> {
        Self::begin(async move { TcpStream::connect(address).await.expect("a listener") })
    }

    /// The same, and it must succeed.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self::try_plain(address).expect("HTTP/2 is served")
    }

    /// Opens a connection inside of TLS, where the server chooses HTTP/2.
    ///
    /// # Errors
    /// If the connection cannot be opened.
    pub fn try_tls(address: SocketAddr, config: &ClientConfig) -> Result<Self, h2::Error> {
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::begin(async move {
            let socket = TcpStream::connect(address).await.expect("a listener");
            let name = "localhost".try_into().expect("a name");
            let connector = TlsConnector::from(Arc::new(config));
            let tls = connector.connect(name, socket).await.expect("a handshake");
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            tls
        })
    }

    /// The same, and it must succeed.
    #[must_use]
    pub fn tls(address: SocketAddr, config: &ClientConfig) -> Self {
        Self::try_tls(address, config).expect("HTTP/2 is served")
    }

    fn begin<S>(opened: impl Future<Output = S>) -> Result<Self, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (sender, connection) = runtime.block_on(async {
            let opened = timeout(LIMIT, opened).await.expect("a connection");
            let handshake = h2::client::Builder::new()
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .handshake(opened);
            timeout(LIMIT, handshake).await.expect("a preface")
        })?;
        let connection = runtime.spawn(connection);
        Ok(Self { runtime, sender, connection })
    }

    /// Runs what a test does by itself, with a limit.
    pub fn run<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { timeout(LIMIT, what).await.expect("in time") })
    }

    /// Returns what sends requests on the connection.
    #[must_use]
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// Begins a request whose body follows.
    ///
    /// # Errors
    /// If the connection takes no more.
    pub fn open(&self, request: Request<()>) -> Result<Stream, h2::Error> {
        self.run(async {
            let mut sender = self.sender.clone().ready().await?;
            let (response, sender) = sender.send_request(request, false)?;
            Ok(Stream { response, sender })
        })
    }

    /// Sends a request with its body, and returns the reply.
    ///
    /// # Errors
    /// If the stream or its connection ends before it is whole.
    pub fn send(&self, request: Request<()>, body: &[u8]) -> Result<Reply, h2::Error> {
        let body = Bytes::copy_from_slice(body);
        self.run(async {
            let mut sender = self.sender.clone().ready().await?;
            let (response, mut stream) = sender.send_request(request, body.is_empty())?;
            let sending = async {
                if !body.is_empty() {
                    upload(&mut stream, body).await?;
                }
                Ok::<_, h2::Error>(())
            };
            let receiving = async { receive(response.await?).await };
            // A server may answer before it has the body, and reset what is left.
            let (_, reply) = tokio::join!(sending, receiving);
            reply
        })
    }

    /// Sends a request without a body for a path of localhost, and returns the reply.
    #[must_use]
    pub fn get(&self, path: &str) -> Reply {
        self.send(get(path), b"").expect("a reply")
    }

    /// Resolves when the server has ended the connection. Returns why, if it was not in order.
    pub fn ended(&mut self) -> Result<(), h2::Error> {
        let connection = &mut self.connection;
        let ended = async { timeout(LIMIT, connection).await.expect("in time") };
        self.runtime.block_on(ended).expect("no panic")
    }
}

/// Returns a request without a body for a path of localhost.
#[must_use]
pub fn get(path: &str) -> Request<()> {
    let uri = format!("https://localhost{path}");
    Request::get(uri).body(()).expect("a path")
}

/// Returns a request with a body for a path of localhost.
#[must_use]
pub fn post(path: &str) -> Request<()> {
    let uri = format!("https://localhost{path}");
    Request::post(uri).body(()).expect("a path")
}

/// Returns a request for a path of localhost that asks for another protocol (RFC 8441 4).
#[must_use]
pub fn connect(path: &str, protocol: &'static str) -> Request<()> {
    let request = Request::connect(format!("https://localhost{path}"));
    request.extension(Protocol::from_static(protocol)).body(()).expect("a path")
}

/// Sends the rest of a request's body.
///
/// # Errors
/// If the stream is reset meanwhile.
pub async fn upload(stream: &mut SendStream<Bytes>, mut body: Bytes) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = match poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(room) => room?,
            None => return Ok(()),
        };
        let piece = body.split_to(room.min(body.len()));
        stream.send_data(piece, body.is_empty())?;
    }
    Ok(())
}

/// Receives all of a reply.
///
/// # Errors
/// If the stream is reset before it is whole.
pub async fn receive(response: Response<RecvStream>) -> Result<Reply, h2::Error> {
    let (head, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    Ok(Reply { status: head.status, headers: head.headers, body, trailers })
}
