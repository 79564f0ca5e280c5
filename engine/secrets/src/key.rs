//! The node's key, which secrets are encrypted with, and its file.
//!
//! Without `--secrets-key` the file is `secrets.key` in the data folder, which is made with the
//! first secret. A file that others can read, or that holds no key, is refused and never replaced:
//! nobody can read what was encrypted with a lost key. Owns no fds beyond a call.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use chacha20poly1305::aead::Generate as _;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use host::files;
use host::private_file::{self, NotPrivate};

/// The name of the file in the data folder.
const FILE: &str = "secrets.key";
/// How many hexadecimal digits a key has.
const DIGITS: usize = 64;
/// The most bytes that are read of a key file.
const FILE_BYTES_MAX: u64 = 1024;

/// A key, and its id.
pub struct Key {
    pub(super) cipher: XChaCha20Poly1305,
    id: String,
    /// What other keys are derived from.
    root: Zeroizing<[u8; 32]>,
}

/// Shows the id only.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// Makes a key of its bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        let digest =
            |purpose: &[u8]| Sha256::new_with_prefix(purpose).chain_update(bytes).finalize();
        let root = Zeroizing::new(digest(b"sockhop root of derived keys\0").into());
        let id = hex::encode(&digest(b"sockhop key id\0")[..8]);
        Self { cipher: XChaCha20Poly1305::new(bytes.into()), id, root }
    }

    /// Returns another key, which is always the same for one `purpose`. Neither this key nor that of
    /// another purpose follows from it.
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let digest = Sha256::new_with_prefix(b"sockhop derived key\0").chain_update(*self.root);
        Zeroizing::new(digest.chain_update(purpose).finalize().into())
    }

    fn parse(text: &str) -> Option<Self> {
        // In place: a vector that grows would leave copies of the key behind in freed memory.
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim_ascii_end(), &mut *bytes).ok()?;
        Some(Self::new(&bytes))
    }

    /// Returns sixteen digits that identify the key and reveal nothing of it.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the key of secrets {path:?} cannot be {what}: {source}")]
    Io { path: PathBuf, what: &'static str, source: io::Error },
    #[error(
        "the key of secrets {path:?} is not {DIGITS} hexadecimal digits (the file has {bytes} bytes); put back the file that the secrets were set with, or for a new key: openssl rand -hex 32"
    )]
    Malformed { path: PathBuf, bytes: usize },
    #[error(
        "the key of secrets {path:?} can be read by others than its owner (mode {mode:03o}); run: chmod 600 {path:?}, and set the secrets anew under another key if somebody may have read it"
    )]
    Open { path: PathBuf, mode: u32 },
}

/// The file of a node's key, and the key once it was read or made.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    key: OnceLock<Key>,
    /// One at a time makes it.
    making: Mutex<()>,
    /// Whether `--secrets-key` names it: such a file is never made.
    chosen: bool,
}

impl KeyFile {
    /// Opens the key file of a node: the `chosen` one, which must exist, or the one in the data
    /// folder.
    ///
    /// # Errors
    /// [`KeyError`] when there is a file that cannot be used.
    pub fn open(chosen: Option<&Path>, data: &Path) -> Result<Self, KeyError> {
        let path = chosen.map_or_else(|| data.join(FILE), Path::to_owned);
        let (key, making) = (OnceLock::new(), Mutex::new(()));
        let file = Self { path, key, making, chosen: chosen.is_some() };
        match file.get() {
            Ok(None) if file.chosen => Err(file.failed("read")(io::ErrorKind::NotFound.into())),
            read => read.map(drop),
        }?;
        Ok(file)
    }

    /// Returns where the key is, or would be made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the key. Returns `None` if its file does not exist yet.
    ///
    /// # Errors
    /// [`KeyError`] when there is a file that cannot be used.
    pub fn get(&self) -> Result<Option<&Key>, KeyError> {
        if self.key.get().is_none()
            && let Some(key) = self.read()?
        {
            let _ = self.key.set(key);
        }
        Ok(self.key.get())
    }

    /// Returns the key, and makes one if there is none.
    ///
    /// # Errors
    /// [`KeyError`] when the file cannot be read or written.
    pub fn get_or_make(&self) -> Result<&Key, KeyError> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = self.get()? {
            return Ok(key);
        }
        let bytes =
            <[u8; 32]>::try_generate().map_err(io::Error::other).map_err(self.failed("made"))?;
        let bytes = Zeroizing::new(bytes);
        let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(*bytes))));
        files::write(&self.path, text.as_bytes()).map_err(self.failed("written"))?;
        tracing::info!(
            "a key for secrets was made: {:?}; without it nobody can read them, so keep a copy",
            self.path
        );
        Ok(self.key.get_or_init(|| Key::new(&bytes)))
    }

    fn read(&self) -> Result<Option<Key>, KeyError> {
        let failed = self.failed("read");
        let file = match private_file::open(&self.path) {
            Ok(file) => file,
            Err(NotPrivate::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(NotPrivate::Io(error)) => return Err(failed(error)),
            Err(NotPrivate::Open { mode }) => {
                return Err(KeyError::Open { path: self.path.clone(), mode: mode & 0o777 });
            }
        };
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(&failed)?;
        let key = std::str::from_utf8(&bytes).ok().and_then(Key::parse);
        key.map(Some)
            .ok_or_else(|| KeyError::Malformed { path: self.path.clone(), bytes: bytes.len() })
    }

    fn failed(&self, what: &'static str) -> impl Fn(io::Error) -> KeyError {
        let path = self.path.clone();
        move |source| KeyError::Io { path: path.clone(), what, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_is_made_once_is_private_and_stays() {
        let data = tempfile::tempdir().unwrap();
        let file = KeyFile::open(None, data.path()).unwrap();
        assert!(file.get().unwrap().is_none());
        let id = file.get_or_make().unwrap().id().to_owned();
        assert_eq!(file.path().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let again = KeyFile::open(None, data.path()).unwrap();
        assert_eq!(again.get().unwrap().unwrap().id(), id);
        assert_eq!(again.get_or_make().unwrap().id(), id);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(KeyFile::open(None, other.path()).unwrap().get_or_make().unwrap().id(), id);
    }

    #[test]
    fn a_key_is_seen_when_another_process_has_made_it() {
        let data = tempfile::tempdir().unwrap();
        let [first, second] = [(); 2].map(|()| KeyFile::open(None, data.path()).unwrap());
        let id = first.get_or_make().unwrap().id();
        assert_eq!(second.get_or_make().unwrap().id(), id);
    }

    #[test]
    fn a_file_that_is_no_key_or_not_private_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let open = || KeyFile::open(Some(&path), folder.path());
        assert!(matches!(open(), Err(KeyError::Io { what: "read", .. })));
        let good = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
        for (text, mode) in
            [(good.to_owned(), 0o600), (format!("{good}\n"), 0o400), (format!("{good}\r\n"), 0o600)]
        {
            write(&path, &text, 0o600);
            write(&path, &text, mode);
            assert!(open().is_ok(), "{text:?}");
        }
        std::fs::remove_file(&path).unwrap();
        for text in [
            "",
            &good[1..],
            &format!("{good}0"),
            &format!("+{}", &good[1..]),
            &"é".repeat(32),
            &good.repeat(40),
        ] {
            write(&path, text, 0o600);
            assert!(matches!(open(), Err(KeyError::Malformed { .. })), "{text:?}");
        }
        for mode in [0o640, 0o604, 0o660] {
            write(&path, good, mode);
            assert!(matches!(open(), Err(KeyError::Open { mode: found, .. }) if found == mode));
        }
    }
}
