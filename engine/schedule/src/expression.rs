//! What a schedule says: fields of cron in a time zone, or a period. Pure; owns no fds.
//!
//! The crate `croner` reads fields and goes through the calendar. Where clocks are put forward or
//! back, it does this: a schedule with one hour, one minute and one second is due once, at the first
//! moment behind the gap if its time does not exist, and at the first of two if it happens twice. Any
//! other goes by what the clock shows: times that do not exist are left out, and those that happen
//! twice are due twice. Tests here hold it to that.

use std::str::FromStr as _;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::zone::{self, UnknownZone};

/// The longest text of a schedule.
pub const SCHEDULE_BYTES_MAX: usize = 200;
/// The shortest and the longest period of `@every`.
pub const PERIOD_MIN: Duration = Duration::from_secs(1);
/// See [`PERIOD_MIN`].
pub const PERIOD_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Whether a schedule is ever due is looked for from here on: the 1st of January 2000.
const LOOKED_FROM_S: i64 = 946_684_800;

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant has its sentence")]
pub enum ScheduleError {
    #[error(
        "the schedule {text:?} is not understood: {reason}; expected five fields (minute, hour, day, month, weekday), \
         six with the second before them, @hourly, @daily, @weekly, @monthly, @yearly, or @every TIME, as @every 90s"
    )]
    Malformed { text: String, reason: String },
    #[error(
        "the schedule {text:?} is never due: no date is as it says; for the last day of a month write L"
    )]
    Never { text: String },
    #[error("the schedule {text:?} is no period from 1s to 366 days")]
    Period { text: String },
    #[error(
        "the schedule {text:?} has the time zone {zone:?}, and @every is the same in all of them; leave it out"
    )]
    PeriodInZone { text: String, zone: String },
    #[error(transparent)]
    Zone(#[from] UnknownZone),
}

/// A schedule that is due again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    when: When,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum When {
    Calendar { fields: Box<Cron>, zone: TimeZone },
    Every { period_ms: u64, anchor_ms: u64 },
}

impl Schedule {
    /// Reads a schedule; its fields are meant in the time zone called `zone`, or in UTC. Periods are
    /// counted from `anchor_ms` on.
    ///
    /// # Errors
    /// A [`ScheduleError`], which says what is wrong and what is expected.
    pub fn read(text: &str, zone: Option<&str>, anchor_ms: u64) -> Result<Self, ScheduleError> {
        let malformed = |reason: String| ScheduleError::Malformed { text: text.to_owned(), reason };
        if text.len() > SCHEDULE_BYTES_MAX {
            let reason = format!("it has more than {SCHEDULE_BYTES_MAX} bytes");
            return Err(ScheduleError::Malformed { text: text.chars().take(20).collect(), reason });
        }
        if let Some(character) = text.chars().find(|it| !it.is_ascii() || it.is_ascii_control()) {
            return Err(malformed(format!("it has the character {character:?}")));
        }
        let trimmed = text.trim();
        let period = trimmed.get(..6).filter(|start| start.eq_ignore_ascii_case("@every"));
        if let (Some(_), Some(period)) = (period, trimmed.get(6..)) {
            if let Some(zone) = zone {
                let (text, zone) = (text.to_owned(), zone.to_owned());
                return Err(ScheduleError::PeriodInZone { text, zone });
            }
            let period = humantime::parse_duration(period.trim())
                .map_err(|error| malformed(error.to_string()))?;
            if !(PERIOD_MIN..=PERIOD_MAX).contains(&period) {
                return Err(ScheduleError::Period { text: text.to_owned() });
            }
            let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
            return Ok(Self { when: When::Every { period_ms, anchor_ms } });
        }
        let zone = zone.map_or(Ok(TimeZone::UTC), zone::find)?;
        let fields = match trimmed.to_ascii_lowercase().as_str() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            name if name.contains('@') => {
                return Err(malformed(format!("there is no {name:?}")));
            }
            _ => trimmed,
        };
        let count = fields.split_whitespace().count();
        if !(5..=6).contains(&count) {
            return Err(malformed(format!("it has {count} fields")));
        }
        let parser = CronParser::builder().year(Year::Disallowed).build();
        let fields = parser.parse(fields).map_err(|error| malformed(error.to_string()))?;
        let when = When::Calendar { fields: Box::new(fields), zone };
        let schedule = Self { when };
        match schedule.next(u64::try_from(LOOKED_FROM_S * 1000).unwrap_or_default()) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never { text: text.to_owned() }),
        }
    }

    /// Returns the period of `@every`, in milliseconds.
    #[must_use]
    pub fn period_ms(&self) -> Option<u64> {
        match &self.when {
            When::Calendar { .. } => None,
            When::Every { period_ms, .. } => Some(*period_ms),
        }
    }

    /// Returns the first tick after `after_ms`. Returns `None` if there is none before the calendar
    /// ends.
    #[must_use]
    pub fn next(&self, after_ms: u64) -> Option<u64> {
        match &self.when {
            When::Calendar { fields, zone } => {
                let after = zoned(after_ms, zone)?;
                ms(&fields.find_next_occurrence(&after, false).ok()?)
            }
            When::Every { period_ms, anchor_ms } => match after_ms.checked_sub(*anchor_ms) {
                None => anchor_ms.checked_add(*period_ms),
                Some(since) => {
                    let periods = (since / period_ms).checked_add(1)?;
                    anchor_ms.checked_add(periods.checked_mul(*period_ms)?)
                }
            },
        }
    }

    /// Returns the last tick that is not after `until_ms`, and after `after_ms`.
    #[must_use]
    pub fn last(&self, after_ms: u64, until_ms: u64) -> Option<u64> {
        let found = match &self.when {
            When::Calendar { fields, zone } => {
                // Whole seconds, so one that has begun is passed.
                let until = zoned(until_ms, zone)?;
                let found = fields.find_previous_occurrence(&until, true).ok()?;
                ms(&found)?
            }
            When::Every { period_ms, anchor_ms } => {
                let periods = until_ms.checked_sub(*anchor_ms)? / period_ms;
                if periods == 0 {
                    return None;
                }
                anchor_ms.checked_add(periods.checked_mul(*period_ms)?)?
            }
        };
        (found > after_ms && found <= until_ms).then_some(found)
    }

    /// Returns how many ticks there are after `after_ms` and before `before_ms`, or `count_max` if
    /// there are more.
    #[must_use]
    pub fn count(&self, after_ms: u64, before_ms: u64, count_max: u64) -> u64 {
        let (mut at, mut count) = (after_ms, 0);
        while let Some(next) = self.next(at).filter(|next| *next < before_ms && count < count_max) {
            (at, count) = (next, count + 1);
        }
        count
    }
}

/// A moment in a time zone, down to the second before it.
fn zoned(ms: u64, zone: &TimeZone) -> Option<Zoned> {
    let second = i64::try_from(ms / 1000).ok()?;
    Some(Timestamp::from_second(second).ok()?.to_zoned(zone.clone()))
}

fn ms(at: &Zoned) -> Option<u64> {
    u64::try_from(at.timestamp().as_millisecond()).ok()
}

/// Returns a moment as RFC 3339 has it, in UTC.
#[must_use]
pub fn rfc3339(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// Returns the moment that `text` is, as RFC 3339 has it.
#[must_use]
pub fn moment(text: &str) -> Option<u64> {
    u64::try_from(Timestamp::from_str(text).ok()?.as_millisecond()).ok()
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
