//! `sockhop.toml`: which one belongs to what is deployed, and what it says. Owns no fds.
//!
//! A folder's is the one in it, which names the file to deploy as `source`. A file's is the nearest one in its folder or
//! above, as cargo and git look for theirs: a build puts the file far below. One that names another file as its `source`
//! is that file's, and says nothing of this one.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::options::Options;

const FILE: &str = "sockhop.toml";

/// What is to be deployed.
#[derive(Debug)]
pub(super) struct Project {
    /// The file with the function.
    pub(super) file: PathBuf,
    /// The `sockhop.toml` that was read.
    pub(super) read: Option<PathBuf>,
    /// What it says.
    pub(super) options: Options,
}

/// Why it is not known what to deploy, or how.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProjectError {
    #[error(
        "{folder:?} has no {FILE}; name the file: `sockhop deploy FILE.wasm`, or write a {FILE} there with the key \
         source = \"FILE.wasm\""
    )]
    NoProject { folder: PathBuf },
    #[error("{path:?} does not say what to deploy; write for example source = {example:?}, relative to it")]
    NoSource { path: PathBuf, example: &'static str },
    #[error("the file {file:?}, the source in {path:?}, does not exist; {next}")]
    Missing { file: PathBuf, path: PathBuf, next: String },
    #[error("{0:?} does not exist; expected a .wasm file, or a folder with a {FILE}")]
    NoFile(PathBuf),
    #[error("{path:?} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path:?} is not understood; expected the options of `sockhop deploy`, with _ for -: {source}")]
    Unknown { path: PathBuf, source: toml::de::Error },
    #[error("{path:?} has the key unset, which is for the command line: leave the option itself out")]
    Unset { path: PathBuf },
}

/// What `sockhop deploy` means with `given`, a file or folder, or without: then it is this folder.
pub(super) fn find(given: Option<&Path>) -> Result<Project, ProjectError> {
    let given = given.unwrap_or(Path::new("."));
    match std::fs::metadata(given) {
        Ok(meta) if meta.is_dir() => of_folder(given),
        Ok(_) => of_file(given),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ProjectError::NoFile(given.to_owned())),
        Err(source) => Err(ProjectError::Unreadable { path: given.to_owned(), source }),
    }
}

fn of_folder(folder: &Path) -> Result<Project, ProjectError> {
    let path = if folder == Path::new(".") { PathBuf::from(FILE) } else { folder.join(FILE) };
    let options = read(&path)?.ok_or_else(|| ProjectError::NoProject { folder: folder.to_owned() })?;
    let cargo = folder.join("Cargo.toml").exists();
    let Some(source) = &options.source else {
        let example = if cargo { "target/wasm32-wasip2/release/NAME.wasm" } else { "NAME.wasm" };
        return Err(ProjectError::NoSource { path, example });
    };
    let file = path.with_file_name(source);
    if !file.exists() {
        let next = match build_target(source) {
            Some(target) if cargo => {
                format!("build it first, for example with: cargo build --release --target {target}")
            }
            _ => "build it first, or mend the key source".to_owned(),
        };
        return Err(ProjectError::Missing { file, path, next });
    }
    Ok(Project { file, read: Some(path), options })
}

/// The target that cargo's path to a file names.
fn build_target(source: &Path) -> Option<&str> {
    source.iter().filter_map(|part| part.to_str()).find(|part| part.starts_with("wasm32-"))
}

fn of_file(file: &Path) -> Result<Project, ProjectError> {
    let unreadable = |source| ProjectError::Unreadable { path: file.to_owned(), source };
    let mut path = file.with_file_name(FILE);
    let mut read_there = read(&path)?;
    if read_there.is_none() {
        let whole = std::path::absolute(file).map_err(unreadable)?;
        for folder in whole.ancestors().skip(2) {
            path = folder.join(FILE);
            read_there = read(&path)?;
            if read_there.is_some() {
                break;
            }
        }
    }
    let own = |options: &Options| match &options.source {
        Some(source) => same(&path.with_file_name(source), file),
        None => true,
    };
    Ok(match read_there {
        Some(options) if own(&options) => Project { file: file.to_owned(), read: Some(path), options },
        _ => Project { file: file.to_owned(), read: None, options: Options::default() },
    })
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// None if there is no such file.
fn read(path: &Path) -> Result<Option<Options>, ProjectError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ProjectError::Unreadable { path: path.to_owned(), source }),
    };
    let options: Options =
        toml::from_str(&text).map_err(|source| ProjectError::Unknown { path: path.to_owned(), source })?;
    if !options.unset.is_empty() {
        return Err(ProjectError::Unset { path: path.to_owned() });
    }
    Ok(Some(options))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytesize::ByteSize;

    use super::*;

    #[test]
    fn a_files_project_is_beside_it_or_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let built = folder.path().join("target/wasm32-wasip2/release");
        fs::create_dir_all(&built).unwrap();
        let wasm = built.join("a.wasm");
        fs::write(&wasm, "").unwrap();
        let found = || find(Some(&wasm)).unwrap();
        assert_eq!(found().options, Options::default());
        let above = folder.path().join(FILE);
        fs::write(&above, "name = \"b\"\nmemory = \"32MiB\"\n[env]\nA = \"1\"\n").unwrap();
        assert_eq!((found().read, found().options.name.as_deref()), (Some(above.clone()), Some("b")));
        assert_eq!(found().options.memory, Some(ByteSize::mib(32)));
        fs::write(&above, "name = \"b\"\nsource = \"target/wasm32-wasip2/release/a.wasm\"\n").unwrap();
        assert_eq!(found().read, Some(above.clone()));
        fs::write(&above, "name = \"b\"\nsource = \"target/wasm32-wasip2/release/other.wasm\"\n").unwrap();
        assert_eq!((found().read, found().options), (None, Options::default()));
        let beside = built.join(FILE);
        fs::write(&beside, "").unwrap();
        assert_eq!(found().read, Some(beside));
    }

    #[test]
    fn a_folder_says_what_to_deploy() {
        let folder = tempfile::tempdir().unwrap();
        let why = || find(Some(folder.path())).unwrap_err().to_string();
        assert!(why().contains("has no sockhop.toml") && why().contains("source = "), "{}", why());
        let toml = folder.path().join(FILE);
        fs::write(&toml, "name = \"b\"\n").unwrap();
        assert!(why().contains("source = \"NAME.wasm\""), "{}", why());
        fs::write(&toml, "source = \"target/wasm32-wasip2/release/a.wasm\"\n").unwrap();
        assert!(why().contains("a.wasm") && why().contains("build it first"), "{}", why());
        fs::write(folder.path().join("Cargo.toml"), "").unwrap();
        assert!(why().contains("cargo build --release --target wasm32-wasip2"), "{}", why());
        fs::create_dir_all(folder.path().join("target/wasm32-wasip2/release")).unwrap();
        let wasm = folder.path().join("target/wasm32-wasip2/release/a.wasm");
        fs::write(&wasm, "").unwrap();
        assert_eq!(find(Some(folder.path())).unwrap().file, wasm);
    }

    #[test]
    fn mistakes_are_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "memroy = 3\n").unwrap();
        let error = find(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("memroy") && error.contains("expected"), "{error}");
        fs::write(folder.path().join(FILE), "unset = [\"memory\"]\n").unwrap();
        assert!(find(Some(folder.path())).unwrap_err().to_string().contains("unset"));
        let missing = folder.path().join("x.wasm");
        assert!(find(Some(&missing)).unwrap_err().to_string().contains("x.wasm"));
    }
}
