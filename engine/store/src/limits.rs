//! What a function may use, as its manifest has it, and the range of each limit. Pure; owns no fds.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use abi::catalogue::FunctionLimits;
use abi::limits;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// The least that a reply's head can be given: a status line and a few headers.
const REPLY_HEAD_BYTES_MIN: u64 = 1024;

/// The limits of a version. What a manifest of an earlier build does not have is the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub memory_bytes_max: u64,
    pub table_elements_max: u32,
    pub core_instances_max: u32,
    pub timeout_ms: u32,
    pub cpu_time_ms: u32,
    pub request_body_bytes_max: u64,
    pub reply_head_bytes_max: u32,
    pub log_bytes_max: u32,
    pub concurrency_max: u32,
    pub queue_max: u32,
    pub queue_timeout_ms: u32,
    pub outbound_requests_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&FunctionLimits::default())
    }
}

/// Copies all limits from one type to another, which has them under the same names.
macro_rules! copy_limits {
    ($from:ty => $to:ty) => {
        impl From<&$from> for $to {
            fn from(limits: &$from) -> Self {
                Self {
                    memory_bytes_max: limits.memory_bytes_max,
                    table_elements_max: limits.table_elements_max,
                    core_instances_max: limits.core_instances_max,
                    timeout_ms: limits.timeout_ms,
                    cpu_time_ms: limits.cpu_time_ms,
                    request_body_bytes_max: limits.request_body_bytes_max,
                    reply_head_bytes_max: limits.reply_head_bytes_max,
                    log_bytes_max: limits.log_bytes_max,
                    concurrency_max: limits.concurrency_max,
                    queue_max: limits.queue_max,
                    queue_timeout_ms: limits.queue_timeout_ms,
                    outbound_requests_max: limits.outbound_requests_max,
                }
            }
        }
    };
}

pub(crate) use copy_limits;

copy_limits!(FunctionLimits => Limits);
copy_limits!(Limits => FunctionLimits);

/// How an amount is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Milliseconds,
    Number,
}

impl Unit {
    /// As people read and write it.
    pub fn text(self, amount: u64) -> String {
        match self {
            // A size that is no round number of a unit stands as it was given.
            Self::Bytes if !amount.is_multiple_of(1024) => format!("{amount} B"),
            Self::Bytes => ByteSize(amount).display().iec().to_string(),
            Self::Milliseconds => {
                humantime::format_duration(Duration::from_millis(amount)).to_string()
            }
            Self::Number => amount.to_string(),
        }
    }
}

/// An amount beyond what its option may be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct OutOfRange {
    option: &'static str,
    unit: Unit,
    given: u64,
    range: RangeInclusive<u64>,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { option, unit, given, range } = self;
        let (least, most) = (unit.text(*range.start()), unit.text(*range.end()));
        write!(f, "--{option} is {}; expected {least} to {most}", unit.text(*given))
    }
}

