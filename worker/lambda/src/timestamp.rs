//! Times as the contract writes them, all in UTC. Owns no fds.

use std::time::SystemTime;

use time::OffsetDateTime;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Returns `time` in the Common Log Format, such as `18/Apr/2023:17:01:46 +0000`.
#[must_use]
pub fn common_log(time: SystemTime) -> String {
    let utc = OffsetDateTime::from(time);
    let month = MONTHS.get(usize::from(u8::from(utc.month())) - 1).copied().unwrap_or_default();
    let (hour, minute, second) = utc.to_hms();
    let (day, year) = (utc.day(), utc.year());
    format!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
}

/// Returns `time` by RFC 3339 with milliseconds, such as `2024-01-31T00:00:00.000Z`.
#[must_use]
pub fn rfc3339_ms(time: SystemTime) -> String {
    let utc = OffsetDateTime::from(time);
    let (hour, minute, second, ms) = utc.to_hms_milli();
    format!("{}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", date(utc, '-'))
}

/// Returns the day of `time` as names of log streams begin, such as `2024/01/31`.
#[must_use]
pub fn log_stream_date(time: SystemTime) -> String {
    date(OffsetDateTime::from(time), '/')
}

/// Returns `time` in milliseconds since 1970. Returns 0 for a time before that.
#[must_use]
pub fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn date(utc: OffsetDateTime, separator: char) -> String {
    let (year, month, day) = (utc.year(), u8::from(utc.month()), utc.day());
    format!("{year:04}{separator}{month:02}{separator}{day:02}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn formats_agree_with_a_captured_event() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_681_837_306_806);
        assert_eq!(common_log(time), "18/Apr/2023:17:01:46 +0000");
        assert_eq!(rfc3339_ms(time), "2023-04-18T17:01:46.806Z");
        assert_eq!(log_stream_date(time), "2023/04/18");
        assert_eq!(unix_ms(time), 1_681_837_306_806);
    }
}
