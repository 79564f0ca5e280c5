//! How commands print what the node answers: JSON, tables, times and names. Owns no fds.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, UNIX_EPOCH};

use api::versions::AliasTarget;
use host::printable;
use serde_json::Value;

/// `1 function`, `2 functions`.
pub(super) fn counted<N: std::fmt::Display + PartialEq + From<u8>>(
    number: N,
    what: &str,
) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Prints JSON: each record of a list on a line of its own, so that tools can read on as they come.
pub(super) fn print_json(value: &Value) {
    match value {
        Value::Array(records) => records.iter().for_each(print_json),
        record => say!("{}", printable::json(&record.to_string())),
    }
}

/// Whether what is printed may have colours: at a terminal that knows them, unless its user wants
/// none.
pub(super) fn has_colours(stream: &impl io::IsTerminal) -> bool {
    let is = |name, value: &str| std::env::var_os(name).is_some_and(|given| given == value);
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !plain && !is("TERM", "dumb")
}

/// Bytes of a guest on stdout: as they are, or, at a terminal, as text that steers nothing.
pub(super) struct Bytes {
    at_terminal: bool,
    /// The beginning of a character whose rest has not come.
    begun: Vec<u8>,
}

impl Bytes {
    pub(super) fn new() -> Self {
        Self { at_terminal: io::stdout().is_terminal(), begun: Vec::new() }
    }

    /// Prints a piece. A reader that has seen enough ends the command without a word.
    pub(super) fn print(&mut self, bytes: &[u8]) {
        match self.at_terminal {
            true => super::print_bytes(self.text(bytes).as_bytes()),
            false => super::print_bytes(bytes),
        }
    }

    /// What there is to show of a piece.
    fn text(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.begun);
        all.extend_from_slice(bytes);
        let mut shown = String::new();
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            shown.push_str(chunk.valid());
            let is_begun = std::str::from_utf8(chunk.invalid())
                .is_err_and(|error| error.error_len().is_none());
            match chunk.invalid() {
                [] => {}
                begun if is_begun && chunks.peek().is_none() => self.begun = begun.to_vec(),
                _ => shown.push(char::REPLACEMENT_CHARACTER),
            }
        }
        printable::lines(&shown)
    }
}

/// Prints rows under their headings, each column as wide as it needs and each row one line.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) {
    let shown = |row: &Vec<String>| row.iter().map(|cell| printable::line(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let line: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        say!("{}", line.join("  ").trim_end());
    };
    print(&mut headings.iter().copied());
    rows.iter().for_each(|row| print(&mut row.iter().map(String::as_str)));
}

/// `v12 90, v13 10`; without the weight where there is one version.
pub(super) fn targets(targets: &[AliasTarget]) -> String {
    let name = |target: &AliasTarget| match target.number {
        Some(number) => format!("v{number}"),
        None => target.version.clone(),
    };
    match targets {
        [] => "-".to_owned(),
        [only] => name(only),
        several => {
            let several =
                several.iter().map(|target| format!("{} {}", name(target), target.weight));
            several.collect::<Vec<_>>().join(", ")
        }
    }
}

/// A time in milliseconds since 1970, as people read it.
pub(super) fn when(millis: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(millis)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_a_terminal_a_guests_bytes_are_text_however_they_are_cut() {
        let mut printed = Bytes { at_terminal: true, begun: Vec::new() };
        let whole = "a\x1b[2Jä€\n".as_bytes();
        for cut in 0..=whole.len() {
            let (one, other) = whole.split_at(cut);
            let shown = printed.text(one) + &printed.text(other);
            assert_eq!(shown, format!("a\\u{{1b}}[2Jä€\n"), "cut at {cut}");
        }
        assert_eq!(printed.text(b"\xffx\xe2") + &printed.text(b"x"), "\u{fffd}x\u{fffd}x");
    }

    #[test]
    fn what_an_alias_means_is_said_shortly() {
        let target = |version: &str, number, weight| AliasTarget {
            version: version.to_owned(),
            number,
            weight,
        };
        assert_eq!(
            (targets(&[target("x", Some(12), 1)]).as_str(), targets(&[]).as_str()),
            ("v12", "-")
        );
        let two = [target("x", Some(1), 90), target("gone", None, 10)];
        assert_eq!(targets(&two), "v1 90, gone 10");
    }
}
