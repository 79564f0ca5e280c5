//! What a server's answer means: a missing object, a refusal with the setting that would help, or a
//! server that is not S3. Pure; owns no fds.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde::Deserialize;

use super::retry::{self, FailureKind};

/// The difference of clocks from which on a message names it as the cause. S3 itself allows 15
/// minutes.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(5 * 60);
/// The most characters of a server's text that a message quotes.
const QUOTED_CHARS_MAX: usize = 200;

/// An answer that is not a success.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsuccessful<'a> {
    pub(super) status: u16,
    pub(super) content_type: &'a str,
    /// The server's time, from its header Date.
    pub(super) date: Option<SystemTime>,
    pub(super) body: &'a [u8],
}

/// The meaning of such an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// There is no such object.
    Absent,
    /// The range begins behind the end of the object.
    BeyondEnd,
    /// The next attempt may succeed.
    Busy(String),
    /// No attempt will succeed: why, and what to do.
    Refused { reason: String, hint: String },
    /// The server is not S3.
    Foreign(String),
}

/// S3's own form of an error (Amazon S3 API, "REST error responses").
#[derive(Debug, Deserialize)]
struct ErrorBody {
    #[serde(rename = "Code")]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
}

/// Interprets an answer that came at `now`.
pub(super) fn meaning(answer: Unsuccessful<'_>, now: SystemTime) -> Meaning {
    let body = std::str::from_utf8(answer.body)
        .ok()
        .and_then(|text| quick_xml::de::from_str::<ErrorBody>(text).ok());
    let Some(ErrorBody { code, message }) = body else { return without_words(answer) };
    match (code.as_str(), answer.status) {
        ("NoSuchKey", _) => return Meaning::Absent,
        ("InvalidRange", _) | (_, 416) => return Meaning::BeyondEnd,
        (code, status) if retry::failure_kind(status, code) == FailureKind::Transient => {
            return Meaning::Busy(format!("it answered {status} {}", quoted(code)));
        }
        _ => {}
    }
    let reason = format!("{} ({})", quoted(&code), quoted(&message));
    let hint = hint(&code, answer.status, clocks_apart(answer.date, now));
    Meaning::Refused { reason, hint }
}

/// Interprets an answer that is not in S3's form: that of a proxy before the server, or of another
/// program.
fn without_words(answer: Unsuccessful<'_>) -> Meaning {
    let Unsuccessful { status, content_type, .. } = answer;
    match status {
        416 => Meaning::BeyondEnd,
        _ if retry::failure_kind(status, "") == FailureKind::Transient => {
            Meaning::Busy(format!("it answered {}", described(status)))
        }
        _ => Meaning::Foreign(foreign(status, content_type)),
    }
}

/// Describes the answer of a server that is not S3.
pub(super) fn foreign(status: u16, content_type: &str) -> String {
    let what =
        if content_type.is_empty() { "without a type".to_owned() } else { quoted(content_type) };
    format!("it answered {} ({what})", described(status))
}

fn described(status: u16) -> String {
    match StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()) {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    }
}

fn hint(code: &str, status: u16, clocks_apart: Option<Duration>) -> String {
    let clock = "this machine's clock is wrong, or the server's: have them set by NTP";
    match (code, status) {
        ("RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture", _) => clock.into(),
        (_, 400 | 401 | 403) if clocks_apart.is_some() => {
            let apart = clocks_apart.unwrap_or_default().as_secs();
            format!("{clock} (they are {apart} s apart)")
        }
        ("NoSuchBucket", _) => "make the bucket, or check the one that --store names".into(),
        ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired", _) => {
            "the session has ended: renew AWS_SESSION_TOKEN with its two keys, or the file of --s3-credentials".into()
        }
        (
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "Redirect"
            | "IllegalLocationConstraintException"
            | "InvalidRegion",
            _,
        )
        | (_, 301 | 307) => {
            "set --s3-region to the region that the bucket is in, and --s3-endpoint to its server".into()
        }
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch", _) => {
            "check the credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the file of --s3-credentials".into()
        }
        (_, 401 | 403) => "check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the file of \
            --s3-credentials), and that they may read, write, list and delete in this bucket"
            .into(),
        ("XAmzContentSHA256Mismatch" | "BadDigest" | "IncompleteBody", _) => {
            "what was sent is not what arrived: something between here and the server changes it".into()
        }
        ("NoSuchUpload" | "NotImplemented" | "MethodNotAllowed", _) => {
            "the server lacks what a store needs: objects that can be put, read by range, listed and deleted".into()
        }
        _ => "check --store, --s3-endpoint and --s3-region".into(),
    }
}

