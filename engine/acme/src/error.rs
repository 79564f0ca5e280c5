//! Why there is no certificate, whose fault that is and what helps. Owns no fds.

use std::io;
use std::path::PathBuf;

use host::fault::Fault;
use secrets::KeyError;
use store::error::StoreError;

use crate::names::NameError;

/// Why a certificate cannot be ordered, kept or read. No message has any part of a key.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(
        "{what} is encrypted with the key {theirs}, and this node has {ours} ({path:?}); give the nodes of a store one key with --secrets-key, or if that key is lost, remove {key:?} from the store, and another one is made"
    )]
    OtherKey { what: String, theirs: String, ours: String, path: PathBuf, key: String },
    #[error(
        "{what} does not open: {key:?} in the store was changed, or moved there from another place; remove it, and another one is ordered"
    )]
    Unfit { what: String, key: String },
    #[error("{what} cannot be made or encrypted: {reason}")]
    Crypto { what: String, reason: String },
    #[error("--acme-directory: {url:?} is no URL of a CA: {reason}")]
    Directory { url: String, reason: String },
    #[error("--acme-root: {path:?} cannot be used: {reason}")]
    Root { path: PathBuf, reason: String },
    #[error("{option}: the file {path:?} cannot be read: {source}")]
    Unreadable { option: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{option}: others than its owner may read {path:?} (its mode is {mode:04o}); run: chmod 600 {path:?}"
    )]
    Open { option: &'static str, path: PathBuf, mode: u32 },
    #[error(
        "--acme-eab-hmac-file: {path:?} has no HMAC key; it must be the text that the CA shows, in base64url"
    )]
    Hmac { path: PathBuf },
    #[error("the client for {directory} cannot be made: {reason}")]
    Client { directory: String, reason: String },
    #[error(
        "the CA {directory} cannot be reached: {reason}; it is tried again, so unless this lasts nothing is to be done; if it does, see that the network lets this node reach it"
    )]
    Away { directory: String, reason: String },
    #[error(
        "what answers at {directory} is no ACME server, or one with a fault: {reason}; check --acme-directory"
    )]
    Foreign { directory: String, reason: String },
    #[error(
        "the CA {directory} takes no more for now: {detail}; it is asked again when it allows it"
    )]
    RateLimited { directory: String, detail: String },
    #[error(
        "the CA {directory} gives this node no account: {detail}; check --acme-email, and --acme-eab-key-id and --acme-eab-hmac-file if the CA wants an external account"
    )]
    Account { directory: String, detail: String },
    #[error(
        "the CA {directory} refuses a certificate for {name}: {detail}; see its CAA records and the CA's rules"
    )]
    Refused { directory: String, name: String, detail: String },
    #[error(
        "{name} does not lead to this node: by {challenge} the CA found: {detail}; let the DNS records of {name} name this node's address, and port {port} lead to it"
    )]
    Challenge { name: String, challenge: &'static str, port: u16, detail: String },
    #[error(
        "{name}: no challenge is possible that the CA offers ({offered}); let port 80 lead to a listener for http, or port 443 to one for https"
    )]
    NoChallenge { name: String, offered: String },
    #[error(
        "{name}: the CA could not see that it leads to this node: there is no listener for http on port 80, and none for https on port 443; add one with --listen"
    )]
    NoListener { name: String },
    #[error(
        "the CA {directory} did not come to an end with {name} within {seconds} s; it is tried again"
    )]
    Slow { directory: String, name: String, seconds: u64 },
    #[error(
        "the CA {directory} has issued something for {name} that is not used: {reason}; tell who runs the CA"
    )]
    Chain { directory: String, name: String, reason: String },
    #[error("this node's clock is wrong: it is before 2026; set it, since certificates go by it")]
    WrongClock,
}

impl AcmeError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Name(_) => Fault::INVALID,
            Self::Store(error) => error.fault(),
            Self::Key(KeyError::Io { source, .. }) => Fault::of_file(source),
            Self::Unfit { .. } => Fault::STORE_BROKEN,
            Self::Away { .. } | Self::RateLimited { .. } | Self::Slow { .. } => Fault::UNAVAILABLE,
            Self::Key(_)
            | Self::OtherKey { .. }
            | Self::Crypto { .. }
            | Self::Directory { .. }
            | Self::Root { .. }
            | Self::Unreadable { .. }
            | Self::Open { .. }
            | Self::Hmac { .. }
            | Self::Client { .. }
            | Self::Foreign { .. }
            | Self::Account { .. }
            | Self::Refused { .. }
            | Self::Challenge { .. }
            | Self::NoChallenge { .. }
            | Self::NoListener { .. }
            | Self::Chain { .. }
            | Self::WrongClock => Fault::NODE_BROKEN,
        }
    }
}
