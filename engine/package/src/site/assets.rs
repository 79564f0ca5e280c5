//! A WebAssembly function with assets: one zip with both, which is one artefact, so that a version has
//! the two that were deployed together. Owns no fds beyond a call.

use std::fs::File;
use std::io::{Read as _, Seek as _};

use abi::limits::ARTEFACT_BYTES_MAX;

use crate::archive::{self, ArchiveError, Ranges};
use crate::file_type::{FileType, first_bytes, sniff};
use crate::layout::{FUNCTION_FILE, Layout};
use crate::limits::SizeError;

/// Returns the function in a zip with assets. Returns `None` if the file is anything else.
///
/// # Errors
/// [`ArchiveError`] when it is such a zip, and the function cannot be read.
pub fn function_in(mut artefact: &File) -> Result<Option<Vec<u8>>, ArchiveError> {
    let first = first_bytes(artefact).map_err(ArchiveError::Read)?;
    artefact.rewind().map_err(ArchiveError::Read)?;
    if sniff(&first) != FileType::Zip {
        return Ok(None);
    }
    let (Layout::FunctionAndAssets, entries) = archive::read(artefact)? else { return Ok(None) };
    let entry = entries.iter().find(|entry| entry.path == FUNCTION_FILE);
    let entry =
        entry.ok_or_else(|| ArchiveError::Damaged(format!("it has no {FUNCTION_FILE:?}")))?;
    let (limit, mut function) = (ARTEFACT_BYTES_MAX as u64, Vec::new());
    let mut ranges = Ranges::default();
    let contents = archive::contents(entry, &mut artefact, &mut ranges)?;
    contents.take(limit + 1).read_to_end(&mut function).map_err(ArchiveError::of_read)?;
    match function.len() as u64 > limit {
        true => Err(SizeError::TooLarge.into()),
        false => Ok(Some(function)),
    }
}