fn clocks_apart(theirs: Option<SystemTime>, ours: SystemTime) -> Option<Duration> {
    let theirs = theirs?;
    let apart = theirs.duration_since(ours).unwrap_or_else(|error| error.duration());
    (apart > CLOCKS_APART_MAX).then_some(apart)
}

/// Returns a server's text as a part of a log line.
fn quoted(text: &str) -> String {
    let safe = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(safe).take(QUOTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn xml(code: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>it is &lt;so&gt;</Message>\
             <Resource>/b/k</Resource><RequestId>1</RequestId></Error>"
        )
    }

    fn meant(status: u16, body: &str) -> Meaning {
        let answer = Unsuccessful {
            status,
            content_type: "application/xml",
            date: None,
            body: body.as_bytes(),
        };
        meaning(answer, SystemTime::now())
    }

    #[test]
    fn what_is_absent_is_no_error_and_a_bucket_that_is_absent_is() {
        assert_eq!(meant(404, &xml("NoSuchKey")), Meaning::Absent);
        let Meaning::Refused { reason, hint } = meant(404, &xml("NoSuchBucket")) else { panic!() };
        assert!(
            reason == "NoSuchBucket (it is <so>)" && hint.contains("--store"),
            "{reason} {hint}"
        );
        assert_eq!(meant(416, &xml("InvalidRange")), Meaning::BeyondEnd);
    }

    #[test]
    fn a_page_is_no_answer_of_s3() {
        for status in [403, 404, 405, 302] {
            let answer = Unsuccessful {
                status,
                content_type: "text/html",
                date: None,
                body: b"<html>no</html>",
            };
            let Meaning::Foreign(said) = meaning(answer, SystemTime::now()) else {
                panic!("{status}")
            };
            assert!(said.contains("text/html") && said.contains(&status.to_string()), "{said}");
        }
        // A proxy whose server is away says so in its own words.
        assert!(matches!(meant(502, "<html>bad gateway</html>"), Meaning::Busy(_)));
    }

    #[test]
    fn each_refusal_names_what_to_set() {
        for (status, code, part) in [
            (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
            (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
            (403, "AccessDenied", "list and delete"),
            (403, "RequestTimeTooSkewed", "clock"),
            (400, "ExpiredToken", "AWS_SESSION_TOKEN"),
            (400, "AuthorizationHeaderMalformed", "--s3-region"),
            (301, "PermanentRedirect", "--s3-endpoint"),
            (400, "XAmzContentSHA256Mismatch", "changes it"),
            (400, "InvalidRequest", "--s3-endpoint"),
        ] {
            let Meaning::Refused { hint, .. } = meant(status, &xml(code)) else { panic!("{code}") };
            assert!(hint.contains(part), "{code}: {hint}");
        }
    }

    #[test]
    fn clocks_that_differ_are_told_whatever_the_server_says() {
        let (now, xml) = (SystemTime::now(), xml("InvalidRequest"));
        let hour = Duration::from_secs(3600);
        for date in [now - hour, now + hour] {
            let answer = Unsuccessful {
                status: 400,
                content_type: "",
                date: Some(date),
                body: xml.as_bytes(),
            };
            let Meaning::Refused { hint, .. } = meaning(answer, now) else { panic!() };
            assert!(hint.contains("3600 s apart"), "{hint}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_has_a_meaning(
            status in 100u16..1000, body in "(<Error>|</Error>|<Code>|</Code>|<Message>|SlowDown|<|>|&|&#0;|é|\n|x){0,20}",
        ) {
            match meant(status, &body) {
                Meaning::Refused { reason, .. } | Meaning::Busy(reason) | Meaning::Foreign(reason) => {
                    prop_assert!(!reason.contains(char::is_control) && reason.len() < 2000);
                }
                Meaning::Absent | Meaning::BeyondEnd => {}
            }
        }
    }
}
