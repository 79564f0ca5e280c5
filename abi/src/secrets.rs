//! A function's secrets on their way from the engine to the worker that asked for them: one archive
//! in a sealed memfd.
//!
//! They are in no message and in no catalogue, so that nothing that prints or keeps one of those
//! has them. The archive is wiped once it is in the memfd, whose pages the kernel takes back when
//! the worker has read it. [`Secrets::seal`] gives the fd to its caller; [`Secrets::read`] keeps
//! none.

#![allow(
    missing_docs,
    reason = "rkyv's derives make resolvers without docs; every type of ours has them"
)]

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use rkyv::{Archive, Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::envelope::{self, EnvelopeError};
use crate::limits;
use crate::sealed::{self, Mapping, SealedError};

const WHAT: &str = "secrets";
/// The archive: what is sealed, and a few words around each.
const ARCHIVE_BYTES_MAX: usize =
    limits::SECRETS_BYTES_MAX + limits::SECRETS_MAX * (limits::SECRET_KEY_BYTES_MAX + 64) + 1024;

/// What one function's secrets are.
#[derive(Archive, Serialize, Deserialize, PartialEq, Eq)]
pub struct Secrets {
    /// Names exactly these; the catalogue has it too. Never 0, which is that of none.
    pub revision: u64,
    /// Keys and values, sorted by key.
    pub values: Vec<(String, String)>,
}

/// Names only.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.values.iter().map(|(key, _)| key.as_str()).collect();
        f.debug_struct("Secrets").field("revision", &self.revision).field("keys", &keys).finish()
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.values.iter_mut().for_each(|(_, value)| value.zeroize());
    }
}

/// Why secrets cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The memory is not what it should be.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The archive is not what it should be.
    #[error("the secrets are unreadable: {0}")]
    Envelope(#[from] EnvelopeError),
}

impl Secrets {
    /// Puts them into sealed memory. The caller owns the fd.
    ///
    /// # Errors
    /// [`SecretsError`] when memory or file descriptors run out.
    pub fn seal(&self) -> Result<OwnedFd, SecretsError> {
        let mut archive = envelope::pack(self)?;
        let sealed = sealed::create(WHAT, &archive);
        archive.as_mut_slice().zeroize();
        Ok(sealed?)
    }

    /// Reads them back.
    ///
    /// # Errors
    /// [`SecretsError`] when the memory is not sealed, or not an archive of this build.
    pub fn read(fd: impl AsFd) -> Result<Self, SecretsError> {
        let mapping = Mapping::new(WHAT, fd, ARCHIVE_BYTES_MAX)?;
        let archived = envelope::open::<ArchivedSecrets>(mapping.bytes())?;
        let text = |text: &rkyv::string::ArchivedString| text.as_str().to_owned();
        let values = archived.values.iter().map(|pair| (text(&pair.0), text(&pair.1))).collect();
        Ok(Self { revision: archived.revision.to_native(), values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secrets() -> Secrets {
        let values = [("A", "hush"), ("B", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec();
        Secrets { revision: 7, values }
    }

    #[test]
    fn they_are_read_as_they_were_sealed_and_never_printed() {
        assert_eq!(Secrets::read(secrets().seal().unwrap()).unwrap(), secrets());
        assert_eq!(format!("{:?}", secrets()), r#"Secrets { revision: 7, keys: ["A", "B"] }"#);
    }

    #[test]
    fn as_many_and_as_large_as_there_may_be_fit() {
        let value = "x".repeat(limits::SECRETS_BYTES_MAX / limits::SECRETS_MAX);
        let key =
            |number: usize| format!("{number:0>width$}", width = limits::SECRET_KEY_BYTES_MAX);
        let values = (0..limits::SECRETS_MAX).map(|number| (key(number), value.clone())).collect();
        let most = Secrets { revision: 1, values };
        assert_eq!(Secrets::read(most.seal().unwrap()).unwrap(), most);
    }

    proptest! {
        #[test]
        fn any_flipped_byte_is_survived(at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let mut bytes = envelope::pack(&secrets()).unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = Secrets::read(sealed::create(WHAT, &bytes).unwrap());
            let _ = Secrets::read(sealed::create(WHAT, &bytes[..=cut.index(at + 1)]).unwrap());
        }
    }
}
