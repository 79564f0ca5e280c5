//! What people choose beside the schedule itself. Pure; owns no fds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of a tick while a run of the same schedule is under way.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Overlap {
    /// It is left out.
    #[default]
    Skip,
    /// It runs when the run before it has ended; so many wait, and more are left out.
    Queue,
    /// It runs beside it.
    Allow,
}

/// What becomes of ticks that passed while nobody could ring.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Missed {
    /// They are left out.
    #[default]
    Skip,
    /// The last of them runs, however late.
    RunOnce,
}

impl Overlap {
    /// Returns it as options have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
            Self::Allow => "allow",
        }
    }
}

impl Missed {
    /// Returns it as options have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::RunOnce => "run-once",
        }
    }
}
