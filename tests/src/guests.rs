//! The guests of `guests/` by name, and modules that are written by hand.

use std::path::{Path, PathBuf};

/// Returns the path of a guest, which the scripts have built.
pub fn path(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("guests/target/guests")
        .join(format!("{name}.wasm"));
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

/// Returns a core module of WASI preview 1 whose functions have these names. Each calls the next,
/// beginning with `_start`, and the last one traps.
#[must_use]
pub fn trapping(names: &[&str]) -> Vec<u8> {
    let count = u8::try_from(names.len()).expect("a few functions");
    let numbers = || 0..count;
    let mut module = EMPTY_MODULE.to_vec();
    let mut section = |id: u8, contents: Vec<u8>| {
        module.push(id);
        module.extend(with_length(&contents));
    };
    section(1, vec![1, 0x60, 0, 0]);
    section(3, std::iter::once(count).chain(numbers().map(|_| 0)).collect());
    section(5, vec![1, 0, 1]);
    section(
        7,
        [&[2][..], &with_length(b"_start"), &[0, 0], &with_length(b"memory"), &[2, 0]].concat(),
    );
    // No locals; `call` of the next one, or `unreachable`; `end`.
    let code = |at: u8| {
        if at + 1 < count { vec![4, 0, 0x10, at + 1, 0x0b] } else { vec![3, 0, 0x00, 0x0b] }
    };
    section(10, std::iter::once(count).chain(numbers().flat_map(code)).collect());
    let named = numbers()
        .zip(names)
        .flat_map(|(at, name)| [vec![at], with_length(name.as_bytes())].concat());
    let names: Vec<u8> = std::iter::once(count).chain(named).collect();
    section(0, [with_length(b"name"), vec![1], with_length(&names)].concat());
    module
}

/// Returns the length of `bytes`, as WebAssembly encodes it (LEB128), and `bytes` after it.
pub(crate) fn with_length(bytes: &[u8]) -> Vec<u8> {
    let (mut sized, mut left) = (Vec::new(), bytes.len());
    loop {
        let byte = u8::try_from(left % 128).expect("7 bits");
        left /= 128;
        sized.push(if left > 0 { byte | 128 } else { byte });
        if left == 0 {
            break;
        }
    }
    sized.extend_from_slice(bytes);
    sized
}
