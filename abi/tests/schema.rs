//! The schema's hash is another one after any change that two builds could misunderstand each other
//! by.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

#[path = "../build/schema.rs"]
mod schema;

use std::fs;
use std::path::{Path, PathBuf};

const LOCK: &str = "version = 4\n\n[[package]]\nname = \"rend\"\nversion = \"0.5.3\"\n\n[[package]]\nname = \"rkyv\"\n\
                    version = \"0.8.10\"\n\n[[package]]\nname = \"rkyv_derive\"\nversion = \"0.8.9\"\n\n[[package]]\n\
                    name = \"serde\"\nversion = \"1.0.1\"\n";

/// A crate like this one, in a temporary folder.
fn made() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("src/lib.rs", "a"),
        ("src/board.rs", "b"),
        ("src/board/slot.rs", "c"),
        ("src/board/deep/er.txt", "d"),
        ("Cargo.toml", "e"),
        ("Cargo.lock", LOCK),
    ] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn hash(folder: &Path) -> u64 {
    schema::hash(folder, &folder.join("Cargo.lock"), b"rustc 1").unwrap()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn any_file_at_any_depth_changes_it() {
    let before = hash(made().path());
    assert_eq!(before, hash(made().path()), "and nothing else does");
    for path in
        ["src/lib.rs", "src/board.rs", "src/board/slot.rs", "src/board/deep/er.txt", "Cargo.toml"]
    {
        let folder = made();
        fs::write(folder.path().join(path), "x").unwrap();
        assert_ne!(hash(folder.path()), before, "{path} was changed");
        fs::remove_file(folder.path().join(path)).unwrap();
        assert!(path == "Cargo.toml" || hash(folder.path()) != before, "{path} was removed");
    }
    let folder = made();
    fs::rename(folder.path().join("src/board/slot.rs"), folder.path().join("src/slot.rs")).unwrap();
    assert_ne!(hash(folder.path()), before, "a file was moved");
    let folder = made();
    fs::write(folder.path().join("src/board.rs"), "bc").unwrap();
    fs::write(folder.path().join("src/board/slot.rs"), "").unwrap();
    assert_ne!(hash(folder.path()), before, "contents went from one file to another");
}

#[test]
fn the_versions_of_rkyv_and_of_the_compiler_change_it_and_other_crates_do_not() {
    let folder = made();
    let before = hash(folder.path());
    for (from, to, changes) in [
        ("0.5.3", "0.5.4", true),
        ("0.8.10", "0.8.11", true),
        ("0.8.9", "0.8.8", true),
        ("1.0.1", "2", false),
    ] {
        fs::write(folder.path().join("Cargo.lock"), LOCK.replace(from, to)).unwrap();
        assert_eq!(hash(folder.path()) != before, changes, "{from} became {to}");
    }
    fs::write(folder.path().join("Cargo.lock"), LOCK).unwrap();
    assert_ne!(
        schema::hash(folder.path(), &folder.path().join("Cargo.lock"), b"rustc 2").unwrap(),
        before
    );
}

/// The one that this build has is of this crate's files as they are, subfolders and lock file
/// included.
#[test]
fn this_build_has_the_hash_of_its_own_files() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = tempfile::tempdir().unwrap();
    for file in files_below(&own.join("src")).into_iter().chain([own.join("Cargo.toml")]) {
        let to = copy.path().join(file.strip_prefix(own).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiler = std::process::Command::new(rustc).arg("--version").output().unwrap().stdout;
    let hash = || {
        format!(
            "{:016x}",
            schema::hash(copy.path(), &own.join("../Cargo.lock"), &compiler).unwrap()
        )
    };
    assert_eq!(hash(), env!("SOCKHOP_SCHEMA_HASH"));
    for file in files_below(&copy.path().join("src")) {
        let contents = fs::read(&file).unwrap();
        fs::write(&file, [&contents[..], b"\n"].concat()).unwrap();
        assert_ne!(hash(), env!("SOCKHOP_SCHEMA_HASH"), "{file:?}");
        fs::write(&file, contents).unwrap();
    }
}
