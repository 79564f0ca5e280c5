//! TLS against an authority of the tests' own, and against none. Sockets are the test servers'.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::super::tls::Tls;
use super::*;

/// An authority of the test's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap()).into()
    }
}

fn trusting(authority: &Authority, pattern: &str) -> Outbound {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    Outbound::with_tls(AllowList::new([pattern]).unwrap(), REQUESTS_MAX, Tls::trusting(roots))
}

/// One request to a server whose certificate is for `name` and signed by `signer`.
async fn exchange(
    host: &str,
    name: &str,
    signer: &Authority,
    trusted: &Authority,
) -> Result<Bytes, Error> {
    let (listener, address, _) = server().await;
    let acceptor = signer.acceptor(name);
    let at = format!("{host}:{}", address.port());
    let outbound = trusting(trusted, &at);
    let serving = async {
        let (tcp, _) = listener.accept().await.unwrap();
        // A client that does not trust us does not shake hands.
        let mut tls = acceptor.accept(tcp).await.ok()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tls.read_u8().await.unwrap());
        }
        tls.write_all(OK).await.unwrap();
        tls.flush().await.unwrap();
        Some(tls)
    };
    tokio::join!(outcome(send(&outbound, request(&format!("https://{at}/")), None)), serving).0
}

#[tokio::test]
async fn a_server_with_a_trusted_certificate_is_spoken_to() {
    let authority = Authority::new();
    assert_eq!(exchange("localhost", "localhost", &authority, &authority).await.unwrap(), "ok");
    assert_eq!(exchange("127.0.0.1", "127.0.0.1", &authority, &authority).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_name_is_refused() {
    let (one, other) = (Authority::new(), Authority::new());
    for (name, signer) in [("localhost", &other), ("other.example", &one)] {
        let error = exchange("localhost", name, signer, &one).await.unwrap_err();
        assert!(matches!(error, Error::TlsCertificateError), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_a_tls_error() {
    let (listener, address, _) = server().await;
    let outbound = trusting(&Authority::new(), &address.to_string());
    let plain = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        tcp
    };
    let sending = send(&outbound, request(&format!("https://{address}/")), None);
    let (body, _tcp) = tokio::join!(outcome(sending), plain);
    assert!(matches!(body, Err(Error::TlsProtocolError)), "{body:?}");
}
