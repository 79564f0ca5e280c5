//! Why the module cache cannot provide a module. Owns no fds.

use std::io;
use std::path::PathBuf;

use abi::limits::MODULE_BYTES_MAX;

use crate::child::CompileError;
use host::fault::Fault;
use store::error::StoreError;

/// Why a module cannot be provided.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("the module cache {path:?} cannot be used: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error("the compiled module {path:?} cannot be {what}: {source}")]
    Module { what: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Sealed(#[from] abi::sealed::SealedError),
    #[error("the compiled module has {bytes} bytes, at most {MODULE_BYTES_MAX} are allowed")]
    TooLarge { bytes: u64 },
    #[error(transparent)]
    Artefact(#[from] StoreError),
    #[error("no function that is deployed has this module any more")]
    Unknown,
    #[error(
        "{0}; it is compiled again when it is deployed or an alias is set, and otherwise after a while"
    )]
    Failed(String),
    #[error(
        "the version is not compiled on this node, and no alias means it; `sockhop invoke NAME@VERSION` compiles it"
    )]
    Unnamed,
}

impl CacheError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Folder { source, .. } | Self::Module { source, .. } => Fault::of_file(source),
            Self::Compile(error) => error.fault(),
            Self::Sealed(_) | Self::Unknown => Fault::NODE_BROKEN,
            Self::TooLarge { .. } | Self::Failed(_) => Fault::UNFIT,
            Self::Artefact(error) => error.fault(),
            Self::Unnamed => Fault::NOT_FOUND,
        }
    }

    /// Returns whether the deployed file is the reason, and not the state of this node.
    pub(super) fn is_the_files(&self) -> bool {
        let compiler = |error: &CompileError| {
            !matches!(error, CompileError::Start(_) | CompileError::Settings(_))
        };
        match self {
            Self::Compile(error) => compiler(error),
            Self::TooLarge { .. } => true,
            _ => false,
        }
    }
}
