//! The folder of modules: files whose names say what they were made of and what is in them, and the
//! folders of native functions.
//!
//! `KEY-DIGEST-LENGTH.cwasm`: the key of the compilation and the SHA-256 of the file, in
//! hexadecimal digits, and how many bytes it has. A file comes whole, by a rename, so there is no
//! index beside it that could contradict it, nor one that every compilation would write again; and
//! what another build of the node compiled is found for as long as its key is the same.
//!
//! `KEY.files` is a folder with what the artefact of a native function was unpacked to, and
//! `KEY-LENGTH.site` is the file from which workers serve a static site. They come whole as well, and
//! nothing is ever written over them. Owns no fds beyond a call.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use abi::message::Digest;
use sha2::{Digest as _, Sha256};

use host::files::{self, Temporary, TemporaryFolder, hex, unhex};

const EXTENSION: &str = "cwasm";
const FOLDER_EXTENSION: &str = "files";
const SITE_EXTENSION: &str = "site";
/// The most digits of a length, which are enough for the largest module.
const LENGTH_DIGITS_MAX: usize = 12;
/// A file of earlier builds, whose modules had only their keys as names.
const FORMER_INDEX: &str = "index";

/// A module in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Module {
    /// A compiled module.
    File { digest: Digest, bytes: u64 },
    /// The files of a native function.
    Folder,
    /// A static site. It is too large to be read whole each time that it is opened.
    Site { bytes: u64 },
}

impl Module {
    /// Returns whether this is what `metadata` is of. Bytes are checked when they are read.
    fn is(self, metadata: &std::fs::Metadata) -> bool {
        match self {
            Self::File { bytes, .. } | Self::Site { bytes } => {
                metadata.is_file() && metadata.len() == bytes
            }
            Self::Folder => metadata.is_dir(),
        }
    }
}

/// The modules of a node, by key.
#[derive(Debug)]
pub(super) struct Modules {
    folder: PathBuf,
    found: Mutex<HashMap<Digest, Module>>,
    /// Files of an earlier build, and files that were cut short. They stay until it is certain that
    /// this build serves.
    useless: Mutex<Vec<PathBuf>>,
}

