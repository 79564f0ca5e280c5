//! A schedule as an object of a store: its key and its contents. Pure; owns no fds.
//!
//! ```text
//! cron/schedules/<id>.json            a checked object, the last write wins
//! cron/nodes/<host>-<node's id>       an empty object of a node that rings, written again and again
//! ```
//! An id follows from what is rung and when. So nodes that add the same schedule at once add one, and
//! what can be changed of it, its policies, is the last that was written.

use std::fmt;

use schedule::expression::SCHEDULE_BYTES_MAX;
use schedule::{Missed, Overlap};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::domains::Target;

/// What the keys of all schedules begin with, and those of nodes.
pub(super) const FOLDER: &str = "cron/";
const SCHEDULES: &str = "cron/schedules/";
const NODES: &str = "cron/nodes/";
/// How much of the digest is in an id.
const DIGITS: usize = 8;

/// Where a schedule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Somebody has added it.
    Command,
    /// Its function's `sockhop.toml` has it, and takes it away again.
    Project,
}

/// A schedule, by which a function is rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSchedule {
    #[serde(flatten)]
    pub target: Target,
    /// As it was given.
    pub schedule: String,
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(default)]
    pub overlap: Overlap,
    #[serde(default)]
    pub missed: Missed,
    #[serde(default)]
    pub jitter_ms: u64,
    pub source: Source,
    /// When it was added, in milliseconds since 1970. Periods are counted from then on.
    pub created_ms: u64,
}

impl StoredSchedule {
    /// Returns its id: `<function>-<digits>`.
    pub fn id(&self) -> String {
        let mut digest = Sha256::new();
        let zone = self.time_zone.as_deref().unwrap_or_default();
        for part in [&self.target.to_string(), &self.schedule, &self.path, zone] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        let digits = host::files::hex(&digest.finalize());
        format!("{}-{}", self.target.function, digits.get(..DIGITS).unwrap_or_default())
    }

    /// Returns whether `other` is the same, whenever it was added.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        Self { created_ms: other.created_ms, ..self.clone() } == *other
    }

    pub(super) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
    }

    /// Parses the object of the schedule `id`.
    pub(super) fn read(id: &str, json: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let alias = read.target.alias.as_deref();
        let fits = abi::name::check(&read.target.function).is_ok()
            && alias.is_none_or(|alias| abi::reference::check_alias(alias).is_ok())
            && read.schedule.len() <= SCHEDULE_BYTES_MAX
            && read.id() == id;
        fits.then_some(read).ok_or_else(|| "its contents do not belong there".to_owned())
    }
}

/// What the key of an object says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The schedule of this id.
    Schedule(String),
    /// A node that rings.
    Node(RingingNode),
}

/// A node that rings, or has lately.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RingingNode {
    /// The name of its host, as keys have it.
    pub host: String,
    pub id: Uuid,
}

impl fmt::Display for RingingNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

impl RingingNode {
    pub(super) fn key(&self) -> String {
        format!("{NODES}{}-{}", self.host, self.id)
    }
}

/// Returns the key of the schedule `id`.
pub(super) fn key(id: &str) -> String {
    format!("{SCHEDULES}{id}.json")
}

impl Place {
    /// Returns what the object under `key` is. Returns `None` if it is nothing of schedules.
    pub(super) fn of_key(key: &str) -> Option<Self> {
        if let Some(id) = key.strip_prefix(SCHEDULES) {
            let id = id.strip_suffix(".json")?;
            let (function, digits) = id.rsplit_once('-')?;
            let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let is_ours = abi::name::check(function).is_ok()
                && digits.len() == DIGITS
                && digits.bytes().all(is_digit);
            return is_ours.then(|| Self::Schedule(id.to_owned()));
        }
        let node = key.strip_prefix(NODES)?;
        let (host, id) = node.split_at_checked(node.len().checked_sub(36)?)?;
        let (host, id) = (host.strip_suffix('-')?, Uuid::try_parse(id).ok()?);
        let node = RingingNode { host: host.to_owned(), id };
        (!host.is_empty() && node.key() == key).then_some(Self::Node(node))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A schedule of a function, that is due every so many seconds.
    pub(in super::super) fn every(function: &str, seconds: u64) -> StoredSchedule {
        StoredSchedule {
            target: Target { function: function.to_owned(), alias: None },
            schedule: format!("@every {seconds}s"),
            path: "/".to_owned(),
            time_zone: None,
            overlap: Overlap::Skip,
            missed: Missed::Skip,
            jitter_ms: 0,
            source: Source::Command,
            created_ms: 1,
        }
    }

    #[test]
    fn an_id_is_of_what_is_rung_and_when_and_a_key_says_whose_it_is() {
        let one = every("web", 1);
        assert_eq!(one.id(), StoredSchedule { created_ms: 2, jitter_ms: 9, ..one.clone() }.id());
        let alias = Target { alias: Some("beta".to_owned()), ..one.target.clone() };
        for other in [
            every("web", 2),
            every("api", 1),
            StoredSchedule { target: alias, ..one.clone() },
            StoredSchedule { path: "/x".to_owned(), ..one.clone() },
            StoredSchedule { time_zone: Some("UTC".to_owned()), ..one.clone() },
        ] {
            assert_ne!(other.id(), one.id(), "{other:?}");
        }
        assert_eq!(Place::of_key(&key(&one.id())), Some(Place::Schedule(one.id())));
        let node = RingingNode { host: "a.b-c".to_owned(), id: Uuid::from_u128(7) };
        assert_eq!(Place::of_key(&node.key()), Some(Place::Node(node)));
        for key in [
            "cron/schedules/web.json",
            "cron/schedules/web-0123456.json",
            "cron/schedules/web-0123456G.json",
            "cron/schedules/../web-01234567.json",
            "cron/schedules/web-01234567",
            "cron/nodes/00000000-0000-0000-0000-000000000007",
            "cron/nodes/-00000000-0000-0000-0000-000000000007",
            "cron/nodes/é",
            "cron/else",
        ] {
            assert_eq!(Place::of_key(key), None, "{key}");
        }
    }

    #[test]
    fn an_object_of_another_place_is_not_taken_and_later_fields_are_passed_over() {
        let one = every("web", 1);
        let json = one.to_json().unwrap();
        assert_eq!(StoredSchedule::read(&one.id(), &json), Ok(one.clone()));
        assert!(StoredSchedule::read(&every("web", 2).id(), &json).is_err());
        let text = String::from_utf8(json).unwrap();
        let later = text.replace("\"path\"", "\"later\": [], \"path\"");
        assert!(StoredSchedule::read(&one.id(), later.as_bytes()).is_ok());
        for (from, to) in [("\"web\"", "\"../web\""), ("\"/\"", "\"/y\""), ("@every", "@never")] {
            assert!(StoredSchedule::read(&one.id(), text.replace(from, to).as_bytes()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_key_and_any_object_is_survived(rest in ".{0,60}", json in ".{0,60}") {
            for key in [format!("{SCHEDULES}{rest}"), format!("{NODES}{rest}")] {
                let _ = Place::of_key(&key);
            }
            let _ = StoredSchedule::read(&rest, json.as_bytes());
        }
    }
}
