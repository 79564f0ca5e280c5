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
    /// A native program for AWS Lambda's custom runtime: it asks for events.
    Lambda,
    /// A native HTTP server that listens on `$PORT`, as Cloud Run has it.
    Server,
    /// A native custom handler of Azure Functions.
    Azure,
    /// A static site: files, and no program.
    Static,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Http02,
        Self::Http03,
        Self::Command,
        Self::Lambda,
        Self::Server,
        Self::Azure,
        Self::Static,
    ];

    /// Returns whether the code is a program for this machine, and not WebAssembly. It runs in
    /// processes of its own, in a worker that runs nothing else.
    #[must_use]
    pub fn is_native(self) -> bool {
        match self {
            Self::Http02 | Self::Http03 | Self::Command | Self::Static => false,
            Self::Lambda | Self::Server | Self::Azure => true,
        }
    }

    /// Returns whether the code is WebAssembly.
    #[must_use]
    pub fn is_wasm(self) -> bool {
        !self.is_native() && self != Self::Static
    }

    /// Returns the kind's name in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http02 => "http02",
            Self::Http03 => "http03",
            Self::Command => "command",
            Self::Lambda => "lambda",
            Self::Server => "server",
            Self::Azure => "azure",
            Self::Static => "static",
        }
    }
}

impl From<&ArchivedKind> for Kind {
    fn from(kind: &ArchivedKind) -> Self {
        match kind {
            ArchivedKind::Http02 => Self::Http02,
            ArchivedKind::Http03 => Self::Http03,
            ArchivedKind::Command => Self::Command,
            ArchivedKind::Lambda => Self::Lambda,
            ArchivedKind::Server => Self::Server,
            ArchivedKind::Azure => Self::Azure,
            ArchivedKind::Static => Self::Static,
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
    /// It is for AWS Lambda's custom runtime: an executable, or a folder or zip with `bootstrap`.
    Lambda,
    /// It is an HTTP server that listens on `$PORT`: an executable, or a folder or zip with it.
    Server,
    /// It is a custom handler of Azure Functions: a folder or zip with `host.json`.
    Azure,
    /// It is a static site: a folder or zip of files.
    Static,
}

impl FileKind {
    /// Returns the kind of a native program or a static site. Returns `None` for WebAssembly, whose
    /// kind follows from what is in the file.
    #[must_use]
    pub fn told(self) -> Option<Kind> {
        match self {
            Self::Http | Self::Command => None,
            Self::Lambda => Some(Kind::Lambda),
            Self::Server => Some(Kind::Server),
            Self::Azure => Some(Kind::Azure),
            Self::Static => Some(Kind::Static),
        }
    }

    /// Returns the kind's name in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Command => "command",
            Self::Lambda => "lambda",
            Self::Server => "server",
            Self::Azure => "azure",
            Self::Static => "static",
        }
    }
}
