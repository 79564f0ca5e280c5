//! A bundle: one function with its compiled module behind the program that runs it, in one
//! executable file.
//!
//! `sockhop bundle` makes it, and that program reads it from its own file. Behind the program's
//! bytes are the module, the archive of a [`Bundled`], and a trailer of [`TRAILER_BYTES`] that says
//! how long both are. The kernel loads an executable by its headers, so bytes behind it do no harm.
//! [`read`] gives the module's sealed memfd to its caller, and keeps none.

#![allow(
    missing_docs,
    reason = "rkyv's derives make resolvers without docs; every type of ours has them"
)]

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::catalogue::{Alias, Catalogue, CatalogueError, Function, Spec, Target, Version};
use crate::choice::ACTIVE;
use crate::envelope::{self, EnvelopeError};
use crate::function::Isolation;
use crate::limits::MODULE_BYTES_MAX;
use crate::sealed::{self, SealedError};

/// The length of the trailer: the lengths of module and archive as little-endian 64-bit numbers,
/// and [`MAGIC`].
pub const TRAILER_BYTES: usize = 24;
const MAGIC: [u8; 8] = *b"skhp-end";

/// The most bytes of an archive. A specification's limits keep it far below.
const ARCHIVE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The one function of a bundle.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Bundled {
    /// Its name.
    pub function: String,
    /// The number of its version.
    pub version: u32,
    /// How it is run. Secrets are not in it.
    pub spec: Spec,
}

