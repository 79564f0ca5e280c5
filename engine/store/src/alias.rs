//! An alias of a function: a name for one version, or for several by weight. Pure; owns no fds.

use std::collections::BTreeMap;

use abi::limits::{ALIAS_TARGETS_MAX, ALIAS_WEIGHT_MAX};
use api::options::{OptionsError, check_pairs};
use host::clock;
use host::fault::Fault;
use serde::{Deserialize, Serialize};

/// A version, and its share of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The version's id.
    pub version: String,
    pub weight: u32,
}

/// An alias. Its object is overwritten as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// The function's name.
    pub name: String,
    pub alias: String,
    pub targets: Vec<Target>,
    /// Variables that override the environment of the version that is run by this alias.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Values that override its config.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// The targets before the last change, to which a rollback returns.
    #[serde(default)]
    pub previous: Vec<Target>,
    /// When it was written, in milliseconds since 1970.
    pub changed_ms: u64,
}

/// Why an alias is refused.
#[derive(Debug, thiserror::Error)]
pub enum AliasError {
    #[error(
        "an alias names at least one version, and at most {ALIAS_TARGETS_MAX}; this one names {0}"
    )]
    Count(usize),
    #[error(
        "the weight {0} is out of range; expected 1 to {ALIAS_WEIGHT_MAX}, and a version of no weight left out"
    )]
    Weight(u32),
    #[error("the version {0} is named twice; expected each once, with its weight")]
    Twice(String),
    #[error(transparent)]
    Pairs(#[from] OptionsError),
}

impl AliasError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Count(_) | Self::Weight(_) | Self::Twice(_) | Self::Pairs(_) => Fault::INVALID,
        }
    }
}

impl Alias {
    /// Returns an alias of the function `name` with the version `id` as its target.
    pub fn of(name: &str, alias: &str, id: &str) -> Self {
        Self {
            name: name.to_owned(),
            alias: alias.to_owned(),
            targets: vec![Target { version: id.to_owned(), weight: 1 }],
            env: BTreeMap::new(),
            config: BTreeMap::new(),
            previous: Vec::new(),
            changed_ms: clock::unix_ms(),
        }
    }

    /// Returns the alias with other targets. The present ones become the previous ones.
    pub fn pointed_at(&self, targets: Vec<Target>) -> Self {
        let same = targets == self.targets;
        let previous = if same { self.previous.clone() } else { self.targets.clone() };
        Self { targets, previous, changed_ms: clock::unix_ms(), ..self.clone() }
    }

    /// Returns whether the alias needs the version `id`, now or after a rollback.
    pub fn holds(&self, id: &str) -> bool {
        self.targets.iter().chain(&self.previous).any(|target| target.version == id)
    }

    /// Checks the alias against its limits.
    ///
    /// # Errors
    /// [`AliasError`] names what is out of range.
    pub fn check(&self) -> Result<(), AliasError> {
        if !(1..=ALIAS_TARGETS_MAX).contains(&self.targets.len()) {
            return Err(AliasError::Count(self.targets.len()));
        }
        for (at, target) in self.targets.iter().enumerate() {
            if !(1..=ALIAS_WEIGHT_MAX).contains(&target.weight) {
                return Err(AliasError::Weight(target.weight));
            }
            if self.targets[..at].iter().any(|other| other.version == target.version) {
                return Err(AliasError::Twice(target.version.clone()));
            }
        }
        for (option, pairs) in [("env", &self.env), ("config", &self.config)] {
            check_pairs(option, pairs)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::choice::ACTIVE;

    #[test]
    fn it_remembers_what_it_meant_before() {
        let first = Alias::of("a", ACTIVE, "1");
        let second = first.pointed_at(Alias::of("a", ACTIVE, "2").targets);
        assert_eq!(
            (second.targets[0].version.as_str(), second.previous[0].version.as_str()),
            ("2", "1")
        );
        assert!(second.holds("1") && second.holds("2") && !second.holds("3"));
        // Said again, it still goes back to where it went before.
        assert_eq!(second.pointed_at(second.targets.clone()).previous, second.previous);
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let target = |version: &str, weight| Target { version: version.to_owned(), weight };
        let why = |targets| {
            Alias { targets, ..Alias::of("a", ACTIVE, "1") }.check().unwrap_err().to_string()
        };
        assert!(Alias::of("a", ACTIVE, "1").check().is_ok());
        assert!(why(Vec::new()).contains("at least one"));
        assert!(why(vec![target("1", 1); ALIAS_TARGETS_MAX + 1]).contains("at most"));
        assert!(why(vec![target("1", 0)]).contains("weight 0"));
        assert!(why(vec![target("1", ALIAS_WEIGHT_MAX + 1)]).contains("out of range"));
        assert!(why(vec![target("1", 1), target("1", 2)]).contains("twice"));
    }
}
