//! A certificate and its private key, from two files in PEM (RFC 7468). Owns no fds beyond a call.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use abi::certificates::Certificate;
use rustls::crypto::ring::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate, X509Error};
use zeroize::Zeroizing;

use crate::error::CertificateError;

/// The most that is read of a file. A chain has some kilobytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Reads a certificate and its key, and checks that they go together.
///
/// # Errors
/// [`CertificateError`] names the file.
pub(crate) fn read(certificate: &Path, key: &Path) -> Result<Certificate, CertificateError> {
    let text = read_file("certificate", certificate)?;
    let chain: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let malformed = |why: &dyn std::fmt::Display| CertificateError::Malformed {
        path: certificate.to_owned(),
        why: why.to_string(),
    };
    let chain = chain.map_err(|error| malformed(&error))?;
    let Some(first) = chain.first() else {
        return Err(CertificateError::NoCertificate { path: certificate.to_owned() });
    };
    let parsed = X509Certificate::from_der(first).map_err(|error| malformed(&error))?.1;
    let names = host_names(&parsed).map_err(|error| malformed(&error))?;
    if names.is_empty() {
        return Err(CertificateError::NoNames { path: certificate.to_owned() });
    }
    let text = Zeroizing::new(read_file("private key", key)?);
    let private = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| CertificateError::NoKey { path: key.to_owned() })?;
    let der = private.secret_der().to_vec();
    CertifiedKey::from_der(chain.clone(), private, &default_provider()).map_err(|error| {
        CertificateError::Mismatch {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            why: error.to_string(),
        }
    })?;
    Ok(Certificate { names, chain: chain.iter().map(|der| der.to_vec()).collect(), key: der })
}

/// Returns the host names that a certificate is for, in lower case.
///
/// # Errors
/// When they cannot be read.
pub fn host_names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, X509Error> {
    let names = certificate.subject_alternative_name()?;
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    Ok(names.filter_map(host).collect())
}

fn read_file(what: &'static str, path: &Path) -> Result<Vec<u8>, CertificateError> {
    let failed = |source| CertificateError::Read { what, path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    // Some systems have a group that may read keys. Everybody is too many.
    if what == "private key" && mode & 0o007 != 0 {
        return Err(CertificateError::Open { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let bytes_max = FILE_BYTES_MAX;
        return Err(CertificateError::TooLarge { what, path: path.to_owned(), bytes_max });
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "pair_tests.rs"]
pub(crate) mod tests;
