//! Small ELF files put together by hand, those of this machine, and damaged ones.

use proptest::prelude::*;

use super::*;
use crate::samples::{LIBRARY, LOADER, PROGRAM, Sample};

fn read(bytes: &[u8]) -> Result<Elf, ElfError> {
    let mut file = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut file, bytes).unwrap();
    io::Seek::rewind(&mut file).unwrap();
    Elf::read(file, Machine::X86_64)
}

fn why(bytes: &[u8]) -> String {
    read(bytes).and_then(|elf| elf.check_program()).unwrap_err().to_string()
}

#[test]
fn an_executable_says_what_it_needs() {
    let sample = Sample {
        needed: &["libc.so.6", "libstdc++.so.6"],
        runpath: "$ORIGIN/../lib:/opt/lib",
        rpath: "/ignored",
        wanted: &[
            ("libc.so.6", &["GLIBC_2.34", "GLIBC_2.38?", "GLIBC_2.2.5"]),
            ("libstdc++.so.6", &["GLIBCXX_3.4"]),
        ],
        ..PROGRAM
    };
    let elf = read(&sample.bytes()).unwrap();
    elf.check_program().unwrap();
    assert_eq!(elf.interpreter.as_deref(), Some(LOADER));
    assert_eq!(elf.needed, ["libc.so.6", "libstdc++.so.6"]);
    assert_eq!(elf.runpath, ["$ORIGIN/../lib", "/opt/lib"]);
    assert!(elf.rpath.is_empty(), "DT_RUNPATH overrides it");
    let wanted: Vec<&str> = elf.wanted.iter().map(|wanted| &*wanted.version).collect();
    assert_eq!(wanted, ["GLIBC_2.34", "GLIBC_2.2.5", "GLIBCXX_3.4"], "without the weak one");
    let library = Sample { defined: &["lib.so", "A_1", "A_2"], ..LIBRARY };
    assert_eq!(read(&library.bytes()).unwrap().defined, ["A_1", "A_2"]);
}

#[test]
fn what_is_no_executable_for_this_node_is_told_so() {
    let arm = Sample { machine: 183, ..PROGRAM };
    let text = why(&arm.bytes());
    assert!(
        text.starts_with("is built for 64-bit ARM (aarch64), and this node is x86-64;"),
        "{text}"
    );
    assert!(text.contains("GOARCH=amd64"), "{text}");
    let mut small = PROGRAM.bytes();
    small[4] = 1;
    assert!(why(&small).starts_with("is a 32-bit executable"), "{}", why(&small));
    let mut big = PROGRAM.bytes();
    (big[5], big[18], big[19]) = (2, 0, 62);
    assert!(why(&big).starts_with("is a big-endian executable"), "{}", why(&big));
    let of_type = |file_type| why(&Sample { file_type, interpreter: "", ..LIBRARY }.bytes());
    assert!(of_type(1).contains("object file"));
    assert!(of_type(4).contains("core dump"));
    assert!(of_type(3).contains("shared library"));
    assert!(of_type(77).contains("unknown type 77"));
    assert!(why(b"\x7fELF").contains("cut off"));
    assert!(why(&PROGRAM.bytes()[..100]).contains("cut off"));
}

#[test]
fn static_executables_have_no_loader() {
    let fixed = Sample { file_type: 2, interpreter: "", needed: &[], wanted: &[], ..PROGRAM };
    read(&fixed.bytes()).unwrap().check_program().unwrap();
    let marked = Sample { file_type: 3, ..fixed.clone() };
    read(&marked.bytes()).unwrap().check_program().unwrap();
    let unmarked = Sample { flags_1: 0, ..marked };
    read(&unmarked.bytes()).unwrap().check_program().unwrap();
}

#[test]
fn files_of_this_machine_are_read() {
    let own = File::open(std::env::current_exe().unwrap()).unwrap();
    let elf = Elf::read(own, Machine::here()).unwrap();
    elf.check_program().unwrap();
    assert!(elf.interpreter.is_some() == elf.needed.iter().any(|name| name.starts_with("libc")));
}

proptest! {
    #[test]
    fn damaged_files_are_survived(
        at in 0_usize..900,
        with in proptest::collection::vec(any::<u8>(), 1..16),
        length in 0_usize..2000,
    ) {
        let sample = Sample { defined: &["a", "B_1", "B_2"], runpath: "/x:/y", ..PROGRAM };
        let mut bytes = sample.bytes();
        for (place, byte) in bytes.iter_mut().skip(at).zip(with) {
            *place = byte;
        }
        bytes.truncate(length);
        let _ = read(&bytes).map(|elf| elf.check_program());
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&[&PROGRAM.bytes()[..64], &bytes].concat()).map(|elf| elf.check_program());
        let _ = read(&bytes);
    }
}