/// Why a bundle cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The program in front is of another build, or is something else.
    #[error(
        "the program in front of bundles is not of this build ({}); install `sockhop` and \
         `sockhop-standalone` from one",
        crate::BUILD_ID
    )]
    OtherBuild,
    /// The file cannot be read.
    #[error("this program cannot read its own file: {0}")]
    Read(#[from] io::Error),
    /// The lengths in the trailer are not those of a bundle.
    #[error("the bundle is damaged: its file was cut off or changed; bundle the function again")]
    Damaged,
    /// The archive is not one of this build's.
    #[error(transparent)]
    Archive(#[from] EnvelopeError),
    /// There is no memory for the module.
    #[error(transparent)]
    Sealed(#[from] SealedError),
}

/// Returns the executable file of a bundle.
///
/// # Errors
/// [`BundleError::OtherBuild`] if `program` is not `sockhop-standalone` of this build.
pub fn append(program: &[u8], bundled: &Bundled, module: &[u8]) -> Result<Vec<u8>, BundleError> {
    if memchr::memmem::find(program, crate::BUILD_ID.as_bytes()).is_none() {
        return Err(BundleError::OtherBuild);
    }
    let archive = envelope::pack(bundled)?;
    let mut executable =
        Vec::with_capacity(program.len() + module.len() + archive.len() + TRAILER_BYTES);
    executable.extend_from_slice(program);
    executable.extend_from_slice(module);
    executable.extend_from_slice(&archive);
    for length in [module.len(), archive.len()] {
        executable.extend_from_slice(&(length as u64).to_le_bytes());
    }
    executable.extend_from_slice(&MAGIC);
    Ok(executable)
}

/// Reads the function of a bundle, and copies its module to sealed memory. Returns `None` if
/// nothing is behind the program.
///
/// # Errors
/// [`BundleError`] if the file cannot be read, was damaged, or was made by another build.
pub fn read(executable: &File) -> Result<Option<(Bundled, OwnedFd)>, BundleError> {
    let end = executable.metadata()?.len();
    let Some(trailer_at) = end.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
    let mut trailer = [0; TRAILER_BYTES];
    executable.read_exact_at(&mut trailer, trailer_at)?;
    let Some((lengths, magic)) = trailer.split_last_chunk::<8>() else { return Ok(None) };
    if *magic != MAGIC {
        return Ok(None);
    }
    let length = |at: usize| -> u64 {
        let bytes = lengths.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(u64::MAX, u64::from_le_bytes)
    };
    let (module_bytes, archive_bytes) = (length(0), length(8));
    if module_bytes == 0 || module_bytes > MODULE_BYTES_MAX || archive_bytes > ARCHIVE_BYTES_MAX {
        return Err(BundleError::Damaged);
    }
    let archive_at = trailer_at.checked_sub(archive_bytes).ok_or(BundleError::Damaged)?;
    let module_at = archive_at.checked_sub(module_bytes).ok_or(BundleError::Damaged)?;
    let bundled = unpack(&bytes_at(executable, archive_at, archive_bytes)?)?;
    Ok(Some((bundled, copy(executable, module_at, module_bytes)?)))
}

fn unpack(archive: &[u8]) -> Result<Bundled, EnvelopeError> {
    let archived = envelope::open::<ArchivedBundled>(archive)?;
    Ok(rkyv::deserialize::<Bundled, rkyv::rancor::Error>(archived)?)
}

fn bytes_at(file: &File, at: u64, length: u64) -> Result<AlignedVec, BundleError> {
    let length = usize::try_from(length).map_err(|_| BundleError::Damaged)?;
    let mut bytes = AlignedVec::with_capacity(length);
    bytes.resize(length, 0);
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

fn copy(mut from: &File, at: u64, length: u64) -> Result<OwnedFd, BundleError> {
    const WHAT: &str = "module";
    let mut memory = File::from(sealed::unsealed(WHAT)?);
    from.seek(SeekFrom::Start(at))?;
    let copied = io::copy(&mut from.take(length), &mut memory)?;
    if copied < length {
        return Err(BundleError::Damaged);
    }
    Ok(sealed::seal(WHAT, memory.into())?)
}

impl Bundled {
    /// Returns the catalogue of this function alone. Its module's key is all zeroes.
    ///
    /// # Errors
    /// [`CatalogueError`] if memory runs out. What breaks a rule is found when it is mapped.
    pub fn seal(self) -> Result<OwnedFd, CatalogueError> {
        let version =
            Version { number: self.version, id: [0; 16], module: [0; 32], assets: None, spec: 0 };
        let target = Target { version: 0, spec: 0, weight: 1 };
        let function = Function {
            name: self.function,
            isolation: Isolation::Shared,
            slot: 0,
            slot_incarnation: 1,
            secrets: 0,
            previews: false,
            aliases: vec![Alias { name: ACTIVE.to_owned(), targets: vec![target] }],
            versions: vec![version],
        };
        let (functions, specs) = (vec![function], vec![self.spec]);
        Catalogue { generation: 1, functions, specs, hosts: Vec::new() }.seal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    use crate::catalogue::CatalogueView;

    fn bundled() -> Bundled {
        Bundled { function: "hello".to_owned(), version: 3, spec: crate::catalogue::tests::spec() }
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn made(module: &[u8]) -> Vec<u8> {
        append(format!("ELF {} ...", crate::BUILD_ID).as_bytes(), &bundled(), module).unwrap()
    }

    #[test]
    fn what_is_put_behind_a_program_is_found_there() {
        let module = vec![7; 3 * 1024 * 1024 + 1];
        let (found, memory) = read(&file(&made(&module))).unwrap().unwrap();
        assert_eq!(found, bundled());
        let mut copied = Vec::new();
        File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory)))
            .unwrap()
            .read_to_end(&mut copied)
            .unwrap();
        assert_eq!(copied, module);
        let view = CatalogueView::new(found.seal().unwrap()).unwrap();
        let function = view.function(0).unwrap();
        assert_eq!((function.name.as_str(), function.aliases.len()), ("hello", 1));
    }

    #[test]
    fn a_program_without_a_function_and_one_of_another_build_are_told() {
        assert!(read(&file(b"")).unwrap().is_none());
        assert!(read(&file(&[0; 100])).unwrap().is_none());
        let other = append(b"ELF of another build", &bundled(), b"module");
        assert!(matches!(other, Err(BundleError::OtherBuild)));
    }

    proptest! {
        #[test]
        fn what_was_cut_or_changed_is_refused_or_harmless(
            cut in 0_usize..400,
            changes in prop::collection::vec((0_usize..400, any::<u8>()), 0..4),
        ) {
            let mut bytes = made(b"a module");
            for (at, byte) in changes {
                let at = bytes.len().saturating_sub(1 + at);
                bytes[at] = byte;
            }
            let _ = read(&file(&bytes[cut.min(bytes.len())..]));
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = read(&file(&bytes));
        }
    }
}
