//! Which file of a package is its program. Owns no fds longer than it takes to read a file's first
//! bytes.

use std::fs::File;
use std::path::Path;

use crate::NativeKind;
use crate::elf::Elf;
use crate::entry_name::normalise;
use crate::file_type::{FileType, first_bytes, sniff};
use crate::inside::Inside;
use crate::limits::quoted;

use super::{HostJsonError, ProgramError, Wanted, host_json, is_executable};

/// How many names a message lists.
const NAMES_MAX: usize = 10;

/// Why a package has no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The folder itself was zipped.
    #[error(
        "the package has no {file} at its top, because all of it is in the folder {folder:?}; zip the contents of {folder:?}, not the folder itself: `cd {folder} && zip -r ../function.zip .`"
    )]
    FolderZipped {
        /// What is missing.
        file: String,
        /// The one folder at the top.
        folder: String,
    },
    /// There is no `bootstrap`, and one program of another name.
    #[error(
        "the package has no file bootstrap at its top, and has the executable {0:?}; a function of kind lambda is started by its bootstrap: rename {0:?} to bootstrap"
    )]
    OtherName(String),
    /// There is no `bootstrap`.
    #[error(
        "the package has no file bootstrap, neither at its top nor at the top of a layer (it has {0}); a function of kind lambda is started by its bootstrap: add the executable or script under that name"
    )]
    NoBootstrap(String),
    /// There is no program for a server, or it is not clear which.
    #[error(
        "the package has no file server, and {}; name the executable with --entry PATH, or with `entry` in sockhop.toml",
        match candidates.as_str() { "" => "no other executable at its top".to_owned(), some => format!("several executables at its top: {some}") }
    )]
    NoServer {
        /// The executables that there are, one behind the other.
        candidates: String,
    },
    /// What was named is not there.
    #[error(
        "the package has no file {entry:?}, which was named as its entry (at its top it has {names}); the path is relative to the folder"
    )]
    NoSuchEntry {
        /// What was named.
        entry: String,
        /// What there is.
        names: String,
    },
    /// An entry was named for a kind that has a fixed one.
    #[error(
        "an entry ({0:?}) can be named for a function of kind server alone; a lambda starts its bootstrap, an azure function what host.json names"
    )]
    EntryOfOtherKind(String),
}

/// Returns the path inside of the program that a package of `inside.kind` starts.
///
/// # Errors
/// [`EntryError`] or [`HostJsonError`], which say what was looked for.
pub(super) fn find(inside: &Inside<'_>, wanted: &Wanted) -> Result<String, ProgramError> {
    let named = wanted.entry.as_deref();
    match (inside.kind, named) {
        (NativeKind::Lambda | NativeKind::Azure, Some(entry)) => {
            Err(EntryError::EntryOfOtherKind(quoted(entry)).into())
        }
        (NativeKind::Lambda, None) => Ok(bootstrap(inside)?),
        (NativeKind::Server, Some(entry)) => Ok(named_entry(inside, entry)?),
        (NativeKind::Server, None) => Ok(server(inside)?),
        (NativeKind::Azure, None) => match host_json::find(inside) {
            Err(HostJsonError::Missing) => {
                folder_zipped(inside, "host.json").map_or(Ok(()), Err)?;
                Err(HostJsonError::Missing.into())
            }
            found => Ok(found?),
        },
    }
}

fn bootstrap(inside: &Inside<'_>) -> Result<String, EntryError> {
    let paths = ["/var/task/bootstrap", "/opt/bootstrap"];
    if let Some(path) = paths.into_iter().find(|path| is_file(inside, path)) {
        return Ok(path.to_owned());
    }
    folder_zipped(inside, "bootstrap").map_or(Ok(()), Err)?;
    Err(match candidates(inside).as_slice() {
        [one] => EntryError::OtherName(one.clone()),
        _ => EntryError::NoBootstrap(listed(names(inside))),
    })
}

fn named_entry(inside: &Inside<'_>, entry: &str) -> Result<String, EntryError> {
    let path = normalise(entry).map(|path| format!("/var/task/{path}"));
    match path {
        Ok(path) if is_file(inside, &path) => Ok(path),
        _ => Err(EntryError::NoSuchEntry { entry: quoted(entry), names: listed(names(inside)) }),
    }
}

fn server(inside: &Inside<'_>) -> Result<String, EntryError> {
    if is_file(inside, "/var/task/server") {
        return Ok("/var/task/server".to_owned());
    }
    let candidates = candidates(inside);
    if let [one] = candidates.as_slice() {
        return Ok(format!("/var/task/{one}"));
    }
    folder_zipped(inside, "executable").map_or(Ok(()), Err)?;
    let candidates = if candidates.is_empty() { String::new() } else { listed(candidates) };
    Err(EntryError::NoServer { candidates })
}

fn is_file(inside: &Inside<'_>, path: &str) -> bool {
    inside.find(path).is_some_and(|found| found.path.is_file())
}

/// Returns the error that the folder itself was zipped, if there is one folder at the top and
/// nothing else but what tools leave there.
fn folder_zipped(inside: &Inside<'_>, file: &str) -> Option<EntryError> {
    let names = names(inside);
    let [folder] = names.as_slice() else { return None };
    inside
        .package
        .join("task")
        .join(folder)
        .is_dir()
        .then(|| EntryError::FolderZipped { file: file.to_owned(), folder: folder.clone() })
}

/// Returns what is at the top of `/var/task`, sorted, without what macOS adds.
fn names(inside: &Inside<'_>) -> Vec<String> {
    let entries = std::fs::read_dir(inside.package.join("task")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !matches!(name.as_str(), "__MACOSX" | ".DS_Store"))
        .collect();
    names.sort();
    names
}

fn listed(names: Vec<String>) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    let mut listed: Vec<String> =
        names.iter().take(NAMES_MAX).map(|name| format!("{:?}", quoted(name))).collect();
    match (listed.is_empty(), more) {
        (true, _) => return "nothing".to_owned(),
        (_, 0) => {}
        (_, more) => listed.push(format!("{more} more")),
    }
    listed.join(", ")
}

/// Returns the programs at the top of `/var/task`: those with an x bit, or if none has one, those
/// that may be meant to have one, as zips made on Windows have no modes.
fn candidates(inside: &Inside<'_>) -> Vec<String> {
    let task = inside.package.join("task");
    let programs: Vec<String> =
        names(inside).into_iter().filter(|name| is_program(inside, &task.join(name))).collect();
    let (with_bit, without): (Vec<_>, Vec<_>) =
        programs.into_iter().partition(|name| is_executable(&task.join(name)).unwrap_or_default());
    if with_bit.is_empty() { without } else { with_bit }
}

fn is_program(inside: &Inside<'_>, path: &Path) -> bool {
    let file = || path.is_file().then(|| File::open(path).ok()).flatten();
    let Some(first_bytes) = file().and_then(|file| first_bytes(&file).ok()) else { return false };
    match sniff(&first_bytes) {
        FileType::Script => true,
        // One for another machine is a program all the same, and refused as such.
        FileType::Elf => file()
            .and_then(|file| Elf::read(file, inside.system.machine).ok())
            .is_none_or(|elf| elf.check_program().is_ok()),
        FileType::Wasm | FileType::Zip | FileType::Other => false,
    }
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
