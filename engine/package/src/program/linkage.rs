//! Whether the loader finds what a dynamic executable needs: itself, libraries, their versions.
//!
//! Follows the order of ld.so(8): `DT_RPATH`, `LD_LIBRARY_PATH`, `DT_RUNPATH`, the loader's own
//! folders. Libraries of the package are looked into in turn; those of the host are taken to be
//! complete. What a program loads by itself later (dlopen(3)) is not known here; of libraries that
//! nothing links, [`unreached`] makes notes. Owns no fds longer than it takes to read a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;

use crate::elf::Elf;
use crate::inside::{Found, From, Inside, library_path};
use crate::limits::quoted;
use crate::machine::Machine;

use super::versions::{self, VersionError};

/// Most libraries of a package that are looked into.
const LIBRARIES_MAX: usize = 2000;
/// Most notes about libraries.
const NOTES_MAX: usize = 5;

/// What an executable needs and does not find. The message is what follows the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkageError {
    /// There is no musl.
    #[error(
        "is linked against musl dynamically (its loader is {loader:?}), which this node has not; build it static (`--target {}`, without `-C target-feature=-crt-static`) or for glibc (`--target {}`)",
        machine.static_target(), machine.glibc_target()
    )]
    Musl {
        /// The loader.
        loader: String,
        /// What the node is.
        machine: Machine,
    },
    /// There is no glibc.
    #[error(
        "is linked against glibc (its loader is {loader:?}), which this node has not; build it static: `--target {}`, or CGO_ENABLED=0 for Go", machine.static_target()
    )]
    Glibc {
        /// The loader.
        loader: String,
        /// What the node is.
        machine: Machine,
    },
    /// It was built by Nix.
    #[error(
        "has a loader of the Nix store ({0:?}), which a sandbox does not have; build it static (pkgsStatic), or set the usual loader with `patchelf --set-interpreter`"
    )]
    Nix(String),
    /// The loader is another one.
    #[error(
        "has the loader {0:?}, which is neither on this node nor in the package; build it static, or for this node's glibc"
    )]
    Loader(String),
    /// A library is not there.
    #[error(
        "needs the library {names}, which is neither in the package (its folder, lib, /opt/lib, or where its RUNPATH says) nor on this node; bring it in the folder lib, install it on the node, or build it static"
    )]
    Libraries {
        /// The libraries that are not there, one behind the other.
        names: String,
    },
    /// A library lacks a version.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// A library of the package lacks a version.
    #[error("loads {library:?} of the package, which {error}")]
    LibraryVersion {
        /// Which library.
        library: String,
        /// What it lacks.
        error: VersionError,
    },
}

/// Checks that the executable `elf` at `path` inside finds all that it needs.
///
/// # Errors
/// [`LinkageError`] when it does not.
pub(super) fn check(inside: &Inside<'_>, path: &str, elf: Elf) -> Result<(), LinkageError> {
    // A static one needs nothing.
    let Some(loader) = &elf.interpreter else { return Ok(()) };
    if !inside.find(loader).is_some_and(|found| found.path.is_file()) {
        return Err(loader_missing(loader, inside.system.machine));
    }
    let mut linker = Linker::new(inside, &elf.rpath, path);
    let mut missing = Vec::new();
    let mut queue = vec![Object { path: real_path(inside, path), elf: Rc::new(elf) }];
    let mut looked_into = 0;
    while let Some(object) = queue.pop() {
        looked_into += 1;
        for name in &object.elf.needed {
            if linker.loaded.contains_key(name) {
                continue;
            }
            match linker.load(name, &object) {
                Some(library) if library.from == From::Host => {}
                Some(library) => queue.push(library.object.clone()),
                None => missing.push(quoted(name)),
            }
        }
        if looked_into >= LIBRARIES_MAX {
            break;
        }
        if let Some(error) = linker.missing_version(&object) {
            return Err(match looked_into {
                1 => error.into(),
                _ => LinkageError::LibraryVersion { library: quoted(&object.path), error },
            });
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(LinkageError::Libraries { names: missing.join(", ") })
    }
}

/// Returns a note of each library of the package that wants versions that this node has not. Those
/// that the program links have been refused by [`check`]; whether others are loaded is not known.
pub(super) fn unreached(inside: &Inside<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    for (path, file) in libraries(inside) {
        let Ok(elf) = File::open(file)
            .map_err(|_| ())
            .and_then(|file| Elf::read(file, inside.system.machine).map_err(|_| ()))
        else {
            // For another machine, or only called like a library.
            continue;
        };
        let object = Object { path, elf: Rc::new(elf) };
        let mut linker = Linker::new(inside, &[], "/");
        for name in &object.elf.needed {
            linker.load(name, &object);
        }
        if let Some(error) = linker.missing_version(&object) {
            notes.push(format!("{:?} {error}; if the function loads it, that fails", object.path));
        }
        if notes.len() == NOTES_MAX {
            break;
        }
    }
    notes
}

fn loader_missing(loader: &str, machine: Machine) -> LinkageError {
    let name = loader.rsplit('/').next().unwrap_or(loader);
    let quoted = quoted(loader);
    if loader.starts_with("/nix/store/") {
        LinkageError::Nix(quoted)
    } else if name.starts_with("ld-musl-") {
        LinkageError::Musl { loader: quoted, machine }
    } else if name.starts_with("ld-linux") {
        LinkageError::Glibc { loader: quoted, machine }
    } else {
        LinkageError::Loader(quoted)
    }
}

/// An ELF file of the package or the host, with its path inside.
#[derive(Clone)]
struct Object {
    path: String,
    elf: Rc<Elf>,
}

#[derive(Clone)]
struct Library {
    object: Object,
    from: From,
}

/// Finds libraries as the loader does, each name once.
struct Linker<'a> {
    inside: &'a Inside<'a>,
    /// `DT_RPATH` of the executable, which holds for its libraries as well.
    rpath: Vec<String>,
    loaded: BTreeMap<String, Option<Library>>,
}

