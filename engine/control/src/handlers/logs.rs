//! The log: one invocation, a function's entries, and new ones as they are written.
//!
//! ```text
//! GET /v1/invocations/ID
//! GET /v1/logs?function=&since=&until=&status=&stream=&text=&limit=&newest=true
//!     {entries, next, notes}; `after=NEXT` for what follows
//! GET /v1/logs?function=&status=&stream=&text=&follow=true
//!     events (SSE): `from` with the time it begins at, entries without a name, `missed` with a
//!     number, `note`
//! ```
//! Times are RFC 3339, or how long ago: `10m`. Owns no fds.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use abi::invocation_id::InvocationId;
use abi::spool::Stream;
use api::endpoint::Endpoint;
use api::endpoints::{GetInvocation, GetLogs};
use api::logs::{FROM_EVENT, LIMIT_MAX, LogsQuery, MISSED_EVENT, NOTE_EVENT};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::oneshot;

use crate::control::Control;
use crate::failed::{Failed, bad_request};
use crate::routes::{Answered, QueryOf};
use fleet::workers::supervise::Command;
use host::fault::Fault;
use host::printable;
use logs::entry;
use logs::query::follow::{Update, follow};
use logs::query::{Filter, Order, Page, Times};

/// A live stream begins this long before it is asked for, which is longer than workers gather what
/// they write.
const FOLLOW_BEFORE: Duration = Duration::from_secs(1);

/// How long workers get to write what they have logged. After that the log is read without it,
/// since a disk may be slow.
const WRITE_WAIT: Duration = Duration::from_secs(1);

