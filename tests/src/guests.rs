//! The guests (see `guests/`), by name, and hand-made files that only look like one.

use std::path::{Path, PathBuf};

/// Where the file of a guest is after its build: the scripts put all of them into one folder, whatever they are.
pub fn path(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/target/guests").join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is not there: run scripts/test, which builds it", path.display());
    path
}

/// A valid component (magic, version 13, layer 1) that imports and exports nothing.
pub const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A valid core module (magic, version 1) that exports nothing.
pub const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A core module with one function `run`, exported under a name that no WASI host calls.
pub const MODULE_WITHOUT_ENTRY: &[u8] = &[
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // magic, version 1
    0x01, 0x04, 0x01, 0x60, 0x00, 0x00, // types: () -> ()
    0x03, 0x02, 0x01, 0x00, // functions: one, of type 0
    0x07, 0x07, 0x01, 0x03, b'r', b'u', b'n', 0x00, 0x00, // exports: "run" is function 0
    0x0a, 0x04, 0x01, 0x02, 0x00, 0x0b, // code: an empty body
];
