//! Telling a URL what came of a job: a job of the node's own, tried as others are.
//!
//! It goes where the function's own requests may go, and to any address of the public internet;
//! never into the node's own network, unless the function's `--allow-outbound` names that. The
//! addresses that are checked are those that are connected to. Owns the connection while it is used.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::job::{ATTEMPT_HEADER, ID_HEADER};
use abi::outbound::{AllowList, is_public};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use host::clock;
use host::fault::chain_of;
use jobs::plan::Outcome;
use jobs::record::{Attempt, Death, Head, Record, Request, Target};
use jobs::store::{Bounds, Follower, New};
use jobs::{JobId, new_id};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde_json::json;

use super::attempt::Reply;
use super::error::JobError;

/// The longest URL.
const URL_BYTES_MAX: usize = 2048;
/// How long a connection may take, and the whole of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Checks that something can be told to `url`.
pub(super) fn check(url: &str) -> Result<(), JobError> {
    let parsed = Url::parse(url).ok().filter(|_| url.len() <= URL_BYTES_MAX);
    let fits = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    };
    match parsed.is_some_and(|url| fits(&url)) {
        true => Ok(()),
        false => Err(JobError::Invalid(format!(
            "{url:?} cannot be called back; expected http://HOST/PATH or https://HOST/PATH, without \
             a user, of at most {URL_BYTES_MAX} bytes"
        ))),
    }
}

/// What is told of a job.
#[derive(Debug)]
pub(super) struct Notification<'a> {
    pub(super) id: JobId,
    pub(super) record: &'a Record,
    pub(super) death: Option<&'a Death>,
    pub(super) last: Option<&'a Attempt>,
    pub(super) reply: Option<Reply>,
}

/// Returns the job that tells `url`.
pub(super) fn follower(
    url: String,
    notification: &Notification<'_>,
    bounds: Bounds,
    now_ms: u64,
) -> Follower {
    let request = |with_reply| {
        let headers = vec![(CONTENT_TYPE.to_string(), b"application/json".to_vec())];
        let (method, path_and_query) = ("POST".to_owned(), String::new());
        let head = Head { method, path_and_query, headers };
        Request { head, body: text(notification, with_reply, now_ms).into_bytes() }
    };
    let whole = request(true);
    let record = Record {
        function: notification.record.function.clone(),
        reference: None,
        target: Target::Callback(url),
        callback: None,
        enqueued_ms: now_ms,
        since_ms: now_ms,
        due_ms: now_ms,
        attempts: 0,
        bytes: whole.bytes(),
        last: None,
        death: None,
    };
    let new = New { id: new_id(), record, request: whole };
    Follower { new, small: request(false), bounds }
}

