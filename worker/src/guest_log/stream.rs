//! One of an invocation's two streams, cut into lines and held to the function's limits. Owns no
//! fds.

use std::sync::{Arc, Mutex, PoisonError};

use abi::invocation_id::InvocationId;
use abi::limits::{LOG_LINE_BYTES_MAX, LOG_LINES_MAX};
use abi::spool::Stream;

use super::GuestLog;
use super::notes::Notes;

/// The most bytes of one of the node's own lines about an invocation: it may repeat text of any
/// length that a guest chose.
const NOTE_BYTES_MAX: usize = 1024;

/// One of an invocation's two streams.
#[derive(Clone)]
pub(crate) struct GuestStream(Arc<Mutex<Lines>>);

struct Lines {
    log: GuestLog,
    function: Arc<str>,
    id: InvocationId,
    stream: Stream,
    /// The beginning of a line that has not ended yet.
    partial: Vec<u8>,
    taken_bytes: usize,
    bytes_max: usize,
    lines: usize,
    /// Whether a limit was reached, which the log then says.
    cut: bool,
    /// The node's own lines so far.
    notes: Notes,
}

impl GuestStream {
    /// Returns the stream of the invocation `id` of `function`. At most `bytes_max` bytes of it are
    /// logged.
    pub(crate) fn new(
        log: GuestLog,
        function: Arc<str>,
        id: InvocationId,
        stream: Stream,
        bytes_max: impl TryInto<usize>,
    ) -> Self {
        let bytes_max = bytes_max.try_into().unwrap_or(usize::MAX);
        let (partial, cut) = (Vec::new(), bytes_max == 0);
        let lines = Lines {
            log,
            function,
            id,
            stream,
            partial,
            taken_bytes: 0,
            bytes_max,
            lines: 0,
            cut,
            notes: Notes::default(),
        };
        Self(Arc::new(Mutex::new(lines)))
    }

    /// Begins the invocation `id`: what is written from now on belongs to it.
    pub(crate) fn begin(&self, id: InvocationId) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.end();
        lines.id = id;
        (lines.taken_bytes, lines.lines, lines.cut) = (0, 0, lines.bytes_max == 0);
    }

    /// Writes one of the node's own lines about the invocation. It counts against the guest's
    /// limits, because the guest has caused it. A line that repeats an earlier one is only counted;
    /// the end of the log has the sum.
    pub(crate) fn note(&self, text: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = &text[..text.floor_char_boundary(NOTE_BYTES_MAX)];
        if !lines.cut && lines.notes.is_new(text) {
            lines.line(Stream::Node, text.as_bytes());
        }
    }

    /// Writes a command's exit code, whatever else was too much.
    pub(crate) fn exited(&self, code: i32) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.end();
        let line = abi::function::exit_line(code);
        lines.log.line(&lines.function, lines.id, Stream::Node, line.as_bytes());
    }

    /// Takes what the guest writes.
    pub(crate) fn write(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(bytes);
    }

    /// Ends the invocation, and with it its last line.
    pub(crate) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).end();
    }
}

impl Lines {
    /// Ends the last line, and writes how often notes were repeated.
    fn end(&mut self) {
        self.end_partial();
        if !self.notes.is_empty() {
            for sum in self.notes.sums() {
                self.line(Stream::Node, sum.as_bytes());
            }
        }
    }

    /// Writes a line whose bytes are not counted yet.
    fn line(&mut self, stream: Stream, text: &[u8]) {
        if self.cut {
            return;
        }
        self.taken_bytes += text.len();
        if self.taken_bytes > self.bytes_max {
            return self.cut_off(&format!("[cut: more than {} bytes]", self.bytes_max));
        }
        if self.lines >= LOG_LINES_MAX {
            return self.cut_off(&format!("[cut: more than {LOG_LINES_MAX} lines]"));
        }
        self.lines += 1;
        self.log.line(&self.function, self.id, stream, text);
    }

