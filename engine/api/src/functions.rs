//! Functions: the answers of `GET /v1/functions` and `GET /v1/functions/NAME`.

use std::collections::BTreeMap;

use abi::function::{FunctionLimits, Isolation, Kind, NetworkMode, Output, WebSocketMode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::versions::{Alias, ListedVersion};

/// The aliases of a function, by name.
pub type Aliases = BTreeMap<String, Alias>;

/// A function: the version that stands for it, and its aliases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Function {
    /// The version that is active, or else the newest.
    #[serde(flatten)]
    pub version: VersionDetails,
    /// Its aliases; `active` is what the bare name means.
    #[serde(default)]
    pub aliases: Aliases,
}

/// A function with all its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InspectedFunction {
    /// The same as in the list of functions.
    #[serde(flatten)]
    pub function: Function,
    /// Its versions, the newest first.
    #[serde(default)]
    pub versions: Vec<ListedVersion>,
    /// What became of its instances. Absent if none could have served several requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<Reuse>,
}

/// A version with all its options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionDetails {
    /// The function's name.
    pub name: String,
    /// The version's id, a UUID that sorts by time.
    pub version: String,
    /// The version's number, as in `v12`.
    pub number: u32,
    /// When it was deployed, in milliseconds since 1970.
    pub created_ms: u64,
    /// What its code is.
    pub kind: Kind,
    /// The SHA-256 of the deployed file, in hexadecimal.
    pub artefact: String,
    /// The size of the deployed file.
    pub artefact_bytes: u64,
    /// Where it runs.
    pub isolation: Isolation,
    /// Whether anybody may name versions and aliases of the function in addresses.
    pub previews: bool,
    /// `fresh` if an instance serves one request, `reuse=N` if it serves N.
    pub instances: String,
    /// What one invocation and the function may use.
    pub limits: FunctionLimits,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// What the function reads through `wasi:config/store`.
    pub config: BTreeMap<String, String>,
    /// Arguments of a command, after its own name.
    pub args: Vec<String>,
    /// What a command's stdout is.
    pub output: Output,
    /// Where its outgoing requests may go.
    pub allow_outbound: Vec<String>,
    /// The buckets that it shares with other functions, by the name by which it opens each.
    #[serde(default)]
    pub kv: BTreeMap<String, String>,
    /// The path that had to answer 2xx before it became active. Absent if none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_path: Option<String>,
    /// The name of the entry, which a lambda finds in `_HANDLER`. Absent if none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// Whether a lambda's invocations have START, END and REPORT lines in the log.
    #[serde(default)]
    pub report_lines: bool,
    /// Which network a native function has.
    #[serde(default)]
    pub network: NetworkMode,
    /// What becomes of a request that asks to speak WebSocket.
    #[serde(default)]
    pub websocket: WebSocketMode,
    /// Whether clients may have their requests run later, as jobs.
    #[serde(default)]
    pub respond_async: bool,
    /// Where its jobs go that are tried no more. Absent if nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<String>,
    /// What the function is, for people. Absent if nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The role that AWS's tools gave for a lambda. It means nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Where its file is from: a reference in a registry, with its digest. Absent if it was a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// What became of instances that have served a request and may serve several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reuse {
    /// Kept for another request.
    pub kept: u64,
    /// Not kept: they had grown to near their memory limit.
    pub memory: u64,
    /// Not kept: they still held their request.
    pub request: u64,
    /// Not kept: the worker keeps as many as it can.
    pub room: u64,
    /// Not kept: they had served all that they may.
    pub served: u64,
}
