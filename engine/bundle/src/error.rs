//! Why a function cannot be packed. Owns no fds.

use std::io;

use abi::name::NameError;
use package::Machine;
use zip::result::ZipError;

/// Why a function cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The name is no function's.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The executable is of another format.
    #[error("the executable is no 64-bit little-endian ELF executable: {0}")]
    NotElf(String),
    /// The executable ends before its last segment does.
    #[error(
        "the executable has {file_bytes} bytes, and its segments take {segments_bytes}; it was not \
         copied whole"
    )]
    Short {
        /// How long it is.
        file_bytes: usize,
        /// How long it would have to be.
        segments_bytes: u64,
    },
    /// The executable has nothing that is loaded.
    #[error("the executable has no segment that is loaded; is it an object file?")]
    NothingLoaded,
    /// The executable has more segments than its header can count.
    #[error("the executable has too many segments; 65534 are the most")]
    TooManySegments,
    /// No platform runs the machine's programs.
    #[error("no platform runs programs for {0}; bundle on a node of x86-64 or 64-bit ARM")]
    Machine(Machine),
    /// The executable needs a dynamic linker, and there is none.
    #[error(
        "the executable needs {interpreter:?}, and an image has nothing but the executable; link \
         it statically"
    )]
    Interpreter {
        /// The dynamic linker that it names.
        interpreter: String,
    },
    /// What Lambda would unpack is too large.
    #[error(
        "the executable has {bytes} bytes, and Lambda unpacks at most {max}; make the function \
         smaller"
    )]
    Unpacked {
        /// How long it is.
        bytes: usize,
        /// The longest that it may be.
        max: usize,
    },
    /// The zip is too large to be uploaded.
    #[error(
        "the zip has {bytes} bytes, and Lambda takes at most {max} as an upload; make the function \
         smaller, or deploy an image (--for oci)"
    )]
    Zipped {
        /// How long it is.
        bytes: usize,
        /// The longest that it may be.
        max: usize,
    },
    /// The zip cannot be made.
    #[error("the zip cannot be made: {0}")]
    Zip(#[from] ZipError),
    /// The image's tar cannot be made.
    #[error("the image cannot be made: {0}")]
    Tar(#[from] io::Error),
    /// The image's JSON cannot be made.
    #[error("the image's description cannot be made: {0}")]
    Json(#[from] serde_json::Error),
}
