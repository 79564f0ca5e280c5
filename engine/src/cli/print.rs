//! How commands print what the node answers: JSON, tables, times and names. Owns no fds.

use std::time::{Duration, UNIX_EPOCH};

use api::versions::AliasTarget;
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
        Value::Array(records) => records.iter().for_each(|record| say!("{record}")),
        record => say!("{record}"),
    }
}

/// Prints rows under their headings, each column as wide as it needs.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) {
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
