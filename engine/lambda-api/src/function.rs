//! Functions and their versions, as this crate and the node tell each other of them. Owns no fds.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;

use crate::names::{FunctionName, FunctionReference, VersionName};

/// A version of a function: what `GetFunctionConfiguration` is answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionConfiguration {
    /// The function's name.
    pub name: FunctionName,
    /// Which version this is; `$LATEST` if it was not asked for by number or alias.
    pub version: VersionName,
    /// What changes with every change: the version's id.
    pub revision_id: String,
    /// What it is, for people. May be empty.
    pub description: String,
    /// What runs it, as in `provided.al2023`.
    pub runtime: Option<String>,
    /// The role that was given for it. It means nothing here.
    pub role: Option<String>,
    /// The name of the entry, which the function finds in `_HANDLER`.
    pub handler: Option<String>,
    /// The size of the code as it was deployed.
    pub code_bytes: u64,
    /// The SHA-256 of the code as it was deployed.
    pub code_sha256: [u8; 32],
    /// How long one invocation may take.
    pub timeout_ms: u32,
    /// How much memory a process may have.
    pub memory_bytes_max: u64,
    /// How much its `/tmp` may hold.
    pub ephemeral_storage_bytes: u64,
    /// Its variables.
    pub environment: BTreeMap<String, String>,
    /// What its code is built for.
    pub architecture: Architecture,
    /// When it was last changed.
    pub modified: SystemTime,
    /// Whether it can be invoked.
    pub state: State,
    /// How its last change went.
    pub last_update: LastUpdate,
}

/// Whether a function can be invoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not yet: it is being made.
    Pending,
    /// Yes.
    Active,
    /// No, for the reason given.
    Failed(String),
}

/// How the last change of a function went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastUpdate {
    /// It is made.
    Successful,
    /// It is being made.
    InProgress,
    /// It was not made, for the reason given; what was before still is.
    Failed(String),
}

/// A processor's architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Arm64,
}

impl Architecture {
    /// The one that this node was built for.
    pub const NODE: Self = if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::X86_64 };

    /// Returns its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

/// A function's code: a zip archive, as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    /// The archive. Nothing of it has been read.
    pub zip: Bytes,
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Code").field("zip_bytes", &self.zip.len()).finish()
    }
}

/// A function to create. What a client may leave out has AWS's default, but for the options.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateFunction {
    /// Its name. The node may allow fewer names than the API.
    pub name: FunctionName,
    /// Its code.
    pub code: Code,
    /// What runs it: `provided`, `provided.al2` or `provided.al2023`.
    pub runtime: String,
    /// The role that was given.
    pub role: Option<String>,
    /// The name of the entry.
    pub handler: String,
    /// What it is, for people.
    pub description: String,
    /// How long one invocation may take.
    pub timeout_ms: u32,
    /// How much memory a process may have.
    pub memory_bytes_max: u64,
    /// How much its `/tmp` may hold.
    pub ephemeral_storage_bytes: u64,
    /// Its variables, of allowed names.
    pub environment: BTreeMap<String, String>,
    /// What its code is built for, which is always this node's.
    pub architecture: Architecture,
    /// Whether the version is to be named by its number in the answer.
    pub publish: bool,
}

/// New code for a function.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateCode {
    /// The function.
    pub name: FunctionName,
    /// Its new code.
    pub code: Code,
    /// Whether it is only to be checked.
    pub dry_run: bool,
    /// Whether the version is to be named by its number in the answer.
    pub publish: bool,
    /// The revision that must be the current one. Else it is
    /// [`PreconditionFailed`](crate::LambdaError::PreconditionFailed).
    pub revision_id: Option<String>,
}

/// New configuration of a function. What is absent stays.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateConfiguration {
    /// The function.
    pub name: FunctionName,
    /// What runs it.
    pub runtime: Option<String>,
    /// The role.
    pub role: Option<String>,
    /// The name of the entry.
    pub handler: Option<String>,
    /// What it is, for people.
    pub description: Option<String>,
    /// How long one invocation may take.
    pub timeout_ms: Option<u32>,
    /// How much memory a process may have.
    pub memory_bytes_max: Option<u64>,
    /// How much its `/tmp` may hold.
    pub ephemeral_storage_bytes: Option<u64>,
    /// Its variables, instead of all that were there.
    pub environment: Option<BTreeMap<String, String>>,
    /// The revision that must be the current one.
    pub revision_id: Option<String>,
}

/// What is to be published: `$LATEST`, as the next number.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishVersion {
    /// The function.
    pub name: FunctionName,
    /// The SHA-256 that its code must have.
    pub code_sha256: Option<[u8; 32]>,
    /// What this version is, for people.
    pub description: Option<String>,
    /// The revision that must be the current one.
    pub revision_id: Option<String>,
}

/// The address at which a function answers HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionUrl {
    /// The function, with the alias if it is an alias's address.
    pub function: FunctionReference,
    /// The address.
    pub url: String,
    /// Since when it has it.
    pub created: SystemTime,
    /// When the function was last changed.
    pub modified: SystemTime,
}

/// What a node may hold, and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSettings {
    /// All code that the node may hold.
    pub code_bytes_max: u64,
    /// The code of one function, unpacked.
    pub unpacked_bytes_max: u64,
    /// Invocations at a time.
    pub concurrency_max: u32,
    /// Those of them that no function has for itself.
    pub unreserved_concurrency: u32,
    /// All code that it holds.
    pub code_bytes: u64,
    /// How many functions it has.
    pub functions: u64,
}
