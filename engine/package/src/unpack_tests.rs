//! Artefacts of each kind, unpacked for a host with a shell and glibc 2.36.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::limits::RATIO_FREE_BYTES;
use crate::samples::{Of, PROGRAM, SCRIPT, Sample, host, zip};

struct Bench {
    folder: tempfile::TempDir,
    system: System,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let system = host(&folder.path().join("root"));
        Self { folder, system }
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("into")
    }

    fn unpack(&self, kind: NativeKind, artefact: &[u8]) -> Result<Unpacked, UnpackError> {
        let path = self.folder.path().join("artefact");
        std::fs::write(&path, artefact).unwrap();
        let _ = std::fs::remove_dir_all(self.target());
        std::fs::create_dir(self.target()).unwrap();
        unpack_for(&self.system, &path, kind, &self.target(), &Wanted::default())
    }

    fn why(&self, kind: NativeKind, artefact: &[u8]) -> String {
        let error = self.unpack(kind, artefact).unwrap_err();
        assert_eq!(error.fault(), Fault::UNFIT);
        error.to_string()
    }

    fn mode(&self, path: &str) -> u32 {
        let metadata = std::fs::symlink_metadata(self.target().join(path)).unwrap();
        metadata.permissions().mode() & 0o7777
    }
}

#[test]
fn a_lone_file_gets_its_name() {
    let bench = Bench::new();
    let unpacked = bench.unpack(NativeKind::Lambda, &PROGRAM.bytes()).unwrap();
    assert_eq!(unpacked.program, "/var/task/bootstrap");
    assert_eq!((unpacked.files, unpacked.bytes), (1, PROGRAM.bytes().len() as u64));
    assert!(unpacked.notes.is_empty());
    assert_eq!(bench.mode("task/bootstrap"), 0o755);
    let unpacked = bench.unpack(NativeKind::Server, b"#!/bin/sh\n").unwrap();
    assert_eq!(unpacked.program, "/var/task/server");
    assert!(bench.why(NativeKind::Azure, b"#!/bin/sh\n").contains("host.json"));
    assert!(bench.why(NativeKind::Lambda, b"\0asm").contains("leave --kind out"));
    assert!(bench.why(NativeKind::Lambda, b"MZ").contains("Windows executable"));
    assert!(bench.why(NativeKind::Lambda, b"").contains("the file is empty"));
}

#[test]
fn a_zip_is_unpacked_with_modes_that_everybody_can_read() {
    let bench = Bench::new();
    let unpacked = bench
        .unpack(
            NativeKind::Lambda,
            &zip(&[
                ("bootstrap", Of::File(0o100_600, b"#!/bin/sh\n")),
                ("data/secret", Of::File(0o100_600, b"abc")),
                ("data/setuid", Of::File(0o104_711, b"abc")),
                ("link", Of::Link("data/secret")),
                ("empty/", Of::Folder),
            ]),
        )
        .unwrap();
    assert_eq!(unpacked.notes, ["\"/var/task/bootstrap\" had no x bit; it was set"]);
    assert_eq!((unpacked.files, unpacked.bytes), (4, 16));
    assert_eq!(bench.mode("task"), 0o755);
    assert_eq!(bench.mode("task/bootstrap"), 0o755);
    assert_eq!(bench.mode("task/data"), 0o755);
    assert_eq!(bench.mode("task/data/secret"), 0o644);
    assert_eq!(bench.mode("task/data/setuid"), 0o755);
    assert!(bench.target().join("task/empty").is_dir());
    assert_eq!(std::fs::read(bench.target().join("task/link")).unwrap(), b"abc");
}

