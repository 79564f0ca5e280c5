//! Folders and layers packed, and unpacked on this machine: the same files come out.
#![expect(clippy::unwrap_used, reason = "a test fails where it cannot prepare its files")]

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sockhop_package::{NativeKind, PackError, Packed, Unpacked, Wanted, pack, sniff, unpack};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const SCRIPT: &[u8] = b"#!/bin/sh\necho hello\n";

fn put(folder: &Path, path: &str, mode: u32, bytes: &[u8]) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
}

/// Writes a zip of files, with the modes 0755.
fn zip(path: &Path, files: &[(&str, &[u8])]) -> PathBuf {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    path.to_owned()
}

fn pack_to(artefact: &Path, source: &Path, layers: &[PathBuf]) -> Result<Packed, PackError> {
    pack(source, layers, None, &mut File::create(artefact).unwrap())
}

fn unpack_lambda(artefact: &Path, into: &Path) -> Unpacked {
    fs::create_dir(into).unwrap();
    unpack(artefact, NativeKind::Lambda, into, &Wanted::default()).unwrap()
}

/// What is at a path: its mode if that is kept, and its contents or target.
type Tree = BTreeMap<PathBuf, (String, Vec<u8>)>;

fn tree(folder: &Path) -> Tree {
    let (mut found, mut folders) = (Tree::new(), vec![folder.to_owned()]);
    while let Some(above) = folders.pop() {
        for entry in fs::read_dir(&above).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let what = if metadata.is_dir() {
                folders.push(path.clone());
                ("folder".to_owned(), Vec::new())
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                ("link".to_owned(), target.into_os_string().into_encoded_bytes())
            } else {
                let mode = metadata.permissions().mode() & 0o777;
                (format!("{mode:o}"), fs::read(&path).unwrap())
            };
            found.insert(path.strip_prefix(folder).unwrap().to_owned(), what);
        }
    }
    found
}

#[test]
fn a_folder_comes_out_as_it_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let (source, artefact) = (folder.path().join("source"), folder.path().join("artefact"));
    put(&source, "bootstrap", 0o755, SCRIPT);
    put(&source, "data/\u{e9}t\u{e9}.txt", 0o644, b"text");
    put(&source, ".env", 0o644, b"A=b");
    put(&source, "-first", 0o644, b"");
    fs::create_dir(source.join("empty")).unwrap();
    symlink("data", source.join("link")).unwrap();
    symlink("../bootstrap", source.join("data/up")).unwrap();
    let packed = pack_to(&artefact, &source, &[]).unwrap();
    assert_eq!((packed.files, packed.notes.len()), (6, 0));
    let into = folder.path().join("into");
    let unpacked = unpack_lambda(&artefact, &into);
    assert_eq!(unpacked.program, "/var/task/bootstrap");
    assert_eq!((unpacked.files, unpacked.bytes), (packed.files, packed.bytes));
    assert_eq!(tree(&source), tree(&into.join("task")));
}

#[test]
fn the_same_contents_make_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut zips = Vec::new();
    for (name, order) in [("one", ["a", "b", "bootstrap"]), ("two", ["bootstrap", "b", "a"])] {
        let source = folder.path().join(name);
        for file in order {
            put(&source, file, 0o700, SCRIPT);
        }
        let file = File::options().write(true).open(source.join("a")).unwrap();
        let years = std::time::Duration::from_hours(10_000 * u64::from(name == "one") + 400_000);
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + years).unwrap();
        let artefact = folder.path().join(format!("{name}.zip"));
        pack_to(&artefact, &source, &[]).unwrap();
        zips.push(fs::read(artefact).unwrap());
    }
    assert_eq!(zips[0], zips[1]);
}

