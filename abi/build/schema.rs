//! The hash of everything that shapes an archive or shared memory: every file below this crate's
//! `src`, its `Cargo.toml` (rkyv's features), the versions of rkyv's crates in the lock file, and
//! the compiler's version. The build script and the crate's tests both have this file. Owns no fds
//! beyond a call.

use std::path::Path;
use std::{fs, io};

/// FNV-1a, 64 bit: a fixed function, unlike the standard library's hasher.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// The hash of the crate in the folder `of`, built by the versions in the file `lock` with a
/// compiler that says `compiler`.
///
/// # Errors
/// When a file cannot be read.
pub fn hash(of: &Path, lock: &Path, compiler: &[u8]) -> io::Result<u64> {
    let mut parts = Vec::new();
    collect(&of.join("src"), "src", &mut parts)?;
    parts.sort();
    parts.push(("Cargo.toml".to_owned(), fs::read(of.join("Cargo.toml"))?));
    parts.push(("Cargo.lock".to_owned(), rkyv_packages(&fs::read_to_string(lock)?).into_bytes()));
    parts.push(("compiler".to_owned(), compiler.to_vec()));
    Ok(parts.iter().fold(OFFSET, |hash, (name, contents)| {
        // The length keeps the end of one part from counting as the beginning of the next.
        let length = contents.len().to_string();
        [name.as_bytes(), b"\0", length.as_bytes(), b"\0", contents].into_iter().fold(hash, fnv1a)
    }))
}

fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// Every file below `folder` at any depth, by its path from there.
fn collect(folder: &Path, name: &str, files: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) =
            (entry.path(), format!("{name}/{}", entry.file_name().to_string_lossy()));
        match path.is_dir() {
            true => collect(&path, &name, files)?,
            false => files.push((name, fs::read(path)?)),
        }
    }
    Ok(())
}

/// What a lock file says of rkyv and of the crates that it is made of: rkyv_derive makes the
/// archived types, rend their numbers.
fn rkyv_packages(lock: &str) -> String {
    let is_ours = |package: &&str| {
        let name = package.lines().find_map(|line| line.strip_prefix("name = \""));
        name.is_some_and(|name| name.starts_with("rkyv") || name.starts_with("rend\""))
    };
    lock.split("[[package]]").filter(is_ours).collect()
}
