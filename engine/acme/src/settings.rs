//! What the caller chooses: the CA, the account, and how its challenges are answered. Owns no fds.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::error::AcmeError;
use crate::record::Possible;

/// Let's Encrypt, whose certificates browsers trust.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Let's Encrypt for trials: generous limits, and certificates that nobody trusts.
pub const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// The most bytes of a file with an HMAC key.
const HMAC_FILE_BYTES_MAX: u64 = 4096;

/// What the caller chooses.
#[derive(Debug)]
pub struct Settings {
    /// Where the CA can reach a person. Whoever names it agrees to the CA's terms of service.
    pub email: String,
    /// The URL of the CA's directory.
    pub directory: String,
    /// Root certificates in PEM, which alone are trusted when the CA is asked.
    pub root: Option<PathBuf>,
    /// An account elsewhere that the CA wants to know of.
    pub external_account: Option<ExternalAccount>,
    /// Which challenges can be answered.
    pub possible: Possible,
    /// How often the store is looked at for what other nodes have ordered, which costs a listing.
    pub interval: Duration,
    /// The node's data folder, with its id, and in its `cache` a copy of its certificates.
    pub data: PathBuf,
}

/// An account that somebody has with the CA's owner (RFC 8555 7.3.4).
pub struct ExternalAccount {
    pub(crate) key_id: String,
    pub(crate) hmac: Zeroizing<Vec<u8>>,
}

/// Shows the id only.
impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl ExternalAccount {
    /// Reads the HMAC key of an account from a file, which has it in base64url as CAs show it.
    ///
    /// # Errors
    /// When the file cannot be read, can be read by others, or has no key.
    pub fn read(key_id: String, path: &Path) -> Result<Self, AcmeError> {
        let option = "--acme-eab-hmac-file";
        let unreadable = |source| AcmeError::Unreadable { option, path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(AcmeError::Open { option, path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(4096));
        file.take(HMAC_FILE_BYTES_MAX).read_to_end(&mut text).map_err(unreadable)?;
        let trimmed = text.trim_ascii();
        let padding = trimmed.iter().rev().take_while(|byte| **byte == b'=').count();
        let hmac = BASE64_URL_SAFE_NO_PAD.decode(&trimmed[..trimmed.len() - padding]);
        match hmac.map(Zeroizing::new) {
            Ok(hmac) if !hmac.is_empty() => Ok(Self { key_id, hmac }),
            _ => Err(AcmeError::Hmac { path: path.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hmac_key_is_read_from_a_private_file_and_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hmac");
        let read = |text: &str, mode| {
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            ExternalAccount::read("kid".to_owned(), &path)
        };
        for text in ["aGVsbG8_-w", "aGVsbG8_-w==\n", " aGVsbG8_-w= "] {
            let account = read(text, 0o600).unwrap();
            assert_eq!(**account.hmac, *b"hello\x3f\xfb");
            assert!(!format!("{account:?}").contains("104"));
        }
        assert!(matches!(read("aGVsbG8", 0o640), Err(AcmeError::Open { mode: 0o640, .. })));
        for text in ["", "====", "not base64!", "aGVs bG8"] {
            assert!(matches!(read(text, 0o600), Err(AcmeError::Hmac { .. })), "{text:?}");
        }
        std::fs::remove_file(&path).unwrap();
        let missing = ExternalAccount::read("kid".to_owned(), &path);
        assert!(matches!(missing, Err(AcmeError::Unreadable { .. })));
    }
}