    fn end_partial(&mut self) {
        if !self.partial.is_empty() {
            self.end_line(b"");
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.cut {
            return;
        }
        let room = self.bytes_max - self.taken_bytes.min(self.bytes_max);
        let taken = &bytes[..bytes.len().min(room)];
        self.taken_bytes += taken.len();
        for part in taken.split_inclusive(|byte| *byte == b'\n') {
            let (text, whole) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let mut rest = text;
            // The bytes beyond the limit of a line begin another line.
            while self.partial.len() + rest.len() > LOG_LINE_BYTES_MAX {
                let (fits, over) = rest.split_at(LOG_LINE_BYTES_MAX - self.partial.len());
                self.end_line(fits);
                rest = over;
            }
            if whole {
                self.end_line(rest);
            } else {
                self.partial.extend_from_slice(rest);
            }
            if self.cut {
                return;
            }
        }
        if taken.len() < bytes.len() {
            self.end_partial();
            self.cut_off(&format!("[cut: more than {} bytes]", self.bytes_max));
        }
    }

    /// Logs the line that `partial` begins and `rest` ends.
    fn end_line(&mut self, rest: &[u8]) {
        if self.lines >= LOG_LINES_MAX {
            return self.cut_off(&format!("[cut: more than {LOG_LINES_MAX} lines]"));
        }
        self.lines += 1;
        let joined;
        let text = if self.partial.is_empty() {
            rest
        } else {
            self.partial.extend_from_slice(rest);
            joined = std::mem::take(&mut self.partial);
            &joined
        };
        self.log.line(
            &self.function,
            self.id,
            self.stream,
            text.strip_suffix(b"\r").unwrap_or(text),
        );
    }

    /// Logs `why`, once, and drops the rest of the invocation's lines.
    fn cut_off(&mut self, why: &str) {
        self.partial.clear();
        if !std::mem::replace(&mut self.cut, true) {
            self.log.line(&self.function, self.id, self.stream, why.as_bytes());
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Format;

    const BYTES_MAX: usize = 256 * 1024;

    fn lines_of(writes: &[&[u8]]) -> Vec<String> {
        let lines = written(Format::Text, writes);
        lines
            .iter()
            .map(|line| line.split_once("stdout ").unwrap().1.trim_end().to_owned())
            .collect()
    }

    fn written(format: Format, writes: &[&[u8]]) -> Vec<String> {
        limited(format, writes, BYTES_MAX)
    }

    fn limited(format: Format, writes: &[&[u8]], bytes_max: usize) -> Vec<String> {
        let (log, queue) = GuestLog::new(format, true, None);
        let stream =
            GuestStream::new(log, "f".into(), InvocationId::new(), Stream::Stdout, bytes_max);
        for bytes in writes {
            stream.0.lock().unwrap().take(bytes);
        }
        drop(stream);
        queue.try_iter().collect()
    }

    #[test]
    fn json_lines_say_what_the_guest_did_and_are_one_each() {
        let lines = written(Format::Json, &[b"a\x1b\"\\\r\n\xffb"]);
        let values: Vec<serde_json::Value> =
            lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let said: Vec<_> = values.iter().map(|value| value["message"].as_str().unwrap()).collect();
        assert_eq!(said, ["a\u{1b}\"\\", "\u{fffd}b"]);
        assert!(lines.iter().all(|line| line.matches('\n').count() == 1), "{lines:?}");
        assert_eq!((&values[0]["function"], &values[0]["stream"]), (&"f".into(), &"stdout".into()));
    }

    #[test]
    fn writes_become_lines_and_the_last_needs_no_newline() {
        assert_eq!(lines_of(&[b"a\nb", b"c\r\n\nd"]), ["a", "bc", "", "d"]);
    }

    #[test]
    fn control_characters_are_shown_not_sent() {
        assert_eq!(lines_of(&[b"\x1b[2Jx\rfunction=g\tz\n"]), ["\\u{1b}[2Jx\\rfunction=g\tz"]);
        assert_eq!(lines_of(&[b"\xff\n"]), ["\u{fffd}"]);
    }

    #[test]
    fn long_lines_are_split_and_a_flood_is_cut() {
        let long = vec![b'x'; LOG_LINE_BYTES_MAX + 10];
        let lines = lines_of(&[&long, b"\n"]);
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [LOG_LINE_BYTES_MAX, 10]);
        let flood: Vec<&[u8]> = (0..1000).map(|_| long.as_slice()).collect();
        let lines = lines_of(&flood);
        assert!(lines.last().unwrap().starts_with("[cut"), "{:?}", lines.last());
        assert!(lines.iter().map(String::len).sum::<usize>() < 2 * BYTES_MAX);
    }

    #[test]
    fn what_the_node_notes_is_held_to_the_guests_limits_and_summed_up() {
        let noted = |bytes_max: usize, notes: &mut dyn Iterator<Item = String>| -> Vec<String> {
            let (log, queue) = GuestLog::new(Format::Text, true, None);
            let stream =
                GuestStream::new(log, "f".into(), InvocationId::new(), Stream::Stderr, bytes_max);
            let mut lines = Vec::new();
            for note in notes {
                stream.note(&note);
                lines.extend(queue.try_iter());
            }
            drop(stream);
            lines.extend(queue.try_iter());
            lines
        };
        let same = noted(BYTES_MAX, &mut (0..100_000).map(|_| "denied".to_owned()));
        assert_eq!(same.len(), 2, "{same:?}");
        assert!(same[1].contains("stream=node [99999 times more: denied]"), "{}", same[1]);
        let others = noted(10_000, &mut (0..100_000).map(|number| format!("denied: {number}")));
        assert!(others.iter().map(String::len).sum::<usize>() < 200_000, "{}", others.len());
        assert!(
            others.last().unwrap().contains("[cut: more than 10000 bytes]"),
            "{:?}",
            others.last()
        );
        let long = noted(BYTES_MAX, &mut std::iter::once("ä".repeat(100_000)));
        assert!(long.len() == 1 && long[0].len() < 2 * NOTE_BYTES_MAX, "{}", long[0].len());
        assert!(noted(0, &mut std::iter::once("denied".to_owned())).is_empty());
    }

    #[test]
    fn no_bytes_are_no_lines_and_short_lines_have_a_limit_too() {
        assert!(limited(Format::Text, &[b"a\nb", b"\n"], 0).is_empty());
        let (log, queue) = GuestLog::new(Format::Text, true, None);
        let stream =
            GuestStream::new(log, "f".into(), InvocationId::new(), Stream::Stdout, BYTES_MAX);
        let mut lines = Vec::new();
        for _ in 0..LOG_LINES_MAX + 5 {
            stream.0.lock().unwrap().take(b"\n");
            lines.extend(queue.try_iter());
        }
        assert_eq!(lines.len(), LOG_LINES_MAX + 1);
        assert!(
            lines[LOG_LINES_MAX].contains("[cut: more than 10000 lines]"),
            "{}",
            lines[LOG_LINES_MAX]
        );
        stream.begin(InvocationId::new());
        stream.0.lock().unwrap().take(b"again\n");
        assert!(queue.try_recv().unwrap().contains("again"));
    }
}
