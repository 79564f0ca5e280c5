//! Deploying a version: `PUT /v1/functions/NAME`, and `GET /v1/deploys/ID` while it is under way.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::functions::{Isolation, Output, VersionDetails};

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
}

/// The version that was active before a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionBefore {
    /// The version's id.
    pub version: String,
    /// The version's number, as in `v12`.
    pub number: u32,
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

/// What a version is to be like. What is absent or null is as the active version has it, except for
/// what `unset` names, or as its default if `fresh_options` is true.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeployOptions {
    /// Ignored, so that what is in a `sockhop.toml` can be sent as it is: the path has the name.
    #[serde(skip_serializing)]
    pub name: Option<String>,
    /// Ignored likewise: the file itself is sent.
    #[serde(skip_serializing)]
    pub source: Option<String>,
    /// Start from the defaults, instead of from the options of the active version.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fresh_options: bool,
    /// Options to leave at their defaults: `memory`, `env`, or one variable as `env.NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
    /// What the file is. By default, what it exports.
    pub kind: Option<FileKind>,
    /// Where it runs.
    pub isolation: Option<Isolation>,
    /// `fresh` for an instance for each request, `reuse=N` for one that serves N.
    pub instances: Option<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// What the function reads through `wasi:config/store`.
    pub config: BTreeMap<String, String>,
    /// Arguments of a command, after its own name.
    pub args: Vec<String>,
    /// What a command's stdout is.
    pub output: Option<Output>,
    /// Where its outgoing requests may go: `HOST:PORT`, or `*.DOMAIN:PORT` for all below a domain.
    pub allow_outbound: Vec<String>,
    /// Memory of one instance.
    pub memory: Option<Size>,
    /// Wall time of one invocation, as `30s`.
    pub timeout: Option<String>,
    /// Processor time of one invocation, as `30s`. By default, as the wall time.
    pub cpu_time: Option<String>,
    /// Elements of one instance's tables together.
    pub table_elements: Option<u32>,
    /// Core instances in one instance.
    pub core_instances: Option<u32>,
    /// The body of one request.
    pub request_body: Option<Size>,
    /// The status line and headers of one reply.
    pub reply_head: Option<Size>,
    /// What one invocation may write to stdout and to stderr.
    pub log_size: Option<Size>,
    /// Invocations at a time, on all workers together.
    pub concurrency: Option<u32>,
    /// Requests that may wait for one of them to end.
    pub queue: Option<u32>,
    /// How long each may wait, as `10s`.
    pub queue_timeout: Option<String>,
    /// Outgoing requests at a time, in each worker.
    pub outbound_requests: Option<u32>,
    /// Let anybody name versions and aliases of the function in addresses.
    pub previews: Option<bool>,
    /// A path that must answer 2xx before the version becomes active.
    pub health_path: Option<String>,
}

/// What a deployer says that a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// It handles requests.
    Http,
    /// It is a program: a request on stdin, its reply on stdout.
    Command,
}

/// A size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a size, in bytes or for example as \"64MiB\"")]
pub enum Size {
    /// In bytes.
    Bytes(u64),
    /// As people write it: `64MiB`.
    Text(String),
}
