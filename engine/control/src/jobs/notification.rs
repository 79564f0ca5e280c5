//! Telling somebody what came of a job: a URL that was named with it, and where the dead letters of
//! its function go. Each is a job of its own, kept in the transaction that ends the other. Pure; owns
//! no fds.

use abi::destination::Destination;
use abi::limits::JOB_BODY_BYTES_MAX;
use axum::http::header::CONTENT_TYPE;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jobs::record::{Attempt, Death, Head, Record, Request, Target};
use jobs::store::{Bounds, Follower, New};
use jobs::{JobId, new_id};
use serde_json::{Value, json};

use super::attempt::Reply;
use super::trace::Headers;

/// What came of a job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notification<'a> {
    pub(super) id: JobId,
    pub(super) record: &'a Record,
    pub(super) death: Option<&'a Death>,
    pub(super) last: Option<&'a Attempt>,
    /// The function's reply, for the callback.
    pub(super) reply: Option<&'a Reply>,
    /// The job's request, for where dead letters go.
    pub(super) request: Option<&'a Request>,
    /// The trace that it belongs to.
    pub(super) trace: &'a Headers,
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipient {
    function: String,
    reference: Option<String>,
    target: Target,
}

impl Recipient {
    /// Returns a URL, which is called for the function `of`.
    pub(super) fn url(of: &str, url: &str) -> Self {
        Self { function: of.to_owned(), reference: None, target: Target::Callback(url.to_owned()) }
    }

    /// Returns where the dead letters of the function `of` go. `takes_events` says of a function
    /// whether it is invoked with events.
    pub(super) fn of_dead_letters(
        of: &str,
        to: &str,
        takes_events: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        Some(match Destination::read(to)? {
            Destination::Url(url) => Self::url(of, url),
            Destination::Function { name, reference } => Self {
                function: name.to_owned(),
                reference: reference.map(str::to_owned),
                target: if takes_events(name) { Target::Event } else { Target::Function },
            },
        })
    }
}

/// Returns the job that tells `to`.
pub(super) fn follower(
    to: Recipient,
    notification: &Notification<'_>,
    bounds: Bounds,
    now_ms: u64,
) -> Follower {
    let request = |with_bodies| {
        let mut headers = vec![(CONTENT_TYPE.to_string(), b"application/json".to_vec())];
        headers.extend_from_slice(notification.trace);
        // A URL has its own.
        let path_and_query = match to.target {
            Target::Callback(_) => String::new(),
            Target::Function | Target::Event => "/".to_owned(),
        };
        let head = Head { method: "POST".to_owned(), path_and_query, headers };
        Request { head, body: text(notification, with_bodies, now_ms).into_bytes() }
    };
    let small = request(false);
    let whole = Some(request(true)).filter(|it| it.body.len() <= JOB_BODY_BYTES_MAX);
    let whole = whole.unwrap_or_else(|| small.clone());
    let Recipient { function, reference, target } = to;
    let about = Some(notification.id.to_string());
    let record = Record { reference, about, ..Record::new(&function, target, &whole, now_ms) };
    Follower { new: New { id: new_id(), record, request: whole }, small, bounds }
}

/// Returns a notification as JSON.
fn text(notification: &Notification<'_>, with_bodies: bool, now_ms: u64) -> String {
    let Notification { id, record, death, last, reply, request, trace: _ } = notification;
    let mut told = json!({
        "id": id.to_string(),
        "function": record.function,
        "reference": record.reference,
        "state": if death.is_some() { "dead" } else { "done" },
        "status": last.and_then(|last| last.status),
        "attempts": record.attempts,
        "enqueued_ms": record.enqueued_ms,
        "ended_ms": now_ms,
        "invocation": last.and_then(|last| last.invocation.clone()),
        "reason": death.map(|death| death.reason.clone()),
    });
    if let Some(Reply { content_type, body }) = reply {
        told["content_type"] = json!(content_type);
        tell_body(&mut told, body.as_deref().filter(|_| with_bodies));
    }
    if let Some(Request { head: Head { method, path_and_query, headers }, body }) = request {
        let text = |(name, value): &(String, Vec<u8>)| {
            [name.clone(), String::from_utf8_lossy(value).into_owned()]
        };
        let headers: Vec<_> = headers.iter().map(text).collect();
        let mut asked = json!({ "method": method, "path": path_and_query, "headers": headers });
        tell_body(&mut asked, Some(body.as_slice()).filter(|_| with_bodies));
        told["request"] = asked;
    }
    told.to_string()
}

