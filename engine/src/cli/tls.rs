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

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those that the system trusts.
    System,
    /// Those in this file alone.
    File(PathBuf),
    /// These alone, as PEM.
    Pem(String),
}

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
        "the certificates that are kept with the context cannot be read: {0}; log in again with --ca FILE"
    )]
    Kept(String),
    #[error(
        "the system has no certificates to trust; install ca-certificates, or name a file with --ca"
    )]
    NoRoots,
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    #[error("no TLS connection to {host}: {source}{hint}")]
    Handshake { host: String, source: io::Error, hint: &'static str },
}

/// Makes a TLS connection to `host` over `tcp`.
pub(super) async fn connect(
    host: &str,
    trust: &Trust,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, TlsError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(|_| TlsError::Name { host: host.to_owned() })?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(trust)?)
        .with_no_client_auth();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    connected.map_err(|source| TlsError::Handshake {
        host: host.to_owned(),
        hint: hint(&source),
        source,
    })
}

/// Returns the PEM text of a file, with certificates that can be trusted.
pub(super) fn read_authority(path: &Path) -> Result<String, TlsError> {
    let unfit = |reason: String| TlsError::Authority { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| unfit(error.to_string()))?;
    of_pem(&text).map_err(unfit)?;
    Ok(text)
}

fn roots(trust: &Trust) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::System => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Trust::File(path) => {
            roots = of_pem(&read_authority(path)?).map_err(TlsError::Kept)?;
        }
        Trust::Pem(text) => roots = of_pem(text).map_err(TlsError::Kept)?,
    }
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

fn of_pem(text: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("there are none".to_owned()) } else { Ok(roots) }
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
            assert!(read_authority(&path).is_err(), "{text:?}");
            assert!(roots(&Trust::File(path.clone())).is_err(), "{text:?}");
        }
        let error = read_authority(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("/nowhere") && error.contains("No such file"), "{error}");
    }
}