impl<'a> Linker<'a> {
    fn new(inside: &'a Inside<'a>, rpath: &[String], path: &str) -> Self {
        let rpath = expand(rpath, path);
        Self { inside, rpath, loaded: BTreeMap::new() }
    }

    /// Returns the library that `object` needs under `name`. Returns `None` if it is not there.
    fn load(&mut self, name: &str, object: &Object) -> Option<&Library> {
        if !self.loaded.contains_key(name) {
            let library = self.look_for(name, object);
            self.loaded.insert(name.to_owned(), library);
        }
        self.loaded.get(name)?.as_ref()
    }

    fn look_for(&self, name: &str, object: &Object) -> Option<Library> {
        if name.contains('/') {
            // Relative to the working directory.
            let path = if name.starts_with('/') { name.to_owned() } else { in_task(name) };
            return self.open(&path);
        }
        let mut folders = expand(&object.elf.rpath, &object.path);
        if object.elf.runpath.is_empty() {
            folders.extend(self.rpath.iter().cloned());
        }
        folders.extend(library_path(self.inside.kind).split(':').map(str::to_owned));
        folders.extend(expand(&object.elf.runpath, &object.path));
        folders.extend(self.inside.system.library_folders.iter().cloned());
        folders.iter().find_map(|folder| self.open(&format!("{folder}/{name}")))
    }

    /// Opens a library. Returns `None` if it is not there or for another machine: the loader
    /// passes over these.
    fn open(&self, path: &str) -> Option<Library> {
        let Found { path: file, from } = self.inside.find(path)?;
        let file = file.is_file().then(|| File::open(&file).ok()).flatten()?;
        let elf = Elf::read(file, self.inside.system.machine).ok()?;
        Some(Library { object: Object { path: path.to_owned(), elf: Rc::new(elf) }, from })
    }

    /// Returns the version that a library does not have for `object`. Returns `None` if all are
    /// there.
    fn missing_version(&self, object: &Object) -> Option<VersionError> {
        let wanted = &object.elf.wanted;
        let mut libraries: Vec<&str> = wanted.iter().map(|wanted| &*wanted.library).collect();
        libraries.sort_unstable();
        libraries.dedup();
        libraries.into_iter().find_map(|name| {
            let library = self.loaded.get(name)?.as_ref()?;
            let defined = &library.object.elf.defined;
            let of_library = wanted.iter().filter(|wanted| wanted.library == name);
            let missing = versions::missing(of_library.map(|wanted| &*wanted.version), defined)?;
            Some(versions::describe(missing, name, defined, self.inside.system.machine))
        })
    }
}

/// Replaces `$ORIGIN` by the folder of the file at `path`. Leaves out what has other variables.
fn expand(folders: &[String], path: &str) -> Vec<String> {
    let origin = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let expanded =
        folders.iter().map(|folder| folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin));
    expanded.filter(|folder| !folder.contains('$')).collect()
}

fn in_task(relative: &str) -> String {
    format!("/var/task/{relative}")
}

/// Returns the path inside of the file that a link at `path` leads to, which is what `$ORIGIN` of
/// an executable goes by.
fn real_path(inside: &Inside<'_>, path: &str) -> String {
    let real = || {
        let found = inside.find(path)?;
        let package = inside.package.canonicalize().ok()?;
        let relative = found.path.strip_prefix(package).ok()?.to_str()?;
        match relative.split_once('/')? {
            ("task", rest) => Some(in_task(rest)),
            ("opt", rest) => Some(format!("/opt/{rest}")),
            _ => None,
        }
    };
    real().unwrap_or_else(|| path.to_owned())
}

/// Returns the files of the package that are called like libraries, with their paths inside.
fn libraries(inside: &Inside<'_>) -> Vec<(String, PathBuf)> {
    let mut folders = vec![
        ("/opt".to_owned(), inside.package.join("opt")),
        ("/var/task".to_owned(), inside.package.join("task")),
    ];
    let mut libraries = Vec::new();
    while let Some((path, folder)) = folders.pop() {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{path}/{name}");
            match entry.file_type() {
                Ok(of) if of.is_dir() => folders.push((path, entry.path())),
                Ok(of) if of.is_file() && (name.ends_with(".so") || name.contains(".so.")) => {
                    libraries.push((path, entry.path()));
                }
                _ => {}
            }
            if libraries.len() == LIBRARIES_MAX {
                return libraries;
            }
        }
    }
    libraries
}

#[cfg(test)]
#[path = "linkage_tests.rs"]
mod tests;
