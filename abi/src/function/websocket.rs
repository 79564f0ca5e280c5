//! What a WebAssembly function does with clients that ask for WebSocket. Owns no fds.

/// What becomes of a request to a WebAssembly function that asks to speak WebSocket (RFC 6455).
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
pub enum WebSocketMode {
    /// It is a request like any other.
    #[default]
    Off,
    /// The node keeps the connection, and calls the function for each message.
    Messages,
}

impl WebSocketMode {
    /// Returns the mode's name in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Messages => "messages",
        }
    }
}

impl From<&ArchivedWebSocketMode> for WebSocketMode {
    fn from(mode: &ArchivedWebSocketMode) -> Self {
        match mode {
            ArchivedWebSocketMode::Off => Self::Off,
            ArchivedWebSocketMode::Messages => Self::Messages,
        }
    }
}