impl Modules {
    /// Reads which modules are in `folder`, and creates that if it is missing. Removes nothing:
    /// another engine may still use the files.
    ///
    /// # Errors
    /// When the folder cannot be created or read.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        files::create_folder(&folder)?;
        let (mut found, mut useless) = (HashMap::new(), Vec::new());
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            // A file that has gone meanwhile was removed by another engine.
            let Ok(metadata) = entry.metadata() else { continue };
            match parse(&entry.path()) {
                Name::Module(key, module) if module.is(&metadata) => {
                    if let Some(other) = found.insert(key, module) {
                        // Two files have one key: a node was killed after it added the later one
                        // and before it removed the earlier one.
                        useless.push(path(&folder, &key, other));
                    }
                }
                Name::Module(..) | Name::Former => useless.push(entry.path()),
                Name::Other => {}
            }
        }
        Ok(Self { folder, found: Mutex::new(found), useless: Mutex::new(useless) })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the length of the module under `key`, which is 0 of a folder. Returns `None` if it is
    /// missing, or has another length than it was written with.
    pub(super) fn bytes(&self, key: &Digest) -> Option<u64> {
        let module = *self.lock().get(key)?;
        let metadata = std::fs::metadata(path(&self.folder, key, module)).ok()?;
        let bytes = if let Module::File { bytes, .. } = module { bytes } else { 0 };
        module.is(&metadata).then_some(bytes)
    }

    /// Returns where the module under `key` is, for messages.
    pub(super) fn path(&self, key: &Digest) -> PathBuf {
        let found = self.lock().get(key).copied();
        let unnamed = || self.folder.join(format!("{}.{EXTENSION}", hex(key)));
        found.map_or_else(unnamed, |module| path(&self.folder, key, module))
    }

    /// Renames `file` to the module under `key`, and removes the one before.
    ///
    /// # Errors
    /// When the file cannot be renamed or synced.
    pub(super) fn put(
        &self,
        key: &Digest,
        digest: Digest,
        bytes: u64,
        file: Temporary,
    ) -> io::Result<()> {
        let module = Module::File { digest, bytes };
        file.become_file(&path(&self.folder, key, module))?;
        let before = self.lock().insert(*key, module);
        if let Some(before) = before.filter(|before| *before != module) {
            remove(&path(&self.folder, key, before));
        }
        Ok(())
    }

    /// Renames `folder` to the module under `key`. One that is there already stays.
    ///
    /// # Errors
    /// When the folder cannot be renamed or synced.
    pub(super) fn put_folder(&self, key: &Digest, folder: TemporaryFolder) -> io::Result<()> {
        let to = path(&self.folder, key, Module::Folder);
        // Another engine, which is taken over from or takes over, may have unpacked the same.
        if !to.is_dir() {
            folder.become_folder(&to)?;
        }
        self.lock().insert(*key, Module::Folder);
        Ok(())
    }

    /// Renames `made` to the static site under `key`. One that is there already stays.
    ///
    /// # Errors
    /// When the file cannot be renamed or synced.
    pub(super) fn put_site(&self, key: &Digest, made: Temporary) -> io::Result<()> {
        let module = Module::Site { bytes: std::fs::metadata(made.path())?.len() };
        let to = path(&self.folder, key, module);
        // Another engine, which is taken over from or takes over, may have made the same.
        if !std::fs::metadata(&to).is_ok_and(|there| module.is(&there)) {
            made.become_file(&to)?;
        }
        self.lock().insert(*key, module);
        Ok(())
    }

    /// Opens the module under `key` for reading, if that is a folder or a static site. Returns
    /// `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be opened, or was cut short.
    pub(super) fn open_files(&self, key: &Digest) -> io::Result<Option<OwnedFd>> {
        let module = match self.lock().get(key) {
            Some(module @ (Module::Folder | Module::Site { .. })) => *module,
            _ => return Ok(None),
        };
        let opened = File::open(path(&self.folder, key, module))?;
        match module.is(&opened.metadata()?) {
            true => Ok(Some(opened.into())),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "it was cut short")),
        }
    }

    /// Reads the module under `key`. Returns `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was compiled.
    pub(super) fn read(&self, key: &Digest) -> io::Result<Option<Vec<u8>>> {
        let Some(module @ Module::File { digest, .. }) = self.lock().get(key).copied() else {
            return Ok(None);
        };
        let bytes = std::fs::read(path(&self.folder, key, module))?;
        if Digest::from(Sha256::digest(&bytes)) != digest {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not what was compiled"));
        }
        Ok(Some(bytes))
    }

    /// Removes the module under `key`.
    pub(super) fn remove(&self, key: &Digest) {
        if let Some(module) = self.lock().remove(key) {
            remove(&path(&self.folder, key, module));
        }
    }

    /// Removes all modules that are not `kept`, and the useless files.
    pub(super) fn retain(&self, kept: impl Fn(&Digest) -> bool) {
        let useless =
            std::mem::take(&mut *self.useless.lock().unwrap_or_else(PoisonError::into_inner));
        // A module that was cut short may have been compiled again under the same name.
        let found: HashSet<PathBuf> =
            self.lock().iter().map(|(key, module)| path(&self.folder, key, *module)).collect();
        useless.iter().filter(|path| !found.contains(*path)).for_each(|path| remove(path));
        let gone: HashSet<Digest> = self.lock().keys().filter(|key| !kept(key)).copied().collect();
        gone.iter().for_each(|key| self.remove(key));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Module>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a file or folder. What cannot be removed is removed at another time.
fn remove(path: &Path) {
    let _ = if path.is_dir() { files::remove_folder(path) } else { std::fs::remove_file(path) };
}

/// What a file's name says.
enum Name {
    Module(Digest, Module),
    /// The file is of an earlier build, or was never finished, and useless.
    Former,
    Other,
}

fn parse(path: &Path) -> Name {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == FORMER_INDEX || name.starts_with(files::TEMPORARY_PREFIX) {
        return Name::Former;
    }
    let stem_before = |extension| name.strip_suffix(extension)?.strip_suffix('.');
    if let Some(stem) = stem_before(FOLDER_EXTENSION) {
        return unhex(stem).map_or(Name::Other, |key| Name::Module(key, Module::Folder));
    }
    if let Some(stem) = stem_before(SITE_EXTENSION) {
        let parts = stem.split_once('-');
        let site = parts.and_then(|(key, bytes)| Some((unhex(key)?, length(bytes)?)));
        return site.map_or(Name::Other, |(key, bytes)| Name::Module(key, Module::Site { bytes }));
    }
    let Some(stem) = stem_before(EXTENSION) else { return Name::Other };
    let mut parts = stem.split('-');
    match (
        parts.next().and_then(unhex),
        parts.next().and_then(unhex),
        parts.next().and_then(length),
        parts.next(),
    ) {
        (Some(key), Some(digest), Some(bytes), None) => {
            Name::Module(key, Module::File { digest, bytes })
        }
        (Some(_), None, None, None) if stem.len() == 2 * size_of::<Digest>() => Name::Former,
        _ => Name::Other,
    }
}

fn length(text: &str) -> Option<u64> {
    let fits = text.len() <= LENGTH_DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

fn path(folder: &Path, key: &Digest, module: Module) -> PathBuf {
    folder.join(match module {
        Module::File { digest, bytes } => {
            format!("{}-{}-{bytes}.{EXTENSION}", hex(key), hex(&digest))
        }
        Module::Folder => format!("{}.{FOLDER_EXTENSION}", hex(key)),
        Module::Site { bytes } => format!("{}-{bytes}.{SITE_EXTENSION}", hex(key)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(modules: &Modules, key: u8, code: &[u8]) -> PathBuf {
        let file = Temporary::new(&modules.folder).unwrap();
        std::fs::write(file.path(), code).unwrap();
        modules.put(&[key; 32], Sha256::digest(code).into(), code.len() as u64, file).unwrap();
        modules.path(&[key; 32])
    }

    #[test]
    fn what_was_put_is_found_again_by_whoever_opens_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let modules = Modules::open(folder.path().to_owned()).unwrap();
        let first = put(&modules, 1, b"one");
        let replaced = put(&modules, 2, b"two");
        put(&modules, 2, b"two again");
        assert!(first.exists() && !replaced.exists());
        let again = Modules::open(folder.path().to_owned()).unwrap();
        for modules in [&modules, &again] {
            assert_eq!(modules.read(&[1; 32]).unwrap().unwrap(), b"one");
            assert_eq!(modules.read(&[2; 32]).unwrap().unwrap(), b"two again");
            assert_eq!((modules.bytes(&[2; 32]), modules.bytes(&[3; 32])), (Some(9), None));
            assert!(modules.read(&[3; 32]).unwrap().is_none());
        }
        again.retain(|key| *key == [2; 32]);
        assert!(!first.exists() && again.read(&[1; 32]).unwrap().is_none());
    }

    #[test]
    fn what_is_damaged_or_cut_is_no_module() {
        let folder = tempfile::tempdir().unwrap();
        let modules = Modules::open(folder.path().to_owned()).unwrap();
        let path = put(&modules, 1, b"code");
        std::fs::write(&path, b"c0de").unwrap();
        assert_eq!(modules.read(&[1; 32]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        std::fs::write(&path, b"co").unwrap();
        assert_eq!(modules.bytes(&[1; 32]), None, "it is shorter than it was");
        let again = Modules::open(folder.path().to_owned()).unwrap();
        assert!(again.read(&[1; 32]).unwrap().is_none() && path.exists());
        put(&again, 1, b"code");
        again.retain(|_| true);
        assert_eq!(
            again.read(&[1; 32]).unwrap().unwrap(),
            b"code",
            "it has the name of what was cut short"
        );
    }

    #[test]
    fn a_folder_comes_whole_and_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let modules = Modules::open(folder.path().to_owned()).unwrap();
        let unpack = |text: &str| {
            let unpacked = TemporaryFolder::new(folder.path()).unwrap();
            std::fs::write(unpacked.path().join("bootstrap"), text).unwrap();
            modules.put_folder(&[1; 32], unpacked).unwrap();
        };
        unpack("first");
        unpack("second");
        let again = Modules::open(folder.path().to_owned()).unwrap();
        let path = again.path(&[1; 32]);
        assert_eq!(std::fs::read_to_string(path.join("bootstrap")).unwrap(), "first");
        assert_eq!(again.bytes(&[1; 32]), Some(0));
        assert!(again.open_files(&[1; 32]).unwrap().is_some());
        assert!(again.open_files(&[2; 32]).unwrap().is_none());
        assert!(again.read(&[1; 32]).unwrap().is_none(), "it is no file");
        again.retain(|_| false);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_site_is_opened_and_never_read_here() {
        let folder = tempfile::tempdir().unwrap();
        let modules = Modules::open(folder.path().to_owned()).unwrap();
        let made = Temporary::new(folder.path()).unwrap();
        std::fs::write(made.path(), "a site").unwrap();
        modules.put_site(&[1; 32], made).unwrap();
        let again = Modules::open(folder.path().to_owned()).unwrap();
        assert!(again.read(&[1; 32]).unwrap().is_none(), "it is no compiled module");
        let opened = again.open_files(&[1; 32]).unwrap().unwrap();
        assert_eq!(io::read_to_string(File::from(opened)).unwrap(), "a site");
        std::fs::write(again.path(&[1; 32]), "a").unwrap();
        assert_eq!(again.open_files(&[1; 32]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(again.bytes(&[1; 32]), None, "it is made again");
        again.retain(|_| false);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_of_no_use_goes_once_it_is_said_what_is_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let former = format!("{}.cwasm", "ab".repeat(32));
        let odd = [
            format!("{}-{}.cwasm", "ab".repeat(32), "xy".repeat(32)),
            "notes.txt".to_owned(),
            "cwasm".to_owned(),
        ];
        for name in odd.iter().map(String::as_str).chain(["index", &former]) {
            std::fs::write(at(name), b"x").unwrap();
        }
        let modules = Modules::open(folder.path().to_owned()).unwrap();
        assert!(
            at("index").exists() && at(&former).exists(),
            "an engine that is taken over from may need them"
        );
        modules.retain(|_| true);
        assert!(!at("index").exists() && !at(&former).exists());
        assert!(odd.iter().all(|name| at(name).exists()));
        assert!(modules.lock().is_empty());
    }
}
