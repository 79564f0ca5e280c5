//! Copies of a component or an executable that differ in bytes but not in behaviour: each component
//! has a custom section of its own, each executable some bytes behind its end, which no loader
//! reads. Owns the folder of the copies, which is removed on drop.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::server;

const MAGIC: &[u8] = b"\0asm";
/// How executables begin.
const MAGIC_OF_EXECUTABLES: &[u8] = b"\x7fELF";
/// The id of a custom section. It is allowed anywhere between sections, also at the end, in modules
/// and in components, and is ignored.
const CUSTOM_SECTION: u8 = 0;
const SECTION_NAME: &[u8] = b"sockhop-bench";

/// A copy cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The original cannot be read.
    #[error("cannot read {} ({source})", path.display())]
    Read {
        /// The component.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The original is neither. It may be text.
    #[error(
        "{} is no WebAssembly binary and no executable; if it is WebAssembly as text, `wasm-tools parse` makes a binary of it",
        path.display()
    )]
    NotBinary {
        /// The component.
        path: PathBuf,
    },
    /// The copy cannot be written.
    #[error("cannot write {} ({source}); is the temporary folder full?", path.display())]
    Write {
        /// The copy.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The folder cannot be made.
    #[error(transparent)]
    Scratch(#[from] server::ChildError),
}

/// Makes copies of a file.
#[derive(Debug)]
pub struct Copies {
    original: Vec<u8>,
    folder: TempDir,
}

impl Copies {
    /// Reads the original.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let original =
            fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        if ![MAGIC, MAGIC_OF_EXECUTABLES].iter().any(|magic| original.starts_with(magic)) {
            return Err(Error::NotBinary { path: path.to_owned() });
        }
        Ok(Self { original, folder: server::scratch("copies")? })
    }

    /// Returns the length of the original.
    pub fn original_bytes(&self) -> usize {
        self.original.len()
    }

    /// Writes a copy in place of the last one, whose bytes the server has already. Returns its
    /// path.
    pub fn make(&self, counter: u32) -> Result<PathBuf, Error> {
        let path = self.folder.path().join("copy.wasm");
        self.write(counter, &path)?;
        Ok(path)
    }

    /// Writes a copy to `path`.
    pub fn write(&self, counter: u32, path: &Path) -> Result<(), Error> {
        let difference = if self.original.starts_with(MAGIC) {
            section(counter)
        } else {
            counter.to_le_bytes().to_vec()
        };
        let bytes = [&*self.original, &difference].concat();
        fs::write(path, bytes).map_err(|source| Error::Write { path: path.to_owned(), source })
    }
}

/// Lengths stand in LEB128, where those below 128 are the byte itself; these are.
fn section(counter: u32) -> Vec<u8> {
    const NAME_LENGTH: u8 = SECTION_NAME.len().to_le_bytes()[0];
    const { assert!(SECTION_NAME.len() < 100, "its length and the section's are one byte each") };
    let mut section = vec![CUSTOM_SECTION, 1 + NAME_LENGTH + 4, NAME_LENGTH];
    section.extend_from_slice(SECTION_NAME);
    section.extend_from_slice(&counter.to_le_bytes());
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_s_lengths_add_up() {
        let section = section(0x0102_0304);
        assert_eq!(usize::from(section[1]), section.len() - 2);
        assert_eq!(&section[3..3 + usize::from(section[2])], SECTION_NAME);
        assert!(section.ends_with(&[4, 3, 2, 1]));
    }

    #[test]
    fn copies_differ_behind_the_original() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.wasm");
        fs::write(&file, b"\0asm\x0d\0\x01\0").unwrap();
        let copies = Copies::of(&file).unwrap();
        let [one, two] = [1, 2].map(|counter| fs::read(copies.make(counter).unwrap()).unwrap());
        assert!(one.starts_with(b"\0asm\x0d\0\x01\0") && two.starts_with(b"\0asm\x0d\0\x01\0"));
        assert_ne!(one, two);
        fs::write(&file, b"\x7fELF...").unwrap();
        let copies = Copies::of(&file).unwrap();
        let copy = fs::read(copies.make(7).unwrap()).unwrap();
        assert_eq!(copy, b"\x7fELF...\x07\0\0\0");
        fs::write(&file, b"(component)").unwrap();
        assert!(matches!(Copies::of(&file), Err(Error::NotBinary { .. })));
    }
}
