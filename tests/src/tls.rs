//! A certificate authority of the tests, which nobody trusts by default.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use abi::certificates::Certificate;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;

use crate::{Node, NodeBuilder};

/// A certificate authority, with a file that holds its certificate.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

/// An authority, and the folder of a node's certificates, with one for localhost.
#[derive(Debug)]
pub struct Site {
    /// Who has signed them.
    pub authority: Authority,
    /// `localhost.crt` and `localhost.key`.
    pub folder: TempDir,
}

impl Default for Site {
    fn default() -> Self {
        let (authority, folder) =
            (Authority::default(), TempDir::new().expect("a temporary folder"));
        authority.write(folder.path(), "localhost", "localhost");
        Self { authority, folder }
    }
}

impl Site {
    /// A node that listens for TLS as well, at its second address.
    #[must_use]
    pub fn node(&self) -> NodeBuilder {
        let file = |name: &str| self.folder.path().join(name);
        Node::build()
            .option("--listen", "https://127.0.0.1:0")
            .option("--tls-cert", file("localhost.crt"))
            .option("--tls-key", file("localhost.key"))
    }
}

/// Returns where the node of a [`Site`] listens for TLS.
#[must_use]
pub fn tls_address(node: &Node) -> SocketAddr {
    node.addresses()[1]
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Default for Authority {
    fn default() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // Without a name it would have that of whom it certifies, who would be taken for it.
        params.distinguished_name.push(DnType::CommonName, "the authority of the tests");
        let certificate = params.self_signed(&key).expect("our own key");
        fs::write(folder.path().join("authority.pem"), certificate.pem()).expect("room for a file");
        Self { issuer: Issuer::new(params, key), folder }
    }
}

impl Authority {
    /// Returns the file of its certificate, for `SSL_CERT_FILE`.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        Path::new(self.folder.path()).join("authority.pem")
    }

    /// Issues a certificate for `name`. Returns it with its key.
    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.use_authority_key_identifier_extension = true;
        let made = params.signed_by(&key, &self.issuer).expect("our own key");
        (made, key)
    }

    /// Returns the configuration of a server with a certificate for `name`.
    #[must_use]
    pub fn server(&self, name: &str) -> Arc<ServerConfig> {
        let (certificate, key) = self.issue(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key that was just made");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth();
        Arc::new(
            config
                .with_single_cert(vec![certificate.der().clone()], key)
                .expect("a key and its certificate"),
        )
    }

    /// Returns a certificate for `name` with its key, as edges get them.
    #[must_use]
    pub fn certificate(&self, name: &str) -> Certificate {
        let (made, key) = self.issue(name);
        let (names, chain) = (vec![name.to_owned()], vec![made.der().to_vec()]);
        Certificate { names, chain, key: key.serialize_der() }
    }

    /// Writes a certificate for `name` to FILE.crt in `folder`, and its key to FILE.key.
    pub fn write(&self, folder: &Path, file: &str, name: &str) {
        let (certificate, key) = self.issue(name);
        let write = |extension: &str, text: &str| {
            // In one step, as a node may be reading it.
            let path = folder.join(format!("{file}.{extension}"));
            let new = path.with_extension("new");
            let mut options = fs::OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new).expect("room for a file");
            file.write_all(text.as_bytes()).expect("room for a file");
            fs::rename(new, path).expect("the same folder");
        };
        write("key", &key.serialize_pem());
        write("crt", &certificate.pem());
    }

    /// Returns the configuration of a client that trusts this authority and no other.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        let pem = fs::read(self.file()).expect("it was written");
        let certificate = CertificateDer::from_pem_slice(&pem).expect("our own");
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("our own");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("ring has them");
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }
}
