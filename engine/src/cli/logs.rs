//! `sockhop logs`: one invocation, the log of functions, or what comes as it comes; for people or
//! as JSON. Owns one connection a request.

use std::io::{self, Write as _};

use abi::invocation_id::InvocationId;
use abi::spool::Stream;
use anyhow::{Context as _, anyhow, bail};
use api::endpoints::{GetInvocation, GetLogs};
use api::logs::{Entries, Entry, FROM_EVENT, LIMIT_MAX, LogsQuery, MISSED_EVENT};
use bytes::Bytes;
use clap::Args;
use clap::builder::styling::AnsiColor;
use host::printable;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;

use super::Show;
use super::client::{Answer, Node, OTHER_BUILD, reason};
use super::print::has_colours;
use logs::entry;
use logs::query::Status;

/// How many of the newest entries are shown when nothing says since when.
const NEWEST: usize = 100;
/// How far they are looked for.
const NEWEST_SINCE: &str = "1day";
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// An invocation, by the id that its reply has in sockhop-invocation-id; or functions
    /// (default: all)
    #[arg(value_name = "ID|NAME")]
    what: Vec<String>,
    /// From when on: how long ago, or a time (default: the newest 100 of the last day)
    #[arg(long, value_name = "10m|TIME")]
    since: Option<String>,
    /// Up to when
    #[arg(long, value_name = "1m|TIME")]
    until: Option<String>,
    /// Only invocations that ended so, without their lines: 500, 5xx, or none for those without a
    /// reply
    #[arg(long, value_name = "STATUS")]
    status: Option<Status>,
    /// Only lines of this stream: stdout, stderr, or node for what the node says of an invocation
    #[arg(long, value_name = "STREAM", value_parser = stream, conflicts_with = "status")]
    stream: Option<Stream>,
    /// Only lines with this text in them
    #[arg(long, value_name = "TEXT", conflicts_with = "status")]
    text: Option<String>,
    /// At most so many, the newest
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Go on with what comes, from every worker of this node
    #[arg(long, short, conflicts_with = "until")]
    follow: bool,
    #[command(flatten)]
    show: Show,
}

fn stream(name: &str) -> Result<Stream, String> {
    let names = || Stream::ALL.map(Stream::name).join(", ");
    Stream::named(name).ok_or_else(|| format!("expected one of {}", names()))
}

pub(super) async fn run(logs: Logs) -> anyhow::Result<()> {
    let id = match logs.what.as_slice() {
        [only] => only.parse().ok(),
        _ => None,
    };
    let shown = match id {
        Some(id) => one(id, &logs.show).await,
        None => many(&logs).await,
    };
    match shown {
        // Whoever read it has seen enough.
        Err(error)
            if error
                .downcast_ref()
                .is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        shown => shown,
    }
}

async fn one(id: InvocationId, Show { json, target }: &Show) -> anyhow::Result<()> {
    let answer = Node::new(target)?.call(GetInvocation::at(&id.to_string())).await?;
    let mut out = io::stdout().lock();
    if *json {
        writeln!(out, "{}", printable::json(&answer.json.to_string()))?;
        return Ok(());
    }
    let found = answer.read()?;
    notes(&found.notes);
    for line in found.lines {
        writeln!(out, "{}  {}", line.time, entry::line_text(&line))?;
    }
    match found.record {
        Some(record) => writeln!(
            out,
            "{}  {}  {}",
            record.time,
            record.function,
            entry::invocation_text(&record)
        )?,
        None => {
            writeln!(out, "it has no end in the log: it still runs, or its worker died over it")?
        }
    }
    if let Some(after) = found.after {
        writeln!(out, "{}  {}  {}", after.time, after.function, entry::after_text(&after))?;
    }
    Ok(())
}

/// What could not be read.
fn notes(notes: &[String]) {
    notes.iter().for_each(|note| eprintln!("note: {}", printable::line(note)));
}