/// Adds a body as text, or in base64 if it is none.
fn tell_body(to: &mut Value, body: Option<&[u8]>) {
    match body.map(|body| (std::str::from_utf8(body), body)) {
        None => to["body_left_out"] = true.into(),
        Some((Ok(text), _)) => to["body"] = text.into(),
        Some((Err(_), body)) => to["body_base64"] = BASE64_STANDARD.encode(body).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { jobs_max: 1, bytes_max: 1 };

    fn request(body: &[u8]) -> Request {
        let headers = vec![("x-a".to_owned(), b"1".to_vec())];
        let (method, path_and_query) = ("PUT".to_owned(), "/a?b=c".to_owned());
        Request { head: Head { method, path_and_query, headers }, body: body.to_vec() }
    }

    fn record(body: &[u8]) -> Record {
        let record = Record::new("web", Target::Function, &request(body), 1);
        Record { callback: Some("http://a/".to_owned()), attempts: 2, ..record }
    }

    fn read(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn a_reply_is_told_as_text_or_in_base64_or_left_out() {
        let (id, record) = (new_id(), record(b""));
        let told = |body: Option<Vec<u8>>, with_bodies| {
            let reply = Reply { content_type: Some("text/plain".to_owned()), body };
            let told = Notification {
                id,
                record: &record,
                death: None,
                last: None,
                reply: Some(&reply),
                request: None,
                trace: &Vec::new(),
            };
            read(text(&told, with_bodies, 9).as_bytes())
        };
        let plain = told(Some(b"hi".to_vec()), true);
        assert_eq!(plain["body"], "hi");
        assert_eq!((plain["state"].as_str(), plain["attempts"].as_u64()), (Some("done"), Some(2)));
        assert_eq!(told(Some(vec![255]), true)["body_base64"], "/w==");
        assert_eq!(told(Some(b"hi".to_vec()), false)["body_left_out"], true);
        assert_eq!(told(None, true)["body_left_out"], true);
    }

    #[test]
    fn a_dead_letter_is_told_with_its_request_and_why() {
        let death = Death { at_ms: 5, reason: "enough".to_owned() };
        let trace = vec![("traceparent".to_owned(), b"t".to_vec())];
        let told = |to: &str, body: &[u8]| {
            let to = Recipient::of_dead_letters("web", to, |name| name == "lambda").unwrap();
            let (id, record, request) = (new_id(), record(body), request(body));
            let told = Notification {
                id,
                record: &record,
                death: Some(&death),
                last: None,
                reply: None,
                request: Some(&request),
                trace: &trace,
            };
            let follower = follower(to, &told, BOUNDS, 9);
            assert_eq!(follower.new.record.about, Some(id.to_string()));
            assert!(follower.new.record.is_message());
            assert_eq!(follower.new.record.bytes, follower.new.request.bytes());
            follower
        };
        let letter = told("letters@beta", b"apples").new;
        assert_eq!((&*letter.record.function, letter.record.target), ("letters", Target::Function));
        assert_eq!(letter.record.reference.as_deref(), Some("beta"));
        assert_eq!(letter.request.head.path_and_query, "/");
        assert!(letter.request.head.headers.contains(&trace[0]));
        let json = read(&letter.request.body);
        assert_eq!((&json["state"], &json["reason"]), (&json!("dead"), &json!("enough")));
        let expected = json!({
            "method": "PUT", "path": "/a?b=c", "headers": [["x-a", "1"]], "body": "apples",
        });
        assert_eq!(json["request"], expected);
        assert_eq!(told("lambda", b"").new.record.target, Target::Event);
        let posted = told("http://a/", b"").new;
        let url = Target::Callback("http://a/".to_owned());
        assert_eq!((&*posted.record.function, posted.record.target), ("web", url));
        assert_eq!(posted.request.head.path_and_query, "");
        // What would be too large for an attempt says so.
        let large = told("letters", &vec![1; JOB_BODY_BYTES_MAX]);
        assert_eq!(read(&large.new.request.body)["request"]["body_left_out"], true);
        assert_eq!(large.new.request, large.small);
    }
}
