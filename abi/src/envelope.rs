//! The 16 bytes in front of every archive: magic, version and schema hash.
//!
//! rkyv archives are readable only by a program with the same definitions. Whatever crosses a
//! process or a restart (messages, catalogue) starts with this header, and what does not match is
//! refused before a byte of the archive is looked at. The header is 16 bytes so that the archive
//! behind it stays aligned. Owns no fds.

use rkyv::Portable;
use rkyv::api::high::{HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error as ArchiveError;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;

/// Length of the header in bytes; a multiple of the archive's alignment.
pub const HEADER_BYTES: usize = 16;

const MAGIC: [u8; 4] = *b"skhp";

/// Why bytes are not an archive of ours.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Shorter than the header.
    #[error(
        "{length} bytes are too few for an archive of sockhop's: it was cut off, or is something else"
    )]
    TooShort {
        /// How many bytes there were.
        length: usize,
    },
    /// Another magic number.
    #[error("not an archive of sockhop's (it begins with {found:02x?})")]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// Made by another build.
    #[error(
        "the archive was made by another build of sockhop (schema {found:016x}, ours is {ours:016x}); use binaries of one build"
    )]
    Schema {
        /// The hash in the header.
        found: u64,
        /// This build's hash.
        ours: u64,
    },
    /// The archive does not validate, or could not be made.
    #[error("the archive is damaged: {0}")]
    Archive(#[from] ArchiveError),
}

/// The header of this build.
#[must_use]
fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&crate::VERSION.to_le_bytes());
    header[8..].copy_from_slice(&schema().to_le_bytes());
    header
}

/// This build's schema hash, with the wire's version mixed in.
fn schema() -> u64 {
    u64::from_str_radix(env!("SOCKHOP_SCHEMA_HASH"), 16).unwrap_or_default()
}

/// Archives `value` behind a header.
///
/// # Errors
/// When the serializer runs out of memory or an archive would pass 2 GiB.
pub fn pack<T>(value: &T) -> Result<AlignedVec, EnvelopeError>
where
    T: for<'a> rkyv::Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, ArchiveError>>,
{
    let mut bytes = AlignedVec::new();
    bytes.extend_from_slice(&header());
    Ok(rkyv::api::high::to_bytes_in(value, bytes)?)
}

/// Checks the header and returns the archive's bytes behind it, not yet validated.
///
/// # Errors
/// [`EnvelopeError`] when the header is missing or another build's.
pub fn archive_of(bytes: &[u8]) -> Result<&[u8], EnvelopeError> {
    let Some((found, archive)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(EnvelopeError::TooShort { length: bytes.len() });
    };
    let ours = header();
    if found[..4] != ours[..4] {
        return Err(EnvelopeError::Magic { found: [found[0], found[1], found[2], found[3]] });
    }
    if found != ours {
        let found = found[8..].try_into().map(u64::from_le_bytes).unwrap_or_default();
        return Err(EnvelopeError::Schema { found, ours: schema() });
    }
    Ok(archive)
}

/// Checks the header and validates the archive.
///
/// # Errors
/// [`EnvelopeError`] when the bytes are not an archive of `T` made by this build.
pub fn open<T>(bytes: &[u8]) -> Result<&T, EnvelopeError>
where
    T: Portable + for<'a> CheckBytes<HighValidator<'a, ArchiveError>>,
{
    Ok(rkyv::access::<T, ArchiveError>(archive_of(bytes)?)?)
}
