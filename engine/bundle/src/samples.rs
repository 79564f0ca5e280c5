//! Small ELF files for tests, put together by hand.

/// An executable with one segment that is loaded, all of the file, then perhaps the name of a
/// dynamic linker, and behind all of it what is not loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) machine: u16,
    pub(crate) interpreter: Option<&'static str>,
    /// How many bytes of code there are.
    pub(crate) code: usize,
    /// How many bytes there are that are not loaded.
    pub(crate) sections: usize,
}

/// A static executable for x86-64.
pub(crate) const STATIC: Sample =
    Sample { machine: 62, interpreter: None, code: 1_000, sections: 500 };

impl Sample {
    /// Returns how long the file is without what is not loaded.
    pub(crate) fn loaded(&self) -> usize {
        64 + 2 * 56 + self.code + self.interpreter.map_or(0, |name| name.len() + 1)
    }

    /// Returns the file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let loaded = self.loaded() as u64;
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        bytes.resize(16, 0);
        // ET_EXEC, the machine, EV_CURRENT.
        bytes.extend([2, 0]);
        bytes.extend(self.machine.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        // Entry, program headers, section headers.
        for offset in [0x1000, 64, loaded] {
            bytes.extend(offset.to_le_bytes());
        }
        bytes.extend(0_u32.to_le_bytes());
        for number in [64_u16, 56, 2, 64, 3, 2] {
            bytes.extend(number.to_le_bytes());
        }
        let name = self.interpreter.map_or(0, |name| name.len() as u64 + 1);
        // PT_LOAD, and PT_INTERP or PT_NULL.
        let second = if self.interpreter.is_some() { 3_u32 } else { 0 };
        for (kind, offset, length) in [(1, 0, loaded), (second, loaded - name, name)] {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(5_u32.to_le_bytes());
            for number in [offset, 0x1000 + offset, 0x1000 + offset, length, length, 1] {
                bytes.extend(number.to_le_bytes());
            }
        }
        bytes.resize(bytes.len() + self.code, 0x90);
        bytes.extend(self.interpreter.unwrap_or_default().bytes());
        bytes.resize(bytes.len() + usize::from(self.interpreter.is_some()), 0);
        bytes.resize(bytes.len() + self.sections, 0xcc);
        bytes
    }
}
