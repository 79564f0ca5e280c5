//! Which processors an ELF file and this node are for, and how to build for one. Pure; owns no
//! fds.

use std::fmt;

use object::elf;

/// A processor architecture, as in an ELF header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// x86-64, also called amd64.
    X86_64,
    /// 64-bit ARM, also called arm64.
    Aarch64,
    /// Another one, by its number in an ELF header (`EM_*`).
    Other(u16),
}

impl Machine {
    /// Returns the machine that this program is built for, and so runs on.
    #[must_use]
    pub fn here() -> Self {
        match std::env::consts::ARCH {
            "x86_64" => Self::X86_64,
            "aarch64" => Self::Aarch64,
            "riscv64" => Self::Other(elf::EM_RISCV),
            "loongarch64" => Self::Other(elf::EM_LOONGARCH),
            _ => Self::Other(elf::EM_NONE),
        }
    }

    /// Returns the machine that an ELF header gives this number (`e_machine`).
    #[must_use]
    pub fn of_elf(machine: u16) -> Self {
        match machine {
            elf::EM_X86_64 => Self::X86_64,
            elf::EM_AARCH64 => Self::Aarch64,
            other => Self::Other(other),
        }
    }

    /// Returns what builds for this machine in the usual languages.
    pub(crate) fn how_to_build(self) -> &'static str {
        match self {
            Self::X86_64 => {
                "`cargo lambda build --release --x86-64`, `cargo build --target x86_64-unknown-linux-musl` or `GOOS=linux GOARCH=amd64 go build`"
            }
            Self::Aarch64 => {
                "`cargo lambda build --release --arm64`, `cargo build --target aarch64-unknown-linux-musl` or `GOOS=linux GOARCH=arm64 go build`"
            }
            Self::Other(_) => "with the node's own compilers",
        }
    }

    /// Returns the target triple that links everything statically.
    pub(crate) fn static_target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
            Self::Other(_) => "a musl target",
        }
    }

    /// Returns the target triple that links glibc.
    pub(crate) fn glibc_target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::Other(_) => "TARGET",
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::X86_64 => "x86-64",
            Self::Aarch64 => "64-bit ARM (aarch64)",
            Self::Other(elf::EM_386) => "32-bit x86 (i386)",
            Self::Other(elf::EM_ARM) => "32-bit ARM",
            Self::Other(elf::EM_RISCV) => "RISC-V",
            Self::Other(elf::EM_LOONGARCH) => "LoongArch",
            Self::Other(elf::EM_PPC64) => "64-bit PowerPC",
            Self::Other(elf::EM_S390) => "IBM Z (s390x)",
            Self::Other(number) => {
                return write!(formatter, "another processor (ELF machine {number})");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_names() {
        assert_eq!(Machine::of_elf(62).to_string(), "x86-64");
        assert_eq!(Machine::of_elf(183).to_string(), "64-bit ARM (aarch64)");
        assert_eq!(Machine::of_elf(3).to_string(), "32-bit x86 (i386)");
        assert_eq!(Machine::of_elf(9999).to_string(), "another processor (ELF machine 9999)");
        assert_ne!(Machine::here(), Machine::Other(elf::EM_NONE));
    }
}
