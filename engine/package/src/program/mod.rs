//! The program of a package: which file it is, and whether it runs on this node.
//!
//! [`find`] says which file, [`script`] and [`linkage`] whether what it needs is there. Owns no fds
//! longer than it takes to read a file.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use host::fault::Fault;

use crate::elf::{Elf, ElfError};
use crate::file_type::{FileType, describe, first_bytes, sniff};
use crate::inside::{Found, From, Inside};

mod find;
mod host_json;
mod linkage;
mod script;
mod versions;

pub use find::EntryError;
pub use host_json::HostJsonError;
pub use linkage::LinkageError;
pub use script::ScriptError;
pub use versions::VersionError;

/// How many scripts may be each other's interpreters (`fs/exec.c` of Linux).
const INTERPRETERS_MAX: usize = 4;

/// What a deployer says of a package.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The path of the executable in the folder, for the kind `server`.
    pub entry: Option<String>,
}

/// Why a package's program does not run here.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// There is none.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// `host.json` does not name one.
    #[error(transparent)]
    HostJson(#[from] HostJsonError),
    /// It is a file of another kind.
    #[error("{path:?} is {what}")]
    NotRunnable {
        /// Its path inside.
        path: String,
        /// What it is.
        what: String,
    },
    /// It does not run as an ELF file.
    #[error("{path:?} {error}")]
    Elf {
        /// Its path inside.
        path: String,
        /// Why not.
        #[source]
        error: ElfError,
    },
    /// It needs what is not there.
    #[error("{path:?} {error}")]
    Linkage {
        /// Its path inside.
        path: String,
        /// What it needs.
        #[source]
        error: Box<LinkageError>,
    },
    /// It does not run as a script.
    #[error("{path:?} {error}")]
    Script {
        /// Its path inside.
        path: String,
        /// Why not.
        #[source]
        error: ScriptError,
    },
    /// It cannot be read, or made executable.
    #[error(
        "cannot read {path:?} of the unpacked package: {error}; look at the disk of the node's data folder"
    )]
    Io {
        /// Its path inside.
        path: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
}

impl ProgramError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Entry(_)
            | Self::HostJson(_)
            | Self::NotRunnable { .. }
            | Self::Linkage { .. }
            | Self::Script { .. } => Fault::UNFIT,
            Self::Elf { error: ElfError::Read(error), .. } | Self::Io { error, .. } => {
                Fault::of_file(error)
            }
            Self::Elf { .. } => Fault::UNFIT,
        }
    }
}

/// Finds the program of an unpacked package, checks that it runs here, and makes it executable.
/// Returns its path inside.
///
/// # Errors
/// [`ProgramError`] when there is none, or it does not run here.
pub(crate) fn find_and_check(
    inside: &Inside<'_>,
    wanted: &Wanted,
    notes: &mut Vec<String>,
) -> Result<String, ProgramError> {
    let program = find::find(inside, wanted)?;
    check(inside, &program, notes)?;
    notes.extend(linkage::unreached(inside));
    Ok(program)
}

/// Checks a program and, where these come with the package, its interpreters.
fn check(inside: &Inside<'_>, program: &str, notes: &mut Vec<String>) -> Result<(), ProgramError> {
    let mut path = program.to_owned();
    for _ in 0..=INTERPRETERS_MAX {
        let of_io = |error| ProgramError::Io { path: path.clone(), error };
        let Some(found) = inside.find(&path) else {
            return Err(of_io(io::ErrorKind::NotFound.into()));
        };
        // What the host has is taken to run there.
        if found.from == From::Host {
            return Ok(());
        }
        let file = File::open(&found.path).map_err(of_io)?;
        make_executable(&found, &path, notes).map_err(of_io)?;
        let first_bytes = first_bytes(&file).map_err(of_io)?;
        match sniff(&first_bytes) {
            FileType::Elf => return check_elf(inside, &path, file),
            FileType::Script => {
                let interpreter = script::interpreter(inside, &first_bytes);
                path = interpreter
                    .map_err(|error| ProgramError::Script { path: path.clone(), error })?;
            }
            FileType::Wasm | FileType::Zip | FileType::Other => {
                return Err(ProgramError::NotRunnable { path, what: describe(&first_bytes) });
            }
        }
    }
    let error = ScriptError::TooManyInterpreters;
    Err(ProgramError::Script { path: program.to_owned(), error })
}

fn check_elf(inside: &Inside<'_>, path: &str, file: File) -> Result<(), ProgramError> {
    let of_elf = |error| ProgramError::Elf { path: path.to_owned(), error };
    let elf = Elf::read(file, inside.system.machine).map_err(of_elf)?;
    elf.check_program().map_err(of_elf)?;
    linkage::check(inside, path, elf)
        .map_err(|error| ProgramError::Linkage { path: path.to_owned(), error: Box::new(error) })
}

/// Sets the x bits of a file of the package, and says so.
fn make_executable(found: &Found, path: &str, notes: &mut Vec<String>) -> io::Result<()> {
    if !is_executable(&found.path)? {
        std::fs::set_permissions(&found.path, Permissions::from_mode(0o755))?;
        notes.push(format!("{path:?} had no x bit; it was set"));
    }
    Ok(())
}

fn is_executable(path: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o111 != 0)
}
