//! What the file of a native function or a static site is: checked and unpacked where it runs,
//! packed where it is deployed.
//!
//! An *artefact* is the one file that a deploy uploads: an ELF executable, a `#!` script, or a zip.
//! [`sniff`] tells which, by its first bytes. [`unpack()`] makes of it the folder that a sandbox
//! mounts: `task` is `/var/task` inside, `opt` is `/opt`. It refuses what cannot run on this node
//! in one sentence that says what to build instead. [`pack()`] makes one zip of a folder and
//! Lambda layers.
//!
//! A static site is a zip of its files: [`make_site`] makes of it the one file that workers read,
//! [`pack_site`] makes the zip of a folder.
//!
//! Everything here blocks, and reads what a stranger wrote: call it in a process with limits.
//! Nothing that is unpacked is judged by a list that another reader of zips has made; what is
//! written is what is looked at. The crate owns fds only while one of its functions runs.

#![forbid(unsafe_code)]

mod archive;
mod elf;
mod entry_name;
mod file_type;
mod inside;
mod layout;
mod limits;
mod machine;
mod pack;
mod program;
#[cfg(test)]
mod samples;
mod site;
mod tree;
mod unpack;
mod writer;

pub use archive::ArchiveError;
pub use elf::ElfError;
pub use entry_name::NameError;
pub use file_type::{FileType, sniff};
pub use inside::{library_path, search_path};
pub use layout::{LAYOUT_NAME, LAYOUT_TEXT, LayoutError};
pub use limits::{
    ENTRIES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, RATIO_FREE_BYTES, RATIO_MAX, SizeError,
    UNPACKED_BYTES_MAX,
};
pub use machine::Machine;
pub use pack::{PackError, Packed, pack};
pub use program::{
    EntryError, HostJsonError, LinkageError, ProgramError, ScriptError, VersionError, Wanted,
};
pub use site::{SiteError, SitePackError, function_in, make_site, pack_site, pack_with_assets};
pub use tree::TreeError;
pub use unpack::{UnpackError, Unpacked, unpack};

/// How a native function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NativeKind {
    /// By the Lambda Runtime API: a `bootstrap`.
    Lambda,
    /// By HTTP on `$PORT`, as on Cloud Run.
    Server,
    /// As a custom handler of Azure Functions, which `host.json` names.
    Azure,
}

impl NativeKind {
    /// Returns the kind's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lambda => "lambda",
            Self::Server => "server",
            Self::Azure => "azure",
        }
    }
}
