//! The options of a function in a request, read and checked: units, ranges and defaults of AWS.
//! Pure; owns no fds.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Failure, expect_not_asked, invalid};
use crate::environment;
use crate::error::LambdaError;
use crate::function::Architecture;
use crate::json::MIB;

/// The default and the range of `Timeout`.
pub(super) const TIMEOUT_S_DEFAULT: u32 = 3;
const TIMEOUT_S_MAX: u32 = 900;
/// The default and the range of `MemorySize`.
pub(super) const MEMORY_MIB_DEFAULT: u32 = 128;
const MEMORY_MIB_MIN: u32 = 128;
const MEMORY_MIB_MAX: u32 = 10_240;
/// The default and the range of `EphemeralStorage`.
pub(super) const STORAGE_MIB_DEFAULT: u32 = 512;
const STORAGE_MIB_MAX: u32 = 10_240;
/// The most characters of a description.
pub(super) const DESCRIPTION_CHARS_MAX: usize = 256;

/// The runtimes of programs that bring their own.
const RUNTIMES: [&str; 3] = ["provided.al2023", "provided.al2", "provided"];

/// The options that creating and changing a function share. Those that are not named, `Role` aside
/// and what only says how AWS logs and traces, mean nothing to this node.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct OptionsShape {
    pub(super) runtime: Option<String>,
    pub(super) role: Option<String>,
    pub(super) handler: Option<String>,
    pub(super) description: Option<String>,
    timeout: Option<u32>,
    memory_size: Option<u32>,
    environment: Option<EnvironmentShape>,
    ephemeral_storage: Option<StorageShape>,
    pub(super) revision_id: Option<String>,
    layers: Value,
    vpc_config: Value,
    #[serde(rename = "KMSKeyArn")]
    kms_key_arn: Value,
    file_system_configs: Value,
    image_config: Value,
    dead_letter_config: Value,
    snap_start: Value,
    durable_config: Value,
    capacity_provider_config: Value,
    tenancy_config: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct EnvironmentShape {
    variables: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StorageShape {
    size: u32,
}

/// Options that are allowed, in the units of this crate.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) timeout_ms: Option<u32>,
    pub(super) memory_bytes_max: Option<u64>,
    pub(super) ephemeral_storage_bytes: Option<u64>,
    pub(super) environment: Option<BTreeMap<String, String>>,
}

impl OptionsShape {
    /// Checks all options, and takes out those that have units.
    pub(super) fn check(&mut self) -> Result<Options, Failure> {
        expect_not_asked(&[
            ("Layers", &self.layers),
            ("VpcConfig", &self.vpc_config),
            ("KMSKeyArn", &self.kms_key_arn),
            ("FileSystemConfigs", &self.file_system_configs),
            ("ImageConfig", &self.image_config),
            ("DeadLetterConfig", &self.dead_letter_config),
            ("SnapStart", &self.snap_start),
            ("DurableConfig", &self.durable_config),
            ("CapacityProviderConfig", &self.capacity_provider_config),
            ("TenancyConfig", &self.tenancy_config),
        ])?;
        if let Some(runtime) = &self.runtime {
            check_runtime(runtime)?;
        }
        if let Some(description) = &self.description {
            check_description(description)?;
        }
        let timeout_s = in_range("Timeout", self.timeout, 1, TIMEOUT_S_MAX)?;
        let memory_mib = in_range("MemorySize", self.memory_size, MEMORY_MIB_MIN, MEMORY_MIB_MAX)?;
        let storage_mib = self.ephemeral_storage.as_ref().map(|storage| storage.size);
        let storage_mib =
            in_range("EphemeralStorage", storage_mib, STORAGE_MIB_DEFAULT, STORAGE_MIB_MAX)?;
        let environment = self.environment.take().map(|environment| environment.variables);
        if let Some(variables) = &environment {
            environment::check(variables).map_err(LambdaError::from)?;
        }
        Ok(Options {
            timeout_ms: timeout_s.map(|seconds| seconds * 1000),
            memory_bytes_max: memory_mib.map(bytes),
            ephemeral_storage_bytes: storage_mib.map(bytes),
            environment,
        })
    }
}

