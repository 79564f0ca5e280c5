//! What an ELF file says of itself: what runs it, what it loads, which versions it wants and has.
//!
//! Reads the program headers and what `PT_DYNAMIC` points to, as the loader does, and no section
//! headers: a stripped file may have none. Only so much is read at a time as the limits below
//! allow, whatever the file claims. Owns the file that it reads, until it has read it.

use std::fs::File;
use std::io::{self, Read as _};

use object::LittleEndian as LE;
use object::elf;
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};
use object::read::{ReadCache, ReadRef as _, StringTable};

use crate::machine::Machine;

/// Most program headers; usual are a dozen.
const PROGRAM_HEADERS_MAX: u16 = 1024;
/// Longest path of an interpreter: `PATH_MAX`.
const INTERPRETER_BYTES_MAX: u64 = 4096;
/// Largest dynamic section, and table of versions.
const TABLE_BYTES_MAX: u64 = 1024 * 1024;
/// Most libraries, search paths and versions that are read of a file; libc has some 60 versions.
const NAMES_MAX: usize = 4096;

/// Why an ELF file does not run here. The message is what follows the file's name.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It is for another processor.
    #[error("is built for {found}, and this node is {here}; build it for {here}: {}", here.how_to_build())]
    OtherMachine {
        /// What it is built for.
        found: Machine,
        /// What this node is.
        here: Machine,
    },
    /// It is of 32 bits.
    #[error("is a 32-bit executable; build it for 64 bits: {}", .0.how_to_build())]
    ThirtyTwoBits(Machine),
    /// It is big-endian.
    #[error("is a big-endian executable; build it little-endian: {}", .0.how_to_build())]
    BigEndian(Machine),
    /// It is an object file.
    #[error(
        "is an object file, which is not linked yet; deploy the executable that the linker makes"
    )]
    Relocatable,
    /// It is a core dump.
    #[error("is a core dump; deploy the executable itself")]
    Core,
    /// It is a library.
    #[error(
        "is a shared library, not an executable; deploy a program with a main function (in Rust a `[[bin]]`, in Go `package main` without -buildmode=c-shared)"
    )]
    SharedLibrary,
    /// It is of a type that ELF does not have.
    #[error("is an ELF file of the unknown type {0}; deploy an executable")]
    UnknownType(u16),
    /// It cannot be read as ELF.
    #[error("is a damaged ELF file: {0}; build it again, and see that it is copied whole")]
    Damaged(String),
    /// The file cannot be read.
    #[error("cannot be read: {0}; look at the disk that it is on")]
    Read(#[source] io::Error),
}

/// A version of symbols that a file wants of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionWanted {
    /// The library, such as `libc.so.6`.
    pub(crate) library: String,
    /// The version, such as `GLIBC_2.34`.
    pub(crate) version: String,
}

/// What is read of an ELF file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Elf {
    /// The path of the loader, if it has one.
    pub(crate) interpreter: Option<String>,
    /// The libraries that it loads.
    pub(crate) needed: Vec<String>,
    /// Where these are looked for, before anywhere else (`DT_RPATH`, without `DT_RUNPATH`).
    pub(crate) rpath: Vec<String>,
    /// Where these are looked for, after `LD_LIBRARY_PATH` (`DT_RUNPATH`).
    pub(crate) runpath: Vec<String>,
    /// The versions that it cannot do without.
    pub(crate) wanted: Vec<VersionWanted>,
    /// The versions that it has, if it is a library.
    pub(crate) defined: Vec<String>,
    is_position_independent: bool,
    has_name: bool,
    has_entry: bool,
    file_type: u16,
}

impl Elf {
    /// Reads an ELF file for the machine `here`.
    ///
    /// # Errors
    /// [`ElfError`] when it is for another machine, or cannot be read.
    pub(crate) fn read(mut file: File, here: Machine) -> Result<Self, ElfError> {
        let mut head = Vec::new();
        (&mut file).take(20).read_to_end(&mut head).map_err(ElfError::Read)?;
        check_machine(&head, here)?;
        let data = ReadCache::new(file);
        parse(&data).map_err(|error| ElfError::Damaged(error.to_owned()))
    }

    /// Checks that it is a program, and not a library or part of one.
    ///
    /// # Errors
    /// [`ElfError`] that says what it is.
    pub(crate) fn check_program(&self) -> Result<(), ElfError> {
        match self.file_type {
            elf::ET_EXEC => Ok(()),
            elf::ET_REL => Err(ElfError::Relocatable),
            elf::ET_CORE => Err(ElfError::Core),
            elf::ET_DYN if self.interpreter.is_some() || self.is_static_program() => Ok(()),
            elf::ET_DYN => Err(ElfError::SharedLibrary),
            other => Err(ElfError::UnknownType(other)),
        }
    }

