//! The certificate of all servers that speak TLS: ECDSA with P-256, signed by itself. Its files are
//! in a folder that somebody else owns.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::Error;

/// Who it is for. Clients ask for an address, and look at no name.
const NAME: &str = "localhost";

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate, in PEM.
    pub chain: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

impl Certificate {
    /// Returns that of a folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self { chain: folder.join("certificate.pem"), key: folder.join("key.pem") }
    }

    /// Makes one in a folder.
    pub fn make(folder: &Path) -> Result<Self, Error> {
        let files = Self::in_folder(folder);
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()])?;
        let texts = [(&files.chain, cert.pem()), (&files.key, signing_key.serialize_pem())];
        for (path, text) in texts {
            // Servers refuse a key that everybody can read.
            fs::write(path, text)
                .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o600)))
                .map_err(|source| Error::Write { path: path.clone(), source })?;
        }
        Ok(files)
    }
}
