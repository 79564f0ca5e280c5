//! Executables on a host with glibc 2.36, and what they lack there.

use super::*;
use crate::NativeKind;
use crate::samples::{LIBRARY, PROGRAM, Sample, host, put};

fn with(files: &[(&str, Sample)], program: &Sample) -> (Result<(), LinkageError>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let system = host(&folder.path().join("root"));
    let package = folder.path().join("package");
    put(&package, "task/bin/app", &program.bytes());
    for (path, library) in files {
        put(&package, path, &library.bytes());
    }
    let inside = Inside { package: &package, system: &system, kind: NativeKind::Lambda };
    let file = File::open(package.join("task/bin/app")).unwrap();
    let elf = Elf::read(file, system.machine).unwrap();
    (check(&inside, "/var/task/bin/app", elf), unreached(&inside))
}

fn why(files: &[(&str, Sample)], program: &Sample) -> String {
    with(files, program).0.unwrap_err().to_string()
}

#[test]
fn what_the_host_has_is_enough() {
    assert_eq!(with(&[], &PROGRAM), (Ok(()), vec![]));
    let without_loader = Sample { interpreter: "", ..PROGRAM };
    assert_eq!(with(&[], &without_loader).0, Ok(()));
}

#[test]
fn a_missing_loader_is_named_with_its_cure() {
    let of = |interpreter| why(&[], &Sample { interpreter, ..PROGRAM });
    let text = of("/lib/ld-musl-x86_64.so.1");
    assert!(
        text.contains("musl dynamically") && text.contains("x86_64-unknown-linux-musl"),
        "{text}"
    );
    assert!(of("/lib64/ld-linux-x86-64.so.3").contains("linked against glibc"));
    assert!(of("/nix/store/abc/lib/ld-linux-x86-64.so.2").contains("Nix store"));
    assert!(of("/system/bin/linker64").contains("has the loader \"/system/bin/linker64\""));
}

#[test]
fn versions_that_the_host_lacks_are_named() {
    let new = Sample { wanted: &[("libc.so.6", &["GLIBC_2.34", "GLIBC_2.38"])], ..PROGRAM };
    let text = why(&[], &new);
    assert!(
        text.starts_with("needs GLIBC_2.38, and this node's glibc has up to GLIBC_2.36"),
        "{text}"
    );
    let cxx = Sample {
        needed: &["libstdc++.so.6", "libc.so.6"],
        wanted: &[("libstdc++.so.6", &["GLIBCXX_3.4.32"])],
        ..PROGRAM
    };
    assert!(why(&[], &cxx).starts_with("needs GLIBCXX_3.4.32, and libstdc++.so.6 here"));
    // The package's own one counts before the host's.
    let own = Sample { defined: &["libstdc++.so.6", "GLIBCXX_3.4.32"], ..LIBRARY };
    assert_eq!(with(&[("task/lib/libstdc++.so.6", own)], &cxx).0, Ok(()));
}

#[test]
fn libraries_are_looked_for_in_the_package_and_on_the_host() {
    let program = Sample { needed: &["libc.so.6", "libown.so"], ..PROGRAM };
    assert!(why(&[], &program).starts_with("needs the library libown.so, which is neither"));
    for path in ["task/libown.so", "task/lib/libown.so", "opt/lib/libown.so"] {
        assert_eq!(with(&[(path, LIBRARY)], &program).0, Ok(()), "{path}");
    }
    let elsewhere = [("task/vendor/libown.so", LIBRARY)];
    assert!(with(&elsewhere, &program).0.is_err());
    for folders in ["$ORIGIN/../vendor", "/nowhere:${ORIGIN}/../vendor"] {
        let runpath = Sample { runpath: folders, ..program.clone() };
        assert_eq!(with(&elsewhere, &runpath).0, Ok(()), "{folders}");
        let rpath = Sample { rpath: folders, ..program.clone() };
        assert_eq!(with(&elsewhere, &rpath).0, Ok(()), "{folders}");
    }
    // One for another machine is passed over.
    let arm = Sample { machine: 183, ..LIBRARY };
    assert!(with(&[("task/lib/libown.so", arm)], &program).0.is_err());
}

#[test]
fn libraries_of_the_package_are_looked_into() {
    let program = Sample { needed: &["libc.so.6", "libone.so"], ..PROGRAM };
    let one = Sample { needed: &["libtwo.so"], ..LIBRARY };
    let files = [("opt/lib/libone.so", one.clone())];
    assert!(why(&files, &program).contains("needs the library libtwo.so"));
    let new = Sample {
        needed: &["libc.so.6", "libone.so"],
        wanted: &[("libc.so.6", &["GLIBC_2.39"])],
        ..LIBRARY
    };
    let files = [("opt/lib/libone.so", one), ("opt/lib/libtwo.so", new.clone())];
    let text = why(&files, &program);
    let expected = "loads \"/opt/lib/libtwo.so\" of the package, which needs GLIBC_2.39";
    assert!(text.starts_with(expected), "{text}");
    // What nothing links may never be loaded.
    let (checked, notes) = with(&[("task/plugins/libtwo.so", new)], &PROGRAM);
    assert_eq!(checked, Ok(()));
    assert!(notes[0].starts_with("\"/var/task/plugins/libtwo.so\" needs GLIBC_2.39"), "{notes:?}");
}
