//! The `hyper-server` command: what TLS and HTTP cost a server in Rust that does nothing else. It
//! answers a GET with the same bytes always, and anything else with the body that it was sent.
//!
//! One thread, one tokio runtime, the libraries that the product has, as they come. Owns the
//! listener and, by a task each, the clients' sockets.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use crate::cli::HyperServerArguments;
use crate::{interrupt, tls};

/// How often a signal is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// It cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No body.
    #[error("cannot read the body from {} ({source})", path.display())]
    Body {
        /// As given.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// No certificate, or no key.
    #[error("cannot read {} as PEM ({source})", path.display())]
    Pem {
        /// As given.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// They do not go together.
    #[error("cannot use the certificate and its key ({0})")]
    Certificate(#[from] rustls::Error),
    /// No listener, no runtime.
    #[error("cannot serve on 127.0.0.1 ({0}); raise the limit on open files (ulimit -n)?")]
    Serve(#[from] io::Error),
}

/// The command: serves until a signal ends it.
pub fn command(arguments: &HyperServerArguments) -> Result<(), Error> {
    let path = &arguments.body_file;
    let body = std::fs::read(path).map_err(|source| Error::Body { path: path.clone(), source })?;
    let acceptor = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(chain), Some(key)) => Some(acceptor(chain, key)?),
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("ready {}", url(&listener, acceptor.as_ref())?);
        io::stdout().flush()?;
        let body = Bytes::from(body);
        serve(listener, acceptor, move |request| answer(request, body.clone())).await;
        Ok(())
    })
}

fn url(listener: &TcpListener, acceptor: Option<&TlsAcceptor>) -> io::Result<String> {
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    Ok(format!("{scheme}://{}/", listener.local_addr()?))
}