    /// Returns whether a file without an interpreter is a program all the same. Linkers mark one
    /// (`DF_1_PIE`), and where an older one does not, it has an entry and neither name nor
    /// libraries.
    fn is_static_program(&self) -> bool {
        self.is_position_independent || (self.has_entry && !self.has_name && self.needed.is_empty())
    }
}

/// Checks the first 20 bytes of a file (System V ABI, "ELF Header").
fn check_machine(head: &[u8], here: Machine) -> Result<(), ElfError> {
    let [0x7f, b'E', b'L', b'F', class, data, ..] = *head else {
        return Err(ElfError::Damaged("its header is cut off".to_owned()));
    };
    let Some(&[low, high]) = head.get(18..20) else {
        return Err(ElfError::Damaged("its header is cut off".to_owned()));
    };
    let is_big_endian = data == elf::ELFDATA2MSB;
    let number = [low, high];
    let number =
        if is_big_endian { u16::from_be_bytes(number) } else { u16::from_le_bytes(number) };
    let found = Machine::of_elf(number);
    if found != here {
        Err(ElfError::OtherMachine { found, here })
    } else if is_big_endian {
        Err(ElfError::BigEndian(here))
    } else if class == elf::ELFCLASS32 {
        Err(ElfError::ThirtyTwoBits(here))
    } else {
        Ok(())
    }
}

type Data<'a> = &'a ReadCache<File>;

fn parse(data: Data<'_>) -> Result<Elf, &'static str> {
    let header = elf::FileHeader64::<LE>::parse(data).map_err(|_| "its header is cut off")?;
    if header.e_phnum.get(LE) > PROGRAM_HEADERS_MAX {
        return Err("it has too many program headers");
    }
    let segments =
        header.program_headers(LE, data).map_err(|_| "its program headers are cut off")?;
    let mut read = Elf {
        file_type: header.e_type.get(LE),
        has_entry: header.e_entry.get(LE) != 0,
        ..Elf::default()
    };
    for segment in segments {
        let bytes = segment.p_filesz.get(LE);
        match segment.p_type.get(LE) {
            elf::PT_INTERP if bytes > INTERPRETER_BYTES_MAX => {
                return Err("its interpreter has too long a path");
            }
            elf::PT_INTERP => {
                let path = segment.interpreter(LE, data);
                let path = path.ok().flatten().ok_or("its interpreter is cut off")?;
                read.interpreter = Some(text(path));
            }
            elf::PT_DYNAMIC if bytes > TABLE_BYTES_MAX => {
                return Err("its dynamic section is too large");
            }
            elf::PT_DYNAMIC => {
                let entries = segment.dynamic(LE, data).ok().flatten();
                let entries = entries.ok_or("its dynamic section is cut off")?;
                dynamic(&mut read, entries, segments, data)?;
            }
            _ => {}
        }
    }
    Ok(read)
}

/// The values of a dynamic section that say where its tables are.
#[derive(Default)]
struct Tables {
    strings: Option<u64>,
    strings_bytes: u64,
    wanted: Option<u64>,
    defined: Option<u64>,
    needed: Vec<u64>,
    rpath: Vec<u64>,
    runpath: Vec<u64>,
}

fn dynamic(
    read: &mut Elf,
    entries: &[elf::Dyn64<LE>],
    segments: &[elf::ProgramHeader64<LE>],
    data: Data<'_>,
) -> Result<(), &'static str> {
    let mut tables = Tables::default();
    for entry in entries.iter().take(NAMES_MAX) {
        let value = entry.d_val.get(LE);
        match entry.d_tag.get(LE) {
            elf::DT_NULL => break,
            elf::DT_STRTAB => tables.strings = Some(value),
            elf::DT_STRSZ => tables.strings_bytes = value,
            elf::DT_VERNEED => tables.wanted = Some(value),
            elf::DT_VERDEF => tables.defined = Some(value),
            elf::DT_NEEDED => tables.needed.push(value),
            elf::DT_RPATH => tables.rpath.push(value),
            elf::DT_RUNPATH => tables.runpath.push(value),
            elf::DT_SONAME => read.has_name = true,
            elf::DT_FLAGS_1 => {
                read.is_position_independent = value & u64::from(elf::DF_1_PIE) != 0;
            }
            _ => {}
        }
    }
    // Without names there is nothing to look up.
    let Some(strings) = tables.strings else { return Ok(()) };
    let (start, _) = in_file(strings, segments).ok_or("its names are not in the file")?;
    let end = start.saturating_add(tables.strings_bytes).min(data.len().unwrap_or(0));
    let strings = StringTable::new(data, start, end);
    let name = |offset: u64| -> Result<String, &'static str> {
        let offset = u32::try_from(offset).map_err(|_| "a name is not in the file")?;
        strings.get(offset).map(text).map_err(|()| "a name is not in the file")
    };
    read.needed = tables.needed.into_iter().map(name).collect::<Result<_, _>>()?;
    read.rpath = paths(tables.rpath.into_iter().map(name).collect::<Result<_, _>>()?);
    read.runpath = paths(tables.runpath.into_iter().map(name).collect::<Result<_, _>>()?);
    if !read.runpath.is_empty() {
        read.rpath.clear();
    }
    if let Some(address) = tables.wanted {
        wanted(read, table(address, elf::SHT_GNU_VERNEED, segments)?, data, &strings)?;
    }
    if let Some(address) = tables.defined {
        defined(read, table(address, elf::SHT_GNU_VERDEF, segments)?, data, &strings)?;
    }
    Ok(())
}

