//! When a request was signed, and whether that is near enough to now. Pure; owns no fds.

use std::time::{Duration, SystemTime};

use time::format_description::FormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::SignatureError;

/// How far a client's clock may be from this one, either way.
pub(super) const SKEW_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a presigned URL may be good for: seven days.
const EXPIRES_S_MAX: u64 = 7 * 24 * 60 * 60;

/// ISO 8601's basic form, the only one that signatures have.
const BASIC: &[FormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// When a request was signed, to the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timestamp {
    time: SystemTime,
    text: String,
}

impl Timestamp {
    /// Reads YYYYMMDDTHHMMSSZ. Returns `None` if `text` is anything else.
    pub(super) fn from_basic(text: &str) -> Option<Self> {
        let time = PrimitiveDateTime::parse(text, BASIC).ok()?;
        // The format takes a sign before the year.
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain.then(|| Self { time: time.assume_utc().into(), text: text.to_owned() })
    }

    /// Reads the value of a `Date` header: the basic form too, or a date of HTTP (RFC 9110 5.6.7).
    /// Returns `None` if `text` is neither.
    pub(super) fn from_date_header(text: &str) -> Option<Self> {
        Self::from_basic(text).or_else(|| {
            let time = httpdate::parse_http_date(text).ok()?;
            Some(Self { time, text: basic(time) })
        })
    }

    /// Returns it as YYYYMMDDTHHMMSSZ.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns its day, YYYYMMDD.
    pub(super) fn day(&self) -> &str {
        self.text.split('T').next().unwrap_or_default()
    }

    /// Checks it against the clock. A presigned request is good for `expires_s` seconds from then
    /// on, any other one for [`SKEW_MAX`].
    ///
    /// # Errors
    /// Returns [`SignatureError::Expired`], [`SignatureError::NotYetCurrent`], or
    /// [`SignatureError::Incomplete`] if `expires_s` is out of range.
    pub(super) fn check(
        &self,
        now: SystemTime,
        expires_s: Option<u64>,
    ) -> Result<(), SignatureError> {
        if expires_s.is_some_and(|expires_s| !(1..=EXPIRES_S_MAX).contains(&expires_s)) {
            return Err(SignatureError::Incomplete(format!(
                "X-Amz-Expires must be between 1 and {EXPIRES_S_MAX} seconds"
            )));
        }
        let good_for = expires_s.map_or(SKEW_MAX, Duration::from_secs);
        let (signed, now_text) = (self.text.clone(), basic(now));
        let earliest = now.checked_sub(good_for).unwrap_or(SystemTime::UNIX_EPOCH);
        let latest = now.checked_add(SKEW_MAX).unwrap_or(now);
        if self.time < earliest {
            return Err(SignatureError::Expired { signed, limit: basic(earliest), now: now_text });
        }
        if self.time > latest {
            return Err(SignatureError::NotYetCurrent {
                signed,
                limit: basic(latest),
                now: now_text,
            });
        }
        Ok(())
    }
}

/// Returns `time` as YYYYMMDDTHHMMSSZ.
fn basic(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(BASIC).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_date_are_read() {
        let basic = Timestamp::from_basic("20261130T101500Z").unwrap();
        let http = Timestamp::from_date_header("Mon, 30 Nov 2026 10:15:00 GMT").unwrap();
        assert_eq!(basic, http);
        assert_eq!((basic.day(), basic.text()), ("20261130", "20261130T101500Z"));
    }

    #[test]
    fn anything_else_is_no_date() {
        for text in [
            "",
            "20261130",
            "20261130T101500",
            "20261330T101500Z",
            "20261130T101500Z ",
            "+0261130T101500Z",
            "2026-11-30T10:15:00Z",
            "20261130T101500z",
            "\u{0662}0261130T101500Z",
        ] {
            assert_eq!(Timestamp::from_basic(text), None, "{text}");
        }
    }

    #[test]
    fn fifteen_minutes_either_way_are_near_enough() {
        let signed = Timestamp::from_basic("20261130T101500Z").unwrap();
        let check = |offset_s: i64| {
            let offset = Duration::from_secs(offset_s.unsigned_abs());
            let now = if offset_s < 0 { signed.time - offset } else { signed.time + offset };
            signed.check(now, None)
        };
        for offset_s in [-900, -1, 0, 1, 900] {
            assert_eq!(check(offset_s), Ok(()), "{offset_s}");
        }
        assert!(matches!(check(901), Err(SignatureError::Expired { .. })));
        assert!(matches!(check(-901), Err(SignatureError::NotYetCurrent { .. })));
    }

    #[test]
    fn a_presigned_request_is_good_for_as_long_as_it_says() {
        let signed = Timestamp::from_basic("20261130T101500Z").unwrap();
        let later = signed.time + Duration::from_secs(3600);
        assert_eq!(signed.check(later, Some(3600)), Ok(()));
        assert!(matches!(signed.check(later, Some(3599)), Err(SignatureError::Expired { .. })));
        for expires_s in [0, EXPIRES_S_MAX + 1, u64::MAX] {
            let checked = signed.check(signed.time, Some(expires_s));
            assert!(matches!(checked, Err(SignatureError::Incomplete(_))), "{expires_s}");
        }
    }
}
