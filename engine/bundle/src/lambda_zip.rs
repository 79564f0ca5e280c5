//! The zip that Lambda deploys for the runtimes `provided.al2023` and `provided.al2`. Pure; owns no
//! fds.

use std::io::{Cursor, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use crate::BundleError;

/// Longest zip that can be uploaded, in bytes (Lambda's quotas: 50 MB, for direct upload).
const ZIPPED_BYTES_MAX: usize = 50 * 1024 * 1024;

/// Most that a zip may unpack to, in bytes (Lambda's quotas: 250 MB, layers included).
const UNPACKED_BYTES_MAX: usize = 250 * 1024 * 1024;

/// What Lambda starts.
const BOOTSTRAP: &str = "bootstrap";

/// Returns a zip with `executable` as its bootstrap.
///
/// # Errors
///
/// Returns a [`BundleError`] if Lambda would not take it.
pub(crate) fn zip(executable: &[u8]) -> Result<Vec<u8>, BundleError> {
    if executable.len() > UNPACKED_BYTES_MAX {
        return Err(BundleError::Unpacked { bytes: executable.len(), max: UNPACKED_BYTES_MAX });
    }
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::DEFAULT)
        .system(System::Unix)
        .unix_permissions(0o755);
    zip.start_file(BOOTSTRAP, options)?;
    zip.write_all(executable)?;
    let bytes = zip.finish()?.into_inner();
    if bytes.len() > ZIPPED_BYTES_MAX {
        return Err(BundleError::Zipped { bytes: bytes.len(), max: ZIPPED_BYTES_MAX });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_zip_has_the_bootstrap_and_nothing_else() {
        let executable = b"executable".repeat(1_000);
        let mut archive = zip::ZipArchive::new(Cursor::new(zip(&executable).unwrap())).unwrap();
        assert_eq!(archive.len(), 1);
        let mut bootstrap = archive.by_index(0).unwrap();
        assert_eq!(bootstrap.name().unwrap(), "bootstrap");
        assert_eq!(bootstrap.unix_mode(), Some(0o100_755));
        assert_eq!(bootstrap.compression(), CompressionMethod::Deflated);
        assert_eq!(bootstrap.last_modified(), Some(DateTime::DEFAULT));
        let mut contents = Vec::new();
        bootstrap.read_to_end(&mut contents).unwrap();
        assert_eq!(contents, executable);
    }

    #[test]
    fn what_lambda_would_not_take_is_refused() {
        let error = zip(&vec![0; UNPACKED_BYTES_MAX + 1]).unwrap_err();
        assert!(error.to_string().contains("262144001 bytes"), "{error}");
        let mut incompressible = vec![0; ZIPPED_BYTES_MAX + 1];
        fastrand::Rng::with_seed(1).fill(&mut incompressible);
        let error = zip(&incompressible).unwrap_err();
        assert!(matches!(error, BundleError::Zipped { .. }), "{error}");
        assert!(error.to_string().contains("at most 52428800"), "{error}");
    }
}
