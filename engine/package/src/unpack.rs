//! From an artefact to the folder that a sandbox mounts, and the program in it.
//!
//! Owns the artefact's fd and those of the files that are being written. Links are made last, when
//! nothing is written any more. Nothing is synced: a folder that a crash has cut short is made
//! again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use host::fault::Fault;

use crate::NativeKind;
use crate::archive::{self, ArchiveError, Ranges};
use crate::file_type::{FileType, describe, first_bytes, sniff};
use crate::inside::{Inside, System};
use crate::limits::{Budget, SizeError};
use crate::program::{self, ProgramError, Wanted};
use crate::tree::{Node, Tree, TreeError};
use crate::writer::Writer;

/// What became of an artefact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The program's path inside the sandbox, such as `/var/task/bootstrap`.
    pub program: String,
    /// Sentences for the deployer: what was set right, and what may not work.
    pub notes: Vec<String>,
    /// How many files there are, links included.
    pub files: u64,
    /// How many bytes these have.
    pub bytes: u64,
}

/// Why an artefact cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is neither a program nor a zip.
    #[error("the file is {0}")]
    NotRunnable(String),
    /// A lone file cannot be of kind azure.
    #[error(
        "the file is a lone executable, and a function of kind azure is a folder with host.json and a folder with function.json for each function; deploy that folder"
    )]
    LoneAzure,
    /// The zip cannot be unpacked.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The zip's names do not fit together.
    #[error("the zip cannot be unpacked: {0}")]
    Tree(#[from] TreeError),
    /// The lone file is too large.
    #[error("the file is too large: {0}")]
    Size(SizeError),
    /// The package has no program that runs here.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The artefact cannot be read.
    #[error("cannot read the deployed file: {0}; look at the disk that it is on")]
    Read(#[source] io::Error),
    /// What is unpacked cannot be written.
    #[error("cannot unpack {path:?}: {error}; look at the disk of the node's data folder")]
    Write {
        /// The path inside.
        path: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
}

impl UnpackError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotRunnable(_) | Self::LoneAzure | Self::Tree(_) | Self::Size(_) => Fault::UNFIT,
            Self::Archive(error) => error.fault(),
            Self::Program(error) => error.fault(),
            Self::Read(error) | Self::Write { error, .. } => Fault::of_file(error),
        }
    }
}

/// Unpacks the file `artefact` into the empty folder `into`, as `task` and perhaps `opt`, and finds
/// the program in it. Files are 0644 or 0755, folders 0755, whatever the zip and the umask say.
///
/// What it leaves in `into` when it fails is its caller's to remove. It blocks, and is best called
/// in a process with limits: no file is so small that it cannot keep a processor busy for a while.
///
/// # Errors
/// [`UnpackError`] when the artefact cannot be run on this node, or cannot be written.
pub fn unpack(
    artefact: &Path,
    kind: NativeKind,
    into: &Path,
    wanted: &Wanted,
) -> Result<Unpacked, UnpackError> {
    unpack_for(&System::here(), artefact, kind, into, wanted)
}

/// As [`unpack`], for the host `system`.
///
/// # Errors
/// [`UnpackError`].
pub(crate) fn unpack_for(
    system: &System,
    artefact: &Path,
    kind: NativeKind,
    into: &Path,
    wanted: &Wanted,
) -> Result<Unpacked, UnpackError> {
    let file = File::open(artefact).map_err(UnpackError::Read)?;
    let mut writer = Writer::open(into).map_err(|error| of_write("task", error))?;
    let first_bytes = first_bytes(&file).map_err(UnpackError::Read)?;
    let artefact_bytes = file.metadata().map_err(UnpackError::Read)?.len();
    let (files, bytes) = match (sniff(&first_bytes), kind) {
        (FileType::Zip, _) => unpack_zip(&file, artefact_bytes, &mut writer)?,
        (FileType::Elf | FileType::Script, NativeKind::Azure) => {
            return Err(UnpackError::LoneAzure);
        }
        (FileType::Elf | FileType::Script, NativeKind::Lambda) => {
            copy_lone(&file, "task/bootstrap", &mut writer)?
        }
        (FileType::Elf | FileType::Script, NativeKind::Server) => {
            copy_lone(&file, "task/server", &mut writer)?
        }
        (FileType::Wasm | FileType::Other, _) => {
            return Err(UnpackError::NotRunnable(describe(&first_bytes)));
        }
    };
    drop(writer);
    let inside = Inside { package: into, system, kind };
    let mut notes = Vec::new();
    let program = program::find_and_check(&inside, wanted, &mut notes)?;
    Ok(Unpacked { program, notes, files, bytes })
}

fn copy_lone(mut file: &File, path: &str, writer: &mut Writer) -> Result<(u64, u64), UnpackError> {
    let mut budget = Budget::new(u64::MAX);
    let mut made = writer.file(path, true).map_err(|error| of_write(path, error))?;
    match copy(&mut file, &mut made, &mut budget) {
        Ok(()) => Ok((1, budget.written())),
        Err(CopyError::Read(error)) => Err(UnpackError::Read(error)),
        Err(CopyError::Write(error)) => Err(of_write(path, error)),
        Err(CopyError::Size(error)) => Err(UnpackError::Size(error)),
    }
}

fn unpack_zip(
    mut file: &File,
    artefact_bytes: u64,
    writer: &mut Writer,
) -> Result<(u64, u64), UnpackError> {
    let (_, entries) = archive::read(file)?;
    let mut tree = Tree::default();
    for entry in &entries {
        tree.add(&entry.path, entry.node.clone())?;
    }
    let (mut budget, mut ranges, mut files) = (Budget::new(artefact_bytes), Ranges::default(), 0);
    writer.folder("task").map_err(|error| of_write("task", error))?;
    for entry in &entries {
        let path = &entry.path;
        // Links and empty folders are looked at, too: their headers may lie within one another.
        let mut contents = archive::contents(entry, &mut file, &mut ranges)?;
        match entry.node {
            Node::Folder => {
                writer.folder(path).map_err(|error| of_write(path, error))?;
            }
            Node::File { executable } => {
                files += 1;
                let made = writer.file(path, executable);
                let mut made = made.map_err(|error| of_write(path, error))?;
                copy(&mut contents, &mut made, &mut budget).map_err(|error| match error {
                    CopyError::Read(error) => ArchiveError::of_read(error).into(),
                    CopyError::Write(error) => of_write(path, error),
                    CopyError::Size(error) => ArchiveError::Size(error).into(),
                })?;
            }
            Node::Link { .. } => files += 1,
        }
    }
    for entry in &entries {
        if let Node::Link { target } = &entry.node {
            writer.link(&entry.path, target).map_err(|error| of_write(&entry.path, error))?;
        }
    }
    Ok((files, budget.written()))
}

fn of_write(path: &str, error: io::Error) -> UnpackError {
    UnpackError::Write { path: crate::layout::inside(path), error }
}

/// Why a copy has ended early: whose fault it is differs.
pub(crate) enum CopyError {
    Read(io::Error),
    Write(io::Error),
    Size(SizeError),
}

/// Copies all of `from`, as far as `budget` allows.
///
/// # Errors
/// [`CopyError`].
pub(crate) fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    budget: &mut Budget,
) -> Result<(), CopyError> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        budget.take(read as u64).map_err(CopyError::Size)?;
        to.write_all(buffer.get(..read).unwrap_or_default()).map_err(CopyError::Write)?;
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