/// Returns when that was, in microseconds since 1970. The text is a time of day, or how long ago it
/// was.
fn moment(text: &str, now: SystemTime) -> Result<u64, String> {
    let ago = humantime::parse_duration(text).ok().and_then(|ago| now.checked_sub(ago));
    let time = ago.or_else(|| humantime::parse_rfc3339_weak(text).ok());
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let since = since.ok_or_else(|| {
        format!(
            "{text:?} is no time; expected for example 10m, for ten minutes ago, or \
             2026-01-31T08:00:00Z"
        )
    })?;
    Ok(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Returns which entries a query asks for.
fn filter(query: &LogsQuery, now: SystemTime) -> Result<Filter, String> {
    let functions = query.function.as_deref().map(|names| names.split(',').collect());
    let functions: Vec<&str> = functions.unwrap_or_default();
    functions
        .iter()
        .try_for_each(|name| abi::name::check(name))
        .map_err(|error| error.to_string())?;
    let moment = |text: &Option<String>| text.as_deref().map(|text| moment(text, now)).transpose();
    let first_us = moment(&query.since)?.unwrap_or(0);
    let times = Times { first_us, last_us: moment(&query.until)?.unwrap_or(u64::MAX) };
    let status = query.status.as_deref().map(str::parse).transpose()?;
    let stream = query.stream.as_deref().map(stream).transpose()?;
    if status.is_some() && (stream.is_some() || query.text.is_some()) {
        return Err("a status is of invocations, a stream or a text of lines: ask for one of both"
            .to_owned());
    }
    let text = query.text.clone().map(String::into_bytes);
    let functions = functions.into_iter().map(str::to_owned).collect();
    Ok(Filter { functions, status, stream, text, times })
}

/// Returns the stream of a name.
fn stream(name: &str) -> Result<Stream, String> {
    Stream::named(name).ok_or_else(|| {
        let names = Stream::ALL.map(Stream::name).join(", ");
        format!("{name:?} is no stream; expected one of {names}")
    })
}

/// Returns which page of them.
fn page(query: &LogsQuery) -> Result<Page, String> {
    let limit = query.limit.unwrap_or(LIMIT_MAX);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(format!("a limit of {limit} is not possible; expected 1 to {LIMIT_MAX}"));
    }
    let order = if query.newest { Order::Newest } else { Order::OldestFirst };
    let after = query.after.as_deref().map(str::parse).transpose()?;
    Ok(Page { order, limit, after })
}

/// Makes workers write what they gather for a moment, so that an invocation is found as soon as its
/// reply has arrived.
pub(super) async fn write_logs(control: &Control) {
    let (written, is_written) = oneshot::channel();
    let write = async {
        if control.supervisor.send(Command::WriteLog { written }).await.is_ok() {
            let _ = is_written.await;
        }
    };
    // A worker that does not write in time has the rest of its log read without it.
    let _ = tokio::time::timeout(WRITE_WAIT, write).await;
}

pub(crate) async fn invocation(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
) -> Answered<GetInvocation> {
    let id: InvocationId = id.parse().map_err(bad_request)?;
    write_logs(&control).await;
    let found = control.logs.invocation(id).await;
    if found.record.is_none() && found.lines.is_empty() {
        let kept = humantime::format_duration(control.logs.kept_for());
        let notes: String = found.notes.iter().map(|note| format!("; {note}")).collect();
        let error = format!(
            "there is nothing of invocation {id} in the log; it is kept for {kept} \
             (--logs-kept-for), and what another node has logged can be read when it is in the \
             store, 10 s later as a rule{notes}"
        );
        return Err(Failed::new(Fault::NOT_FOUND, error));
    }
    Ok(Json(found))
}

pub(crate) async fn logs(
    State(control): State<Arc<Control>>,
    QueryOf(query): QueryOf<GetLogs>,
) -> Result<Response, Failed> {
    let now = SystemTime::now();
    let filter = filter(&query, now).map_err(bad_request)?;
    if query.follow {
        return live(&control, filter, now);
    }
    let page = page(&query).map_err(bad_request)?;
    if page.after.is_none() {
        write_logs(&control).await;
    }
    let entries: <GetLogs as Endpoint>::Answer = control.logs.entries(filter, page).await;
    Ok(Json(entries).into_response())
}

/// Returns a stream of what is logged from now on.
fn live(control: &Control, filter: Filter, now: SystemTime) -> Result<Response, Failed> {
    let Ok(place) = Arc::clone(&control.logs.followers).try_acquire_owned() else {
        let error =
            "as many follow the log of this node as can; try again when one of them has ended";
        return Err(Failed::new(Fault::UNAVAILABLE.soon(), error));
    };
    let from = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(FOLLOW_BEFORE);
    let first_us = u64::try_from(from.as_micros()).unwrap_or(u64::MAX);
    let filter = Filter { times: Times { first_us, last_us: u64::MAX }, ..filter };
    let mut followed = follow(Arc::clone(&control.logs), filter);
    let mut first = Some(Event::default().event(FROM_EVENT).data(entry::time(first_us)));
    let events = stream::poll_fn(move |cx| {
        let _ = &place;
        if let Some(first) = first.take() {
            return Poll::Ready(Some(Ok::<_, Infallible>(first)));
        }
        followed.poll_recv(cx).map(|next| next.map(|next| Ok(event(next))))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

fn event(next: Update) -> Event {
    match next {
        // An entry has no values that JSON has not.
        Update::Entry(entry) => Event::default().json_data(entry).unwrap_or_default(),
        Update::Missed(entries) => Event::default().event(MISSED_EVENT).data(entries.to_string()),
        Update::Note(note) => Event::default().event(NOTE_EVENT).data(printable::line(&note)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_ago() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_337_940);
        assert_eq!(moment("10m", now), Ok(1_795_337_340_000_000));
        assert_eq!(moment("2026-11-22T08:59:00Z", now), Ok(1_795_337_940_000_000));
        assert_eq!(moment("2026-11-22T08:59:00.000001Z", now), Ok(1_795_337_940_000_001));
        for other in ["", "yesterday", "1000000weeks", "-5m", "10"] {
            assert!(moment(other, now).is_err_and(|error| error.contains("10m")), "{other}");
        }
    }

    #[test]
    fn what_is_asked_wrongly_is_said() {
        let asked = |query: LogsQuery| {
            filter(&query, SystemTime::now()).map(drop).and(page(&query).map(drop))
        };
        assert_eq!(asked(LogsQuery::default()), Ok(()));
        let text = |text: &str| Some(text.to_owned());
        assert!(asked(LogsQuery { function: text("No Name"), ..LogsQuery::default() }).is_err());
        assert!(
            asked(LogsQuery { status: text("bad"), ..LogsQuery::default() })
                .is_err_and(|error| error.contains("5xx"))
        );
        assert!(asked(LogsQuery { function: text("a,b"), ..LogsQuery::default() }).is_ok());
        assert!(asked(LogsQuery { function: text("a,"), ..LogsQuery::default() }).is_err());
        assert!(asked(LogsQuery { stream: text("node"), ..LogsQuery::default() }).is_ok());
        assert!(
            asked(LogsQuery { stream: text("stdin"), ..LogsQuery::default() })
                .is_err_and(|error| error.contains("stderr"))
        );
        let both = LogsQuery { status: text("200"), text: text("t"), ..LogsQuery::default() };
        assert!(asked(both).is_err());
        assert!(asked(LogsQuery { limit: Some(0), ..LogsQuery::default() }).is_err());
        assert!(asked(LogsQuery { limit: Some(LIMIT_MAX + 1), ..LogsQuery::default() }).is_err());
        assert!(
            asked(LogsQuery { after: text("x"), ..LogsQuery::default() })
                .is_err_and(|error| error.contains("`next`"))
        );
    }
}
