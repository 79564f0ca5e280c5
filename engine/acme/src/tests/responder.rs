//! What stands on ports 80 and 443 in place of a node: it answers challenges by what an [`Acme`]
//! says. Owns its listeners and connections, and ends with the test's runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::sign::any_ecdsa_type;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::{ACME_TLS_ALPN, Acme};

/// Who answers just now; nobody at first.
#[derive(Default)]
pub(super) struct Behind {
    node: Mutex<Option<Arc<Acme>>>,
    /// Requests wait for it, while it is there.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

impl Behind {
    pub(super) fn answers(&self, node: Option<&Arc<Acme>>) {
        *self.node.lock().unwrap() = node.cloned();
    }

    /// Makes requests wait until the semaphore has as many permits.
    pub(super) fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.gate.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }

    async fn node(&self) -> Option<Arc<Acme>> {
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        self.node.lock().unwrap().clone()
    }
}

type Task = Pin<Box<dyn Future<Output = Option<()>> + Send>>;

async fn listen(answer: impl Fn(TcpStream) -> Task + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(stream));
        }
    });
    port
}

/// Returns the port on which challenges by HTTP are answered.
pub(super) async fn http(behind: Arc<Behind>) -> u16 {
    listen(move |mut stream| {
        let behind = Arc::clone(&behind);
        Box::pin(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.ok()?);
            }
            let head = String::from_utf8(head).ok()?;
            let path = head.split(' ').nth(1)?;
            let token = path.strip_prefix("/.well-known/acme-challenge/").unwrap_or_default();
            let answer = match behind.node().await {
                Some(node) => node.answer(token).await,
                None => None,
            };
            let (status, body) =
                answer.map_or(("404 Not Found", "no".to_owned()), |answer| ("200 OK", answer));
            let reply = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(reply.as_bytes()).await.ok()
        })
    })
    .await
}

/// Returns the port on which challenges by TLS are answered.
pub(super) async fn tls(behind: Arc<Behind>) -> u16 {
    listen(move |stream| {
        let behind = Arc::clone(&behind);
        Box::pin(async move {
            let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.ok()?;
            let hello = start.client_hello();
            let offered: Vec<Vec<u8>> = hello.alpn()?.map(<[u8]>::to_vec).collect();
            assert_eq!(offered, [ACME_TLS_ALPN]);
            let name = hello.server_name()?.to_owned();
            let shown = behind.node().await?.challenge_certificate(&name).await?;
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(shown.key.pkcs8_der().to_vec()));
            let certificate = CertificateDer::from(shown.certificate.clone());
            // Not `with_single_cert`, which refuses the critical extension that this is about.
            let key = any_ecdsa_type(&key).unwrap();
            let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
            let config = ServerConfig::builder().with_no_client_auth();
            let mut config = config.with_cert_resolver(Arc::new(shown));
            config.alpn_protocols = vec![ACME_TLS_ALPN.to_vec()];
            let mut stream = start.into_stream(Arc::new(config)).await.ok()?;
            stream.shutdown().await.ok()
        })
    })
    .await
}
