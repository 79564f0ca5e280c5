//! The proposals of WebAssembly that a file needs and this node does not support, for a message
//! that says more than an offset. Pure; owns no fds.

use abi::function::Kind;
use wasmparser::{Validator, WasmFeatures};

/// The proposals that wasmtime knows and this node does not support, by name.
const LACKING: [(&str, WasmFeatures); 13] = [
    ("legacy exception handling", WasmFeatures::LEGACY_EXCEPTIONS),
    ("threads", WasmFeatures::THREADS),
    ("shared-everything threads", WasmFeatures::SHARED_EVERYTHING_THREADS),
    ("stack switching", WasmFeatures::STACK_SWITCHING),
    ("wide arithmetic", WasmFeatures::WIDE_ARITHMETIC),
    ("custom page sizes", WasmFeatures::CUSTOM_PAGE_SIZES),
    ("the component model's 64-bit memories", WasmFeatures::CM64),
    ("the component model's garbage collection", WasmFeatures::CM_GC),
    ("the component model's threads", WasmFeatures::CM_THREADING),
    ("the component model's error contexts", WasmFeatures::CM_ERROR_CONTEXT),
    ("the component model's lists of fixed length", WasmFeatures::CM_FIXED_LENGTH_LISTS),
    ("the component model's maps", WasmFeatures::CM_MAP),
    ASYNC,
];
/// Components of WASI 0.3 may use this one.
const ASYNC: (&str, WasmFeatures) =
    ("the component model's async functions, outside of WASI 0.3", WasmFeatures::CM_ASYNC);

/// Returns the unsupported proposals that the file, which is of `kind`, needs. Returns none if it
/// is refused for another reason.
pub(super) fn lacking(bytes: &[u8], kind: Kind) -> Vec<&'static str> {
    let every = WasmFeatures::WASM3 | WasmFeatures::GC_TYPES | WasmFeatures::COMPONENT_MODEL;
    let every = LACKING.iter().fold(every, |every, (_, proposal)| every | *proposal);
    let is_valid = |features| Validator::new_with_features(features).validate_all(bytes).is_ok();
    if !is_valid(every) {
        return Vec::new();
    }
    LACKING
        .iter()
        .filter(|(name, proposal)| {
            (*name != ASYNC.0 || kind != Kind::Http03) && !is_valid(every - *proposal)
        })
        .map(|(name, _)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core module of these sections, each of fewer than 128 bytes.
    fn module(sections: &[(u8, &[u8])]) -> Vec<u8> {
        let section = |(id, content): &(u8, &[u8])| {
            [&[*id, u8::try_from(content.len()).unwrap()], *content].concat()
        };
        [b"\0asm\x01\0\0\0".to_vec(), sections.iter().flat_map(section).collect()].concat()
    }

    /// What is named is what the compiler refuses, and nothing is named that it takes.
    #[test]
    fn what_the_compiler_refuses_is_named() {
        const NOTHING: (u8, &[u8]) = (1, &[1, 0x60, 0, 0]);
        const WIDE: &[u8] =
            &[1, 14, 0, 0x20, 0, 0x20, 0, 0x20, 0, 0x20, 0, 0xfc, 0x13, 0x1a, 0x1a, 0x0b];
        // try, end, end.
        const TRY: &[u8] = &[1, 5, 0, 0x06, 0x40, 0x0b, 0x0b];
        for (what, sections, named) in [
            ("nothing", &[][..], &[][..]),
            ("a tail call", &[NOTHING, (3, &[1, 0]), (10, &[1, 4, 0, 0x12, 0, 0x0b])], &[]),
            ("two memories", &[(5, &[2, 0, 1, 0, 1])], &[]),
            ("two tables", &[(4, &[2, 0x70, 0, 1, 0x70, 0, 1])], &[]),
            ("a 64-bit memory", &[(5, &[1, 4, 1])], &[]),
            ("a typed function reference", &[(1, &[2, 0x60, 0, 0, 0x60, 1, 0x63, 0, 0])], &[]),
            ("a tag", &[NOTHING, (13, &[1, 0, 0])], &[]),
            ("a struct", &[(1, &[1, 0x5f, 0])], &[]),
            ("an externref", &[(1, &[1, 0x60, 1, 0x6f, 0])], &[]),
            (
                "a try of before",
                &[NOTHING, (3, &[1, 0]), (10, TRY)],
                &["legacy exception handling"],
            ),
            (
                "a shared memory and a page of one byte",
                &[(5, &[2, 3, 1, 1, 8, 1, 0])],
                &["threads", "custom page sizes"],
            ),
            ("a shared memory", &[(5, &[1, 3, 1, 1])], &["threads"]),
            ("a page of one byte", &[(5, &[1, 8, 1, 0])], &["custom page sizes"]),
            ("a continuation", &[(1, &[2, 0x60, 0, 0, 0x5d, 0])], &["stack switching"]),
            (
                "a sum of 128 bits",
                &[(1, &[1, 0x60, 1, 0x7e, 0]), (3, &[1, 0]), (10, WIDE)],
                &["wide arithmetic"],
            ),
        ] {
            let bytes = module(sections);
            assert_eq!(lacking(&bytes, Kind::Command), named, "{what}");
            let engine = wasmtime::Engine::new(&wasm_config::config_02()).unwrap();
            let compiled = engine.precompile_module(&bytes);
            assert_eq!(compiled.is_ok(), named.is_empty(), "{what}: {:?}", compiled.err());
        }
        assert!(
            lacking(&module(&[(5, &[1])]), Kind::Command).is_empty(),
            "damage needs no proposal"
        );
    }
}
