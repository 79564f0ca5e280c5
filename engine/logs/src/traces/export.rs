//! Sends spans as OTLP over HTTP in JSON, a batch at a time. A batch is tried again while the
//! endpoint may yet take it. Owns the client's connections.
//!
//! A bad endpoint costs spans and nothing else. Spans that come while a batch is tried wait in a
//! bounded queue. When that is full, they are dropped and counted.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use abi::limits::{TRACE_BATCH_BYTES_MAX, TRACE_BATCH_INTERVAL, TRACE_TIMEOUT, TRACE_TRIES_MAX};
use host::backoff::Backoff;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, timeout_at};

use super::span::{Attribute, Span, text};
use super::{Counts, TracesError};

/// The pauses before a batch is sent again.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) };
/// How much of an answer is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The spans of one invocation in the form in which they are sent: JSON objects with commas
/// between.
#[derive(Debug)]
pub(super) struct Piece {
    json: String,
    pub(super) spans: u64,
}

impl Piece {
    /// Returns `None` if there are no spans.
    pub(super) fn new(spans: &[Span]) -> Option<Self> {
        let array = serde_json::to_string(spans).ok().filter(|_| !spans.is_empty())?;
        let json = array.strip_prefix('[')?.strip_suffix(']')?.to_owned();
        Some(Self { json, spans: spans.len() as u64 })
    }
}

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The endpoint has taken it, but for so many spans.
    Taken { rejected: u64 },
    /// It is to be tried again, after this time if the endpoint has named one.
    Again(Option<Duration>),
    /// The endpoint does not take it.
    Refused,
}

/// Returns what becomes of a batch by the endpoint's answer, as OTLP defines it.
fn verdict(status: StatusCode, retry_after: Option<&HeaderValue>, body: &[u8]) -> Verdict {
    match status.as_u16() {
        200..=299 => {
            let answer = serde_json::from_slice::<Value>(body).unwrap_or_default();
            let rejected = answer.pointer("/partialSuccess/rejectedSpans");
            // A number of 64 bits is text in protobuf's JSON, and a number with many that write it.
            let rejected = rejected
                .and_then(|number| number.as_u64().or_else(|| number.as_str()?.parse().ok()));
            Verdict::Taken { rejected: rejected.unwrap_or(0) }
        }
        429 | 502 | 503 | 504 => {
            let seconds = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
            Verdict::Again(seconds.map(Duration::from_secs))
        }
        _ => Verdict::Refused,
    }
}

/// Returns how long to wait after `tries` have failed. Each pause is twice the one before, less up
/// to half of it by chance, so that nodes do not try at the same time.
fn pause(tries: u32, asked: Option<Duration>, chance: f64) -> Duration {
    match asked {
        Some(asked) => asked.min(BACKOFF.max),
        None => BACKOFF.after(tries).mul_f64(1.0 - chance / 2.0),
    }
}

/// The client that sends spans to an endpoint.
#[derive(Debug)]
pub(super) struct Exporter {
    client: Client,
    url: String,
    /// The JSON before and after the spans of a batch.
    around: [String; 2],
}

/// OTLP's description of this node.
#[derive(Serialize)]
struct Resource<'a> {
    attributes: &'a [Attribute],
}

/// OTLP's name for what makes the spans.
#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

