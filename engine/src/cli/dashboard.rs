//! `sockhop dashboard`: the node's dashboard in a browser of this machine, also of a node without
//! `--admin`.
//!
//! A server on a free port of 127.0.0.1 passes on what it is asked, to wherever the node is reached.
//! Others on this machine can connect to it, and so can what other pages in the browser do; so all
//! but the page itself needs a token that is made for this run. The browser has it from the part of
//! the address behind the `#`, which it sends to nobody. The browser is not started with that
//! address, as everybody sees the arguments of processes, but with a file that leads there and that
//! only this user can read. Owns the server's sockets, a connection to the node for each request,
//! and that file.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use api::endpoint::TOKEN_HEADER;
use api::errors::ErrorAnswer;
use bytes::Bytes;
use clap::Args;
use control::token::Token;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use super::Target;
use super::client::Node;

/// Connections at once: a browser has six.
const CONNECTIONS_MAX: usize = 64;
/// How long one may take for a request's head, and be idle before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nothing is accepted after there was no fd or memory for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);
/// The program that opens files as the desktop's user has chosen.
const OPENER: &str = "xdg-open";

/// Headers of one connection (RFC 9110 7.6.1), and those that are written anew.
const OWN_HEADERS: [HeaderName; 9] = [
    CONNECTION,
    CONTENT_LENGTH,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static(TOKEN_HEADER),
];

#[derive(Debug, Args)]
pub(crate) struct Dashboard {
    /// Only print the address, and start no browser
    #[arg(long)]
    no_open: bool,
    #[command(flatten)]
    target: Target,
}

/// What is answered: what the node does, or a sentence of our own.
type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// Whom requests go to, and what they must show.
struct Door {
    node: Node,
    token: Token,
}

pub(super) async fn run(wanted: Dashboard) -> anyhow::Result<()> {
    let door = Door { node: Node::new(&wanted.target)?, token: Token::fresh()? };
    // That there is no node, or no dashboard, is said here, where it can be read.
    let page = door.node.request(Method::GET, "/", &[], Bytes::new()).await?;
    if !page.status().is_success() {
        bail!("the node is of an earlier build, which has no dashboard; upgrade it");
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.context("no port of 127.0.0.1 can be listened on")?;
    let url = format!("http://{}/#token={}", listener.local_addr()?, door.token.as_str());
    say!("{url}");
    eprintln!("the dashboard is there until this ends, with Ctrl-C");
    // Kept until then: browsers may read it late, and again.
    let _leading = if wanted.no_open || !has_desktop() { None } else { open(&url) };
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = serve(listener, Arc::new(door)) => {}
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn has_desktop() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some())
}

/// Has the desktop open `url`. Returns the file that leads there, or `None` if there is no such
/// desktop: the address is printed in any case.
fn open(url: &str) -> Option<NamedTempFile> {
    let page = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>sockhop</title>\
         <meta http-equiv=\"refresh\" content=\"0; url={url}\"><a href=\"{url}\">The dashboard</a>\n"
    );
    // With mode 0600.
    let mut file = tempfile::Builder::new().prefix("sockhop-").suffix(".html").tempfile().ok()?;
    file.write_all(page.as_bytes()).ok()?;
    let mut opener = tokio::process::Command::new(OPENER);
    opener.arg(file.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = opener.spawn().ok()?;
    tokio::spawn(async move { child.wait().await });
    Some(file)
}

/// Accepts connections for as long as this is polled.
async fn serve(listener: TcpListener, door: Arc<Door>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
            continue;
        };
        let door = Arc::clone(&door);
        tokio::spawn(async move {
            let service =
                service_fn(|request| async { Ok::<_, Infallible>(door.answer(request).await) });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            // An error here is the browser's, which broke off.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

impl Door {
    /// Passes a request on that shows the token, or is for the page itself.
    async fn answer(&self, mut request: Request<Incoming>) -> Answer {
        let shown = self.token.take_from(request.headers_mut());
        if !shown && !dashboard::has(request.uri().path()) {
            let what = "this is not the token of this dashboard; open the address that `sockhop \
                dashboard` has printed";
            return refusal(StatusCode::UNAUTHORIZED, what);
        }
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let headers: Vec<_> =
            passed_on(&head.headers).map(|(name, value)| (name.clone(), value.clone())).collect();
        match self.node.pass_on(head.method, path, &headers, body).await {
            Ok(answer) => {
                let (mut head, body) = answer.into_parts();
                OWN_HEADERS.iter().filter(|name| **name != CONTENT_LENGTH).for_each(|name| {
                    head.headers.remove(name);
                });
                Response::from_parts(head, Either::Left(body))
            }
            Err(error) => refusal(StatusCode::BAD_GATEWAY, &format!("{error:#}")),
        }
    }
}

/// The headers that are for who answers in the end.
fn passed_on(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    headers.iter().filter(|(name, _)| !OWN_HEADERS.contains(name))
}

/// Answers as the node does: JSON with `error`.
fn refusal(status: StatusCode, error: &str) -> Answer {
    let error = serde_json::to_vec(&ErrorAnswer { error: error.to_owned() }).unwrap_or_default();
    let mut answer = Response::new(Either::Right(Full::from(error)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
