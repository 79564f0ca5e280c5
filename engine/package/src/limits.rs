//! How large an artefact may be, unpacked. Owns no fds.

/// Most entries of a zip, and most files, folders and links that become of one.
pub const ENTRIES_MAX: usize = 100_000;

/// Most bytes that the files of an artefact have together. Lambda allows 250 MB for a zip and its
/// layers, and 10 GB for an image.
pub const UNPACKED_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// How many times larger than the zip its files may be, once they exceed [`RATIO_FREE_BYTES`].
/// Executables and text shrink to a third or a tenth; deflate ends at 1,032.
pub const RATIO_MAX: u64 = 250;

/// How many bytes may come of any zip, however small it is.
pub const RATIO_FREE_BYTES: u64 = 64 * 1024 * 1024;

/// Longest name of a file or folder, without those above it: `NAME_MAX` of Linux.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest path of a file in an artefact, and longest target of a link. Linux allows 4,096, of
/// which the path of the folder that it is unpacked into takes a part.
pub const PATH_BYTES_MAX: usize = 1024;

/// Why a package is too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Its files have too many bytes.
    #[error(
        "its files have more than {} MiB together; leave out what is not needed at run time, or read large data from elsewhere",
        UNPACKED_BYTES_MAX / 1024 / 1024
    )]
    TooLarge,
    /// It grows too much.
    #[error(
        "its files are more than {RATIO_MAX} times larger than the zip, as in a zip bomb; leave out large files of zeros, or make them when the function starts"
    )]
    Bomb,
}

/// Counts bytes that are unpacked, against what is allowed.
#[derive(Debug)]
pub(crate) struct Budget {
    written: u64,
    ratio_bytes_max: u64,
}

impl Budget {
    /// Begins to count what comes of a file of `artefact_bytes`.
    pub(crate) fn new(artefact_bytes: u64) -> Self {
        let ratio_bytes_max = artefact_bytes.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
        Self { written: 0, ratio_bytes_max }
    }

    /// Counts `bytes` more, before they are written.
    ///
    /// # Errors
    /// [`SizeError`] when that is too much.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), SizeError> {
        self.written = self.written.saturating_add(bytes);
        if self.written > UNPACKED_BYTES_MAX {
            Err(SizeError::TooLarge)
        } else if self.written > self.ratio_bytes_max {
            Err(SizeError::Bomb)
        } else {
            Ok(())
        }
    }

    /// Returns how many bytes have been counted.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }
}

/// How much of what a stranger wrote a message quotes.
const QUOTED_CHARS_MAX: usize = 200;

/// Shortens a name or a text of a file, which may be as long as the file.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_zip_may_become_large_and_not_huge() {
        let mut budget = Budget::new(1);
        assert_eq!(budget.take(RATIO_FREE_BYTES), Ok(()));
        assert_eq!(budget.take(1), Err(SizeError::Bomb));
        let mut budget = Budget::new(u64::MAX);
        assert_eq!(budget.take(UNPACKED_BYTES_MAX), Ok(()));
        assert_eq!(budget.take(u64::MAX), Err(SizeError::TooLarge));
        assert_eq!(quoted(&"x".repeat(300)).len(), 203);
    }
}
