//! Hashes this crate's sources and the compiler's version into `SOCKHOP_SCHEMA_HASH`.
//!
//! rkyv archives have no schema of their own: two processes may only exchange them when both were built
//! from the same definitions. The hash stands in every envelope, so that a mixed pair refuses each other
//! instead of misreading memory. Owns no fds.

use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

/// FNV-1a, 64 bit: a fixed function, unlike the standard library's hasher.
fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn sources(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=src");
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for path in sources(Path::new("src"))? {
        hash = fnv1a(hash, &fs::read(path)?);
    }
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = process::Command::new(rustc).arg("--version").output()?;
    hash = fnv1a(hash, &version.stdout);
    println!("cargo::rustc-env=SOCKHOP_SCHEMA_HASH={hash:016x}");
    Ok(())
}