#[test]
fn a_program_may_be_a_link_and_a_script_of_the_package() {
    let bench = Bench::new();
    let artefact = zip(&[
        ("bootstrap", Of::Link("bin/run")),
        ("bin/run", Of::File(0o100_644, b"#!/var/task/bin/shell\n")),
        ("bin/shell", Of::File(0o100_644, &PROGRAM.bytes())),
    ]);
    let unpacked = bench.unpack(NativeKind::Lambda, &artefact).unwrap();
    assert_eq!(unpacked.program, "/var/task/bootstrap");
    assert_eq!(unpacked.notes.len(), 2, "{:?}", unpacked.notes);
    assert_eq!(bench.mode("task/bin/run"), 0o755);
    assert_eq!(bench.mode("task/bin/shell"), 0o755);
    let circle = zip(&[("bootstrap", Of::File(0o100_755, b"#!/var/task/bootstrap\n"))]);
    assert!(bench.why(NativeKind::Lambda, &circle).contains("a script as its interpreter"));
}

#[test]
fn layers_are_beside_the_function() {
    let bench = Bench::new();
    let layout = (crate::LAYOUT_NAME, Of::File(0o100_644, crate::LAYOUT_TEXT.as_bytes()));
    let artefact = zip(&[layout, ("opt/bootstrap", SCRIPT), ("task/handler.sh", SCRIPT)]);
    let unpacked = bench.unpack(NativeKind::Lambda, &artefact).unwrap();
    assert_eq!(unpacked.program, "/opt/bootstrap");
    assert!(bench.target().join("opt/bootstrap").is_file());
    assert!(!bench.target().join("task").join(crate::LAYOUT_NAME).exists());
}

#[test]
fn links_that_lead_out_and_names_that_clash_are_refused() {
    let bench = Bench::new();
    for target in ["/etc/passwd", "../x", "a/../../x", "../opt"] {
        let text = bench.why(NativeKind::Lambda, &zip(&[("l", Of::Link(target))]));
        assert!(text.contains(&format!("\"/var/task/l\" points to {target:?}")), "{text}");
    }
    let through = zip(&[("l", Of::Link("a")), ("a/x", SCRIPT), ("l/y", SCRIPT)]);
    assert!(
        bench
            .why(NativeKind::Lambda, &through)
            .contains("\"/var/task/l/y\" is below \"/var/task/l\"")
    );
    let clash = zip(&[("a", SCRIPT), ("./a", SCRIPT)]);
    assert!(bench.why(NativeKind::Lambda, &clash).contains("\"/var/task/a\" is there twice"));
    assert_eq!(std::fs::read_dir(bench.target()).unwrap().count(), 0, "nothing was written");
}

#[test]
fn a_bomb_is_refused_while_it_is_unpacked() {
    let bench = Bench::new();
    let zeros = vec![0; usize::try_from(RATIO_FREE_BYTES).unwrap() + 1];
    let text = bench.why(NativeKind::Lambda, &zip(&[("zeros", Of::File(0o644, &zeros))]));
    assert!(text.contains("zip bomb"), "{text}");
    let written = std::fs::metadata(bench.target().join("task/zeros")).unwrap().len();
    assert!(written <= RATIO_FREE_BYTES);
}

#[test]
fn the_program_is_checked() {
    let bench = Bench::new();
    let of =
        |bytes: &[u8]| bench.why(NativeKind::Lambda, &zip(&[("bootstrap", Of::File(0, bytes))]));
    let arm = Sample { machine: 183, ..PROGRAM }.bytes();
    assert!(of(&arm).starts_with("\"/var/task/bootstrap\" is built for 64-bit ARM"));
    let new = Sample { wanted: &[("libc.so.6", &["GLIBC_2.38"])], ..PROGRAM }.bytes();
    assert!(of(&new).starts_with("\"/var/task/bootstrap\" needs GLIBC_2.38"));
    assert!(of(b"#!/bin/sh\r\n").contains("line ends of Windows"));
    assert!(of(b"echo hello\n").contains("neither an ELF executable nor a script"));
    assert!(of(b"\xcf\xfa\xed\xfe").contains("Mach-O"));
    let arm = bench.why(NativeKind::Server, &zip(&[("app", Of::File(0o755, &arm))]));
    assert!(arm.starts_with("\"/var/task/app\" is built for 64-bit ARM"), "{arm}");
}

