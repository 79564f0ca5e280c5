//! The retention policy of a node, as an object that all nodes read. Pure; owns no fds.

use serde::{Deserialize, Serialize};

use crate::objects::checked;
use settings::Settings;

/// What the keys of policies begin with.
pub(super) const FOLDER: &str = "retention/";

/// A retention policy, with the settings of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub logs_kept_for_ms: u64,
    pub logs_kept_bytes: u64,
    /// How many versions of each function are kept.
    pub versions_kept: u32,
    pub versions_kept_for_ms: u64,
}

impl Policy {
    /// The policy that keeps everything.
    pub(super) const EVERYTHING: Self = Self {
        logs_kept_for_ms: u64::MAX,
        logs_kept_bytes: u64::MAX,
        versions_kept: u32::MAX,
        versions_kept_for_ms: u64::MAX,
    };

    /// Returns the policy in the settings of a node.
    pub fn of(settings: &Settings) -> Self {
        let millis =
            |time: humantime::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            logs_kept_for_ms: millis(settings.logs_kept_for),
            logs_kept_bytes: settings.logs_kept_size.as_u64(),
            versions_kept: settings.versions_kept,
            versions_kept_for_ms: millis(settings.versions_kept_for),
        }
    }

    /// Returns the policy that keeps what either of the two keeps.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            logs_kept_for_ms: self.logs_kept_for_ms.max(other.logs_kept_for_ms),
            logs_kept_bytes: self.logs_kept_bytes.max(other.logs_kept_bytes),
            versions_kept: self.versions_kept.max(other.versions_kept),
            versions_kept_for_ms: self.versions_kept_for_ms.max(other.versions_kept_for_ms),
        }
    }

    /// Returns the object that holds the policy (a checked object).
    pub(super) fn seal(&self) -> serde_json::Result<Vec<u8>> {
        Ok(checked::seal(&serde_json::to_vec_pretty(self)?))
    }

    /// Parses the object under `key`. Ignores what a newer build has added.
    ///
    /// # Errors
    /// What is wrong with it, for the log.
    pub(super) fn open(key: &str, object: Vec<u8>) -> Result<Self, String> {
        let json = checked::open(key, object).map_err(|error| error.to_string())?;
        serde_json::from_slice(&json).map_err(|error| error.to_string())
    }
}

/// Returns the key of a node's policy.
pub(super) fn key(host: &str, id: &str) -> String {
    format!("{FOLDER}{host}-{id}")
}

/// Returns whether `key` is one of a policy.
pub(super) fn is_key(key: &str) -> bool {
    let Some(name) = key.strip_prefix(FOLDER).filter(|name| !name.contains('/')) else {
        return false;
    };
    let parts = name.len().checked_sub(37).and_then(|at| name.split_at_checked(at));
    let id = parts.and_then(|(_, rest)| rest.strip_prefix('-'));
    id.is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_policy() -> impl Strategy<Value = Policy> {
        any::<(u64, u64, u32, u64)>().prop_map(
            |(logs_kept_for_ms, logs_kept_bytes, versions_kept, versions_kept_for_ms)| Policy {
                logs_kept_for_ms,
                logs_kept_bytes,
                versions_kept,
                versions_kept_for_ms,
            },
        )
    }

    proptest! {
        #[test]
        fn the_more_generous_of_two_keeps_what_either_keeps(one in any_policy(), other in any_policy()) {
            let both = one.or(other);
            for policy in [one, other] {
                prop_assert!(both.logs_kept_for_ms >= policy.logs_kept_for_ms);
                prop_assert!(both.logs_kept_bytes >= policy.logs_kept_bytes);
                prop_assert!(both.versions_kept >= policy.versions_kept);
                prop_assert!(both.versions_kept_for_ms >= policy.versions_kept_for_ms);
            }
            prop_assert_eq!(both, other.or(one));
            prop_assert_eq!(one.or(one), one);
            prop_assert_eq!(one.or(Policy::EVERYTHING), Policy::EVERYTHING);
        }

        #[test]
        fn a_policy_is_read_back_and_a_damaged_one_is_not(
            policy in any_policy(), at: prop::sample::Index, to: u8,
        ) {
            let object = policy.seal().unwrap();
            prop_assert_eq!(Policy::open("k", object.clone()), Ok(policy));
            let mut damaged = object.clone();
            let at = at.index(object.len());
            damaged[at] = to;
            prop_assert_eq!(Policy::open("k", damaged).is_ok(), to == object[at]);
        }

        #[test]
        fn other_keys_are_survived(key in "(retention/)?[0-9a-z/.é-]{0,80}") {
            let _ = is_key(&key);
        }
    }

    #[test]
    fn a_policy_of_another_build_is_read_or_told() {
        let json = r#"{"logs_kept_for_ms": 1, "logs_kept_bytes": 2, "versions_kept": 3,
            "versions_kept_for_ms": 4, "more": 5}"#;
        let policy = Policy::open("k", checked::seal(json.as_bytes())).unwrap();
        assert_eq!((policy.logs_kept_for_ms, policy.versions_kept), (1, 3));
        let less = checked::seal(json.replace("\"versions_kept\": 3,", "").as_bytes());
        assert!(Policy::open("k", less).unwrap_err().contains("versions_kept"));
    }

    #[test]
    fn a_key_has_a_host_and_an_id() {
        let id = uuid::Uuid::from_u128(7).to_string();
        assert!(is_key(&key("host-1", &id)));
        for other in [
            "retention/readme.txt".to_owned(),
            format!("retention/{id}"),
            format!("retention/a/b-{id}"),
            format!("logs/a-{id}"),
        ] {
            assert!(!is_key(&other), "{other}");
        }
    }
}
