//! Certificates by ACME: what the settings say of it, which names are wanted, and how a challenge is
//! answered. The crate `acme` orders. Owns the connections on which challenges are answered.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use abi::invocation_id::InvocationId;
use acme::{Acme, Challenge, Listening};
use anyhow::Context as _;
use bytes::Bytes;
use fleet::dispatch::challenges::{CHALLENGE_PATH, Challenger};
use host::listen::{Scheme, Url};
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use secrets::KeyFile;
use settings::Settings;
use store::domains::Domains;
use store::objects::Objects;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use crate::tls::Orders;

/// How often the names of domains are looked at, which costs nothing.
const WANTED_INTERVAL: Duration = Duration::from_secs(1);
/// How long one challenge may take, from its connection to the end of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the head of one may take, which has arrived before it comes here.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// The most that the head of one may be.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Connections with challenges that are answered at a time. A certificate authority opens a few.
const ANSWERED_AT_ONCE: usize = 64;

/// What keeps certificates by ACME, and how shards pass its challenges on.
pub(crate) struct Started {
    pub(crate) acme: Arc<Acme>,
    pub(crate) orders: Orders,
    pub(crate) challenger: Challenger,
}

/// Starts to keep certificates for the domains, if the settings say so.
///
/// # Errors
/// What of the settings cannot be used, as a sentence for the terminal.
pub(crate) fn start(
    config: &Settings,
    urls: &[Url],
    objects: &Arc<dyn Objects>,
    keys: &Arc<KeyFile>,
    domains: &Arc<Domains>,
) -> anyhow::Result<Option<Started>> {
    let has = |scheme| urls.iter().any(|url| url.spoken.scheme == scheme);
    // Whether ports 80 and 443 lead here, the certificate authority finds out.
    let listening = Listening { http: has(Scheme::Http), tls: has(Scheme::Https) };
    let Some(mut chosen) = acme::Settings::of(config, listening)? else { return Ok(None) };
    anyhow::ensure!(
        has(Scheme::Https),
        "--acme-email needs a port for the certificates: --listen https://0.0.0.0:443"
    );
    chosen.possible.preferred.get_or_insert_with(|| first_challenge(urls));
    let (wanted, receiver) = watch::channel(Vec::new());
    let (acme, held) = Acme::start(chosen, Arc::clone(objects), Arc::clone(keys), receiver)
        .context("certificates by ACME")?;
    tokio::spawn(want(Arc::clone(domains), wanted));
    let (acme, (challenger, challenges)) = (Arc::new(acme), Challenger::new(ANSWERED_AT_ONCE));
    tokio::spawn(answer_all(Arc::clone(&acme), challenges));
    let orders = Orders { held, shown: acme.shown() };
    Ok(Some(Started { acme, orders, challenger }))
}

/// Returns the challenge to begin with where the settings name none.
fn first_challenge(urls: &[Url]) -> Challenge {
    let is_plain = |url: &Url| url.spoken.scheme == Scheme::Http && url.port() == Some(80);
    if urls.iter().any(is_plain) { Challenge::Http01 } else { Challenge::TlsAlpn01 }
}

/// Says which names there are, until nobody wants to know.
async fn want(domains: Arc<Domains>, wanted: watch::Sender<Vec<String>>) {
    while !wanted.is_closed() {
        let hosts = domains.exact_hosts();
        wanted.send_if_modified(|known| {
            let has_changed = *known != hosts;
            *known = hosts;
            has_changed
        });
        tokio::time::sleep(WANTED_INTERVAL).await;
    }
}

/// Answers the challenges that come, so many at a time.
async fn answer_all(acme: Arc<Acme>, mut challenges: mpsc::Receiver<std::net::TcpStream>) {
    let places = Arc::new(Semaphore::new(ANSWERED_AT_ONCE));
    // The place first: what waits for one stays in the queue, which has a bound.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Some(socket) = challenges.recv().await else { return };
        let acme = Arc::clone(&acme);
        tokio::spawn(async move {
            let _place = place;
            let answered = async {
                socket.set_nonblocking(true)?;
                let socket = TcpStream::from_std(socket)?;
                let service = service_fn(|request| {
                    let acme = Arc::clone(&acme);
                    async move { Ok::<_, Infallible>(answer(&acme, &request).await) }
                });
                let mut connection = http1::Builder::new();
                connection.timer(TokioTimer::new()).keep_alive(false);
                connection.header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
                let io = TokioIo::new(socket);
                connection.serve_connection(io, service).await.map_err(std::io::Error::other)
            };
            match timeout(ANSWER_TIMEOUT, answered).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("a challenge could not be answered: {error}"),
                Err(_) => tracing::debug!("a challenge took longer than {ANSWER_TIMEOUT:?}"),
            }
        });
    }
}

/// Returns the answer to `GET /.well-known/acme-challenge/TOKEN` (RFC 8555 8.3).
async fn answer(acme: &Acme, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let token = request.uri().path().strip_prefix(CHALLENGE_PATH).unwrap_or_default();
    let found = acme.answer(token).await;
    let (status, kind, body) = match found {
        Some(authorization) => (StatusCode::OK, "application/octet-stream", authorization),
        None => {
            let text = "there is no such challenge on this node or on another one of its store\n";
            (StatusCode::NOT_FOUND, "text/plain", text.to_owned())
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    // As every reply of the node's.
    let id = http::HeaderValue::from_str(&InvocationId::new().to_string());
    if let Ok(id) = id {
        response.headers_mut().insert("sockhop-invocation-id", id);
    }
    response
}
