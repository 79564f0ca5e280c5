//! `sockhop logs`: one invocation, a function's log, or what comes as it comes; for people or as JSON. Owns one connection a request.

use std::io::{self, Write as _};

use abi::invocation_id::InvocationId;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use serde_json::Value;

use super::Show;
use super::client::Node;
use crate::logs::entry;
use crate::logs::query::Status;
use api::logs::{Entries, Entry, LIMIT_MAX, OneInvocation};

/// How many of the newest entries are shown when nothing says since when.
const NEWEST: usize = 100;
/// How far they are looked for.
const NEWEST_SINCE: &str = "1day";
/// Why an answer is not understood.
const OTHER_BUILD: &str = "the node is of another build, and its answer is not understood";

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// An invocation, by the id that its reply has in sockhop-invocation-id; or a function
    #[arg(value_name = "ID|NAME")]
    what: String,
    /// From when on: how long ago, or a time (default: the newest 100 of the last day)
    #[arg(long, value_name = "10m|TIME")]
    since: Option<String>,
    /// Up to when
    #[arg(long, value_name = "1m|TIME")]
    until: Option<String>,
    /// Only invocations that ended so, without their lines: 500, 5xx, or none for those without a reply
    #[arg(long, value_name = "STATUS")]
    status: Option<Status>,
    /// At most so many, the newest
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Go on with what comes, from every worker of this node
    #[arg(long, conflicts_with = "until")]
    follow: bool,
    #[command(flatten)]
    show: Show,
}

pub(super) async fn run(logs: Logs) -> anyhow::Result<()> {
    let shown = match logs.what.parse() {
        Ok(id) => one(id, &logs.show).await,
        Err(_) => many(&logs).await,
    };
    match shown {
        // Whoever read it has seen enough.
        Err(error)
            if error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        shown => shown,
    }
}

async fn one(id: InvocationId, Show { json, target }: &Show) -> anyhow::Result<()> {
    let found = Node::new(target).get(&format!("/v1/invocations/{id}")).await?;
    let mut out = io::stdout().lock();
    if *json {
        writeln!(out, "{found}")?;
        return Ok(());
    }
    let found: OneInvocation = serde_json::from_value(found).context(OTHER_BUILD)?;
    notes(&found.notes);
    for line in found.lines {
        writeln!(out, "{}  {}", line.time, entry::line_text(&line))?;
    }
    match found.record {
        Some(record) => writeln!(out, "{}  {}  {}", record.time, record.function, entry::invocation_text(&record))?,
        None => writeln!(out, "it has no end in the log: it still runs, or its worker died over it")?,
    }
    if let Some(after) = found.after {
        writeln!(out, "{}  {}  {}", after.time, after.function, entry::after_text(&after))?;
    }
    Ok(())
}

/// What could not be read.
fn notes(notes: &[String]) {
    notes.iter().for_each(|note| eprintln!("note: {}", entry::printable(note)));
}

/// `key=value`, as a query has it.
fn pair(key: &str, value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    let escaped = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    format!("{key}={}", value.bytes().map(escaped).collect::<String>())
}

async fn many(logs: &Logs) -> anyhow::Result<()> {
    abi::name::check(&logs.what).with_context(|| format!("{:?} is no invocation's id either", logs.what))?;
    let node = Node::new(&logs.show.target);
    let mut asked = vec![pair("function", &logs.what)];
    asked.extend(logs.status.map(|status| pair("status", &status.to_string())));
    // What comes is listened for before what there is is shown, so that nothing is between.
    let (live, until) = if logs.follow {
        let mut events = Events::open(&node, &asked).await?;
        let from = events.next().await?.filter(|(name, _)| name == "from").context(OTHER_BUILD)?;
        // The time it begins at belongs to what comes.
        let before = humantime::parse_rfc3339(&from.1)? - std::time::Duration::from_micros(1);
        (Some(events), Some(humantime::format_rfc3339_micros(before).to_string()))
    } else {
        (None, logs.until.clone())
    };
    asked.extend(until.map(|until| pair("until", &until)));
    let limit = match (logs.limit, &logs.since) {
        (Some(limit), _) => Some(limit),
        (None, None) => Some(NEWEST),
        (None, Some(_)) => None,
    };
    asked.push(pair("since", logs.since.as_deref().unwrap_or(NEWEST_SINCE)));
    let mut shown = Shown { json: logs.show.json, entries: 0 };
    match limit {
        Some(limit) => {
            asked.extend([pair("newest", "true"), pair("limit", &limit.to_string())]);
            shown.page(node.get(&format!("/v1/logs?{}", asked.join("&"))).await?)?;
        }
        None => {
            asked.push(pair("limit", &LIMIT_MAX.to_string()));
            let asked = asked.join("&");
            let mut next = shown.page(node.get(&format!("/v1/logs?{asked}")).await?)?;
            while let Some(after) = next {
                next = shown.page(node.get(&format!("/v1/logs?{asked}&{}", pair("after", &after))).await?)?;
            }
        }
    }
    match live {
        Some(events) => shown.live(events).await,
        None => {
            if shown.entries == 0 {
                eprintln!(
                    "nothing to show of {} (what another node has logged can be read some 10 s later)",
                    logs.what
                );
            }
            Ok(())
        }
    }
}