async fn many(logs: &Logs) -> anyhow::Result<()> {
    for name in &logs.what {
        abi::name::check(name).with_context(|| match logs.what.len() {
            1 => format!("{name:?} is no invocation's id either"),
            _ => format!("{name:?} is no function's name"),
        })?;
    }
    let node = Node::new(&logs.show.target)?;
    let mut query = LogsQuery {
        function: (!logs.what.is_empty()).then(|| logs.what.join(",")),
        status: logs.status.map(|status| status.to_string()),
        stream: logs.stream.map(|stream| stream.name().to_owned()),
        text: logs.text.clone(),
        ..LogsQuery::default()
    };
    // What comes is listened for before what there is is shown, so that nothing is between.
    let (live, until) = if logs.follow {
        let mut events = Events::open(&node, LogsQuery { follow: true, ..query.clone() }).await?;
        let from =
            events.next().await?.filter(|(name, _)| name == FROM_EVENT).context(OTHER_BUILD)?;
        // The time it begins at belongs to what comes.
        let before = humantime::parse_rfc3339(&from.1)? - std::time::Duration::from_micros(1);
        (Some(events), Some(humantime::format_rfc3339_micros(before).to_string()))
    } else {
        (None, logs.until.clone())
    };
    query.until = until;
    let limit = match (logs.limit, &logs.since) {
        (Some(limit), _) => Some(limit),
        (None, None) => Some(NEWEST),
        (None, Some(_)) => None,
    };
    query.since = Some(logs.since.as_deref().unwrap_or(NEWEST_SINCE).to_owned());
    let mut shown = Shown::new(logs.show.json, &logs.what);
    match limit {
        Some(limit) => {
            let query = LogsQuery { newest: true, limit: Some(limit), ..query };
            shown.page(&node.call(GetLogs::at().with(&query)).await?)?;
        }
        None => {
            query.limit = Some(LIMIT_MAX);
            loop {
                query.after = shown.page(&node.call(GetLogs::at().with(&query)).await?)?;
                if query.after.is_none() {
                    break;
                }
            }
        }
    }
    match live {
        Some(events) => shown.live(events).await,
        None => {
            if shown.entries == 0 {
                let of = match logs.what.as_slice() {
                    [] => "any function".to_owned(),
                    names => names.join(", "),
                };
                eprintln!(
                    "nothing to show of {of} (what another node has logged can be read some 10 s \
                     later)"
                );
            }
            Ok(())
        }
    }
}

/// Prints what all functions log from now on, until the node ends the stream.
pub(super) async fn follow(node: &Node) -> anyhow::Result<()> {
    let events = Events::open(node, LogsQuery { follow: true, ..LogsQuery::default() }).await?;
    Shown::new(false, &[]).live(events).await
}

/// What is shown.
struct Shown {
    json: bool,
    entries: u64,
    /// Names before entries, unless all are of one function.
    names: Option<Names>,
}

impl Shown {
    fn new(json: bool, wanted: &[String]) -> Self {
        let coloured = has_colours(&io::stdout());
        let names = (wanted.len() != 1).then(|| Names::new(wanted, coloured));
        Self { json, entries: 0, names }
    }

    /// Shows a page, and says where the next begins.
    fn page(&mut self, answer: &Answer<Entries>) -> anyhow::Result<Option<String>> {
        let page = answer.read()?;
        notes(&page.notes);
        let mut out = io::BufWriter::new(io::stdout().lock());
        page.entries.iter().try_for_each(|entry| self.entry(&mut out, entry))?;
        out.flush()?;
        Ok(page.next)
    }

    fn entry(&mut self, out: &mut impl io::Write, entry: &Entry) -> anyhow::Result<()> {
        self.entries += 1;
        if self.json {
            writeln!(out, "{}", printable::json(&serde_json::to_string(entry)?))?;
            return Ok(());
        }
        let (time, of, text) = match entry {
            Entry::Line(line) => {
                (&line.time, Some((&line.function, &line.invocation)), entry::line_text(line))
            }
            Entry::Invocation(of) => {
                (&of.time, Some((&of.function, &of.invocation)), entry::invocation_text(of))
            }
            Entry::After(of) => {
                (&of.time, Some((&of.function, &of.invocation)), entry::after_text(of))
            }
            Entry::Gap { time, records, reason } => {
                let are = if *records == 1 { "record is" } else { "records are" };
                let reason = printable::line(reason);
                (time, None, format!("[{records} {are} missing here: {reason}]"))
            }
        };
        write!(out, "{time}  ")?;
        if let Some((function, invocation)) = of {
            if let Some(names) = &mut self.names {
                write!(out, "{}  ", names.prefix(function))?;
            }
            write!(out, "{invocation}  ")?;
        }
        Ok(writeln!(out, "{text}")?)
    }