/// Returns so many MiB in bytes.
pub(super) fn bytes(mib: u32) -> u64 {
    u64::from(mib) * MIB
}

fn in_range(name: &str, value: Option<u32>, min: u32, max: u32) -> Result<Option<u32>, Failure> {
    match value {
        Some(value) if !(min..=max).contains(&value) => {
            Err(invalid(format!("{name} is {value}; expected a number from {min} to {max}")))
        }
        value => Ok(value),
    }
}

fn check_runtime(runtime: &str) -> Result<(), Failure> {
    if RUNTIMES.contains(&runtime) {
        return Ok(());
    }
    let runtime: String = runtime.chars().take(64).collect();
    Err(invalid(format!(
        "the runtime {runtime:?} is not supported by this node, which runs programs that bring \
         their own; expected one of {}",
        RUNTIMES.join(", ")
    )))
}

pub(super) fn check_description(description: &str) -> Result<(), Failure> {
    if description.chars().count() <= DESCRIPTION_CHARS_MAX {
        return Ok(());
    }
    Err(invalid(format!("Description is longer than {DESCRIPTION_CHARS_MAX} characters")))
}

/// Checks what code is said to be built for. Without it, it is taken to be for this node.
pub(super) fn check_architectures(named: Option<&[String]>) -> Result<Architecture, Failure> {
    match named {
        None | Some([]) => Ok(Architecture::NODE),
        Some([one]) if one == Architecture::NODE.name() => Ok(Architecture::NODE),
        Some(_) => Err(invalid(format!(
            "Architectures must be [{}], which this node is; build the code for that",
            Architecture::NODE.name()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(shape: Value) -> Result<Options, Failure> {
        serde_json::from_value::<OptionsShape>(shape).unwrap().check()
    }

    #[test]
    fn seconds_and_megabytes_are_read() {
        let options = check(json!({
            "Timeout": 900, "MemorySize": 10_240, "EphemeralStorage": {"Size": 512},
            "Environment": {"Variables": {"NAME": "value"}},
        }))
        .unwrap();
        assert_eq!(options.timeout_ms, Some(900_000));
        assert_eq!(options.memory_bytes_max, Some(10 * 1024 * MIB));
        assert_eq!(options.ephemeral_storage_bytes, Some(512 * MIB));
        assert_eq!(options.environment.unwrap()["NAME"], "value");
    }

    #[test]
    fn what_is_out_of_range_or_not_to_be_had_is_refused() {
        for shape in [
            json!({"Timeout": 0}),
            json!({"Timeout": 901}),
            json!({"MemorySize": 127}),
            json!({"MemorySize": 10_241}),
            json!({"EphemeralStorage": {"Size": 511}}),
            json!({"Runtime": "python3.13"}),
            json!({"Description": "x".repeat(257)}),
            json!({"Environment": {"Variables": {"AWS_REGION": "x"}}}),
            json!({"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:a:1"]}),
            json!({"VpcConfig": {"SubnetIds": ["a"]}}),
            json!({"DeadLetterConfig": {"TargetArn": "a"}}),
            json!({"SnapStart": {"ApplyOn": "PublishedVersions"}}),
        ] {
            assert!(check(shape.clone()).is_err(), "{shape}");
        }
        assert!(check(json!({"SnapStart": {"ApplyOn": "None"}, "Layers": []})).is_ok());
    }

    #[test]
    fn only_this_nodes_architecture_is_taken() {
        let named =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let node = Architecture::NODE.name();
        assert!(check_architectures(None).is_ok());
        assert!(check_architectures(Some(&named(&[node]))).is_ok());
        assert!(check_architectures(Some(&named(&["mips"]))).is_err());
        assert!(check_architectures(Some(&named(&["x86_64", "arm64"]))).is_err());
    }
}
