//! What a file is, by its first bytes. Owns no fds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::limits::quoted;

/// How many bytes [`sniff`] and the messages look at.
const FIRST_BYTES: usize = 512;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// A WebAssembly component or core module.
    Wasm,
    /// An ELF file, such as a Linux executable.
    Elf,
    /// A text whose first line names its interpreter (execve(2)).
    Script,
    /// A zip, an empty one included.
    Zip,
    /// Anything else.
    Other,
}

/// Returns what a file is that begins with `first_bytes`. Four bytes are enough.
#[must_use]
pub fn sniff(first_bytes: &[u8]) -> FileType {
    match first_bytes {
        [0, b'a', b's', b'm', ..] => FileType::Wasm,
        [0x7f, b'E', b'L', b'F', ..] => FileType::Elf,
        [b'#', b'!', ..] => FileType::Script,
        // A local file header, or the end record of a zip without entries (APPNOTE 4.3.7, 4.3.16).
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => FileType::Zip,
        _ => FileType::Other,
    }
}

/// Returns what a file is that this node does not run, in words, with what to do about it.
pub(crate) fn describe(first_bytes: &[u8]) -> String {
    let text = match first_bytes {
        [] => "empty",
        [0, b'a', b's', b'm', ..] => "WebAssembly, which needs no native kind: leave --kind out",
        [0x7f, b'E', b'L', b'F', ..] => "an ELF file",
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => "a zip",
        [0xef, 0xbb, 0xbf, b'#', b'!', ..] => {
            "a script behind a byte order mark, which Linux does not execute: save it as UTF-8 without one"
        }
        // 64 and 32 bits, in either order of bytes.
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xfe, 0xed, 0xfa, 0xcf | 0xce, ..] => {
            "a Mach-O executable, for macOS: build it for Linux, for example `GOOS=linux go build` or `cargo build --target x86_64-unknown-linux-musl`"
        }
        // A universal binary counts its architectures here, a Java class has its version.
        [0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, count, ..] if *count < 20 => {
            "a universal Mach-O executable, for macOS: build it for Linux"
        }
        [0xca, 0xfe, 0xba, 0xbe, ..] => {
            "a Java class, which has no interpreter of its own: add a script that starts with `#!/bin/sh` and runs java"
        }
        [b'M', b'Z', ..] => {
            "a Windows executable (PE): build it for Linux, for example `GOOS=linux go build` or `cargo build --target x86_64-unknown-linux-musl`"
        }
        [0x1f, 0x8b, ..] => "compressed with gzip: deploy a zip, or the folder itself",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "compressed with zstd: deploy a zip, or the folder itself",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            "compressed with xz: deploy a zip, or the folder itself"
        }
        _ if first_bytes.get(257..262) == Some(b"ustar") => {
            "a tar: deploy a zip, or the folder itself"
        }
        _ => return begins_with(first_bytes),
    };
    text.to_owned()
}

fn begins_with(first_bytes: &[u8]) -> String {
    let begins = String::from_utf8_lossy(first_bytes.get(..16).unwrap_or(first_bytes));
    format!(
        "neither an ELF executable nor a script whose first line names its interpreter, such as `#!/bin/sh` (it begins with {:?})",
        quoted(&begins)
    )
}

/// Reads the first bytes of a file, without moving where it is read.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn first_bytes(file: &File) -> io::Result<Vec<u8>> {
    let mut first_bytes = vec![0; FIRST_BYTES];
    let mut read = 0;
    while let Some(rest) = first_bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    first_bytes.truncate(read);
    Ok(first_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_are_told_by_their_first_bytes() {
        assert_eq!(sniff(b"\0asm\x01\0\0\0"), FileType::Wasm);
        assert_eq!(sniff(b"\x7fELF\x02\x01"), FileType::Elf);
        assert_eq!(sniff(b"#!/bin/sh\n"), FileType::Script);
        assert_eq!(sniff(b"PK\x03\x04"), FileType::Zip);
        assert_eq!(sniff(b"PK\x05\x06"), FileType::Zip);
        assert_eq!(sniff(b"PK\x07\x08"), FileType::Other);
        assert_eq!(sniff(b""), FileType::Other);
    }

    #[test]
    fn foreign_formats_are_named() {
        let mut tar = vec![b'x'; FIRST_BYTES];
        tar.splice(257..262, *b"ustar");
        for (bytes, word) in [
            (&b""[..], "empty"),
            (b"\0asm", "leave --kind out"),
            (b"\xcf\xfa\xed\xfe\x07", "Mach-O"),
            (b"\xca\xfe\xba\xbe\0\0\0\x02", "universal Mach-O"),
            (b"\xca\xfe\xba\xbe\0\0\0\x37", "Java class"),
            (b"MZ\x90", "Windows executable"),
            (b"\x1f\x8b\x08", "gzip"),
            (&tar, "a tar"),
            (b"\xef\xbb\xbf#!/bin/sh", "byte order mark"),
            (b"echo hello", "begins with \"echo hello\""),
        ] {
            assert!(describe(bytes).contains(word), "{}", describe(bytes));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_description(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(!describe(&bytes).is_empty());
            let _ = sniff(&bytes);
        }
    }
}