/// What is shown.
struct Shown {
    json: bool,
    entries: u64,
}

impl Shown {
    /// Shows a page, and says where the next begins.
    fn page(&mut self, answer: Value) -> anyhow::Result<Option<String>> {
        let answer: Entries = serde_json::from_value(answer).context(OTHER_BUILD)?;
        notes(&answer.notes);
        let mut out = io::BufWriter::new(io::stdout().lock());
        answer.entries.into_iter().try_for_each(|entry| self.entry(&mut out, entry))?;
        out.flush()?;
        Ok(answer.next)
    }

    fn entry(&mut self, out: &mut impl io::Write, entry: Entry) -> anyhow::Result<()> {
        self.entries += 1;
        if self.json {
            writeln!(out, "{}", serde_json::to_string(&entry)?)?;
            return Ok(());
        }
        match entry {
            Entry::Line(line) => writeln!(out, "{}  {}  {}", line.time, line.invocation, entry::line_text(&line))?,
            Entry::Invocation(of) => writeln!(out, "{}  {}  {}", of.time, of.invocation, entry::invocation_text(&of))?,
            Entry::After(of) => writeln!(out, "{}  {}  {}", of.time, of.invocation, entry::after_text(&of))?,
            Entry::Gap { time, records, reason } => {
                let are = if records == 1 { "record is" } else { "records are" };
                writeln!(out, "{time}  [{records} {are} missing here: {}]", entry::printable(&reason))?;
            }
        }
        Ok(())
    }

    async fn live(&mut self, mut events: Events) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        while let Some((name, data)) = events.next().await? {
            match name.as_str() {
                "" => self.entry(&mut out, serde_json::from_str(&data).context(OTHER_BUILD)?)?,
                "missed" => eprintln!("note: {data} entries came faster than they were read here; they are in the log"),
                _ => eprintln!("note: {}", entry::printable(&data)),
            }
            out.flush()?;
        }
        bail!("the node has ended the stream: it has stopped, or another engine has taken over")
    }
}

/// Events as they come (Server-Sent Events, HTML 9.2.6).
struct Events {
    body: Incoming,
    text: Vec<u8>,
}

impl Events {
    async fn open(node: &Node, asked: &[String]) -> anyhow::Result<Self> {
        let path = format!("/v1/logs?{}&follow=true", asked.join("&"));
        let response = node.request(Method::GET, &path, &[], Bytes::new()).await?;
        if !response.status().is_success() {
            let bytes = response.into_body().collect().await?.to_bytes();
            let error: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            bail!("{}", error["error"].as_str().unwrap_or("the node does not tell what comes"));
        }
        Ok(Self { body: response.into_body(), text: Vec::new() })
    }

    /// The next event: its name, empty for none, and its data. None at the end.
    async fn next(&mut self) -> anyhow::Result<Option<(String, String)>> {
        loop {
            while let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.text.drain(..end + 2).collect();
                if let Some(event) = event_of(&String::from_utf8_lossy(&event)) {
                    return Ok(Some(event));
                }
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let data = frame.context("the node's stream broke off")?.into_data().unwrap_or_default();
                    self.text.extend_from_slice(&data);
                }
            }
        }
    }
}

/// None for a comment, which only keeps the connection.
fn event_of(text: &str) -> Option<(String, String)> {
    let (mut name, mut data) = (String::new(), None::<String>);
    for line in text.lines() {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match key {
            "event" => name = value.to_owned(),
            "data" => data = Some(data.map_or_else(|| value.to_owned(), |before| before + "\n" + value)),
            _ => {}
        }
    }
    data.map(|data| (name, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_comments_are_not() {
        let read = |text| event_of(text);
        assert_eq!(read("data: {\"a\": 1}\n\n"), Some((String::new(), "{\"a\": 1}".to_owned())));
        assert_eq!(read("event: missed\ndata:7\n\n"), Some(("missed".to_owned(), "7".to_owned())));
        assert_eq!(read(":\n\n"), None);
    }

    #[test]
    fn a_query_has_no_character_with_a_meaning() {
        assert_eq!(pair("since", "2026-01-01 00:00&x=+"), "since=2026-01-01%2000:00%26x%3D%2B");
    }
}