/// Returns a notification as JSON.
fn text(notification: &Notification<'_>, with_reply: bool, now_ms: u64) -> String {
    let Notification { id, record, death, last, reply } = notification;
    let mut json = json!({
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
        json["content_type"] = json!(content_type);
        match body.as_ref().filter(|_| with_reply) {
            None => json["body_left_out"] = true.into(),
            Some(body) => match std::str::from_utf8(body) {
                Ok(text) => json["body"] = text.into(),
                Err(_) => json["body_base64"] = BASE64_STANDARD.encode(body).into(),
            },
        }
    }
    json.to_string()
}

/// Where a function's callbacks may go.
#[derive(Debug, Default)]
struct Destinations(AllowList);

impl Destinations {
    fn of(allowed: &[String]) -> Self {
        Self(AllowList::new(allowed.iter().map(String::as_str)).unwrap_or_default())
    }

    /// Returns whether a connection may be made to `address`, to which `host` has resolved.
    fn allows(&self, host: &str, address: IpAddr, port: u16) -> bool {
        is_public(address) || self.0.allows_address(host, address, port)
    }
}

/// Resolves names to the addresses to which a connection may be made.
#[derive(Debug)]
struct Resolver {
    destinations: Arc<Destinations>,
    port: u16,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (destinations, port) = (Arc::clone(&self.destinations), self.port);
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            let fits = |address: &SocketAddr| destinations.allows(host, address.ip(), port);
            let allowed: Vec<SocketAddr> = found.into_iter().filter(fits).collect();
            match allowed.is_empty() {
                true => Err(refused(host).into()),
                false => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

fn refused(host: &str) -> String {
    format!(
        "{host} is not of the public internet; the function's --allow-outbound can name it, to have \
         it called back all the same"
    )
}

/// Sends a notification.
pub(super) async fn send(
    id: JobId,
    attempt: u32,
    url: &str,
    allowed: &[String],
    request: Request,
) -> (Outcome, Attempt) {
    let (began_ms, began) = (clock::unix_ms(), Instant::now());
    let sent = try_send(id, attempt, url, Destinations::of(allowed), request).await;
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let made = Attempt { began_ms, duration_ms, ..Attempt::default() };
    match sent {
        Ok((status, _)) if status < 400 => (Outcome::Ok, Attempt { status: Some(status), ..made }),
        Ok((status, retry_after_ms)) => {
            let error = Some(format!("the reply is {status}"));
            (Outcome::Failed { retry_after_ms }, Attempt { status: Some(status), error, ..made })
        }
        Err(error) => {
            let outcome = Outcome::Failed { retry_after_ms: None };
            (outcome, Attempt { error: Some(error), ..made })
        }
    }
}

/// Returns the reply's status, and after how many milliseconds to try again.
async fn try_send(
    id: JobId,
    attempt: u32,
    url: &str,
    destinations: Destinations,
    request: Request,
) -> Result<(u16, Option<u64>), String> {
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    let port = url.port_or_known_default().unwrap_or(0);
    // An address is not resolved.
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if literal.is_ok_and(|address| !destinations.allows(host, address, port)) {
        return Err(refused(host));
    }
    let destinations = Arc::new(destinations);
    let client = Client::builder()
        .dns_resolver(Arc::new(Resolver { destinations, port }))
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .build()
        .map_err(|error| chain_of(&error))?;
    let mut sent = client.post(url).body(request.body);
    for (name, value) in request.head.headers {
        sent = sent.header(name, value);
    }
    let sent = sent.header(ID_HEADER, id.to_string()).header(ATTEMPT_HEADER, attempt);
    let reply = sent.send().await.map_err(|error| chain_of(&error))?;
    let after = reply.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after_s: Option<u64> = after.and_then(|text| text.trim().parse().ok());
    Ok((reply.status().as_u16(), after_s.map(|seconds| seconds.saturating_mul(1000))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_called_is_taken() {
        for url in ["http://example.com", "https://example.com:8443/a?b=c", "http://[::1]/"] {
            assert!(check(url).is_ok(), "{url}");
        }
        let long = format!("http://a/{}", "x".repeat(URL_BYTES_MAX));
        for url in ["", "x", "/a", "ftp://a/", "file:///etc/passwd", "http://u:p@a/", long.as_str()]
        {
            assert!(matches!(check(url), Err(JobError::Invalid(_))), "{url}");
        }
    }

    #[test]
    fn the_nodes_own_network_is_not_called_unless_the_function_may() {
        let none = Destinations::default();
        let some = Destinations::of(&["10.1.2.3:80".to_owned(), "inside.test:443".to_owned()]);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(none.allows("example.com", address("93.184.216.34"), 443));
        for (host, at) in [
            ("example.com", "127.0.0.1"),
            ("169.254.169.254", "169.254.169.254"),
            ("10.1.2.3", "10.1.2.3"),
            ("a", "::1"),
            ("a", "::ffff:10.0.0.1"),
            ("a", "fd00::1"),
        ] {
            assert!(!none.allows(host, address(at), 80), "{host} {at}");
        }
        assert!(some.allows("10.1.2.3", address("10.1.2.3"), 80));
        assert!(!some.allows("10.1.2.3", address("10.1.2.3"), 81));
        assert!(!some.allows("other.test", address("10.1.2.3"), 80), "it was not named so");
    }

    #[test]
    fn a_reply_is_told_as_text_or_in_base64_or_left_out() {
        let record = Record {
            function: "web".to_owned(),
            reference: None,
            target: Target::Function,
            callback: Some("http://a/".to_owned()),
            enqueued_ms: 1,
            since_ms: 1,
            due_ms: 1,
            attempts: 2,
            bytes: 0,
            last: None,
            death: None,
        };
        let told = |body: Option<Vec<u8>>, with_reply| {
            let reply = Some(Reply { content_type: Some("text/plain".to_owned()), body });
            let (id, record) = (new_id(), &record);
            let told = Notification { id, record, death: None, last: None, reply };
            serde_json::from_str::<serde_json::Value>(&text(&told, with_reply, 9)).unwrap()
        };
        let plain = told(Some(b"hi".to_vec()), true);
        assert_eq!(plain["body"], "hi");
        assert_eq!((plain["state"].as_str(), plain["attempts"].as_u64()), (Some("done"), Some(2)));
        assert_eq!(told(Some(vec![255]), true)["body_base64"], "/w==");
        assert_eq!(told(Some(b"hi".to_vec()), false)["body_left_out"], true);
        assert_eq!(told(None, true)["body_left_out"], true);
    }
}
