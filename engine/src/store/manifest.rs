//! What a version of a function is, as it stands in the store and as a deployer asks for it. Pure; owns no fds.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use abi::limits;
use serde::{Deserialize, Serialize};

use crate::compile::inspect::Kind;

/// Where a function runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Isolation {
    /// In any worker, beside other functions.
    #[default]
    Shared,
    /// In a worker of its own.
    Process,
}

/// How many requests an instance serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Instances {
    /// One: nothing of a request is left for the next.
    #[default]
    Fresh,
    /// So many, one after another.
    Reuse(u32),
}

impl Instances {
    /// As the catalogue has it.
    pub(crate) fn requests_max(self) -> u32 {
        match self {
            Self::Fresh => 1,
            Self::Reuse(requests) => requests,
        }
    }
}

impl FromStr for Instances {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<Self, OptionsError> {
        let unfit = || OptionsError::Instances { given: text.to_owned() };
        match text.split_once('=') {
            None if text == "fresh" => Ok(Self::Fresh),
            Some(("reuse", number)) => {
                let requests = number.parse().ok().filter(|n| (1..=limits::REQUESTS_PER_INSTANCE_MAX).contains(n));
                requests.map(Self::Reuse).ok_or_else(unfit)
            }
            _ => Err(unfit()),
        }
    }
}

impl TryFrom<String> for Instances {
    type Error = OptionsError;

    fn try_from(text: String) -> Result<Self, OptionsError> {
        text.parse()
    }
}

impl From<Instances> for String {
    fn from(instances: Instances) -> Self {
        match instances {
            Instances::Fresh => "fresh".to_owned(),
            Instances::Reuse(requests) => format!("reuse={requests}"),
        }
    }
}

/// What a deployer may choose. Absent means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) memory_bytes_max: Option<u64>,
    #[serde(default)]
    pub(crate) timeout_ms: Option<u64>,
    #[serde(default)]
    pub(crate) isolation: Option<Isolation>,
    #[serde(default)]
    pub(crate) instances: Option<Instances>,
}

/// An immutable version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    /// Time-ordered (UUIDv7).
    pub(crate) version: String,
    /// When it was deployed, in milliseconds since 1970.
    pub(crate) created_ms: u64,
    pub(crate) kind: Kind,
    /// SHA-256 of the deployed file, in hexadecimal.
    pub(crate) artefact: String,
    pub(crate) artefact_bytes: u64,
    pub(crate) memory_bytes_max: u64,
    pub(crate) timeout_ms: u32,
    pub(crate) isolation: Isolation,
    #[serde(default)]
    pub(crate) instances: Instances,
    pub(crate) env: BTreeMap<String, String>,
}

/// Why options are refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionsError {
    #[error(
        "a memory limit of {given} bytes; expected {} to {} (for example --memory 64MiB)",
        limits::MEMORY_BYTES_MIN,
        limits::MEMORY_BYTES_MAX
    )]
    Memory { given: u64 },
    #[error(
        "a time limit of {given} ms; expected {:?} to {:?} (for example --timeout 5s)",
        limits::TIMEOUT_MIN,
        limits::TIMEOUT_MAX
    )]
    Timeout { given: u64 },
    #[error(
        "the environment has {count} variables of {bytes} bytes; at most {} of {} bytes are allowed",
        limits::ENV_VARIABLES_MAX,
        limits::ENV_BYTES_MAX
    )]
    EnvSize { count: usize, bytes: usize },
    #[error("the environment variable {name:?} has no name, or '=' or a zero byte in it; expected --env NAME=VALUE")]
    EnvName { name: String },
    #[error("instances {given:?}; expected fresh or reuse=N, N from 1 to {}", limits::REQUESTS_PER_INSTANCE_MAX)]
    Instances { given: String },
}

impl Options {
    /// Checks every option against its limits.
    ///
    /// # Errors
    /// [`OptionsError`] naming the option and what was expected.
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        if let Some(given) = self.memory_bytes_max
            && !(limits::MEMORY_BYTES_MIN..=limits::MEMORY_BYTES_MAX).contains(&given)
        {
            return Err(OptionsError::Memory { given });
        }
        if let Some(given) = self.timeout_ms
            && !(limits::TIMEOUT_MIN..=limits::TIMEOUT_MAX).contains(&Duration::from_millis(given))
        {
            return Err(OptionsError::Timeout { given });
        }
        let (count, bytes) = (self.env.len(), self.env.iter().map(|(name, value)| name.len() + value.len()).sum());
        if count > limits::ENV_VARIABLES_MAX || bytes > limits::ENV_BYTES_MAX {
            return Err(OptionsError::EnvSize { count, bytes });
        }
        let unfit =
            |(name, value): &(&String, &String)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
        match self.env.iter().find(unfit) {
            Some((name, _)) => Err(OptionsError::EnvName { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// The version that these options and an artefact make. Call [`Self::check`] first.
    pub(crate) fn manifest(self, name: &str, kind: Kind, artefact: String, artefact_bytes: u64) -> Manifest {
        let default_ms = u64::try_from(limits::TIMEOUT_DEFAULT.as_millis()).unwrap_or(u64::MAX);
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Manifest {
            name: name.to_owned(),
            version: uuid::Uuid::now_v7().to_string(),
            created_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            kind,
            artefact,
            artefact_bytes,
            memory_bytes_max: self.memory_bytes_max.unwrap_or(limits::MEMORY_BYTES_DEFAULT),
            timeout_ms: u32::try_from(self.timeout_ms.unwrap_or(default_ms)).unwrap_or(u32::MAX),
            isolation: self.isolation.unwrap_or_default(),
            instances: self.instances.unwrap_or_default(),
            env: self.env,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_read_back() {
        for text in ["fresh", "reuse=1", "reuse=1000"] {
            let instances: Instances = text.parse().unwrap();
            assert_eq!(String::from(instances), text);
        }
        for text in ["", "reuse", "reuse=0", "reuse=-1", "reuse=99999999", "fresh=1"] {
            assert!(text.parse::<Instances>().is_err(), "{text}");
        }
    }

    #[test]
    fn options_are_held_to_their_limits() {
        let why = |options: Options| options.check().unwrap_err().to_string();
        assert!(Options::default().check().is_ok());
        assert!(why(Options { memory_bytes_max: Some(1), ..Default::default() }).contains("--memory"));
        assert!(why(Options { memory_bytes_max: Some(u64::MAX), ..Default::default() }).contains("--memory"));
        assert!(why(Options { timeout_ms: Some(0), ..Default::default() }).contains("--timeout"));
        assert!(why(Options { timeout_ms: Some(u64::MAX), ..Default::default() }).contains("--timeout"));
        let env = |name: &str, value: String| Options { env: [(name.to_owned(), value)].into(), ..Default::default() };
        assert!(why(env("", "x".into())).contains("--env"));
        assert!(why(env("A=B", "x".into())).contains("A=B"));
        assert!(why(env("A", "x".repeat(1 << 20))).contains("bytes"));
        assert!(env("A", "x=y".into()).check().is_ok());
    }
}
