//! The lines that Lambda adds to the log of an invocation. Owns no fds.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use crate::timestamp;

/// Returns the line that an invocation begins with, without a line break.
#[must_use]
pub fn start(id: &str, version: &str) -> String {
    format!("START RequestId: {id} Version: {version}")
}

/// Returns the line after an invocation's own lines, without a line break.
#[must_use]
pub fn end(id: &str) -> String {
    format!("END RequestId: {id}")
}

/// What a REPORT line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report<'a> {
    /// The id of the invocation.
    pub id: &'a str,
    /// From the event's delivery to the runtime until its next request for one.
    pub duration: Duration,
    /// How long the process took until its first request for an event, if this invocation is its
    /// first.
    pub init_duration: Option<Duration>,
    /// How much memory the function may use, in MB.
    pub memory_size_mb: u64,
    /// How much the process has used, in MB.
    pub memory_used_mb: u64,
}

impl Report<'_> {
    /// Returns the line, without a line break. Its fields end in tabs and stand in AWS's order,
    /// with the init duration last. What is billed is the duration in full milliseconds.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!(
            "REPORT RequestId: {}\tDuration: {:.2} ms\tBilled Duration: {} ms\tMemory Size: {} \
             MB\tMax Memory Used: {} MB\t",
            self.id,
            milliseconds(self.duration),
            self.duration.as_nanos().div_ceil(1_000_000),
            self.memory_size_mb,
            self.memory_used_mb
        );
        if let Some(init_duration) = self.init_duration {
            let _ = write!(line, "Init Duration: {:.2} ms\t", milliseconds(init_duration));
        }
        line
    }
}

/// Returns the line of an invocation that took longer than `limit`, without a line break.
#[must_use]
pub fn timed_out(now: SystemTime, id: &str, limit: Duration) -> String {
    let time = timestamp::rfc3339_ms(now);
    format!("{time} {id} Task timed out after {:.2} seconds", limit.as_secs_f64())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_as_on_lambda() {
        assert_eq!(start("42", "$LATEST"), "START RequestId: 42 Version: $LATEST");
        assert_eq!(end("42"), "END RequestId: 42");
        let mut report = Report {
            id: "42",
            duration: Duration::from_micros(1_230),
            init_duration: None,
            memory_size_mb: 128,
            memory_used_mb: 14,
        };
        let line = "REPORT RequestId: 42\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: \
                    128 MB\tMax Memory Used: 14 MB\t";
        assert_eq!(report.line(), line);
        report.init_duration = Some(Duration::from_micros(12_340));
        assert_eq!(report.line(), format!("{line}Init Duration: 12.34 ms\t"));
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_681_837_306_806);
        assert_eq!(
            timed_out(time, "42", Duration::from_secs(3)),
            "2023-04-18T17:01:46.806Z 42 Task timed out after 3.00 seconds"
        );
    }
}
