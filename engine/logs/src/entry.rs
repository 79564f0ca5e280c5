//! The forms of a record for people, and as JSON. Pure; owns no fds.

use std::time::{Duration, SystemTime};

use abi::spool::{Record, Stream};
use api::logs::{After, Entry, Invocation, Line};
use host::printable::line as printable;
use uuid::Uuid;

/// The place of a record in the order of all records: by time, and within one moment by segment and
/// place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub time_us: u64,
    pub segment: Uuid,
    /// How many records are before it in its segment.
    pub at: u64,
}

/// `TIME-AT-SEGMENT`.
impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.time_us, self.at, self.segment.simple())
    }
}

impl std::str::FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (time, rest) = text.split_once('-')?;
            let (at, segment) = rest.split_once('-')?;
            let (time_us, at) = (time.parse().ok()?, at.parse().ok()?);
            Some(Self { time_us, at, segment: Uuid::try_parse(segment).ok()? })
        };
        parse().ok_or_else(|| {
            format!("{text:?} is no place in the log; expected what `next` of an answer says")
        })
    }
}

/// Returns a time of day in RFC 3339.
pub fn time(time_us: u64) -> String {
    // 9999 is the last year of the form.
    let time = SystemTime::UNIX_EPOCH + Duration::from_micros(time_us.min(253_402_300_799_000_000));
    humantime::format_rfc3339_micros(time).to_string()
}

/// Returns the text. Returns `None` if it is empty.
fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns a record as the control API answers it.
pub fn of(record: &Record<'_>) -> Entry {
    match record {
        Record::Line(line) => Entry::Line(Line {
            time: time(line.time_us),
            function: line.function.to_owned(),
            invocation: line.id.to_string(),
            stream: line.stream.name().to_owned(),
            text: String::from_utf8_lossy(line.text).into_owned(),
        }),
        Record::Invocation(of) => Entry::Invocation(Box::new(Invocation {
            time: time(of.ended_us()),
            function: of.function.to_owned(),
            version: of.version.to_owned(),
            number: (of.number > 0).then_some(of.number),
            alias: some(of.alias),
            method: some(of.request.method),
            path: some(&[of.request.prefix, of.request.path].concat()),
            invocation: of.id.to_string(),
            status: (of.status > 0).then_some(of.status),
            outcome: of.outcome.to_string(),
            started: time(of.started_us),
            duration_us: of.duration_us,
            cpu_us: of.cpu_us,
            memory_bytes: of.memory_bytes,
            received_bytes: of.received_bytes,
            sent_bytes: of.sent_bytes,
            accepted: of.arrival.map(|arrival| time(arrival.accepted_us)),
            received: of.arrival.map(|arrival| time(arrival.received_us)),
            queue_us: of.queue_us,
            instantiate_us: of.instantiate_us,
            run_us: of.run_us,
            goes_on: of.goes_on,
        })),
        Record::After(after) => Entry::After(After {
            time: time(after.time_us),
            function: after.function.to_owned(),
            invocation: after.id.to_string(),
            outcome: after.outcome.to_string(),
            after_us: after.after_us,
            cpu_us: after.cpu_us,
            memory_bytes: after.memory_bytes,
        }),
        Record::Gap(gap) => Entry::Gap {
            time: time(gap.time_us),
            records: gap.records,
            reason: gap.reason.to_owned(),
        },
    }
}

/// Returns about how much memory an entry takes.
pub fn bytes(entry: &Entry) -> usize {
    const OTHERS: usize = 400;
    let more = match entry {
        Entry::Line(line) => line.text.len() + line.function.len(),
        Entry::Invocation(invocation) => invocation.path.as_ref().map_or(0, String::len),
        Entry::After(_) | Entry::Gap { .. } => 0,
    };
    OTHERS + more
}

/// Returns a line for a person: its stream and its text.
pub fn line_text(line: &Line) -> String {
    let stream = if line.stream == Stream::Node.name() { "node" } else { &line.stream };
    format!("{stream:<6}  {}", printable(&line.text))
}

/// Returns a number of bytes for a person.
fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// Returns a duration for a person.
fn took(micros: u64) -> String {
    humantime::format_duration(Duration::from_micros(micros)).to_string()
}

/// Returns what an invocation used, for a person. Of a native function's memory nothing is known:
/// a process may serve several at a time.
fn used(cpu_us: u64, memory_bytes: u64) -> String {
    let cpu = took(cpu_us);
    match memory_bytes {
        0 => format!("cpu {cpu}"),
        _ => format!("cpu {cpu}, memory {}", size(memory_bytes)),
    }
}

/// Returns what a guest did after its reply, for a person, in one line.
pub fn after_text(after: &After) -> String {
    let (outcome, later) = (printable(&after.outcome), took(after.after_us));
    let used = used(after.cpu_us, after.memory_bytes);
    format!("{outcome} {later} after its reply, {used}")
}

/// Returns how an invocation went, for a person, in one line.
pub fn invocation_text(of: &Invocation) -> String {
    let request = match (&of.method, &of.path) {
        (Some(method), Some(path)) => format!("  {} {}  ", printable(method), printable(path)),
        _ => " ".to_owned(),
    };
    let number = of.number.map_or_else(String::new, |number| format!("v{number} "));
    let alias =
        of.alias.as_ref().map_or_else(String::new, |alias| format!(", alias {}", printable(alias)));
    let goes_on = if of.goes_on { ", its guest goes on" } else { "" };
    let status = of.status.map_or_else(|| "no reply".to_owned(), |status| status.to_string());
    format!(
        "{status} {} in {}{request}(queued {}, instance {}, ran {}), {}, received {}, sent {}, \
         version {number}{}{alias}{goes_on}",
        printable(&of.outcome),
        took(of.duration_us),
        took(of.queue_us),
        took(of.instantiate_us),
        took(of.run_us),
        used(of.cpu_us, of.memory_bytes),
        size(of.received_bytes),
        size(of.sent_bytes),
        printable(&of.version),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::invocation_id::InvocationId;
    use abi::spool;

    #[test]
    fn a_key_is_written_and_read_and_sorts_by_time_first() {
        let key = |time_us, segment, at| Key { time_us, segment: Uuid::from_u128(segment), at };
        let all = [key(1, 9, 9), key(2, 1, 3), key(2, 1, 10), key(2, 2, 0), key(11, 0, 0)];
        assert!(all.is_sorted());
        for key in all {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        for other in ["", "1", "1-2", "1-2-x", "x-2-00000000000000000000000000000001"] {
            assert!(other.parse::<Key>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_line_is_one_line_whatever_a_guest_writes() {
        let id = InvocationId::new();
        let text = b"\x1b[2Jx\rstderr\tz\xff";
        let line = spool::Line {
            id,
            time_us: 1_795_337_940_000_001,
            stream: Stream::Stdout,
            function: "f",
            text,
        };
        let entry = of(&Record::Line(line));
        let json = serde_json::to_value(&entry).unwrap();
        assert_eq!(
            (&json["kind"], &json["time"]),
            (&"line".into(), &"2026-11-22T08:59:00.000001Z".into())
        );
        assert_eq!(json["invocation"], id.to_string());
        assert_eq!(serde_json::from_value::<Entry>(json).unwrap(), entry);
        let Entry::Line(line) = entry else { panic!("it is a line") };
        assert_eq!(line_text(&line), "stdout  \\u{1b}[2Jx\\rstderr\tz\u{fffd}");
    }
}
