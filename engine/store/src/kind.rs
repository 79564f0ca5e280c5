//! What a deployed file is, and what its deployer says that it is. Pure; owns no fds.

/// What a function's code is, and so how it is called.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A component that exports `wasi:http/incoming-handler@0.2`. The first manifests called it
    /// `http`.
    #[serde(alias = "http")]
    Http02,
    /// A component that exports `wasi:http/handler@0.3`.
    Http03,
    /// A component that exports `wasi:cli/run@0.2`, or a core module with a preview-1 `_start`.
    Command,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Http02, Self::Http03, Self::Command];

    /// Its name in manifests and on the compile child's command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http02 => "http02",
            Self::Http03 => "http03",
            Self::Command => "command",
        }
    }
}

/// What a deployer says that a file is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// It handles requests.
    Http,
    /// It is a program: a request on stdin, its reply on stdout.
    Command,
}

impl Wanted {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Command => "command",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_manifests_kind_is_read() {
        assert_eq!(serde_json::from_str::<Kind>("\"http\"").unwrap(), Kind::Http02);
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            let of_child = <Kind as clap::ValueEnum>::from_str(kind.name(), false).unwrap();
            assert_eq!(of_child, kind);
        }
    }
}
