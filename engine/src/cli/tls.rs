//! TLS to what stands in front of an admin listener, as rustls with ring does it. Owns the
//! connection that it is given.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("{host:?} is no name that a certificate can be for")]
    Name { host: String },
    #[error(
        "the certificates in {path:?} cannot be read: {reason}; expected PEM, `-----BEGIN CERTIFICATE-----`"
    )]
    Authority { path: PathBuf, reason: String },
    #[error(
        "the system has no certificates to trust; install ca-certificates, or name a file with --ca"
    )]
    NoRoots,
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    #[error("no TLS connection to {host}: {source}{hint}")]
    Handshake { host: String, source: io::Error, hint: &'static str },
}

/// Makes a TLS connection to `host` over `tcp`. Only the certificates in the file `ca` are trusted
/// if there is one, else those that the system trusts.
pub(super) async fn connect(
    host: &str,
    ca: Option<&Path>,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, TlsError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(|_| TlsError::Name { host: host.to_owned() })?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca)?)
        .with_no_client_auth();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    connected.map_err(|source| TlsError::Handshake {
        host: host.to_owned(),
        hint: hint(&source),
        source,
    })
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        Some(path) => {
            let unfit = |reason: String| TlsError::Authority { path: path.to_owned(), reason };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| unfit(error.to_string()))?;
            for certificate in certificates {
                roots.add(certificate.map_err(|error| unfit(error.to_string()))?)?;
            }
            if roots.is_empty() {
                return Err(unfit("there are none".to_owned()));
            }
        }
    }
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

/// What helps against a failed handshake.
fn hint(error: &io::Error) -> &'static str {
    use rustls::CertificateError::UnknownIssuer;
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(UnknownIssuer)) => {
            "; if you trust it, name the certificate of its authority with --ca FILE"
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            "; what listens there speaks no TLS: perhaps it is an http:// URL"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        for text in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(roots(Some(&path)).is_err(), "{text:?}");
        }
        let error = roots(Some(Path::new("/nowhere"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere") && error.contains("No such file"), "{error}");
    }
}
