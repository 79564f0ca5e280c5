//! What TLS needs, on its way from the engine to the processes that end TLS: one archive in a
//! sealed memfd.
//!
//! Private keys are in no message and in no catalogue, and no process that runs guests is sent
//! them. The archive is wiped once it is in the memfd. [`Certificates::seal`] gives the fd to its
//! caller; [`Certificates::read`] keeps none.

#![allow(
    missing_docs,
    reason = "rkyv's derives make resolvers without docs; every type of ours has them"
)]

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use rkyv::{Archive, Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::envelope::{self, EnvelopeError};
use crate::limits::CERTIFICATES_BYTES_MAX;
use crate::sealed::{self, Mapping, SealedError};

const WHAT: &str = "certificates";

/// A certificate with its private key.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The host names that it is for, in lower case; `*.example.com` for one label in its place.
    pub names: Vec<String>,
    /// Itself and those that lead to its root, in DER (RFC 5280).
    pub chain: Vec<Vec<u8>>,
    /// Its private key in DER: PKCS#8, PKCS#1 or SEC1.
    pub key: Vec<u8>,
}

/// A key that session tickets are sealed with (RFC 8446 4.6.1).
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct TicketKey {
    /// Names the key in front of each ticket.
    pub name: [u8; 16],
    /// For ChaCha20-Poly1305 (RFC 8439).
    pub key: [u8; 32],
}

/// Everything that TLS needs.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Default)]
pub struct Certificates {
    /// Those that clients get by the name that they ask for.
    pub by_name: Vec<Certificate>,
    /// The one for clients that ask for no name, or for a name that no other is for.
    pub default: Option<Certificate>,
    /// Those that answer a challenge of a certificate authority (RFC 8737), and nothing else.
    pub challenges: Vec<Certificate>,
    /// The first one seals new tickets; all open them.
    pub ticket_keys: Vec<TicketKey>,
}

/// Names only.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Without the key.
impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Names only.
impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("by_name", &self.by_name)
            .field("default", &self.default)
            .field("challenges", &self.challenges)
            .field("ticket_keys", &self.ticket_keys)
            .finish()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Drop for TicketKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// Why certificates cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// The memory is not what it should be.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The archive is not what it should be.
    #[error("the certificates are unreadable: {0}")]
    Envelope(#[from] EnvelopeError),
    /// There are too many.
    #[error(
        "the certificates of this node take {bytes} bytes; at most {CERTIFICATES_BYTES_MAX} are possible"
    )]
    TooLarge {
        /// The size of their archive.
        bytes: usize,
    },
}

impl Certificates {
    /// Puts them into sealed memory. The caller owns the fd.
    ///
    /// # Errors
    /// [`CertificatesError`] when there are too many, or memory or file descriptors run out.
    pub fn seal(&self) -> Result<OwnedFd, CertificatesError> {
        let mut archive = envelope::pack(self)?;
        let bytes = archive.len();
        let sealed = (bytes <= CERTIFICATES_BYTES_MAX).then(|| sealed::create(WHAT, &archive));
        archive.as_mut_slice().zeroize();
        Ok(sealed.ok_or(CertificatesError::TooLarge { bytes })??)
    }

    /// Reads them back.
    ///
    /// # Errors
    /// [`CertificatesError`] when the memory is not sealed, or not an archive of this build.
    pub fn read(fd: impl AsFd) -> Result<Self, CertificatesError> {
        let mapping = Mapping::new(WHAT, fd, CERTIFICATES_BYTES_MAX)?;
        let archived = envelope::open::<ArchivedCertificates>(mapping.bytes())?;
        let read = rkyv::deserialize::<Self, rkyv::rancor::Error>(archived);
        Ok(read.map_err(EnvelopeError::from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn certificates() -> Certificates {
        let certificate = |name: &str| Certificate {
            names: vec![name.to_owned()],
            chain: vec![vec![1; 100], vec![2; 100]],
            key: b"private".to_vec(),
        };
        Certificates {
            by_name: vec![certificate("a.example"), certificate("*.b.example")],
            default: Some(certificate("localhost")),
            challenges: vec![certificate("c.example")],
            ticket_keys: vec![TicketKey { name: [3; 16], key: [4; 32] }],
        }
    }

    #[test]
    fn they_are_read_as_they_were_sealed_and_keys_are_never_printed() {
        assert_eq!(Certificates::read(certificates().seal().unwrap()).unwrap(), certificates());
        let printed = format!("{:?}", certificates());
        assert!(printed.contains("*.b.example") && !printed.contains("key: ["), "{printed}");
        let bytes = format!("{:?}", b"private".to_vec());
        assert!(!printed.contains(&bytes), "{printed}");
    }

    #[test]
    fn too_many_are_refused() {
        let mut many = certificates();
        many.by_name[0].chain = vec![vec![0; CERTIFICATES_BYTES_MAX]];
        assert!(matches!(many.seal(), Err(CertificatesError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn any_flipped_byte_is_survived(at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let mut bytes = envelope::pack(&certificates()).unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = Certificates::read(sealed::create(WHAT, &bytes).unwrap());
            let _ = Certificates::read(sealed::create(WHAT, &bytes[..=cut.index(at + 1)]).unwrap());
        }
    }
}
