//! The standalone program, which bundles have in front of a function, and why one cannot be made.
//! Owns the program's file, which was opened when the node started.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use abi::bundle as trailer;
use host::fault::Fault;

/// The name of the program's file.
const NAME: &str = "sockhop-standalone";

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error(
        "function {name:?} is no WebAssembly ({kind}): what was deployed runs or is served on such platforms as it is"
    )]
    Native { name: String, kind: &'static str },
    #[error(
        "function {name:?} has assets, which a bundle does not serve; deploy it without [assets] to bundle it"
    )]
    Assets { name: String },
    #[error(
        "the program {path:?} cannot be opened: {source}; `scripts/run` builds it beside `sockhop`"
    )]
    Missing { path: PathBuf, source: io::Error },
    #[error("the program {path:?} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "the program {path:?} is not linked statically, and would not run elsewhere; `scripts/run` \
         builds it beside `sockhop` as it has to be"
    )]
    Dynamic { path: PathBuf },
    #[error(transparent)]
    Trailer(#[from] trailer::BundleError),
    #[error("the program in front of bundles cannot be used: {0}")]
    Unusable(#[from] bundle::BundleError),
}

impl ProgramError {
    /// Returns whose fault it is.
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Native { .. } | Self::Assets { .. } => Fault::INVALID,
            _ => Fault::NODE_BROKEN,
        }
    }
}

/// The standalone program as it was when the node started. If the file is replaced later, the next
/// engine has the new one.
#[derive(Debug)]
pub(super) struct Standalone {
    path: PathBuf,
    file: io::Result<File>,
}

impl Standalone {
    /// Opens `sockhop-standalone` beside this process's own binary. That it is not there is told
    /// when it is needed.
    pub(super) fn open() -> Self {
        let path = std::env::current_exe().map(|own| own.with_file_name(NAME));
        let path = path.unwrap_or_else(|_| NAME.into());
        let file = File::open(&path);
        Self { path, file }
    }

    /// Returns the program's bytes.
    ///
    /// # Errors
    /// [`ProgramError`] when it is not there, or it would not run elsewhere.
    pub(super) fn read(&self) -> Result<Vec<u8>, ProgramError> {
        let path = || self.path.clone();
        let file = self.file.as_ref().map_err(|error| ProgramError::Missing {
            path: path(),
            source: io::Error::new(error.kind(), error.to_string()),
        })?;
        let unreadable = |source| ProgramError::Unreadable { path: path(), source };
        let length = file.metadata().map_err(unreadable)?.len();
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0).map_err(unreadable)?;
        match bundle::interpreter(&bytes)? {
            None => Ok(bytes),
            Some(_) => Err(ProgramError::Dynamic { path: path() }),
        }
    }
}