/// Splits search paths at their colons.
fn paths(lists: Vec<String>) -> Vec<String> {
    let paths = lists.iter().flat_map(|list| list.split(':')).filter(|path| !path.is_empty());
    paths.take(NAMES_MAX).map(str::to_owned).collect()
}

/// Returns where in the file an address is, and how many bytes follow it in its segment.
fn in_file(address: u64, segments: &[elf::ProgramHeader64<LE>]) -> Option<(u64, u64)> {
    segments.iter().filter(|segment| segment.p_type.get(LE) == elf::PT_LOAD).find_map(|segment| {
        let inside = address.checked_sub(segment.p_vaddr.get(LE))?;
        let follow = segment.p_filesz.get(LE).checked_sub(inside).filter(|follow| *follow > 0)?;
        Some((segment.p_offset.get(LE).checked_add(inside)?, follow))
    })
}

/// Returns the table of versions at an address, as the section that it would be if the file had
/// section headers: [`object`] reads these.
fn table(
    address: u64,
    kind: u32,
    segments: &[elf::ProgramHeader64<LE>],
) -> Result<elf::SectionHeader64<LE>, &'static str> {
    let (offset, bytes) = in_file(address, segments).ok_or("its versions are not in the file")?;
    let zero = object::U64::new(LE, 0);
    Ok(elf::SectionHeader64 {
        sh_name: object::U32::new(LE, 0),
        sh_type: object::U32::new(LE, kind),
        sh_flags: zero,
        sh_addr: zero,
        sh_offset: object::U64::new(LE, offset),
        sh_size: object::U64::new(LE, bytes.min(TABLE_BYTES_MAX)),
        sh_link: object::U32::new(LE, 0),
        sh_info: object::U32::new(LE, 0),
        sh_addralign: zero,
        sh_entsize: zero,
    })
}

fn wanted<'a>(
    read: &mut Elf,
    table: elf::SectionHeader64<LE>,
    data: Data<'a>,
    strings: &StringTable<'a, Data<'a>>,
) -> Result<(), &'static str> {
    const CUT_OFF: &str = "its wanted versions are cut off";
    let (libraries, _) = table.gnu_verneed(LE, data).ok().flatten().ok_or(CUT_OFF)?;
    let mut names = 0;
    for library in libraries {
        let (library, versions) = library.map_err(|_| CUT_OFF)?;
        let file = text(library.file(LE, *strings).map_err(|_| CUT_OFF)?);
        for version in versions {
            let version = version.map_err(|_| CUT_OFF)?;
            names += 1;
            if names > NAMES_MAX {
                return Err("it wants too many versions");
            }
            // Without these it starts all the same.
            if version.vna_flags.get(LE) & elf::VER_FLG_WEAK != 0 {
                continue;
            }
            let version = text(version.name(LE, *strings).map_err(|_| CUT_OFF)?);
            read.wanted.push(VersionWanted { library: file.clone(), version });
        }
    }
    Ok(())
}

fn defined<'a>(
    read: &mut Elf,
    table: elf::SectionHeader64<LE>,
    data: Data<'a>,
    strings: &StringTable<'a, Data<'a>>,
) -> Result<(), &'static str> {
    const CUT_OFF: &str = "its versions are cut off";
    let (versions, _) = table.gnu_verdef(LE, data).ok().flatten().ok_or(CUT_OFF)?;
    for version in versions {
        let (version, mut names) = version.map_err(|_| CUT_OFF)?;
        if read.defined.len() >= NAMES_MAX {
            return Err("it has too many versions");
        }
        // The first name is the version's own, those after it are the ones that it includes; the
        // base version is the file's name.
        let name = names.next().map_err(|_| CUT_OFF)?;
        if let Some(name) = name
            && version.vd_flags.get(LE) & elf::VER_FLG_BASE == 0
        {
            read.defined.push(text(name.name(LE, *strings).map_err(|_| CUT_OFF)?));
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