#[test]
fn an_azure_app_starts_its_handler() {
    let bench = Bench::new();
    let json = br#"{"customHandler":{"description":{"defaultExecutablePath":"handler"}}}"#;
    let artefact = zip(&[("host.json", Of::File(0, json)), ("handler", SCRIPT)]);
    let unpacked = bench.unpack(NativeKind::Azure, &artefact).unwrap();
    assert_eq!(unpacked.program, "/var/task/handler");
}

#[test]
fn a_full_disk_and_a_full_folder_are_the_node_s_faults() {
    let full = of_write("a", io::Error::from_raw_os_error(nix::errno::Errno::ENOSPC as i32));
    assert_eq!(full.fault(), Fault::NODE_FULL);
    let full = ArchiveError::of_read(io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32));
    assert_eq!(full.fault(), Fault::NODE_BROKEN);
    let bench = Bench::new();
    bench.unpack(NativeKind::Lambda, &PROGRAM.bytes()).unwrap();
    let path = bench.folder.path().join("artefact");
    let twice = unpack(&path, NativeKind::Lambda, &bench.target(), &Wanted::default()).unwrap_err();
    assert_eq!(twice.fault(), Fault::NODE_BROKEN);
    assert!(matches!(twice, UnpackError::Write { .. }));
}

/// Returns everything below a folder: paths, and what is there.
fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, format!("{:?} {}", metadata.file_type(), metadata.len()));
        }
    }
    found
}

fn names() -> impl Strategy<Value = String> {
    let parts =
        prop_oneof!["[ab]", Just("..".to_owned()), Just(".".to_owned()), Just(String::new())];
    proptest::collection::vec(parts, 1..4).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Names, links and damage of any kind: what is outside of the folder stays as it was.
    #[test]
    fn nothing_is_ever_written_outside(
        entries in proptest::collection::vec((names(), 0_u8..3, names()), 1..6),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let bench = Bench::new();
        let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, what, target) in &entries {
            let options = zip::write::SimpleFileOptions::default();
            // The writer refuses some: these are just not in the zip.
            let _ = match what {
                0 => writer.start_file(name, options).and_then(|()| Ok(writer.write_all(b"x")?)),
                1 => writer.add_symlink(name, target, options),
                _ => writer.add_directory(name, options),
            };
        }
        let mut bytes = writer.finish().unwrap().into_inner();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let sentinel = bench.folder.path().join("root");
        let before = tree(&sentinel);
        let _ = bench.unpack(NativeKind::Lambda, &bytes);
        prop_assert_eq!(before, tree(&sentinel));
        let names = std::fs::read_dir(bench.folder.path()).unwrap();
        prop_assert_eq!(names.count(), 3, "artefact, into and root");
        for (path, what) in tree(&bench.target()) {
            let inside = path.strip_prefix(bench.target()).unwrap();
            prop_assert!(inside.starts_with("task") || inside.starts_with("opt"), "{what}");
            // What a link leads to is inside, or not there.
            if let Ok(real) = path.canonicalize() {
                let first = inside.iter().next().unwrap();
                let top = bench.target().canonicalize().unwrap().join(first);
                prop_assert!(real.starts_with(top));
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let bench = Bench::new();
        let _ = bench.unpack(NativeKind::Lambda, &bytes);
        let _ = bench.unpack(NativeKind::Lambda, &[b"PK\x03\x04", &bytes[..]].concat());
        let _ = bench.unpack(NativeKind::Server, &[b"\x7fELF\x02\x01\x01", &bytes[..]].concat());
        let _ = bench.unpack(NativeKind::Server, &[b"#!", &bytes[..]].concat());
    }
}
