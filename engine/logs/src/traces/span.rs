//! Makes OpenTelemetry's spans of an invocation's record, in the JSON of OTLP 1.x: one for the
//! request, and one for each part of it.
//!
//! ```text
//! request                 from the accept to the reply's last byte; a later request on its
//!                         connection begins with its head
//!   accept                from the accept to the whole head; only for a connection's first request
//!     hop                 from the accept until the worker has the connection
//!   queue                 until it has its turn
//!   instantiate           until it has an instance
//!   run                   until the guest is done
//! ```
//! Ids of the parts follow that of the request. Pure; owns no fds.

use abi::invocation_id::InvocationId;
use abi::outcome::Outcome;
use abi::spool::{Invocation, Request};
use serde::Serialize;

use host::files::hex;

/// SPAN_KIND_INTERNAL, SPAN_KIND_SERVER.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
/// SPAN_KIND_CLIENT, SPAN_KIND_PRODUCER.
const CLIENT: u8 = 3;
const PRODUCER: u8 = 4;
/// STATUS_CODE_ERROR.
const FAILED: u8 = 2;
/// The W3C's flag, and OTLP's two: it is known whether the parent is remote, and it is.
const SAMPLED: u32 = 0x01;
const REMOTE_KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// A span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Span {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    flags: u32,
    name: String,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<Attribute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

/// How a span has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Status {
    code: u8,
    message: String,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Attribute {
    key: &'static str,
    value: Value,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Value {
    StringValue(String),
    /// A number of 64 bits is text in protobuf's JSON.
    IntValue(String),
}

/// What the node itself does in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It calls somebody else.
    Client,
    /// It keeps something that is done later.
    Producer,
}

