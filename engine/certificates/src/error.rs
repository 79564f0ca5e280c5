//! Why a certificate cannot be used. Pure; owns no fds.

use std::io;
use std::path::PathBuf;

use host::fault::Fault;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("the {what} {path:?} cannot be read: {source}")]
    Read { what: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the {what} {path:?} is larger than any: {bytes_max} bytes are the most; is it the right file?"
    )]
    TooLarge { what: &'static str, path: PathBuf, bytes_max: u64 },
    #[error(
        "the private key {path:?} can be read by everybody (mode {mode:03o}); run: chmod o= {path:?}, and have the certificate issued anew if somebody may have read it"
    )]
    Open { path: PathBuf, mode: u32 },
    #[error(
        "the certificate {path:?} has no certificate in PEM (-----BEGIN CERTIFICATE-----); in DER it can be changed: openssl x509 -inform der"
    )]
    NoCertificate { path: PathBuf },
    #[error(
        "the private key {path:?} has no key in PEM (-----BEGIN PRIVATE KEY-----, without a passphrase)"
    )]
    NoKey { path: PathBuf },
    #[error("the certificate {path:?} cannot be read: {why}")]
    Malformed { path: PathBuf, why: String },
    #[error(
        "the certificate {path:?} names no host: it needs a DNS name in its subjectAltName, which is all that clients look at (RFC 9525)"
    )]
    NoNames { path: PathBuf },
    #[error("the certificate {certificate:?} and the key {key:?} do not go together: {why}")]
    Mismatch { certificate: PathBuf, key: PathBuf, why: String },
    #[error("--tls-cert and --tls-key go together: {missing} is not set")]
    Half { missing: &'static str },
    #[error("the folder {path:?} of --tls-dir cannot be read: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "the folder {path:?} of --tls-dir has {count} certificates; at most {count_max} are read"
    )]
    TooMany { path: PathBuf, count: usize, count_max: usize },
    #[error("the node's own certificate {path:?} cannot be {what}: {source}")]
    Own { what: &'static str, path: PathBuf, source: io::Error },
    #[error("the node cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

impl CertificateError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read { source, .. } | Self::Folder { source, .. } | Self::Own { source, .. } => {
                Fault::of_file(source)
            }
            Self::TooLarge { .. }
            | Self::Open { .. }
            | Self::NoCertificate { .. }
            | Self::NoKey { .. }
            | Self::Malformed { .. }
            | Self::NoNames { .. }
            | Self::Mismatch { .. }
            | Self::Half { .. }
            | Self::TooMany { .. }
            | Self::Make(_) => Fault::NODE_BROKEN,
        }
    }
}
