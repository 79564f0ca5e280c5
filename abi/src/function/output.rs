//! How a command's stdout becomes a reply. Owns no fds.

/// What a command's stdout is.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum Output {
    /// The reply's body.
    #[default]
    Raw,
    /// Headers, an empty line, and the body (RFC 3875 6).
    Cgi,
    /// The reply's body, from its first byte on and whatever the exit code, which is in the log.
    Always,
}

/// Returns the line of the log about the exit code of a command whose output is [`Output::Always`].
#[must_use]
pub fn exit_line(code: i32) -> String {
    format!("{EXIT_LINE}{code}]")
}

/// Returns the exit code in a line by [`exit_line`].
#[must_use]
pub fn exit_code(line: &str) -> Option<i32> {
    line.strip_prefix(EXIT_LINE)?.strip_suffix(']')?.parse().ok()
}

const EXIT_LINE: &str = "[exit code ";

impl Output {
    /// Returns the output's name in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Cgi => "cgi",
            Self::Always => "always",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_read_as_it_is_written() {
        for code in [0, 1, 255, i32::MIN] {
            assert_eq!(exit_code(&exit_line(code)), Some(code));
        }
        assert_eq!(exit_code("[exit code x]"), None);
    }
}