#[test]
fn later_layers_replace_files_of_earlier_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (source, artefact) = (folder.path().join("source"), folder.path().join("artefact"));
    put(&source, "handler.sh", 0o755, SCRIPT);
    let one = zip(
        &folder.path().join("one.zip"),
        &[("bootstrap", b"old"), ("lib/one", b"1"), ("lib/both", b"1")],
    );
    let two = zip(&folder.path().join("two.zip"), &[("bootstrap", SCRIPT), ("lib/both", b"2")]);
    let packed = pack_to(&artefact, &source, &[one, two]).unwrap();
    assert_eq!(packed.files, 4);
    let into = folder.path().join("into");
    let unpacked = unpack_lambda(&artefact, &into);
    assert_eq!(unpacked.program, "/opt/bootstrap");
    let file = |bytes: &[u8]| ("755".to_owned(), bytes.to_vec());
    let tree = tree(&into);
    assert_eq!(tree[Path::new("opt/lib/one")], file(b"1"));
    assert_eq!(tree[Path::new("opt/lib/both")], file(b"2"));
    assert_eq!(tree[Path::new("opt/bootstrap")], file(SCRIPT));
    assert_eq!(tree[Path::new("task/handler.sh")], file(SCRIPT));
}

#[test]
fn a_file_and_a_zip_may_have_layers_too() {
    let folder = tempfile::tempdir().unwrap();
    let artefact = folder.path().join("artefact");
    let layer = zip(&folder.path().join("layer.zip"), &[("lib/a", b"1")]);
    let function = zip(&folder.path().join("function.zip"), &[("bootstrap", SCRIPT)]);
    put(folder.path(), "script", 0o644, SCRIPT);
    for (number, source) in [function, folder.path().join("script")].iter().enumerate() {
        pack_to(&artefact, source, std::slice::from_ref(&layer)).unwrap();
        let into = folder.path().join(format!("into-{number}"));
        assert_eq!(unpack_lambda(&artefact, &into).program, "/var/task/bootstrap");
        assert!(into.join("opt/lib/a").is_file());
    }
    let again = pack_to(&folder.path().join("other"), &artefact, &[layer]).unwrap_err();
    assert!(again.to_string().contains("packed with layers already"));
}

#[test]
fn a_file_without_layers_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let artefact = folder.path().join("artefact");
    let function = zip(&folder.path().join("function.zip"), &[("bootstrap", SCRIPT)]);
    pack_to(&artefact, &function, &[]).unwrap();
    assert_eq!(fs::read(&artefact).unwrap(), fs::read(&function).unwrap());
    put(folder.path(), "text", 0o644, b"hello");
    let text = pack_to(&artefact, &folder.path().join("text"), &[]).unwrap_err().to_string();
    assert!(text.contains("neither an ELF executable nor a script"), "{text}");
}

#[test]
fn what_is_left_out_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (source, artefact) = (folder.path().join("source"), folder.path().join("artefact"));
    put(&source, "bootstrap", 0o755, SCRIPT);
    put(&source, ".git/config", 0o644, b"");
    put(&source, "module/.git", 0o644, b"gitdir: ..");
    put(&source, ".gitignore", 0o644, b"");
    let _socket = UnixListener::bind(source.join("socket")).unwrap();
    let mut packed = pack_to(&artefact, &source, &[]).unwrap();
    packed.notes.sort();
    assert_eq!(packed.files, 2);
    assert!(packed.notes[0].starts_with("\".git\" was left out: it is git's"));
    assert!(packed.notes[1].starts_with("\"module/.git\" was left out"));
    assert_eq!(packed.notes[2], "\"socket\" was left out: it is a socket");
}

