//! What a version of a function is, as it stands in the store. Pure; owns no fds.

use std::collections::BTreeMap;

use abi::function::{
    FunctionLimits, Instances, Isolation, Kind, NetworkMode, Output, WebSocketMode,
};
use api::options::Options;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use host::clock;

/// An immutable version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub name: String,
    /// Its id, time-ordered (UUIDv7).
    pub version: String,
    /// What people call it by. The ids of two versions differ; their numbers may not, when two
    /// nodes made them at once.
    #[serde(default)]
    pub number: u32,
    /// When it was deployed, in milliseconds since 1970.
    pub created_ms: u64,
    pub kind: Kind,
    /// SHA-256 of the deployed file, in hexadecimal.
    pub artefact: String,
    pub artefact_bytes: u64,
    pub isolation: Isolation,
    /// Anybody may name versions and aliases of the function while this one stands for it.
    #[serde(default)]
    pub previews: bool,
    #[serde(default)]
    pub instances: Instances,
    pub limits: FunctionLimits,
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub output: Output,
    #[serde(default)]
    pub allow_outbound: Vec<String>,
    /// The buckets that it shares with other functions, by the name by which it opens each.
    #[serde(default)]
    pub kv: BTreeMap<String, String>,
    /// What had to answer before it became active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_path: Option<String>,
    /// What a lambda finds in `_HANDLER`, if that was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// A lambda's invocations have START, END and REPORT lines.
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
    /// Whether its artefact has assets beside the function.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_assets: bool,
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The role that AWS's tools gave for it, and get back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

impl Manifest {
    /// The version that `options` and an artefact make, without a number yet. Check the options
    /// first.
    pub fn new(
        name: &str,
        kind: Kind,
        options: Options,
        artefact: String,
        artefact_bytes: u64,
    ) -> Self {
        Self {
            name: name.to_owned(),
            version: uuid::Uuid::now_v7().to_string(),
            number: 0,
            created_ms: clock::unix_ms(),
            kind,
            artefact,
            artefact_bytes,
            isolation: match kind.is_native() {
                true => Isolation::Process,
                false => options.isolation.unwrap_or_default(),
            },
            previews: options.previews.unwrap_or_default(),
            instances: options.instances.unwrap_or_default(),
            limits: options.limits.limits(),
            env: options.env.into_iter().collect(),
            config: options.config.into_iter().collect(),
            args: options.args,
            output: options.output.unwrap_or_default(),
            allow_outbound: options.allow_outbound,
            kv: options.kv.into_iter().collect(),
            health_path: options.health_path,
            handler: options.handler,
            report_lines: options.report_lines.unwrap_or_default(),
            network: options.network.unwrap_or_default(),
            websocket: options.websocket.unwrap_or_default(),
            respond_async: options.respond_async.unwrap_or_default(),
            has_assets: false,
            description: options.description,
            role: options.role,
        }
    }

    /// Reads a manifest of this build or an earlier one: the first had two limits, beside its other
    /// fields.
    ///
    /// # Errors
    /// What is missing, unreadable or out of range, for the log.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let mut manifest: Value =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if let Some(fields) = manifest.as_object_mut()
            && !fields.contains_key("limits")
        {
            let moved =
                ["memory_bytes_max", "timeout_ms"].map(|key| (key.to_owned(), fields.remove(key)));
            let mut limits: serde_json::Map<_, _> =
                moved.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            if let Some(timeout_ms) = limits.get("timeout_ms").cloned() {
                limits.insert("cpu_time_ms".to_owned(), timeout_ms);
            }
            fields.insert("limits".to_owned(), limits.into());
        }
        let manifest: Self = serde_json::from_value(manifest).map_err(|error| error.to_string())?;
        manifest.limits.check().map_err(|error| error.to_string())?;
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the first build wrote it.
    const FIRST: &str = r#"{"name": "a", "version": "v", "created_ms": 1, "kind": "http", "artefact": "00",
        "artefact_bytes": 3, "memory_bytes_max": 1048576, "timeout_ms": 1000, "isolation": "shared",
        "env": {"A": "1"}}"#;

    #[test]
    fn manifests_of_the_first_build_are_read() {
        let manifest = Manifest::read(FIRST.as_bytes()).unwrap();
        let limits = FunctionLimits {
            memory_bytes_max: 1 << 20,
            timeout_ms: 1000,
            cpu_time_ms: 1000,
            ..FunctionLimits::default()
        };
        assert_eq!((manifest.kind, &manifest.limits), (Kind::Http02, &limits));
        assert_eq!(
            (manifest.instances, manifest.output, manifest.args.len()),
            (Instances::Fresh, Output::Raw, 0)
        );
        let again = Manifest::read(&serde_json::to_vec(&manifest).unwrap()).unwrap();
        assert_eq!(again, manifest);
    }

    #[test]
    fn a_manifest_out_of_range_is_refused() {
        let broken = FIRST.replace("1048576", "1");
        assert!(Manifest::read(broken.as_bytes()).unwrap_err().contains("--memory"));
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(at in 0..FIRST.len(), to: u8, cut in 0..FIRST.len()) {
            let mut bytes = FIRST.as_bytes().to_vec();
            bytes[at] = to;
            let _ = Manifest::read(&bytes);
            let _ = Manifest::read(&bytes[..cut]);
        }
    }
}