/// Takes the curve that all servers have, and the suite that the client asks for.
fn acceptor(chain: &Path, key: &Path) -> Result<TlsAcceptor, Error> {
    let pem = |path: &Path| {
        let path = path.to_owned();
        |source| Error::Pem { path, source }
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(chain)
        .map_err(pem(chain))?
        .map(|certificate| certificate.map_err(pem(chain)))
        .collect();
    let key = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates?, key)?;
    config.ticketer = ring::Ticketer::new()?;
    config.alpn_protocols = vec![tls::HTTP2.to_vec(), tls::HTTP1.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What becomes of a connection is its client's to count.
type Served = Result<(), Box<dyn std::error::Error>>;

/// Has `answer` answer every client's requests, until a signal ends the command.
pub async fn serve<A, F, B>(listener: TcpListener, acceptor: Option<TlsAcceptor>, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
{
    let acceptor = acceptor.map(Rc::new);
    let mut interrupted = pin!(interrupted());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // A signal is how it is meant to end.
            () = &mut interrupted => return,
        };
        // Out of files for a moment, or a client that has gone already.
        let Ok((socket, _)) = accepted else { continue };
        let (answer, acceptor) = (answer.clone(), acceptor.clone());
        tokio::task::spawn_local(async move {
            let _ = serve_client(socket, acceptor, answer).await;
        });
    }
}

async fn interrupted() {
    while interrupt::check().is_ok() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn serve_client<A, F, B>(
    socket: TcpStream,
    acceptor: Option<Rc<TlsAcceptor>>,
    answer: A,
) -> Served
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
{
    socket.set_nodelay(true)?;
    let answer = service_fn(answer);
    let Some(acceptor) = acceptor else {
        return Ok(http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await?);
    };
    let stream = acceptor.accept(socket).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2);
    let stream = TokioIo::new(stream);
    if is_http2 {
        http2::Builder::new(Local).serve_connection(stream, answer).await?;
    } else {
        http1::Builder::new().serve_connection(stream, answer).await?;
    }
    Ok(())
}

async fn answer(
    request: Request<Incoming>,
    body: Bytes,
) -> Result<Response<Either<Full<Bytes>, Incoming>>, Infallible> {
    Ok(Response::new(match *request.method() {
        Method::GET => Either::Left(Full::new(body)),
        _ => Either::Right(request.into_body()),
    }))
}

/// Runs the futures of a connection of HTTP/2 on this thread.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Protocol, RequestMix};
    use crate::load::{self, Load, payload};
    use crate::report::Report;
    use crate::server::Certificate;
    use crate::target::{Request, Session, Target};

    /// A server on a thread of its own, which ends with the test process.
    fn start(is_secure: bool) -> Target {
        let folder = tempfile::tempdir().unwrap();
        let acceptor = is_secure.then(|| {
            let Certificate { chain, key } = Certificate::make(folder.path()).unwrap();
            acceptor(&chain, &key).unwrap()
        });
        let (say, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            LocalSet::new().block_on(&runtime.unwrap(), async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                say.send(url(&listener, acceptor.as_ref()).unwrap()).unwrap();
                let body = Bytes::from_static(b"fixed");
                serve(listener, acceptor, move |request| answer(request, body.clone())).await;
            });
        });
        Target::parse(&heard.recv().unwrap()).unwrap()
    }

    /// A short load that has no time-out and no core of its own.
    fn run(target: &Target, request: &Request, expected: &[u8], load: Load) -> Report {
        let mix = RequestMix::one(target.prepare(request, Some(expected.to_vec())));
        let load = Load { cores: Vec::new(), ..load };
        load::run(target, mix, None, &load).unwrap()
    }

    fn short() -> Load {
        Load::closed(3, 0.0, 0.4)
    }

    const STREAMS: Protocol = Protocol::Http2 { streams: 5 };

    #[test]
    fn every_protocol_is_spoken() {
        let (plain, secure) = (start(false), start(true));
        for (target, protocol, kept_share) in [
            (&plain, Protocol::Http1, 1.0),
            (&secure, Protocol::Http1, 1.0),
            (&secure, Protocol::Http1, 0.0),
            (&secure, STREAMS, 1.0),
            (&secure, Protocol::Handshakes, 1.0),
        ] {
            let load = Load { protocol, kept_share, ..short() };
            let report = run(target, &Request::get(), b"fixed", load);
            assert!(report.requests > 10, "{protocol:?}: {report:?}");
            assert_eq!(report.errors.total(), 0, "{protocol:?}: {report:?}");
            let counted = target == &secure && protocol != STREAMS;
            assert_eq!(report.handshakes.full > 0, counted, "{protocol:?}: {report:?}");
            assert_eq!(report.handshakes.resumed, 0);
        }
    }

    #[test]
    fn a_body_comes_back_while_it_is_sent() {
        let (target, body) = (start(true), payload(1 << 20));
        let post = Request::post(body.clone());
        for protocol in [Protocol::Http1, STREAMS] {
            let report = run(&target, &post, &body, Load { protocol, ..short() });
            assert!(report.requests > 0, "{protocol:?}: {report:?}");
            assert_eq!(report.errors.total(), 0, "{protocol:?}: {report:?}");
        }
        let mut session = Session::open(&target).unwrap();
        for _ in 0..2 {
            assert_eq!(session.exchange(&target.bytes(&post, true)).unwrap().body, body);
        }
    }

    #[test]
    fn other_replies_are_errors_whatever_carries_them() {
        let target = start(true);
        for protocol in [Protocol::Http1, STREAMS] {
            let report = run(&target, &Request::get(), b"other", Load { protocol, ..short() });
            assert_eq!(report.requests, 0, "{protocol:?}: {report:?}");
            assert!(report.errors.bad_body > 10, "{protocol:?}: {report:?}");
        }
    }

    #[test]
    fn an_open_loop_has_streams_as_it_has_connections() {
        let rate = Some(crate::client::Rate::steady(200));
        let load = Load { protocol: STREAMS, rate, connections: 1, ..short() };
        let report = run(&start(true), &Request::get(), b"fixed", load);
        assert_eq!(report.latency_corrected.unwrap().count, 80, "every intended request counts");
    }

    #[test]
    fn sessions_are_resumed_if_they_are_to_be() {
        let load = Load { kept_share: 0.0, resumes: true, connections: 20, ..short() };
        let report = run(&start(true), &Request::get(), b"fixed", load);
        assert_eq!(report.errors.total(), 0, "{report:?}");
        // The first on each connection knows no session yet.
        assert!((1..=20).contains(&report.handshakes.full), "{report:?}");
        assert!(report.handshakes.resumed > 10, "{report:?}");
    }

    #[test]
    fn what_is_no_tls_is_told() {
        let target = start(false);
        let secure = Target::parse(&format!("https://{}/", target.authority())).unwrap();
        assert!(secure.fetch(&Request::get()).is_err());
        let report = run(&secure, &Request::get(), b"fixed", short());
        assert!(report.errors.connect > 0, "{report:?}");
        let report = run(&secure, &Request::get(), b"fixed", Load { protocol: STREAMS, ..short() });
        assert!(report.errors.connect > 0, "{report:?}");
        let handshakes = Load { protocol: Protocol::Handshakes, ..short() };
        let mix = RequestMix::one(target.prepare(&Request::get(), None));
        assert!(matches!(
            load::run(&target, mix, None, &handshakes),
            Err(load::Error::NoTls { .. })
        ));
    }
}
