//! How many requests an instance serves, and how that is written. Owns no fds.

use std::str::FromStr;

use crate::limits;

/// How many requests an instance serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schemars", schemars(inline))]
pub enum Instances {
    /// One: nothing of a request is left for the next.
    #[default]
    Fresh,
    /// So many, one after another.
    Reuse(u32),
}

/// Text that is no policy.
#[derive(Debug, thiserror::Error)]
#[error(
    "instances {given:?}; expected fresh or reuse=N, N from 1 to {}",
    limits::REQUESTS_PER_INSTANCE_MAX
)]
pub struct InstancesError {
    given: String,
}

impl Instances {
    /// Returns how many requests that are, which is how the catalogue has it.
    #[must_use]
    pub fn requests_max(self) -> u32 {
        match self {
            Self::Fresh => 1,
            Self::Reuse(requests) => requests,
        }
    }
}

impl FromStr for Instances {
    type Err = InstancesError;

    fn from_str(text: &str) -> Result<Self, InstancesError> {
        let unfit = || InstancesError { given: text.to_owned() };
        match text.split_once('=') {
            None if text == "fresh" => Ok(Self::Fresh),
            Some(("reuse", number)) => {
                let requests = number
                    .parse()
                    .ok()
                    .filter(|n| (1..=limits::REQUESTS_PER_INSTANCE_MAX).contains(n));
                requests.map(Self::Reuse).ok_or_else(unfit)
            }
            _ => Err(unfit()),
        }
    }
}

impl TryFrom<String> for Instances {
    type Error = InstancesError;

    fn try_from(text: String) -> Result<Self, InstancesError> {
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
}
