//! TLS, as the client speaks it: what it offers to servers. Owns no fds; `stream` owns sockets.
//!
//! All servers are offered the same one suite and curve, the ones that browsers ask for first, so
//! that none of them chooses less work than the others. Certificates are not looked at: who the
//! server is does not matter here, and a client that checks signatures would be slower than the
//! servers that make them.

mod stream;
mod tickets;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

pub use stream::Stream;
use tickets::Tickets;

/// HTTP/2 over TLS (RFC 9113 3.2).
pub const HTTP2: &[u8] = b"h2";
/// HTTP/1.1 over TLS (RFC 7301 6).
pub const HTTP1: &[u8] = b"http/1.1";

/// A server has no name that TLS knows.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host of a URL.
    #[error("`{0}` is no name of a server of TLS; want a domain or an address")]
    Name(String),
    /// The library refuses the one suite, which is a constant.
    #[error("cannot set up TLS ({0}); this is a bug in sockhop-bench")]
    Config(#[from] rustls::Error),
}

/// What a client offers to one server.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// Offers `protocol` to the server of that name. A client that `resumes` remembers sessions,
    /// and shakes hands in full only with a server that it does not know yet.
    pub fn new(host: &str, protocol: &[u8], resumes: bool) -> Result<Self, Error> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::Name(host.into()))?;
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![kx_group::X25519],
            ..default_provider()
        });
        let anybody = Arc::new(Anybody(provider.signature_verification_algorithms));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(anybody)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = match resumes {
            true => Resumption::store(Arc::new(Tickets::default())),
            false => Resumption::disabled(),
        };
        Ok(Self { config: Arc::new(config), name })
    }

    /// Returns what a client says first: a ClientHello, in its record.
    ///
    /// # Errors
    /// If the library refuses the name or the one suite.
    pub fn client_hello(&self) -> Result<Vec<u8>, Error> {
        let (mut connection, mut hello) = (self.connection()?, Vec::new());
        while connection.wants_write() {
            // A vector takes everything.
            let _ = connection.write_tls(&mut hello);
        }
        Ok(hello)
    }

    /// Returns a connection that has not said anything yet.
    fn connection(&self) -> Result<ClientConnection, rustls::Error> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone())
    }
}

/// Takes any server for the right one, and no time to look at it.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
