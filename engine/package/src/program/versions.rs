//! Versions of a library's symbols: which are missing, and what helps. Pure; owns no fds.

use crate::machine::Machine;

/// A version that a library of this node does not have. The message is what follows the file's
/// name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// glibc is too old.
    #[error(
        "needs {wanted}, and this node's glibc has {newest}; build it static (`--target {}`), against an older glibc (`cargo lambda build`, or `cargo zigbuild --target {}{}`), or on an older distribution than the node's",
        machine.static_target(), machine.glibc_target(), release(newest)
    )]
    Glibc {
        /// What is missing.
        wanted: String,
        /// The newest that is there.
        newest: String,
        /// What the node is.
        machine: Machine,
    },
    /// libstdc++ is too old.
    #[error(
        "needs {wanted}, and {library} here has {newest}; link it with -static-libstdc++ -static-libgcc, bring its own {library} in the folder lib, or build it on an older distribution"
    )]
    Libstdcxx {
        /// What is missing.
        wanted: String,
        /// The library that lacks it.
        library: String,
        /// The newest that is there.
        newest: String,
    },
    /// Another library is too old, or too new.
    #[error(
        "needs {wanted} of {library}, and the one here has {newest}; bring the {library} that it was built with in the folder lib, or build it on an older distribution"
    )]
    Other {
        /// What is missing.
        wanted: String,
        /// The library that lacks it.
        library: String,
        /// The newest that is there.
        newest: String,
    },
}

/// Returns the newest of the versions that are `wanted` of a library and that it has not
/// `defined`. Returns `None` if it has all. A library without any versions is taken to have all,
/// as the loader does.
pub(super) fn missing<'a>(
    wanted: impl Iterator<Item = &'a str>,
    defined: &[String],
) -> Option<&'a str> {
    if defined.is_empty() {
        return None;
    }
    let missing = wanted.filter(|version| !defined.iter().any(|there| there == version));
    missing.max_by_key(|version| key(version))
}

/// Describes the version `wanted` that `library` does not have.
pub(super) fn describe(
    wanted: &str,
    library: &str,
    defined: &[String],
    machine: Machine,
) -> VersionError {
    let (prefix, _) = wanted.split_once('_').unwrap_or((wanted, ""));
    let of_prefix = |version: &&String| version.starts_with(&format!("{prefix}_"));
    let numbered = |version: &&String| !key(version).is_empty();
    let newest = defined.iter().filter(of_prefix).filter(numbered).max_by_key(|name| key(name));
    let newest = match newest {
        Some(newest) => format!("up to {newest}"),
        None => format!("no version {prefix}_*"),
    };
    // This one has no number: the loader of 2.36 was the first to understand DT_RELR.
    let wanted = match wanted {
        "GLIBC_ABI_DT_RELR" => "GLIBC_ABI_DT_RELR (glibc 2.36)".to_owned(),
        _ => wanted.to_owned(),
    };
    let library = library.to_owned();
    match prefix {
        "GLIBC" => VersionError::Glibc { wanted, newest, machine },
        "GLIBCXX" | "CXXABI" => VersionError::Libstdcxx { wanted, library, newest },
        _ => VersionError::Other { wanted, library, newest },
    }
}

/// Returns the numbers of a version such as `GLIBC_2.34`, to compare it by. Returns none if it has
/// no number behind its underscore.
fn key(version: &str) -> Vec<u64> {
    let numbers = version.split_once('_').map(|(_, numbers)| numbers).unwrap_or_default();
    numbers.split('.').map_while(|number| number.parse().ok()).collect()
}

/// Returns `.2.36` for `up to GLIBC_2.36`, as cargo-zigbuild takes it behind a target.
fn release(newest: &str) -> String {
    newest
        .split_once('_')
        .filter(|(_, number)| !number.contains('*'))
        .map_or_else(String::new, |(_, number)| format!(".{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_newest_missing_version_is_named() {
        let here = owned(&["GLIBC_2.2.5", "GLIBC_2.9", "GLIBC_2.36", "GLIBC_PRIVATE"]);
        let wanted = ["GLIBC_2.2.5", "GLIBC_2.38", "GLIBC_2.100", "GLIBC_2.39"];
        assert_eq!(missing(wanted.into_iter(), &here), Some("GLIBC_2.100"));
        assert_eq!(missing(["GLIBC_2.36"].into_iter(), &here), None);
        assert_eq!(missing(["GLIBC_2.36"].into_iter(), &[]), None);
        let text = describe("GLIBC_2.38", "libc.so.6", &here, Machine::X86_64).to_string();
        assert!(text.starts_with("needs GLIBC_2.38, and this node's glibc has up to GLIBC_2.36;"));
        assert!(text.contains("x86_64-unknown-linux-gnu.2.36`"), "{text}");
        let text = describe("GLIBC_ABI_DT_RELR", "libc.so.6", &here, Machine::X86_64).to_string();
        assert!(text.contains("(glibc 2.36)"), "{text}");
        let here = owned(&["GLIBCXX_3.4.9", "GLIBCXX_3.4.30"]);
        let text = describe("GLIBCXX_3.4.32", "libstdc++.so.6", &here, Machine::X86_64);
        assert!(text.to_string().contains("up to GLIBCXX_3.4.30; link it with -static-libstdc++"));
        let text = describe("OPENSSL_3.0.0", "libssl.so.3", &here, Machine::X86_64).to_string();
        assert!(text.contains("no version OPENSSL_*"), "{text}");
    }
}
