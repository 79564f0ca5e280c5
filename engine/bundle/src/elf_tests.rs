//! Tests of [`super`]: that what is cut off is not missed, and that nothing makes it panic.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use object::read::elf::SectionHeader as _;
use proptest::prelude::*;

use super::*;
use crate::samples::{STATIC, Sample};

#[test]
fn what_is_not_loaded_is_cut_off() {
    let with_name = Sample { interpreter: Some("/lib/ld.so"), ..STATIC };
    for sample in [STATIC, with_name, Sample { sections: 0, ..STATIC }] {
        let bytes = sample.bytes();
        let shrunk = shrink(&bytes).unwrap();
        assert_eq!(shrunk.len(), sample.loaded());
        assert_eq!(shrunk[64..], bytes[64..sample.loaded()]);
        assert_eq!(shrink(&shrunk).unwrap(), shrunk);
        assert_eq!(interpreter(&shrunk).unwrap().as_deref(), sample.interpreter);
    }
    // Wherever in memory it lies.
    let mut shifted = vec![0];
    shifted.extend(STATIC.bytes());
    assert_eq!(shrink(&shifted[1..]).unwrap(), shrink(&STATIC.bytes()).unwrap());
}

#[test]
fn a_shrunk_program_runs() {
    let program = std::fs::read("/proc/self/exe").unwrap();
    let shrunk = shrink(&program).unwrap();
    assert!(shrunk.len() < program.len(), "{} of {}", shrunk.len(), program.len());
    let header = FileHeader64::<LE>::parse(&*shrunk).unwrap();
    let sections = header.section_headers(LE, &*shrunk).unwrap();
    assert!(sections.iter().all(|section| section.sh_size(LE) == 0), "it has sections");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shrunk");
    std::fs::write(&path, &shrunk).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    // This very test is in it, and so it tells the same tests as the original.
    let list = |program: &std::path::Path| {
        let output = Command::new(program).arg("--list").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let expected = list(&std::env::current_exe().unwrap());
    assert!(expected.contains("a_shrunk_program_runs"), "{expected}");
    assert_eq!(list(&path), expected);
}

#[test]
fn what_is_no_whole_executable_is_an_error() {
    for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0; 100]] {
        let error = shrink(bytes).unwrap_err();
        assert!(matches!(error, BundleError::NotElf(_)), "{error}");
    }
    let bytes = STATIC.bytes();
    let short = shrink(&bytes[..STATIC.loaded() - 1]).unwrap_err();
    assert_eq!(
        short.to_string(),
        "the executable has 1175 bytes, and its segments take 1176; it was not copied whole"
    );
    let changed = |at: usize, value: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        shrink(&bytes).unwrap_err()
    };
    // 32 bits, big-endian, no program headers, too many of them, none that is loaded.
    assert!(matches!(changed(4, &[1]), BundleError::NotElf(_)));
    assert!(matches!(changed(5, &[2]), BundleError::NotElf(_)));
    assert!(matches!(changed(56, &[0, 0]), BundleError::NothingLoaded));
    assert!(matches!(changed(56, &[0xff, 0xff]), BundleError::TooManySegments));
    assert!(matches!(changed(64, &[4]), BundleError::NothingLoaded));
    // A segment of more than there can be.
    let huge = changed(64 + 32, &u64::MAX.to_le_bytes());
    assert!(matches!(huge, BundleError::Short { segments_bytes: u64::MAX, .. }), "{huge}");
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = shrink(&bytes);
        let _ = interpreter(&bytes);
    }

    #[test]
    fn any_change_of_the_headers_is_survived(
        changes in prop::collection::vec((16..176_usize, any::<u8>()), 1..20),
    ) {
        let mut bytes = Sample { interpreter: Some("/lib/ld.so"), ..STATIC }.bytes();
        for (at, value) in changes {
            bytes[at] = value;
        }
        let _ = interpreter(&bytes);
        if let Ok(shrunk) = shrink(&bytes) {
            prop_assert!(shrunk.len() <= bytes.len());
            prop_assert_eq!(shrink(&shrunk).unwrap(), shrunk);
        }
    }
}
