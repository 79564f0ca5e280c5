//! The replies of the server by path, but for the WebSocket.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, TRAILER};
use hyper::{Request, Response};
use serde_json::{Value, json};

use crate::websocket;

/// The body of any reply.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What all requests of the process share.
#[derive(Debug)]
pub struct Program {
    name: String,
    requests: AtomicU64,
    running: AtomicU64,
}

impl Program {
    /// Creates the state of a process that is told from others by `name`.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, requests: AtomicU64::new(0), running: AtomicU64::new(0) }
    }
}

/// Counts a request for as long as its reply is made.
struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Returns the reply to a request.
///
/// # Errors
///
/// If the connection is to be closed without one.
pub async fn reply(
    program: &Program,
    request: Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    program.requests.fetch_add(1, Relaxed);
    program.running.fetch_add(1, Relaxed);
    let _running = Running(&program.running);
    let query = request.uri().query().unwrap_or_default().to_owned();
    let number = |name: &str, default: u64| query::value(Some(&query), name, default).unwrap_or(0);
    match request.uri().path() {
        "/echo" => Ok(echo(request, false)),
        "/trailers" => Ok(echo(request, true)),
        "/count" => count(request).await,
        "/stream" => Ok(streamed(|sender| stream(sender, number("mib", 16)))),
        "/drip" => {
            let (n, pause) = (number("n", 5), Duration::from_millis(number("ms", 100)));
            Ok(streamed(async move |mut sender| {
                for i in 0..n {
                    sender.send_data(format!("{i}\n").into()).await?;
                    tokio::time::sleep(pause).await;
                }
                Ok(())
            }))
        }
        "/cut" => Ok(streamed(async move |mut sender| {
            sender.send_data("begin\n".into()).await?;
            // What is sent and not yet read goes with the rest.
            tokio::time::sleep(Duration::from_millis(100)).await;
            sender.abort(io::Error::other("cut"));
            Ok(())
        })),
        "/slow" => {
            let ms = number("ms", 1000);
            println!("about to sleep {ms} ms");
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(text(format!("slept {ms} ms")))
        }
        "/env" => Ok(json_reply(&json!({
            "env": std::env::vars().collect::<BTreeMap<_, _>>(),
            "arguments": std::env::args().collect::<Vec<_>>(),
            "folder": std::env::current_dir()?.to_string_lossy(),
        }))),
        "/threads" => Ok(threads(number("n", 10))),
        "/pid" => {
            tokio::time::sleep(Duration::from_millis(number("ms", 0))).await;
            Ok(json_reply(&json!({
                "process": program.name,
                "requests": program.requests.load(Relaxed),
                "running": program.running.load(Relaxed),
            })))
        }
        "/exit" => {
            println!("about to exit");
            std::process::exit(i32::try_from(number("code", 1)).unwrap_or(1));
        }
        "/abort" => std::process::abort(),
        "/hang-up" => Err(io::Error::other("hang up")),
        "/websocket" => Ok(websocket::upgrade(request)),
        _ => inspect(request).await,
    }
}

/// Returns a reply with this text.
pub fn text(text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text));
    response.headers_mut().insert(CONTENT_TYPE, "text/plain".parse().expect("a value"));
    response
}

/// Returns a body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn json_reply(value: &Value) -> Response<Body> {
    let mut response = text(value.to_string());
    response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a value"));
    response
}

type Sent = Result<(), http_body_util::channel::SendError>;

/// Returns a reply whose body `send` sends.
fn streamed<F: Future<Output = Sent> + Send + 'static>(
    send: impl FnOnce(Sender<Bytes, io::Error>) -> F,
) -> Response<Body> {
    let (sender, body) = Channel::new(1);
    // The only error is that nobody reads on.
    tokio::spawn(send(sender));
    Response::new(body.boxed_unsync())
}

async fn stream(mut sender: Sender<Bytes, io::Error>, mib: u64) -> Sent {
    /// A multiple of the pattern's length, so that each piece is the same.
    const PIECE: usize = 251 * 256;
    let piece: Bytes = (0..=250).cycle().take(PIECE).collect();
    let mut left = usize::try_from(mib).unwrap_or(0) * 1024 * 1024;
    while left > 0 {
        let now = piece.slice(..PIECE.min(left));
        left -= now.len();
        sender.send_data(now).await?;
    }
    Ok(())
}

fn echo(request: Request<Incoming>, with_trailers: bool) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    let mut response = streamed(async move |mut sender| {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                sender.abort(io::Error::other("the request's body was cut"));
                return Ok(());
            };
            match frame.into_data() {
                Ok(data) => sender.send_data(data).await?,
                Err(frame) if with_trailers => sender.send(back(frame)).await?,
                Err(_) => (),
            }
        }
        Ok(())
    });
    let headers = response.headers_mut();
    if let Some(kind) = head.headers.get(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, kind.clone());
    }
    if with_trailers {
        // hyper sends those that are announced, and to clients that say `te: trailers`.
        headers.insert(TRAILER, "x-back-one, x-back-two".parse().expect("a value"));
    }
    response
}

/// The trailers of a request as those of its reply.
fn back(frame: Frame<Bytes>) -> Frame<Bytes> {
    let trailers = frame.into_trailers().unwrap_or_default();
    let named = trailers.iter().filter_map(|(name, value)| {
        let name = format!("x-back-{}", name.as_str().strip_prefix("x-")?);
        Some((name.parse::<HeaderName>().ok()?, value.clone()))
    });
    Frame::trailers(named.collect::<HeaderMap>())
}

async fn count(request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
    let mut body = request.into_body();
    let (mut bytes, mut sum) = (0_u64, 0_u64);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        bytes += data.len() as u64;
        sum = data.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
    }
    Ok(json_reply(&json!({ "bytes": bytes, "sum": sum })))
}

fn threads(n: u64) -> Response<Body> {
    let started = (0..n).take_while(|_| {
        let thread = std::thread::Builder::new().stack_size(64 * 1024);
        thread.spawn(std::thread::park).is_ok()
    });
    text(format!("{}", started.count()))
}

async fn inspect(request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| [name.as_str().into(), String::from_utf8_lossy(value.as_bytes())])
        .collect();
    Ok(json_reply(&json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "version": format!("{:?}", head.version),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    })))
}