impl Exporter {
    /// Makes a client that sends to `endpoint`, an OTLP receiver's base URL.
    ///
    /// # Errors
    /// Returns an error if there can be no client, for example because there are no certificates.
    pub(super) fn new(
        endpoint: &str,
        mut headers: HeaderMap,
        instance: &str,
    ) -> Result<Self, TracesError> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let client = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("sockhop/", env!("CARGO_PKG_VERSION")))
            .timeout(TRACE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|source| TracesError::Client { source })?;
        let attributes = [
            text("service.name", "sockhop"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", instance),
        ];
        let json = |error: serde_json::Error| TracesError::Json { source: error };
        let resource =
            serde_json::to_string(&Resource { attributes: &attributes }).map_err(json)?;
        let scope = Scope { name: "sockhop", version: env!("CARGO_PKG_VERSION") };
        let scope = serde_json::to_string(&scope).map_err(json)?;
        let before = format!(
            r#"{{"resourceSpans":[{{"resource":{resource},"scopeSpans":[{{"scope":{scope},"spans":["#
        );
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        Ok(Self { client, url, around: [before, "]}]}]}".to_owned()] })
    }

    /// Sends spans until the queue is closed.
    pub(super) async fn run(&self, mut pieces: Receiver<Piece>, counts: &Counts) {
        let mut away = false;
        while let Some((body, spans)) = self.batch(&mut pieces).await {
            match self.deliver(body).await {
                Ok(rejected) => {
                    let rejected = rejected.min(spans);
                    counts.exported.fetch_add(spans - rejected, Relaxed);
                    counts.refused.fetch_add(rejected, Relaxed);
                    if std::mem::take(&mut away) {
                        tracing::info!("{} takes spans again", self.url);
                    }
                }
                Err((counter, why)) => {
                    counter(counts).fetch_add(spans, Relaxed);
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!("spans are lost: {} {why} (--otlp-endpoint)", self.url);
                    }
                }
            }
        }
    }

    /// Returns a batch of what has come within [`TRACE_BATCH_INTERVAL`] and fits, with the number
    /// of its spans. Returns `None` if the queue is closed.
    async fn batch(&self, pieces: &mut Receiver<Piece>) -> Option<(String, u64)> {
        let [before, after] = &self.around;
        let first = pieces.recv().await?;
        let (mut body, mut spans) = (format!("{before}{}", first.json), first.spans);
        let until = Instant::now() + TRACE_BATCH_INTERVAL;
        while body.len() < TRACE_BATCH_BYTES_MAX {
            let Ok(Some(piece)) = timeout_at(until, pieces.recv()).await else { break };
            body.push(',');
            body.push_str(&piece.json);
            spans += piece.spans;
        }
        body.push_str(after);
        Some((body, spans))
    }

    /// Tries until the endpoint has taken the batch or will not. Returns how many spans of it were
    /// not taken.
    ///
    /// # Errors
    /// Returns [`Lost`] if none were taken.
    async fn deliver(&self, body: String) -> Result<u64, Lost> {
        let body = bytes::Bytes::from(body);
        let mut tries = 0;
        loop {
            tries += 1;
            let (verdict, why) = self.send(body.clone()).await;
            match verdict {
                Verdict::Taken { rejected } => return Ok(rejected),
                Verdict::Refused => return Err((|counts| &counts.refused, why)),
                Verdict::Again(_) if tries >= TRACE_TRIES_MAX => {
                    return Err((|counts| &counts.unreachable, why));
                }
                Verdict::Again(asked) => sleep(pause(tries, asked, fastrand::f64())).await,
            }
        }
    }

    async fn send(&self, body: bytes::Bytes) -> (Verdict, String) {
        let mut response = match self.client.post(&self.url).body(body).send().await {
            Ok(response) => response,
            // Without the URL, which the log names already.
            Err(error) => {
                return (
                    Verdict::Again(None),
                    format!("cannot be reached: {:#}", anyhow::Error::new(error.without_url())),
                );
            }
        };
        let (status, retry_after) =
            (response.status(), response.headers().get(RETRY_AFTER).cloned());
        let mut answer = Vec::new();
        while let Ok(Some(part)) = response.chunk().await {
            if answer.len() + part.len() > ANSWER_BYTES_MAX {
                break;
            }
            answer.extend_from_slice(&part);
        }
        (verdict(status, retry_after.as_ref(), &answer), format!("answered {status}"))
    }
}

/// The counter for lost spans, and why they are lost.
type Lost = (fn(&Counts) -> &std::sync::atomic::AtomicU64, String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_endpoint_answers_decides() {
        let of = |status: u16, retry: Option<&'static str>, body: &str| {
            let retry = retry.map(HeaderValue::from_static);
            verdict(StatusCode::from_u16(status).unwrap(), retry.as_ref(), body.as_bytes())
        };
        for body in [
            "",
            "{}",
            "no json",
            r#"{"partialSuccess":{}}"#,
            r#"{"partialSuccess":{"rejectedSpans":-1}}"#,
        ] {
            assert_eq!(of(200, None, body), Verdict::Taken { rejected: 0 }, "{body}");
        }
        assert_eq!(
            of(200, None, r#"{"partialSuccess":{"rejectedSpans":"3"}}"#),
            Verdict::Taken { rejected: 3 }
        );
        assert_eq!(
            of(200, None, r#"{"partialSuccess":{"rejectedSpans":4}}"#),
            Verdict::Taken { rejected: 4 }
        );
        assert_eq!(of(503, Some("7"), ""), Verdict::Again(Some(Duration::from_secs(7))));
        assert_eq!(of(429, Some("soon"), ""), Verdict::Again(None));
        for status in [301, 400, 401, 404, 413, 500] {
            assert_eq!(of(status, None, ""), Verdict::Refused, "{status}");
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        let seconds = |tries, asked: Option<u64>, chance| {
            pause(tries, asked.map(Duration::from_secs), chance).as_secs_f64()
        };
        assert_eq!(
            (seconds(1, None, 0.0), seconds(2, None, 0.0), seconds(40, None, 0.0)),
            (1.0, 2.0, 30.0)
        );
        assert_eq!(
            (seconds(1, None, 1.0), seconds(1, Some(9), 0.5), seconds(1, Some(4000), 0.5)),
            (0.5, 9.0, 30.0)
        );
    }
}
