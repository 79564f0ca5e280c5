//! What `sockhop deploy` makes of a native function or a static site: of a folder a zip, and of what
//! is in it the kind. Owns no fds beyond a call.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use abi::function::FileKind;
use anyhow::Context as _;

/// The files by which a folder is a function by itself, and what it is then.
const MARKS: [(&str, FileKind); 4] = [
    ("host.json", FileKind::Azure),
    ("bootstrap", FileKind::Lambda),
    ("server", FileKind::Server),
    ("index.html", FileKind::Static),
];
/// Those of them that are a function without a folder.
const PROGRAMS: [FileKind; 2] = [FileKind::Lambda, FileKind::Server];

/// Returns whether a folder is a native function or a static site by itself.
pub(super) fn is_function(folder: &Path) -> bool {
    kind_of(folder).is_some()
}

/// Returns the kind of a native function or a static site by what it is called, or what the folder
/// has in it. Returns `None` if that says nothing.
pub(super) fn kind_of(path: &Path) -> Option<FileKind> {
    let is_marked = |(name, kind): &(&str, FileKind)| match path.is_dir() {
        true => path.join(name).is_file(),
        false => path.file_name().is_some_and(|own| own == *name) && PROGRAMS.contains(kind),
    };
    MARKS.into_iter().find(is_marked).map(|(_, kind)| kind)
}

/// Returns the artefact that is made of a file or folder, and prints what was left out.
///
/// # Errors
/// A sentence for the terminal.
pub(super) fn pack(
    path: &Path,
    layers: &[PathBuf],
    entry: Option<&Path>,
) -> anyhow::Result<Vec<u8>> {
    let mut file = tempfile::tempfile().context("no temporary file can be made")?;
    let packed = package::pack(path, layers, entry, &mut file)?;
    packed.notes.iter().for_each(|note| eprintln!("note: {note}"));
    read(path, file)
}

/// Returns the artefact that is made of a folder of files to be served. A file is one already.
///
/// # Errors
/// A sentence for the terminal.
pub(super) fn pack_site(path: &Path, is_single_page: bool) -> anyhow::Result<Vec<u8>> {
    if !path.is_dir() {
        anyhow::ensure!(!is_single_page, "--single-page is for a folder; {path:?} is a file");
        return read(path, File::open(path).with_context(|| format!("{path:?} cannot be read"))?);
    }
    let mut file = tempfile::tempfile().context("no temporary file can be made")?;
    package::pack_site(path, is_single_page, &mut file)?;
    read(path, file)
}

/// Returns the artefact that is made of a WebAssembly function and the folder of its assets.
///
/// # Errors
/// A sentence for the terminal.
pub(super) fn pack_with_assets(wasm: &[u8], folder: &Path) -> anyhow::Result<Vec<u8>> {
    let mut file = tempfile::tempfile().context("no temporary file can be made")?;
    package::pack_with_assets(wasm, folder, &mut file)?;
    read(folder, file)
}

fn read(path: &Path, mut file: File) -> anyhow::Result<Vec<u8>> {
    file.rewind()?;
    let (length, limit) = (file.metadata()?.len(), abi::limits::ARTEFACT_BYTES_MAX);
    anyhow::ensure!(
        length <= limit as u64,
        "{path:?} has {length} bytes as a zip; at most {limit} can be deployed"
    );
    let mut artefact = Vec::new();
    file.read_to_end(&mut artefact)?;
    Ok(artefact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_what_its_files_say() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(kind_of(folder.path()), None);
        std::fs::write(at("index.html"), "").unwrap();
        assert_eq!(kind_of(folder.path()), Some(FileKind::Static));
        assert_eq!(kind_of(&at("index.html")), None, "a site is a folder");
        std::fs::write(at("server"), "").unwrap();
        assert_eq!(kind_of(folder.path()), Some(FileKind::Server));
        std::fs::write(at("host.json"), "").unwrap();
        assert_eq!(kind_of(folder.path()), Some(FileKind::Azure));
        assert_eq!(kind_of(&at("server")), Some(FileKind::Server));
        assert_eq!(kind_of(&at("host.json")), None, "it is not the function");
        assert_eq!(kind_of(Path::new("bootstrap")), Some(FileKind::Lambda));
    }
}
