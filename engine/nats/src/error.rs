//! What can be wrong with NATS, at the start and later. Owns no fds.

use std::io;

use crate::credentials::CredentialsError;
use crate::version::FLOOR;

/// Why a node does not start with NATS. What passes by itself is none of these.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file of credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The server does not let the node in.
    #[error(
        "NATS refuses this node ({reason}); see that --nats-credentials names a file with what the server expects"
    )]
    Denied {
        /// What the server says.
        reason: String,
    },
    /// No TLS comes about.
    #[error(
        "TLS with NATS fails: {reason}; see that the address has the certificate's name, and for a private authority set --nats-root"
    )]
    Tls {
        /// Why.
        reason: String,
    },
    /// An older server.
    #[error("the NATS server is version {version:?}, and sockhop needs {}.{} or newer", FLOOR.0, FLOOR.1)]
    Old {
        /// What it says it is.
        version: String,
    },
    /// It keeps nothing.
    #[error(
        "the NATS server has no JetStream for this account ({reason}); start it with --jetstream, or switch that on for the account"
    )]
    NoJetStream {
        /// What the server says.
        reason: String,
    },
    /// The bucket is another one than nodes can use.
    #[error("the key-value bucket {bucket:?} in NATS is not as this node needs it: {reason}")]
    Bucket {
        /// Its name.
        bucket: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The thread.
    #[error("the thread of NATS cannot be started: {0}")]
    Thread(#[from] io::Error),
}

/// Why something was not done, or perhaps not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing was done, as NATS cannot do it now.
    #[error("NATS is away: {0}")]
    Away(String),
    /// It was asked to, and no answer has come.
    #[error("NATS has not answered, so whether it was done is not known: {0}")]
    Unanswered(String),
    /// Nothing was done, as somebody else has written first.
    #[error("another one has written first")]
    Conflict,
}

/// Returns an error with its causes, in one line, but for those that it names already.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(source) = cause {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = source.source();
    }
    text
}
