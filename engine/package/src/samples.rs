//! ELF files and zips for tests, put together by hand.

use std::io::{Cursor, Write as _};
use std::path::Path;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::inside::System;
use crate::machine::Machine;

/// A small ELF file of 64 bits.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) machine: u16,
    pub(crate) file_type: u16,
    pub(crate) interpreter: &'static str,
    pub(crate) needed: &'static [&'static str],
    pub(crate) soname: &'static str,
    pub(crate) rpath: &'static str,
    pub(crate) runpath: &'static str,
    pub(crate) wanted: &'static [(&'static str, &'static [&'static str])],
    pub(crate) defined: &'static [&'static str],
    pub(crate) flags_1: u64,
}

pub(crate) const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// A position-independent executable for x86-64 and glibc.
pub(crate) const PROGRAM: Sample = Sample {
    machine: 62,
    file_type: 3,
    interpreter: LOADER,
    needed: &["libc.so.6"],
    soname: "",
    rpath: "",
    runpath: "",
    wanted: &[("libc.so.6", &["GLIBC_2.34"])],
    defined: &[],
    flags_1: 0x0800_0000,
};

/// A library for x86-64.
pub(crate) const LIBRARY: Sample =
    Sample { interpreter: "", needed: &[], soname: "lib.so", wanted: &[], flags_1: 0, ..PROGRAM };

