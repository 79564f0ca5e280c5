//! Requests to servers of the tests' own, on loopback. Each test plays the server itself, byte by
//! byte, so that nothing happens before the test wants it to. Owns the sockets of both sides.

mod denied;
mod ends;
mod limits;
mod plain;
mod pool;
mod tls;

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use abi::outbound::AllowList;
use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::{Outbound, Sent};

/// What the functions of these tests may have in flight.
const REQUESTS_MAX: u32 = 24;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn outbound(patterns: &[&str]) -> Outbound {
    Outbound::new(AllowList::new(patterns.iter().copied()).unwrap(), REQUESTS_MAX)
}

/// A server, and a function that may reach it.
async fn server() -> (TcpListener, SocketAddr, Outbound) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address, outbound(&[&address.to_string()]))
}

fn empty() -> WasiBody {
    Full::default().map_err(|never| match never {}).boxed_unsync()
}

fn request(uri: &str) -> Request<WasiBody> {
    Request::get(uri).body(empty()).unwrap()
}

type Sending = Pin<Box<dyn Future<Output = Sent> + Send>>;

fn send(
    outbound: &Outbound,
    request: Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Sending {
    Box::into_pin(outbound.send(request, options, |_| {}))
}

/// Sends a GET to an address, with no word on time.
fn get(outbound: &Outbound, address: SocketAddr) -> Sending {
    send(outbound, request(&format!("http://{address}/")), None)
}

/// What an exchange came to, once its response has come whole.
async fn outcome(sending: Sending) -> Result<Bytes, Error> {
    Ok(sending.await?.0.into_body().collect().await?.to_bytes())
}

/// The head of the next request on a connection.
async fn read_head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Takes a connection and a request from it.
async fn accept(listener: &TcpListener) -> (TcpStream, String) {
    let (mut tcp, _) = listener.accept().await.unwrap();
    let head = read_head(&mut tcp).await;
    (tcp, head)
}

/// Takes a connection, and answers one request on it.
async fn answer(listener: &TcpListener, bytes: &[u8]) -> TcpStream {
    let (mut tcp, _) = accept(listener).await;
    tcp.write_all(bytes).await.unwrap();
    tcp
}

/// Waits until the other side has closed.
async fn closed(tcp: &mut TcpStream) {
    while tcp.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
}

/// Lets every task run that has something to do, and hear of what its sockets have.
async fn settle() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}

/// A body that a test makes as it goes.
struct Parts(mpsc::UnboundedReceiver<Result<Bytes, Error>>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.0.poll_recv(cx).map_ok(Frame::data)
    }
}

/// A POST with such a body.
fn post(address: SocketAddr) -> (Request<WasiBody>, mpsc::UnboundedSender<Result<Bytes, Error>>) {
    let (parts, body) = mpsc::unbounded_channel();
    (Request::post(format!("http://{address}/")).body(Parts(body).boxed_unsync()).unwrap(), parts)
}