/// A span of what the node itself has done.
#[derive(Debug, Clone)]
pub struct NodeSpan {
    /// The span, as others are told of it.
    pub span: abi::trace::Span,
    /// The id of the span that it is part of.
    pub parent: Option<[u8; 8]>,
    pub kind: Kind,
    pub name: String,
    /// In microseconds since 1970.
    pub started_us: u64,
    pub ended_us: u64,
    pub attributes: Vec<(&'static str, String)>,
    /// Why it has failed.
    pub error: Option<String>,
}

impl NodeSpan {
    /// Returns it as it is sent. Returns `None` if its trace is not sampled.
    pub(super) fn to_send(&self) -> Option<Span> {
        let Self { span, parent, kind, name, started_us, ended_us, attributes, error } = self;
        span.sampled.then(|| Span {
            trace_id: hex(&span.trace),
            span_id: hex(&span.id),
            parent_span_id: parent.map(|parent| hex(&parent)),
            flags: SAMPLED | REMOTE_KNOWN,
            name: name.clone(),
            kind: match kind {
                Kind::Client => CLIENT,
                Kind::Producer => PRODUCER,
            },
            start_time_unix_nano: nanos(*started_us),
            end_time_unix_nano: nanos(*ended_us.max(started_us)),
            attributes: attributes.iter().map(|(key, value)| text(key, value)).collect(),
            status: error.clone().map(|message| Status { code: FAILED, message }),
        })
    }
}

/// Makes an attribute of a text.
pub(super) fn text(key: &'static str, value: impl Into<String>) -> Attribute {
    Attribute { key, value: Value::StringValue(value.into()) }
}

/// Makes an attribute of a number.
fn number(key: &'static str, value: u64) -> Attribute {
    Attribute { key, value: Value::IntValue(value.to_string()) }
}

/// Returns the spans of an invocation. There are none unless its trace is sampled.
pub(super) fn spans(of: &Invocation<'_>) -> Vec<Span> {
    let Some(trace) = of.trace.filter(|trace| trace.sampled) else { return Vec::new() };
    let id = |part: u64| id_of(of.id, part);
    let begun_us =
        of.arrival.map_or(of.started_us, |arrival| arrival.accepted_us.min(of.started_us));
    let part = |number: u64, parent: u64, name: &str, from_us: u64, to_us: u64| Span {
        trace_id: hex(&trace.id),
        span_id: id(number),
        parent_span_id: Some(id(parent)),
        flags: SAMPLED | REMOTE_KNOWN,
        name: name.to_owned(),
        kind: INTERNAL,
        start_time_unix_nano: nanos(from_us),
        end_time_unix_nano: nanos(to_us.max(from_us)),
        attributes: Vec::new(),
        status: None,
    };
    let mut spans = vec![Span {
        parent_span_id: trace.parent.map(|parent| hex(&parent)),
        flags: SAMPLED | REMOTE_KNOWN | if trace.parent.is_some() { REMOTE } else { 0 },
        name: name(of),
        kind: SERVER,
        attributes: attributes(of),
        status: status(of),
        ..part(0, 0, "", begun_us, of.ended_us())
    }];
    if let Some(arrival) = of.arrival {
        spans.push(part(1, 0, "accept", begun_us, of.started_us));
        spans.push(part(2, 1, "hop", begun_us, arrival.received_us.min(of.started_us)));
    }
    let mut at_us = of.started_us;
    for (number, name, length_us) in
        [(3, "queue", of.queue_us), (4, "instantiate", of.instantiate_us), (5, "run", of.run_us)]
    {
        let to_us = at_us.saturating_add(length_us);
        spans.push(part(number, 0, name, at_us, to_us));
        at_us = to_us;
    }
    spans
}

/// Returns the id of the request's span, which the guest knows ([`InvocationId::span`]), or of one
/// of its parts.
fn id_of(id: InvocationId, part: u64) -> String {
    format!("{:016x}", u64::from_be_bytes(id.span()).wrapping_add(part))
}

/// Returns a time in the form of OTLP.
fn nanos(us: u64) -> String {
    us.saturating_mul(1000).to_string()
}

/// Returns the name of the request's span, by the conventions for HTTP servers: a function is a
/// route.
fn name(of: &Invocation<'_>) -> String {
    match of.request.method {
        "" => of.function.to_owned(),
        method => format!("{method} {}", of.function),
    }
}

/// Returns the attributes of the request's span.
fn attributes(of: &Invocation<'_>) -> Vec<Attribute> {
    let mut attributes = vec![
        text("faas.name", of.function),
        text("faas.version", of.version),
        text("faas.invocation_id", of.id.to_string()),
        text("faas.trigger", "http"),
        text("sockhop.outcome", of.outcome.name()),
        text("url.scheme", "http"),
        number("http.request.body.size", of.received_bytes),
        number("http.response.size", of.sent_bytes),
        number("sockhop.cpu_time_us", of.cpu_us),
        number("sockhop.memory_bytes", of.memory_bytes),
    ];
    let Request { method, prefix, path } = of.request;
    if !method.is_empty() {
        attributes.extend([
            text("http.request.method", method),
            text("url.path", [prefix, path].concat()),
        ]);
    }
    if of.number > 0 {
        attributes.push(number("sockhop.version_number", of.number.into()));
    }
    if !of.alias.is_empty() {
        attributes.push(text("sockhop.alias", of.alias));
    }
    if of.status > 0 {
        attributes.push(number("http.response.status_code", of.status.into()));
    }
    if let Some(error) = error(of) {
        attributes.push(text("error.type", error));
    }
    attributes
}

/// Returns why the invocation has failed. A client's mistake is no failure of the server.
fn error(of: &Invocation<'_>) -> Option<String> {
    match (of.outcome, of.status) {
        (Outcome::Ok, 500..) => Some(of.status.to_string()),
        (Outcome::Ok, _) => None,
        (outcome, 0 | 500..) => Some(outcome.to_string()),
        (Outcome::Cut, _) => Some(Outcome::Cut.to_string()),
        (Outcome::ClientGone | Outcome::Failed(_) | Outcome::Unknown(_), _) => None,
    }
}

/// Returns the status of the request's span. Returns `None` if it has not failed.
fn status(of: &Invocation<'_>) -> Option<Status> {
    error(of).map(|_| Status { code: FAILED, message: of.outcome.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::spool::{Arrival, Trace};

    fn invocation(outcome: &'static str, status: u16) -> Invocation<'static> {
        let id = InvocationId::from_bytes([0x81; 16]);
        Invocation {
            id,
            started_us: 1_000,
            duration_us: 900,
            cpu_us: 1,
            memory_bytes: 2,
            status,
            received_bytes: 3,
            sent_bytes: 4,
            queue_us: 100,
            instantiate_us: 200,
            run_us: 300,
            outcome: Outcome::of_name(outcome),
            function: "shop",
            version: "v",
            number: 3,
            alias: "active",
            request: Request { method: "PUT", prefix: "/shop", path: "/a" },
            goes_on: false,
            arrival: None,
            trace: Some(Trace { id: [7; 16], parent: Some([9; 8]), sampled: true }),
        }
    }

    #[test]
    fn parts_follow_each_other_and_ids_are_their_own() {
        let arrival = Some(Arrival { accepted_us: 500, received_us: 700 });
        let spans = spans(&Invocation { arrival, ..invocation("ok", 200) });
        let told: Vec<_> = spans
            .iter()
            .map(|span| {
                (
                    span.name.as_str(),
                    span.start_time_unix_nano.as_str(),
                    span.end_time_unix_nano.as_str(),
                )
            })
            .collect();
        let expected = [
            ("PUT shop", "500000", "1900000"),
            ("accept", "500000", "1000000"),
            ("hop", "500000", "700000"),
            ("queue", "1000000", "1100000"),
            ("instantiate", "1100000", "1300000"),
            ("run", "1300000", "1600000"),
        ];
        assert_eq!(told, expected);
        let ids: std::collections::HashSet<_> = spans.iter().map(|span| &span.span_id).collect();
        assert_eq!(ids.len(), spans.len());
        assert_eq!(
            (spans[0].parent_span_id.as_deref(), spans[0].flags),
            (Some("0909090909090909"), 0x301)
        );
        assert!(spans[1..].iter().all(|span| span.parent_span_id.is_some() && span.flags == 0x101));
        let json = serde_json::to_value(&spans[0]).unwrap();
        assert_eq!((&json["spanId"], &json["kind"]), (&"8181818181818181".into(), &2.into()));
    }

    #[test]
    fn what_is_not_sampled_has_no_spans_and_what_failed_says_why() {
        let of = invocation("ok", 200);
        assert!(spans(&Invocation { trace: None, ..of }).is_empty());
        let unsampled = of.trace.map(|trace| Trace { sampled: false, ..trace });
        assert!(spans(&Invocation { trace: unsampled, ..of }).is_empty());
        for (outcome, status, expected) in [
            ("ok", 200, None),
            ("ok", 404, None),
            ("queue", 429, None),
            ("ok", 500, Some("500")),
            ("trap", 500, Some("trap")),
            ("client-gone", 0, Some("client-gone")),
            ("cut", 200, Some("cut")),
        ] {
            assert_eq!(
                error(&invocation(outcome, status)).as_deref(),
                expected,
                "{outcome} {status}"
            );
        }
    }
}