impl Sample {
    /// Returns the file. It has one segment that is loaded, at the address 0x1000, and no section
    /// headers.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        const BASE: u64 = 0x1000;
        const HEADERS: usize = 64 + 3 * 56;
        let mut strings = vec![0_u8];
        let mut name = |text: &str| -> u64 {
            let offset = strings.len() as u64;
            strings.extend(text.bytes().chain([0]));
            offset
        };
        let mut dynamic: Vec<(u64, u64)> =
            self.needed.iter().map(|needed| (1, name(needed))).collect();
        for (tag, text) in [(14, self.soname), (15, self.rpath), (29, self.runpath)] {
            if !text.is_empty() {
                dynamic.push((tag, name(text)));
            }
        }
        if self.flags_1 != 0 {
            dynamic.push((0x6fff_fffb, self.flags_1));
        }
        let wanted = self.wanted_table(&mut name);
        let defined = self.defined_table(&mut name);
        let mut body = self.interpreter.as_bytes().to_vec();
        body.push(0);
        body.resize(body.len().next_multiple_of(8), 0);
        let mut place = |bytes: &[u8]| -> u64 {
            let offset = (HEADERS + body.len()) as u64;
            body.extend(bytes);
            body.resize(body.len().next_multiple_of(8), 0);
            offset
        };
        dynamic.extend([(5, BASE + place(&strings)), (10, strings.len() as u64)]);
        if !wanted.is_empty() {
            dynamic.push((0x6fff_fffe, BASE + place(&wanted)));
        }
        if !defined.is_empty() {
            dynamic.push((0x6fff_fffc, BASE + place(&defined)));
        }
        dynamic.push((0, 0));
        let dynamic: Vec<u8> = dynamic
            .iter()
            .flat_map(|(tag, value)| [*tag, *value])
            .flat_map(u64::to_le_bytes)
            .collect();
        let dynamic_offset = place(&dynamic);
        let all = (HEADERS + body.len()) as u64;
        let segment = |kind: u32, offset: u64, bytes: u64| {
            let mut segment = [kind.to_le_bytes(), 4_u32.to_le_bytes()].concat();
            for word in [offset, BASE + offset, 0, bytes, bytes, 8] {
                segment.extend(word.to_le_bytes());
            }
            segment
        };
        let interpreter = match self.interpreter {
            "" => segment(0, 0, 0),
            path => segment(3, HEADERS as u64, path.len() as u64 + 1),
        };
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        file.extend(self.file_type.to_le_bytes());
        file.extend(self.machine.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        for word in [BASE, 64, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, 3, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        file.extend(segment(1, 0, all));
        file.extend(interpreter);
        file.extend(segment(2, dynamic_offset, dynamic.len() as u64));
        file.extend(body);
        file
    }

    fn wanted_table(&self, name: &mut impl FnMut(&str) -> u64) -> Vec<u8> {
        let mut table = Vec::new();
        for (index, (library, versions)) in self.wanted.iter().enumerate() {
            let is_last = index + 1 == self.wanted.len();
            let count = u16::try_from(versions.len()).unwrap();
            let next = if is_last { 0 } else { 16 + 16 * u32::from(count) };
            table.extend([1_u16, count].into_iter().flat_map(u16::to_le_bytes));
            table.extend([word(name(library)), 16, next].into_iter().flat_map(u32::to_le_bytes));
            for (index, version) in versions.iter().enumerate() {
                let next = if index + 1 == versions.len() { 0_u32 } else { 16 };
                table.extend(0_u32.to_le_bytes());
                // A weak one is written with a question mark at its end.
                let flags = if version.ends_with('?') { 2_u16 } else { 0 };
                table.extend([flags, 2].into_iter().flat_map(u16::to_le_bytes));
                table.extend(word(name(version)).to_le_bytes());
                table.extend(next.to_le_bytes());
            }
        }
        table
    }

    fn defined_table(&self, name: &mut impl FnMut(&str) -> u64) -> Vec<u8> {
        let mut table = Vec::new();
        for (index, version) in self.defined.iter().enumerate() {
            let next = if index + 1 == self.defined.len() { 0_u32 } else { 28 };
            // The first is the base: the file's own name.
            let flags = u16::from(index == 0);
            table.extend([1_u16, flags, 2, 1].into_iter().flat_map(u16::to_le_bytes));
            table.extend([0, 20, next].into_iter().flat_map(u32::to_le_bytes));
            table.extend([word(name(version)), 0].into_iter().flat_map(u32::to_le_bytes));
        }
        table
    }
}

fn word(value: u64) -> u32 {
    u32::try_from(value).unwrap()
}

/// What an entry of a zip is.
#[derive(Clone, Copy)]
pub(crate) enum Of<'a> {
    /// A file with a mode.
    File(u32, &'a [u8]),
    /// A link.
    Link(&'a str),
    Folder,
}

/// Returns a zip, written by the library's own writer.
pub(crate) fn zip(entries: &[(&str, Of<'_>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, of) in entries {
        let options = SimpleFileOptions::default();
        match of {
            Of::File(mode, bytes) => {
                zip.start_file(*name, options.external_attributes(mode << 16)).unwrap();
                zip.write_all(bytes).unwrap();
            }
            Of::Link(target) => zip.add_symlink(*name, *target, options).unwrap(),
            Of::Folder => zip.add_directory(*name, options).unwrap(),
        }
    }
    zip.finish().unwrap().into_inner()
}

pub(crate) const SCRIPT: Of<'static> = Of::File(0o100_755, b"#!/bin/sh\necho hello\n");

/// Writes a file, with the folders above it.
pub(crate) fn put(folder: &Path, path: &str, bytes: &[u8]) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Returns a host with glibc 2.36, a shell and env, whose files are below `root`.
pub(crate) fn host(root: &Path) -> System {
    let libc = Sample {
        defined: &["libc.so.6", "GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_2.36", "GLIBC_PRIVATE"],
        ..LIBRARY
    };
    let libstdcxx =
        Sample { defined: &["libstdc++.so.6", "GLIBCXX_3.4", "GLIBCXX_3.4.30"], ..LIBRARY };
    put(root, "lib64/ld-linux-x86-64.so.2", &LIBRARY.bytes());
    put(root, "usr/lib/x86_64-linux-gnu/libc.so.6", &libc.bytes());
    put(root, "usr/lib/x86_64-linux-gnu/libstdc++.so.6", &libstdcxx.bytes());
    put(root, "etc/ld.so.conf.d/local.conf", b"/usr/lib/x86_64-linux-gnu\n");
    for program in ["bin/sh", "usr/bin/env", "usr/bin/python3", "usr/bin/node"] {
        put(root, program, &PROGRAM.bytes());
    }
    System::at(root, Machine::X86_64)
}
