//! Deploying a version: `PUT /v1/functions/NAME`, and `GET /v1/deploys/ID` while it is under way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::functions::VersionDetails;

/// The header in which a client gives its deploy an id, a UUID, to ask about it.
pub const ID_HEADER: &str = "sockhop-deploy-id";
/// The part of the form that has the options, as JSON. It comes first.
pub const OPTIONS_PART: &str = "options";
/// The part of the form that has the file.
pub const ARTEFACT_PART: &str = "artefact";

/// What is done with the version once it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DeployQuery {
    /// Whether it becomes active.
    pub activate: bool,
    /// Whether it has to answer a request before it does.
    pub trial: bool,
}

impl Default for DeployQuery {
    fn default() -> Self {
        Self { activate: true, trial: true }
    }
}

/// What is done with the options of a function that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case")]
pub struct OptionsQuery {
    /// Whether the version becomes active.
    pub activate: bool,
    /// Whether it has to answer a request before it does.
    pub trial: bool,
    /// Whether it is only told what would become of it.
    pub dry_run: bool,
}

impl Default for OptionsQuery {
    fn default() -> Self {
        Self { activate: true, trial: true, dry_run: false }
    }
}

/// A version that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeployedVersion {
    /// The version.
    #[serde(flatten)]
    pub version: VersionDetails,
    /// The version that was active before. Null if there was none.
    #[serde(default)]
    pub before: Option<VersionBefore>,
    /// Whether some of its options are those of `before` because nothing else was asked for.
    #[serde(default)]
    pub options_kept: bool,
    /// The options that it has otherwise than `before`.
    #[serde(default)]
    pub changed: Vec<OptionChange>,
    /// What was set right in a native function's files, and what may not work.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The version that was active before a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionBefore {
    /// The version's id.
    pub version: String,
    /// The version's number, as in `v12`.
    pub number: u32,
    /// The SHA-256 of its file, in hexadecimal. Empty if the node does not say.
    #[serde(default)]
    pub artefact: String,
    /// The size of its file.
    #[serde(default)]
    pub artefact_bytes: u64,
}

/// An option that a version has otherwise than the version before it, as people read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OptionChange {
    /// The option as its flag is called, or `env.NAME`.
    pub option: String,
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
}

/// How far a deploy is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeployProgress {
    /// What it does.
    #[serde(flatten)]
    pub phase: DeployPhase,
    /// For how long it has been doing that.
    #[serde(default)]
    pub seconds: f64,
}

/// What a deploy does. Later builds may have more phases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum DeployPhase {
    /// Its file comes.
    Receiving,
    /// Others have the compilers.
    WaitingForCompiler {
        /// How many are before it.
        ahead: u64,
    },
    /// It is compiled.
    Compiling,
    /// Another version is tried.
    WaitingForTrial,
    /// It is asked whether it answers.
    Trying,
    /// It is written to the store.
    Storing,
    /// Workers are told of it.
    Publishing {
        /// How many shared workers are to serve it.
        workers: u64,
    },
    /// Something that this build does not know. No node says so.
    #[serde(other)]
    #[schemars(skip)]
    Other,
}
