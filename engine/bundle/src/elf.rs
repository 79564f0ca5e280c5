//! What an executable has in it that is loaded, and the executable without the rest: symbols,
//! debugging information, and the headers of sections, which linkers and debuggers read and no
//! kernel does. Pure; owns no fds.

use object::LittleEndian as LE;
use object::elf::{FileHeader64, PN_XNUM, PT_INTERP, PT_LOAD, ProgramHeader64};
use object::endian::{U16, U64};
use object::pod;
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use package::Machine;

use crate::BundleError;

/// Returns the executable without what is never loaded: cut behind its last segment, and without
/// headers of sections. It runs as before; a backtrace of it has no names.
///
/// # Errors
///
/// Returns a [`BundleError`] if this is no 64-bit little-endian ELF file, has no segment that is
/// loaded, or is cut short.
pub fn shrink(executable: &[u8]) -> Result<Vec<u8>, BundleError> {
    let end = end_of_segments(executable)?;
    let mut shrunk = executable.get(..end).unwrap_or(executable).to_vec();
    let (header, _) = pod::from_bytes_mut::<FileHeader64<LE>>(&mut shrunk)
        .map_err(|()| BundleError::NotElf("it has no header".to_owned()))?;
    header.e_shoff = U64::new(LE, 0);
    header.e_shentsize = U16::new(LE, 0);
    header.e_shnum = U16::new(LE, 0);
    header.e_shstrndx = U16::new(LE, 0);
    Ok(shrunk)
}

/// Returns the machine that the executable is for.
///
/// # Errors
///
/// Returns a [`BundleError`] if this is no 64-bit little-endian ELF file, or if no platform runs
/// programs for the machine.
pub fn machine(executable: &[u8]) -> Result<Machine, BundleError> {
    let (header, _) = parse(executable)?;
    match Machine::of_elf(header.e_machine.get(LE)) {
        machine @ (Machine::X86_64 | Machine::Aarch64) => Ok(machine),
        machine @ Machine::Other(_) => Err(BundleError::Machine(machine)),
    }
}

/// Returns the dynamic linker that the executable names. Returns `None` if it is linked statically.
///
/// # Errors
///
/// Returns a [`BundleError`] if this is no 64-bit little-endian ELF file.
pub fn interpreter(executable: &[u8]) -> Result<Option<String>, BundleError> {
    let (_, segments) = parse(executable)?;
    let Some(segment) = segments.iter().find(|segment| segment.p_type(LE) == PT_INTERP) else {
        return Ok(None);
    };
    let path = segment.data(LE, executable).unwrap_or_default();
    let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(Some(String::from_utf8_lossy(path).into_owned()))
}

type Parsed<'a> = (&'a FileHeader64<LE>, &'a [ProgramHeader64<LE>]);

fn parse(executable: &[u8]) -> Result<Parsed<'_>, BundleError> {
    let not_elf = |error: object::Error| BundleError::NotElf(error.to_string());
    let header = FileHeader64::<LE>::parse(executable).map_err(not_elf)?;
    // Their number would stand in a section's header.
    if header.e_phnum.get(LE) == PN_XNUM {
        return Err(BundleError::TooManySegments);
    }
    let endian = header.endian().map_err(not_elf)?;
    let segments = header.program_headers(endian, executable).map_err(not_elf)?;
    Ok((header, segments))
}

/// Returns where the last segment ends, or the header or the segments' headers if they end later.
fn end_of_segments(executable: &[u8]) -> Result<usize, BundleError> {
    let (header, segments) = parse(executable)?;
    if !segments.iter().any(|segment| segment.p_type(LE) == PT_LOAD) {
        return Err(BundleError::NothingLoaded);
    }
    let table_bytes = u64::from(header.e_phentsize.get(LE)) * u64::from(header.e_phnum.get(LE));
    let table_end = header.e_phoff.get(LE).saturating_add(table_bytes);
    let mut end = table_end.max(size_of::<FileHeader64<LE>>() as u64);
    for segment in segments {
        // The kernel reads some that are not loaded, such as the interpreter's name.
        if segment.p_filesz(LE) > 0 {
            end = end.max(segment.p_offset(LE).saturating_add(segment.p_filesz(LE)));
        }
    }
    let file_bytes = executable.len();
    usize::try_from(end)
        .ok()
        .filter(|end| *end <= file_bytes)
        .ok_or(BundleError::Short { file_bytes, segments_bytes: end })
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
