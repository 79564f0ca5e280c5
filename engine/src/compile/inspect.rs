//! What a deployed file is, read from its own imports and exports; what cannot run here is refused by name.
//!
//! Looks only at the outermost level, without compiling anything. Pure; owns no fds.

use wasmparser::{Encoding, Parser, Payload};

/// The kinds of function this node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A component that exports `wasi:http/incoming-handler@0.2`.
    Http,
}

/// Why a file cannot be deployed. Every message says what was expected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InspectError {
    #[error("the file is empty; expected a WebAssembly component")]
    Empty,
    #[error(
        "the file is not WebAssembly (it begins with {begins:?}); expected a component, for example from `cargo build --target wasm32-wasip2`"
    )]
    NotWasm { begins: String },
    #[error(
        "the file is a core WebAssembly module, not a component; build it for a component target, for example `cargo build --target wasm32-wasip2`"
    )]
    CoreModule,
    #[error("the component is damaged or cut off: {0}")]
    Damaged(String),
    #[error("the component exports {exports}; expected an export of wasi:http/incoming-handler@0.2")]
    OtherWorld { exports: String },
    #[error("the component exports wasi:http/incoming-handler@{version}; this node runs version 0.2")]
    OtherVersion { version: String },
    #[error(
        "the component imports {import:?}, which this node does not have; it has the interfaces of WASI 0.2 and wasi:http 0.2"
    )]
    Import { import: String },
}

/// Packages of WASI 0.2 whose interfaces every worker has.
const PACKAGES: [&str; 7] =
    ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:http", "wasi:io", "wasi:random", "wasi:sockets"];

const HANDLER: &str = "wasi:http/incoming-handler@";

/// Says which kind of function `bytes` are.
///
/// # Errors
/// [`InspectError`] when they are none that this node runs.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Kind, InspectError> {
    if bytes.is_empty() {
        return Err(InspectError::Empty);
    }
    if !bytes.starts_with(b"\0asm") {
        let begins = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
        return Err(InspectError::NotWasm { begins });
    }
    let damaged = |error: wasmparser::BinaryReaderError| InspectError::Damaged(error.to_string());
    let mut depth = 0_u32;
    let mut exports = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(damaged)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(InspectError::CoreModule),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    check_import(import.map_err(damaged)?.name.name)?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(damaged)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    match exports.iter().find_map(|export| export.strip_prefix(HANDLER)) {
        Some(version) if is_0_2(version) => Ok(Kind::Http),
        Some(version) => Err(InspectError::OtherVersion { version: version.to_owned() }),
        None => {
            let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
            Err(InspectError::OtherWorld { exports })
        }
    }
}

fn check_import(import: &str) -> Result<(), InspectError> {
    let known = import
        .split_once('/')
        .and_then(|(package, interface)| Some((package, interface.split_once('@')?.1)))
        .is_some_and(|(package, version)| PACKAGES.contains(&package) && is_0_2(version));
    if known { Ok(()) } else { Err(InspectError::Import { import: import.to_owned() }) }
}

/// A release of 0.2: each is compatible with the one the worker has (semver, wasmtime's linker matches them).
fn is_0_2(version: &str) -> bool {
    version.strip_prefix("0.2.").is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn why(bytes: &[u8]) -> String {
        inspect(bytes).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_component_is_told_so() {
        assert!(why(b"").contains("empty"));
        assert!(why(b"hello there, this is text").contains("not WebAssembly (it begins with \"hello there, thi\""));
        assert!(why(b"\0asm\x01\0\0\0").contains("core WebAssembly module"));
        assert!(why(&EMPTY_COMPONENT[..6]).contains("damaged"));
        assert!(why(EMPTY_COMPONENT).contains("exports nothing"));
    }

    #[test]
    fn imports_are_those_of_wasi_0_2() {
        for import in ["wasi:io/streams@0.2.0", "wasi:http/types@0.2.12", "wasi:cli/environment@0.2.3"] {
            assert!(check_import(import).is_ok(), "{import}");
        }
        for import in
            ["wasi:keyvalue/store@0.2.0", "wasi:io/streams@0.3.0", "wasi:io/streams", "env", "wasi:io/x@0.2.0-rc"]
        {
            assert!(check_import(import).is_err(), "{import}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(tail in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = inspect(&[EMPTY_COMPONENT, &tail].concat());
            let _ = inspect(&tail);
        }
    }
}
