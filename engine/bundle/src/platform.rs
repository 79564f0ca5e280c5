//! The platforms that there are bundles for, and their names on the command line. Pure; owns no
//! fds.

use std::fmt;
use std::str::FromStr;

/// A platform to pack a function for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// AWS Lambda, with the runtime `provided.al2023`.
    Lambda,
    /// Google Cloud Run, and whatever else starts a program with `$PORT`.
    CloudRun,
    /// Azure Functions, as a custom handler.
    Azure,
    /// Whatever runs images of the Open Container Initiative.
    Oci,
}

/// A name that is no platform's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no platform {0:?} to bundle for; expected lambda, cloud-run, azure or oci")]
pub struct UnknownPlatform(String);

impl Platform {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lambda, Self::CloudRun, Self::Azure, Self::Oci];

    /// Returns its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lambda => "lambda",
            Self::CloudRun => "cloud-run",
            Self::Azure => "azure",
            Self::Oci => "oci",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Platform {
    type Err = UnknownPlatform;

    fn from_str(name: &str) -> Result<Self, UnknownPlatform> {
        let platform = Self::ALL.into_iter().find(|platform| platform.name() == name);
        platform.ok_or_else(|| UnknownPlatform(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for platform in Platform::ALL {
            assert_eq!(platform.to_string().parse(), Ok(platform));
            let unknown = UnknownPlatform(String::new());
            assert!(unknown.to_string().contains(platform.name()));
        }
        assert!("Lambda".parse::<Platform>().is_err());
    }
}
