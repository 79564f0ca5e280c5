//! How binaries were built, as far as they show it. Opens a binary for the length of one read only.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

/// The standard library's own checks: a program has their message if, and only if, it was built
/// with debug assertions.
const DEBUG_MARK: &[u8] = b"unsafe precondition(s) violated";

/// What `sockhop --version` says of itself, and only that, where it was built in the profile
/// `quick`.
const QUICK_MARK: &[u8] = b"quick build: not optimised";

/// A binary that is measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Binary {
    /// Where it is.
    pub path: PathBuf,
    /// How large; none where it cannot be read.
    pub bytes: Option<u64>,
    /// When it was last written, in UTC.
    pub modified: Option<String>,
    /// Whether it is a build of Rust's that checks itself, and so a slow one.
    pub debug: bool,
    /// Whether it says that it was not optimised.
    pub quick: bool,
}

impl Binary {
    /// Looks at it. What cannot be read is not known, and no error: the server that needs it will
    /// say why.
    pub fn look(path: &Path) -> Self {
        let content = fs::read(path).unwrap_or_default();
        let has = |mark: &[u8]| content.windows(mark.len()).any(|part| part == mark);
        let metadata = fs::metadata(path).ok();
        let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
        Self {
            path: path.to_owned(),
            bytes: metadata.map(|metadata| metadata.len()),
            modified: modified
                .map(|time: SystemTime| humantime::format_rfc3339_seconds(time).to_string()),
            debug: has(DEBUG_MARK),
            quick: has(QUICK_MARK),
        }
    }

    /// What is wrong with it.
    pub fn warning(&self) -> Option<String> {
        let kind = match (self.debug, self.quick) {
            (true, _) => "debug",
            (_, true) => "quick",
            _ => return None,
        };
        Some(format!(
            "{} is a {kind} build: its figures say nothing; build with --release",
            self.path.display()
        ))
    }
}

/// The harness itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Build {
    /// Cargo's.
    pub profile: &'static str,
    /// Given to the compiler beside the profile's.
    pub flags: &'static str,
    /// Whether it checks itself.
    pub debug: bool,
}

impl Build {
    /// Of this program.
    pub fn of_this() -> Self {
        Self {
            profile: env!("SOCKHOP_BENCH_PROFILE"),
            flags: env!("SOCKHOP_BENCH_FLAGS"),
            debug: cfg!(debug_assertions),
        }
    }

    /// What is wrong with it.
    pub fn warning(&self) -> Option<String> {
        self.debug.then(|| {
            "sockhop-bench is a debug build: the client is slow, and latencies are its own"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debug_build_is_known_by_its_checks() {
        let own = Binary::look(&std::env::current_exe().unwrap());
        assert!(own.bytes.unwrap() > 0 && own.modified.is_some());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs::write(&file, [b"\x7fELF ", DEBUG_MARK, b" etc."].concat()).unwrap();
        assert!(Binary::look(&file).warning().unwrap().contains("debug build"));
        fs::write(&file, b"\x7fELF").unwrap();
        assert_eq!(Binary::look(&file).warning(), None);
        assert_eq!(Binary::look(&folder.path().join("none")).bytes, None);
    }
}
