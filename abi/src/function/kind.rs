//! What a function's code is, as the node sees it and as a deployer says it. Owns no fds.

/// What a function's code is, and so how it is called.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum Kind {
    /// A component that exports `wasi:http/incoming-handler@0.2`.
    // The first manifests called it `http`.
    #[cfg_attr(feature = "serde", serde(alias = "http"))]
    Http02,
    /// A component that exports `wasi:http/handler@0.3`.
    Http03,
    /// A component that exports `wasi:cli/run@0.2`, or a core module with a preview-1 `_start`.
    Command,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Http02, Self::Http03, Self::Command];

    /// Returns the kind's name in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http02 => "http02",
            Self::Http03 => "http03",
            Self::Command => "command",
        }
    }
}

/// What a deployer says that a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum FileKind {
    /// It handles requests.
    Http,
    /// It is a program: a request on stdin, its reply on stdout.
    Command,
}

impl FileKind {
    /// Returns the kind's name in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Command => "command",
        }
    }
}