    async fn live(&mut self, mut events: Events) -> anyhow::Result<()> {
        while let Some((name, data)) = events.next().await? {
            let mut out = io::stdout().lock();
            match name.as_str() {
                "" => self.entry(&mut out, &serde_json::from_str(&data).context(OTHER_BUILD)?)?,
                MISSED_EVENT => {
                    eprintln!(
                        "note: {data} entries came faster than they were read here; they are in the log"
                    )
                }
                FROM_EVENT => {}
                _ => eprintln!("note: {}", printable::line(&data)),
            }
            out.flush()?;
        }
        bail!("the node has ended the stream: it has stopped, or another engine has taken over")
    }
}

/// The names of functions before what they say: as wide as the widest so far, and at a terminal
/// each in a colour of its own, as far as colours go.
struct Names {
    seen: Vec<String>,
    width: usize,
    coloured: bool,
}

impl Names {
    /// Red is for what has failed.
    const COLOURS: [AnsiColor; 10] = [
        AnsiColor::Cyan,
        AnsiColor::Yellow,
        AnsiColor::Green,
        AnsiColor::Magenta,
        AnsiColor::Blue,
        AnsiColor::BrightCyan,
        AnsiColor::BrightYellow,
        AnsiColor::BrightGreen,
        AnsiColor::BrightMagenta,
        AnsiColor::BrightBlue,
    ];

    fn new(wanted: &[String], coloured: bool) -> Self {
        let width = wanted.iter().map(String::len).max().unwrap_or_default();
        Self { seen: wanted.to_vec(), width, coloured }
    }

    fn prefix(&mut self, name: &str) -> String {
        let at = self.seen.iter().position(|seen| seen == name).unwrap_or_else(|| {
            self.seen.push(name.to_owned());
            self.seen.len() - 1
        });
        let shown = printable::line(name);
        self.width = self.width.max(shown.len());
        let width = self.width;
        match self.coloured {
            true => {
                let style = Self::COLOURS[at % Self::COLOURS.len()].on_default();
                format!("{style}{shown:width$}{style:#}")
            }
            false => format!("{shown:width$}"),
        }
    }
}

/// Events as they come (Server-Sent Events, HTML 9.2.6).
pub(super) struct Events {
    body: Incoming,
    text: Vec<u8>,
}

impl Events {
    pub(super) async fn open(node: &Node, query: LogsQuery) -> anyhow::Result<Self> {
        let call = GetLogs::at().with(&query);
        let response = node.request(Method::GET, call.path(), &[], Bytes::new()).await?;
        if !response.status().is_success() {
            let bytes = response.into_body().collect().await?.to_bytes();
            let why = reason(&bytes).unwrap_or_else(|| "the node does not tell what comes".into());
            return Err(node.asked(anyhow!(why)));
        }
        Ok(Self { body: response.into_body(), text: Vec::new() })
    }

    /// The next event: its name, empty for none, and its data. None at the end.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<(String, String)>> {
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
                    let data = frame
                        .context("the node's stream broke off")?
                        .into_data()
                        .unwrap_or_default();
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
            "data" => {
                data = Some(data.map_or_else(|| value.to_owned(), |before| before + "\n" + value))
            }
            _ => {}
        }
    }
    data.map(|data| (name, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_column_and_have_colours_at_a_terminal_alone() {
        let wanted = ["a", "bcd"].map(str::to_owned);
        let mut plain = Names::new(&wanted, false);
        assert_eq!(["a", "bcd"].map(|name| plain.prefix(name)), ["a  ", "bcd"]);
        let mut coloured = Names::new(&[], true);
        let [a, b, again] = ["a", "bcd", "a"].map(|name| coloured.prefix(name));
        assert!(a.starts_with("\x1b[36ma\x1b[0m") && b.starts_with("\x1b[33mbcd"), "{a} {b}");
        assert_eq!(again, "\x1b[36ma  \x1b[0m");
    }

    #[test]
    fn events_are_read_and_comments_are_not() {
        let read = |text| event_of(text);
        assert_eq!(read("data: {\"a\": 1}\n\n"), Some((String::new(), "{\"a\": 1}".to_owned())));
        assert_eq!(read("event: missed\ndata:7\n\n"), Some(("missed".to_owned(), "7".to_owned())));
        assert_eq!(read(":\n\n"), None);
    }
}
