//! TLS to servers, by rustls with ring.
//!
//! The system's certificates are trusted (`SSL_CERT_FILE` and `SSL_CERT_DIR` included), so that an
//! operator's own authority works. They are read from disk once a worker, at the first request that
//! needs them. Owns no fds.

use std::sync::Arc;

use rustls_native_certs::CertificateResult;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::error::ConnectError;
use super::target::Target;

static SYSTEM_ROOTS: OnceCell<Arc<RootCertStore>> = OnceCell::const_new();

/// One function's TLS. No other function resumes its sessions.
pub(super) struct Tls {
    /// The trusted roots. `None` means the system's.
    roots: Option<Arc<RootCertStore>>,
    config: OnceCell<Arc<ClientConfig>>,
}

impl Tls {
    pub(super) fn system() -> Self {
        Self { roots: None, config: OnceCell::new() }
    }

    #[cfg(test)]
    pub(super) fn trusting(roots: RootCertStore) -> Self {
        Self { roots: Some(Arc::new(roots)), config: OnceCell::new() }
    }

    pub(super) async fn handshake(
        &self,
        target: &Target,
        tcp: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let config = Arc::clone(self.config.get_or_try_init(|| self.config()).await?);
        let name = match target.address() {
            Some(address) => ServerName::from(address),
            None => {
                let host = target.host.strip_suffix('.').unwrap_or(&target.host);
                ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::ServerName)?
            }
        };
        TlsConnector::from(config).connect(name, tcp).await.map_err(ConnectError::Tls)
    }

    async fn config(&self) -> Result<Arc<ClientConfig>, ConnectError> {
        let roots = match &self.roots {
            Some(roots) => Arc::clone(roots),
            None => Arc::clone(SYSTEM_ROOTS.get_or_try_init(system_roots).await?),
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                ConnectError::Trust(format!("rustls refuses its own defaults: {error}"))
            })?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

async fn system_roots() -> Result<Arc<RootCertStore>, ConnectError> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs);
    let loaded = loaded
        .await
        .map_err(|error| ConnectError::Trust(format!("reading the certificates: {error}")))?;
    store(loaded).map(Arc::new)
}

fn store(loaded: CertificateResult) -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    // A certificate that cannot be read is left out, as in browsers: one odd certificate is no
    // reason to trust none.
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        let causes: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
        let causes =
            if causes.is_empty() { "none were found".to_owned() } else { causes.join("; ") };
        return Err(ConnectError::Trust(format!(
            "the node has no trusted certificates for TLS ({causes}); install ca-certificates on it, or set \
             SSL_CERT_FILE for `sockhop serve`"
        )));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_certificates_is_told_what_to_do() {
        let error = store(CertificateResult::default()).unwrap_err().to_string();
        assert!(error.contains("SSL_CERT_FILE") && error.contains("none were found"), "{error}");
    }
}