#[test]
fn what_cannot_be_packed_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let artefact = folder.path().join("artefact");
    let why = |source: &Path, layers: &[PathBuf]| {
        pack_to(&artefact, source, layers).unwrap_err().to_string()
    };
    let link = folder.path().join("link");
    put(&link, "bootstrap", 0o755, SCRIPT);
    symlink("/etc/passwd", link.join("passwd")).unwrap();
    assert!(why(&link, &[]).contains("\"/var/task/passwd\" points to \"/etc/passwd\""));
    let backslash = folder.path().join("backslash");
    put(&backslash, "a\\b", 0o644, b"");
    assert!(why(&backslash, &[]).contains("backslash"));
    let reserved = folder.path().join("reserved");
    put(&reserved, ".sockhop-layout", 0o644, b"");
    assert!(why(&reserved, &[]).contains("keeps for zips with layers"));
    assert!(why(&folder.path().join("absent"), &[]).contains("cannot read"));
    let source = folder.path().join("source");
    put(&source, "bootstrap", 0o755, SCRIPT);
    let no_zip = source.join("bootstrap");
    assert!(why(&source, std::slice::from_ref(&no_zip)).contains("is no zip"));
    let out = zip(&folder.path().join("clash.zip"), &[("a", b""), ("a/b", b"")]);
    assert!(why(&source, &[out]).contains("\"/opt/a/b\" is below \"/opt/a\""));
}

#[test]
fn a_program_of_this_machine_runs_here() {
    let folder = tempfile::tempdir().unwrap();
    let own = std::env::current_exe().unwrap();
    let into = folder.path().join("into");
    fs::create_dir(&into).unwrap();
    let unpacked = unpack(&own, NativeKind::Server, &into, &Wanted::default()).unwrap();
    assert_eq!(unpacked.program, "/var/task/server");
    let mut first_bytes = [0; 4];
    File::open(into.join("task/server")).unwrap().read_exact(&mut first_bytes).unwrap();
    assert_eq!(sniff(&first_bytes), sockhop_package::FileType::Elf);
    let status = std::process::Command::new(into.join("task/server")).arg("--list").output();
    assert!(status.unwrap().status.success());
}

/// What a property puts into a folder.
#[derive(Debug, Clone)]
enum Thing {
    File { executable: bool, bytes: Vec<u8> },
    Folder,
    Link { target: String },
}

fn things() -> impl Strategy<Value = BTreeMap<String, Thing>> {
    let path = proptest::collection::vec("[a-c\u{e9} .+-]{1,3}", 1..4)
        .prop_map(|parts| parts.join("/"))
        .prop_filter("names that mean something else", |path| {
            path.split('/').all(|part| !part.trim_matches('.').is_empty())
        });
    let thing = prop_oneof![
        (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(executable, bytes)| Thing::File { executable, bytes }),
        Just(Thing::Folder),
        "[a-c]{1,3}(/[a-c]{1,3})?".prop_map(|target| Thing::Link { target }),
    ];
    proptest::collection::btree_map(path, thing, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_packed_comes_out_again(things in things()) {
        let folder = tempfile::tempdir().unwrap();
        let (source, artefact) = (folder.path().join("source"), folder.path().join("artefact"));
        put(&source, "bootstrap", 0o755, SCRIPT);
        for (path, thing) in things {
            let path = source.join(path);
            // What lies below a file or a link cannot be made, and is left out.
            let above = path.parent().unwrap();
            let is_real = above.ancestors().take_while(|above| *above != source)
                .all(|above| !above.is_symlink());
            let is_taken = path.exists() || path.is_symlink();
            if is_taken || !is_real || fs::create_dir_all(above).is_err() {
                continue;
            }
            match thing {
                Thing::File { executable, bytes } => {
                    fs::write(&path, bytes).unwrap();
                    let mode = if executable { 0o755 } else { 0o644 };
                    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                }
                Thing::Folder => fs::create_dir(&path).unwrap(),
                Thing::Link { target } => symlink(target, &path).unwrap(),
            }
        }
        let packed = pack_to(&artefact, &source, &[]).unwrap();
        let into = folder.path().join("into");
        let unpacked = unpack_lambda(&artefact, &into);
        prop_assert_eq!((packed.files, packed.bytes), (unpacked.files, unpacked.bytes));
        prop_assert_eq!(tree(&source), tree(&into.join("task")));
    }
}
