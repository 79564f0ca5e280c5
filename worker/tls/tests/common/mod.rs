//! Certificates, clients and plaintext ends for the tests. Owns what it hands out.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(missing_docs, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use abi::certificates::{Certificate, Certificates, TicketKey};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tls::{Configs, Connections, Plaintext, Stream, Timeouts};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub const TIMEOUTS: Timeouts =
    Timeouts { first_byte: Duration::from_secs(10), write: Duration::from_secs(10) };

/// An authority of the test's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: CertificateDer<'static>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = params.self_signed(&key).unwrap();
        let (certificate, pem) = (made.der().clone(), made.pem());
        Self { issuer: Issuer::new(params, key), certificate, pem }
    }

    pub fn certificate(&self, name: &str) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let names = vec![name.to_owned()];
        let made = CertificateParams::new(names.clone()).unwrap();
        let made = made.signed_by(&key, &self.issuer).unwrap();
        Certificate { names, chain: vec![made.der().to_vec()], key: key.serialize_der() }
    }

    /// Returns the settings of a client that trusts this authority, and keeps its sessions in them.
    pub fn client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        config.with_root_certificates(roots).with_no_client_auth()
    }
}

pub fn ticket_key(of: u8) -> TicketKey {
    TicketKey { name: [of; 16], key: [of; 32] }
}

/// Nobody is interested in what is inside of TLS.
pub struct Nobody;

impl Plaintext for Nobody {
    fn hand_over(self, _: OwnedFd) {}

    async fn serve(self, _: &mut Stream<'_>) {}
}

/// Gives plaintext ends to the test, and a client of HTTP/2 what it sends back in capital letters.
struct Answers(mpsc::UnboundedSender<OwnedFd>);

impl Plaintext for Answers {
    fn hand_over(self, end: OwnedFd) {
        drop(self.0.send(end));
    }

    async fn serve(self, stream: &mut Stream<'_>) {
        let mut buffer = vec![0; 10_000];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            buffer[..length].make_ascii_uppercase();
            if stream.write_all(&buffer[..length]).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }
}

/// Connections that are accepted on a port, and the plaintext ends that came of them.
pub struct Edge {
    pub connections: Rc<Connections>,
    pub address: SocketAddr,
    pub ends: mpsc::UnboundedReceiver<OwnedFd>,
}

impl Edge {
    pub async fn start(certificates: &Certificates, timeouts: Timeouts) -> Self {
        let (configs, refused) = Configs::new(certificates);
        assert!(refused.is_empty(), "{refused:?}");
        let connections = Connections::new(configs, timeouts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, ends) = mpsc::unbounded_channel();
        let takes = Rc::clone(&connections);
        tokio::task::spawn_local(async move {
            while let Ok((accepted, _)) = listener.accept().await {
                let answers = Answers(sender.clone());
                takes.take(accepted.into_std().unwrap(), Vec::new(), answers, ()).unwrap();
            }
        });
        Self { connections, address, ends }
    }

    /// One with a certificate for `localhost`, and a client that trusts it.
    pub async fn simple(timeouts: Timeouts) -> (Self, ClientConfig) {
        let authority = Authority::new();
        let certificates = Certificates {
            default: Some(authority.certificate("localhost")),
            ticket_keys: vec![ticket_key(1)],
            ..Certificates::default()
        };
        (Self::start(&certificates, timeouts).await, authority.client())
    }

    pub async fn connect(
        &self,
        client: ClientConfig,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(client)).connect(name, tcp).await
    }

    /// The next plaintext end.
    pub async fn end(&mut self) -> UnixStream {
        let end = std::os::unix::net::UnixStream::from(self.ends.recv().await.unwrap());
        UnixStream::from_std(end).unwrap()
    }
}

/// Runs a test on a runtime like an edge's, for at most a minute.
pub fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), test).await.unwrap()
    })
}

/// The number of fds of this process.
pub fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
