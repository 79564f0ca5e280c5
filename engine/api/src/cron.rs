//! Schedules: which functions are rung when, and what came of it.

use abi::function::Time;
use abi::function::amount::Amount as _;
use abi::reference::{AliasNameError, check_alias};
use schedule::expression::Schedule;
use schedule::timing::JITTER_MAX_MS;
use schedule::{Missed, Overlap, ScheduleError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::path::is_path;

/// The header of a run's request that has the id of its schedule.
pub const ID_HEADER: &str = "sockhop-cron";
/// The header that has the moment for which it is: the tick, as RFC 3339 has it.
pub const TIME_HEADER: &str = "sockhop-cron-time";
/// The longest path that is rung.
pub const PATH_BYTES_MAX: usize = 2048;
/// The path that is rung if none is given.
const PATH_DEFAULT: &str = "/";

/// When to ring a function, and how: a `[[cron]]` of `sockhop.toml`, and what `sockhop cron add` sends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CronOptions {
    /// Five fields (minute, hour, day, month, weekday), six with the second before them, `@hourly`,
    /// `@daily`, `@weekly`, `@monthly`, `@yearly`, or `@every TIME`.
    pub schedule: String,
    /// One of the function's aliases. Absent for what its bare name means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The path that is rung. Absent for `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The time zone that the fields are meant in, by its name in the IANA database. Absent for UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What becomes of a tick while a run of the same schedule is under way.
    #[serde(default)]
    pub overlap: Overlap,
    /// What becomes of ticks that passed while nobody could ring.
    #[serde(default)]
    pub missed: Missed,
    /// Up to how much later than its ticks it is rung: always as much, and each schedule otherwise.
    /// As `30s`; absent for not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
}

/// Why a schedule is refused.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant has its sentence")]
pub enum CronError {
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    #[error(transparent)]
    Alias(#[from] AliasNameError),
    #[error(
        "the path {0:?} cannot be rung; expected one that begins with /, of at most {PATH_BYTES_MAX} bytes"
    )]
    Path(String),
    #[error("the jitter {0:?} is no time up to 24h; expected for example 30s")]
    Jitter(String),
}

/// What options say, with defaults and names as they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The path that is rung.
    pub path: String,
    /// The time zone as the IANA database has it.
    pub time_zone: Option<String>,
    /// The jitter, in milliseconds.
    pub jitter_ms: u64,
}

impl CronOptions {
    /// Checks all of it.
    ///
    /// # Errors
    /// A [`CronError`] that says what is wrong and what is expected.
    pub fn check(&self) -> Result<Checked, CronError> {
        Schedule::read(&self.schedule, self.time_zone.as_deref(), 0)?;
        self.alias.as_deref().map_or(Ok(()), check_alias)?;
        let path = self.path.clone().unwrap_or_else(|| PATH_DEFAULT.to_owned());
        if !is_path(&path) || path.len() > PATH_BYTES_MAX {
            return Err(CronError::Path(path));
        }
        let jitter = self.jitter.as_deref().map(|text| {
            let time: Option<Time> = text.parse().ok();
            let ms = time.map(Time::get).filter(|ms| *ms <= JITTER_MAX_MS);
            ms.ok_or_else(|| CronError::Jitter(text.to_owned()))
        });
        let zone = self.time_zone.as_deref().map(schedule::zone::find).transpose();
        let zone = zone.map_err(ScheduleError::from)?;
        Ok(Checked {
            path,
            time_zone: zone.and_then(|zone| zone.iana_name().map(str::to_owned)),
            jitter_ms: jitter.transpose()?.unwrap_or(0),
        })
    }
}

/// Where a schedule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CronSource {
    /// Somebody has added it.
    Command,
    /// The function's `sockhop.toml` has it: the next deploy of that may take it away.
    Project,
}

/// A schedule, and what this node knows of its runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedCron {
    /// Its id, which follows from function, alias, schedule, path and time zone.
    pub id: String,
    /// The function's name.
    pub function: String,
    /// One of its aliases. Absent for what its bare name means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The schedule as it was given.
    pub schedule: String,
    /// The path that is rung.
    pub path: String,
    /// The time zone of its fields. Absent for UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What becomes of a tick while a run is under way.
    pub overlap: Overlap,
    /// What becomes of ticks that passed while nobody could ring.
    pub missed: Missed,
    /// Up to how much later than its ticks it is rung, in milliseconds.
    pub jitter_ms: u64,
    /// Where it comes from.
    pub source: CronSource,
    /// When it was added, in milliseconds since 1970.
    pub added_ms: u64,
    /// When it is rung next, in milliseconds since 1970. Absent if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
    /// How many runs are under way that this node has begun.
    #[serde(default)]
    pub running: usize,
    /// The last run that has ended, of those that this node has begun since it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<CronRun>,
    /// Why it rings nothing. Absent if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A run: what came of ringing a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CronRun {
    /// The moment for which it was, in milliseconds since 1970.
    pub scheduled_ms: u64,
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// The status of the reply. Absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The id of the invocation, by which the log has it. Absent if the function was not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<String>,
    /// Why it failed. Absent if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Who rings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CronStatus {
    /// Whether this node does.
    pub rings: bool,
    /// How many schedules the store has.
    pub schedules: usize,
    /// The hosts of all nodes of the store that do, as far as they have said so lately.
    pub nodes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked_and_kept_as_names_are() {
        let options = |json: serde_json::Value| serde_json::from_value::<CronOptions>(json);
        let daily = options(serde_json::json!({
            "schedule": "0 3 * * *", "time_zone": "europe/berlin", "jitter": "1m 30s",
            "overlap": "queue", "missed": "run-once",
        }));
        let daily = daily.unwrap();
        assert_eq!((daily.overlap, daily.missed), (Overlap::Queue, Missed::RunOnce));
        let checked = daily.check().unwrap();
        assert_eq!((checked.path.as_str(), checked.jitter_ms), ("/", 90_000));
        assert_eq!(checked.time_zone.as_deref(), Some("Europe/Berlin"));
        for (key, value, part) in [
            ("schedule", "0 0 30 2 *", "never due"),
            ("time_zone", "Europe/Berln", "Europe/Berlin"),
            ("path", "nightly", "begins with /"),
            ("path", "/a b", "begins with /"),
            ("alias", "v1", "alias"),
            ("jitter", "25h", "24h"),
            ("jitter", "soon", "30s"),
        ] {
            let mut json = serde_json::json!({ "schedule": "@hourly" });
            json[key] = value.into();
            let error = options(json).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(part), "{key} {value}: {error}");
        }
        assert!(options(serde_json::json!({ "schedule": "@daily", "zone": "UTC" })).is_err());
        assert!(options(serde_json::json!({ "schedule": "@daily", "overlap": "x" })).is_err());
    }
}
