//! The interfaces that a worker provides, by name and version. Pure; owns no fds.
//!
//! Kept in step with the worker's linkers by hand, because the engine must not link them. A test
//! deploys guests that import all of them. Unstable interfaces (`wasi:clocks/timezone`) are not
//! provided.

use abi::function::Kind;

/// The only version of `wasi:config/store`. A pre-release is compatible only with itself.
const CONFIG: &str = "wasi:config/store@0.2.0-rc.1";

/// The only versions of `wasi:keyvalue`, which differ, and their interfaces.
const KEYVALUE: ([&str; 2], [&str; 3]) =
    (["0.2.0-draft", "0.2.0-draft2"], ["store", "atomics", "batch"]);

/// What programs written with Spin's SDK have for the same purpose.
const SPIN_KEY_VALUE: &str = "fermyon:spin/key-value@2.0.0";

/// Packages and interfaces of WASI 0.2.
const WASI_0_2: [(&str, &[&str]); 7] = [
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    ("wasi:clocks", &["monotonic-clock", "wall-clock"]),
    ("wasi:filesystem", &["preopens", "types"]),
    ("wasi:http", &["outgoing-handler", "types"]),
    ("wasi:io", &["error", "poll", "streams"]),
    ("wasi:random", &["insecure", "insecure-seed", "random"]),
    (
        "wasi:sockets",
        &[
            "instance-network",
            "ip-name-lookup",
            "network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
    ),
];

/// Packages and interfaces of WASI 0.3.
const WASI_0_3: [(&str, &[&str]); 6] = [
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
            "types",
        ],
    ),
    ("wasi:clocks", &["monotonic-clock", "system-clock", "types"]),
    ("wasi:filesystem", &["preopens", "types"]),
    ("wasi:http", &["client", "types"]),
    ("wasi:random", &["insecure", "insecure-seed", "random"]),
    ("wasi:sockets", &["ip-name-lookup", "types"]),
];

/// Returns whether a worker provides `import` for a function of `kind`.
pub(super) fn has(kind: Kind, import: &str) -> bool {
    let Some((interface, version)) = import.split_once('@') else { return false };
    let Some((package, interface)) = interface.split_once('/') else { return false };
    let in_table = |table: &[(&str, &[&str])]| {
        table.iter().any(|(known, interfaces)| *known == package && interfaces.contains(&interface))
    };
    [CONFIG, SPIN_KEY_VALUE].contains(&import)
        || (package == "wasi:keyvalue"
            && KEYVALUE.0.contains(&version)
            && KEYVALUE.1.contains(&interface))
        || (is_of("0.2.", version) && in_table(&WASI_0_2))
        || (kind == Kind::Http03 && is_of("0.3.", version) && in_table(&WASI_0_3))
}

/// Returns whether `version` is a release of `track` ("0.2."). Each is compatible with the
/// worker's: wasmtime's linker matches them by semver, and pre-releases only with themselves.
pub(super) fn is_of(track: &str, version: &str) -> bool {
    version
        .strip_prefix(track)
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn imports_are_those_of_wasi_0_2() {
        for import in [
            "wasi:io/streams@0.2.0",
            "wasi:http/types@0.2.12",
            "wasi:cli/environment@0.2.3",
            CONFIG,
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi:keyvalue/atomics@0.2.0-draft2",
            SPIN_KEY_VALUE,
        ] {
            assert!(
                has(Kind::Http02, import)
                    && has(Kind::Command, import)
                    && has(Kind::Http03, import),
                "{import}"
            );
        }
        for import in [
            "wasi:keyvalue/store@0.2.0",
            "wasi:keyvalue/store@0.2.0-draft3",
            "wasi:keyvalue/watcher@0.2.0-draft2",
            "wasi:io/streams@0.3.0",
            "wasi:io/streams",
            "env",
            "wasi:io/poll@0.2.0-rc",
            "wasi:io/x@0.2.0",
            "wasi:http/incoming-handler@0.2.0",
            "wasi:clocks/timezone@0.2.3",
            "wasi:config/store@0.2.0-draft",
        ] {
            assert!(!has(Kind::Http02, import), "{import}");
        }
    }

    #[test]
    fn only_a_component_of_0_3_has_its_imports() {
        for import in
            ["wasi:http/client@0.3.0", "wasi:clocks/system-clock@0.3.1", "wasi:cli/types@0.3.0"]
        {
            assert!(has(Kind::Http03, import), "{import}");
            assert!(!has(Kind::Http02, import) && !has(Kind::Command, import), "{import}");
        }
        assert!(!has(Kind::Http03, "wasi:http/client@0.3.0-rc-2026-01-06"));
        assert!(!has(Kind::Http03, "wasi:http/handler@0.3.0"));
    }

    proptest! {
        #[test]
        fn any_name_is_survived(import in ".{0,80}") {
            let _ = has(Kind::Http03, &import);
        }
    }
}
