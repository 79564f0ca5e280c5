//! What the caller chooses: the CA, the account, and how its challenges are answered. Owns no fds.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::settings::AcmeChallenge;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use host::private_file::{self, NotPrivate};
use zeroize::Zeroizing;

use crate::error::AcmeError;
use crate::record::{Challenge, Possible};

/// Let's Encrypt, whose certificates browsers trust.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Let's Encrypt for trials: generous limits, and certificates that nobody trusts.
pub const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// How often the store is looked at, at most: certificates change seldom, and a listing costs.
const INTERVAL_MIN: Duration = Duration::from_secs(10);
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

/// Which of the ports that a CA asks this node listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// Port 80, for HTTP.
    pub http: bool,
    /// Port 443, for TLS.
    pub tls: bool,
}

impl Settings {
    /// Returns what the node's settings say. Returns `None` if no certificates are to be ordered.
    ///
    /// # Errors
    /// When the file of an external account cannot be used.
    pub fn of(
        config: &::settings::Settings,
        listening: Listening,
    ) -> Result<Option<Self>, AcmeError> {
        let Some(email) = config.acme_email.clone() else { return Ok(None) };
        let lets_encrypt = if config.acme_staging { LETS_ENCRYPT_STAGING } else { LETS_ENCRYPT };
        let directory = config.acme_directory.clone();
        let external = config.acme_eab_key_id.clone().zip(config.acme_eab_hmac_file.as_deref());
        let external = external.map(|(key_id, path)| ExternalAccount::read(key_id, path));
        let preferred = config.acme_challenge.map(|challenge| match challenge {
            AcmeChallenge::Http01 => Challenge::Http01,
            AcmeChallenge::TlsAlpn01 => Challenge::TlsAlpn01,
        });
        let Listening { http: http01, tls: tls_alpn01 } = listening;
        Ok(Some(Self {
            email,
            directory: directory.unwrap_or_else(|| lets_encrypt.to_owned()),
            root: config.acme_root.clone(),
            external_account: external.transpose()?,
            possible: Possible { http01, tls_alpn01, preferred },
            interval: (*config.sync_interval).max(INTERVAL_MIN),
            data: config.data.clone(),
        }))
    }
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
        let file = private_file::open(path).map_err(|error| match error {
            NotPrivate::Io(source) => unreadable(source),
            NotPrivate::Open { mode } => AcmeError::Open { option, path: path.to_owned(), mode },
        })?;
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
    use std::os::unix::fs::PermissionsExt as _;

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

    #[test]
    fn the_nodes_settings_say_what_is_ordered_where() {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            settings: ::settings::Settings,
        }
        let listening = Listening { http: true, tls: false };
        let of = |flags: &[&str]| {
            let command = Command::parse_from([&["sockhop"], flags].concat());
            Settings::of(&command.settings, listening)
        };
        assert!(of(&[]).unwrap().is_none());
        let email = ["--acme-email", "me@example.com"];
        let plain = of(&email).unwrap().unwrap();
        assert_eq!((&*plain.email, &*plain.directory), ("me@example.com", LETS_ENCRYPT));
        let possible = Possible { http01: true, tls_alpn01: false, preferred: None };
        assert_eq!((plain.possible, plain.interval), (possible, INTERVAL_MIN));
        let staging = of(&[&email[..], &["--acme-staging", "--sync-interval", "1m"]].concat());
        let staging = staging.unwrap().unwrap();
        assert_eq!(staging.directory, LETS_ENCRYPT_STAGING);
        assert_eq!(staging.interval, Duration::from_secs(60));
        let missing = ["--acme-eab-key-id", "kid", "--acme-eab-hmac-file", "/nowhere"];
        let refused = of(&[&email[..], &missing].concat()).unwrap_err();
        assert!(matches!(refused, AcmeError::Unreadable { .. }), "{refused}");
    }
}
