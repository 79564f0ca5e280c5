//! A certificate for localhost that the node makes and signs itself, for trying out. It is kept in
//! the data folder, so that whoever has told a browser to trust it need not do so again. Owns no
//! fds beyond a call.

use std::path::Path;
use std::time::{Duration, SystemTime};

use abi::certificates::Certificate;
use host::files;
use rcgen::{CertificateParams, DnType, KeyPair};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::error::CertificateError;
use crate::pair;

/// The names of its files in the data folder.
const FILES: [&str; 2] = ["localhost.crt", "localhost.key"];
/// The hosts that it is for.
const HOSTS: [&str; 4] = ["localhost", "*.localhost", "127.0.0.1", "::1"];
/// How long it is valid.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A new one is made when it is valid for less than this.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How far other clocks may be behind.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60 * 60);

/// Returns the certificate that is kept in `folder`. Makes one if there is none, or it ends soon.
///
/// # Errors
/// [`CertificateError`] when it cannot be made or written.
pub fn certificate(folder: &Path, now: SystemTime) -> Result<Certificate, CertificateError> {
    let [certificate, key] = FILES.map(|name| folder.join(name));
    if let Ok(kept) = pair::read(&certificate, &key)
        && is_valid(&kept, now + RENEW_BEFORE)
    {
        return Ok(kept);
    }
    let mut params = CertificateParams::new(HOSTS.map(str::to_owned).to_vec())?;
    params.distinguished_name.push(DnType::CommonName, "localhost, signed by sockhop itself");
    params.not_before = OffsetDateTime::from(now - CLOCK_DIFFERENCE);
    params.not_after = OffsetDateTime::from(now + LIFETIME);
    let pair = KeyPair::generate()?;
    let made = params.self_signed(&pair)?;
    let own = |what, path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Own { what, path, source }
    };
    // The key first: a certificate without its key would be made anew.
    let text = zeroize::Zeroizing::new(pair.serialize_pem());
    files::write(&key, text.as_bytes()).map_err(own("written", &key))?;
    files::write(&certificate, made.pem().as_bytes()).map_err(own("written", &certificate))?;
    pair::read(&certificate, &key)
}

/// Returns whether a certificate is valid at this time.
fn is_valid(certificate: &Certificate, at: SystemTime) -> bool {
    let end = certificate.chain.first().and_then(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(certificate.validity().not_after.timestamp())
    });
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    end.is_some_and(|end| u64::try_from(end).is_ok_and(|end| end > at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_again_before_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let first = certificate(folder.path(), now).unwrap();
        assert_eq!(first.names, ["localhost", "*.localhost"]);
        assert_eq!(certificate(folder.path(), now).unwrap(), first);
        let later = now + LIFETIME - RENEW_BEFORE + Duration::from_secs(60);
        let second = certificate(folder.path(), later).unwrap();
        assert_ne!(second, first);
        assert_eq!(certificate(folder.path(), later).unwrap(), second);
    }

    #[test]
    fn one_that_is_damaged_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let first = certificate(folder.path(), now).unwrap();
        std::fs::write(folder.path().join(FILES[0]), "cut off").unwrap();
        assert_ne!(certificate(folder.path(), now).unwrap(), first);
    }
}