/// A limit as its option is called, with what it is and what it may be.
type Described = (&'static str, Unit, u64, RangeInclusive<u64>);

impl Limits {
    /// Every limit, in the order in which they are shown.
    pub fn describe(&self) -> [Described; 12] {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let time = millis(limits::TIMEOUT_MIN)..=millis(limits::TIMEOUT_MAX);
        let number = |least: u64, most: u32| least..=u64::from(most);
        [
            (
                "memory",
                Unit::Bytes,
                self.memory_bytes_max,
                limits::MEMORY_BYTES_MIN..=limits::MEMORY_BYTES_MAX,
            ),
            ("timeout", Unit::Milliseconds, self.timeout_ms.into(), time.clone()),
            ("cpu-time", Unit::Milliseconds, self.cpu_time_ms.into(), time.clone()),
            (
                "table-elements",
                Unit::Number,
                self.table_elements_max.into(),
                number(1, limits::TABLE_ELEMENTS_MAX),
            ),
            (
                "core-instances",
                Unit::Number,
                self.core_instances_max.into(),
                number(1, limits::CORE_INSTANCES_MAX),
            ),
            ("request-body", Unit::Bytes, self.request_body_bytes_max, 0..=u64::MAX),
            (
                "reply-head",
                Unit::Bytes,
                self.reply_head_bytes_max.into(),
                number(REPLY_HEAD_BYTES_MIN, limits::REPLY_HEAD_BYTES_MAX),
            ),
            ("log-size", Unit::Bytes, self.log_bytes_max.into(), number(0, limits::LOG_BYTES_MAX)),
            (
                "concurrency",
                Unit::Number,
                self.concurrency_max.into(),
                number(1, limits::CONCURRENCY_MAX),
            ),
            ("queue", Unit::Number, self.queue_max.into(), number(0, limits::QUEUE_MAX)),
            ("queue-timeout", Unit::Milliseconds, self.queue_timeout_ms.into(), time),
            (
                "outbound-requests",
                Unit::Number,
                self.outbound_requests_max.into(),
                number(1, limits::OUTBOUND_REQUESTS_MAX),
            ),
        ]
    }

    /// Checks every limit against its range.
    ///
    /// # Errors
    /// [`OutOfRange`] naming the option, what was given and what is expected.
    pub fn check(&self) -> Result<(), OutOfRange> {
        match self.describe().into_iter().find(|(_, _, given, range)| !range.contains(given)) {
            Some((option, unit, given, range)) => Err(OutOfRange { option, unit, given, range }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fit_and_are_the_workers() {
        let limits = Limits::default();
        assert_eq!(limits.check(), Ok(()));
        assert_eq!(FunctionLimits::from(&limits), FunctionLimits::default());
        let read: Limits = serde_json::from_str("{}").unwrap();
        assert_eq!(read, limits);
    }

    /// `| --option VALUE | what | default | least | most | what happens |`, for every option that
    /// is a limit, and in that order.
    #[test]
    fn the_guide_has_every_limit_with_its_default_and_its_range() {
        let guide = include_str!("../../guide/limits.md");
        let rows = guide.lines().filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| `--")?.split('|').map(str::trim).collect();
            let option = cells.first()?.split([' ', '`']).next()?;
            Some((option, [*cells.get(2)?, *cells.get(3)?, *cells.get(4)?]))
        });
        let rows: Vec<_> = rows.collect();
        // As the page writes it: with a space before the unit and commas between thousands.
        let plain = |text: &str| text.replace([' ', ','], "").replace(".0", "").replace("min", "m");
        let described = Limits::default().describe();
        for (option, unit, default, range) in &described {
            let found: Vec<_> = rows.iter().filter(|(named, _)| named == option).collect();
            let [(_, [default_cell, least, most])] = found[..] else {
                panic!("--{option} has {} rows", found.len())
            };
            let text = |amount: u64| match amount {
                0 => "0".to_owned(),
                u64::MAX => "none".to_owned(),
                amount => plain(&unit.text(amount)),
            };
            let default =
                if *option == "cpu-time" { "as`--timeout`".to_owned() } else { text(*default) };
            let expected = [default, text(*range.start()), text(*range.end())];
            assert_eq!([default_cell, least, most].map(|cell| plain(cell)), expected, "--{option}");
        }
        let order =
            rows.iter().filter(|(named, _)| described.iter().any(|(option, ..)| option == named));
        let order: Vec<_> = order.map(|(option, _)| *option).collect();
        assert_eq!(order, described.map(|(option, ..)| option));
    }

    #[test]
    fn what_is_out_of_range_is_told_with_the_range() {
        let why = |limits: Limits| limits.check().unwrap_err().to_string();
        let text = why(Limits { memory_bytes_max: 1, ..Limits::default() });
        assert_eq!(text, "--memory is 1 B; expected 64.0 KiB to 4.0 GiB");
        let text = why(Limits { cpu_time_ms: u32::MAX, ..Limits::default() });
        assert!(
            text.starts_with("--cpu-time is 1month") && text.ends_with("; expected 10ms to 15m"),
            "{text}"
        );
        assert_eq!(
            why(Limits { concurrency_max: 0, ..Limits::default() }),
            "--concurrency is 0; expected 1 to 100000"
        );
    }
}
