//! The operator's certificates: one from two files, and those of a folder. Owns no fds beyond a
//! call.
//!
//! In a folder `NAME.crt` (or `NAME.pem`) goes with `NAME.key`, and `NAME/fullchain.pem` with
//! `NAME/privkey.pem`, as certbot has them. What is for which host is said by the certificates, not
//! by the names of files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use abi::certificates::Certificate;

use crate::error::CertificateError;
use crate::pair;

/// The most certificates of a folder.
const CERTIFICATES_MAX: usize = 10_000;

/// Reads the certificate of `--tls-cert` and `--tls-key`, if they are set.
///
/// # Errors
/// [`CertificateError`] when only one of them is set, or what is there cannot be used.
pub fn single(
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<Certificate>, CertificateError> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => pair::read(certificate, key).map(Some),
        (Some(_), None) => Err(CertificateError::Half { missing: "--tls-key" }),
        (None, Some(_)) => Err(CertificateError::Half { missing: "--tls-cert" }),
    }
}

/// Reads the certificates of a folder, in the order of their files' names. One that cannot be used
/// does not keep the others from being used: it is among the errors.
///
/// # Errors
/// [`CertificateError`] when the folder itself cannot be read, or has too many.
pub fn of_folder(
    folder: &Path,
) -> Result<(Vec<Certificate>, Vec<CertificateError>), CertificateError> {
    let pairs = pairs(folder)
        .map_err(|source| CertificateError::Folder { path: folder.to_owned(), source })?;
    if pairs.len() > CERTIFICATES_MAX {
        let (count, count_max) = (pairs.len(), CERTIFICATES_MAX);
        return Err(CertificateError::TooMany { path: folder.to_owned(), count, count_max });
    }
    let (mut read, mut errors) = (Vec::new(), Vec::new());
    for (certificate, key) in pairs {
        match pair::read(&certificate, &key) {
            Ok(certificate) => read.push(certificate),
            Err(error) => errors.push(error),
        }
    }
    Ok((read, errors))
}

/// Returns the pairs of a folder: a certificate and its key.
fn pairs(folder: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut pairs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let within = path.join("fullchain.pem");
        if path.extension().is_some_and(|extension| extension == "crt" || extension == "pem") {
            let key = path.with_extension("key");
            // A file of authorities has no key, and is none of the node's certificates.
            if key.exists() {
                pairs.push((path, key));
            }
        } else if within.exists() {
            pairs.push((within, path.join("privkey.pem")));
        }
    }
    pairs.sort();
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::tests::write;

    #[test]
    fn a_folders_pairs_are_found_and_one_that_is_wrong_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(folder.path(), "a", &["a.example"]);
        write(folder.path(), "b", &["b.example"]);
        fs::rename(at("b.crt"), at("b.pem")).unwrap();
        write(folder.path(), "c", &["c.example"]);
        fs::create_dir(at("live")).unwrap();
        fs::rename(at("c.crt"), at("live/fullchain.pem")).unwrap();
        fs::rename(at("c.key"), at("live/privkey.pem")).unwrap();
        fs::copy(at("a.crt"), at("authority.pem")).unwrap();
        write(folder.path(), "d", &["d.example"]);
        fs::write(at("d.crt"), "no certificate").unwrap();
        let (read, errors) = of_folder(folder.path()).unwrap();
        let names: Vec<&str> = read.iter().map(|certificate| &*certificate.names[0]).collect();
        assert_eq!(names, ["a.example", "b.example", "c.example"]);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().contains("d.crt"), "{}", errors[0]);
        assert!(of_folder(&at("missing")).unwrap_err().to_string().contains("--tls-dir"));
    }

    #[test]
    fn one_of_the_two_files_is_not_enough() {
        let path = Path::new("x");
        assert!(single(None, None).unwrap().is_none());
        assert!(single(Some(path), None).unwrap_err().to_string().contains("--tls-key is not set"));
        assert!(single(None, Some(path)).unwrap_err().to_string().contains("--tls-cert is not"));
    }
}
