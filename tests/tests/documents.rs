//! The documents keep to their sizes, and what they refer to exists: files, tests, parts of
//! `scripts/bench`, counted paths.
//!
//! Reads the repository's files and starts nothing.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest README.
const README_BYTES_MAX: usize = 10_000;
/// The longest PERFORMANCE.md: two screens.
const PERFORMANCE_LINES_MAX: usize = 120;
const COLUMNS_MAX: usize = 100;

/// The documents whose links are checked.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "PERFORMANCE.md",
    "bench/lab/README.md",
];

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the targets of the links in `markdown` that are files.
fn links(markdown: &str) -> Vec<&str> {
    let targets = markdown
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target);
    targets
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap())
        .collect()
}

/// Returns the texts between backticks.
fn spans(markdown: &str) -> Vec<&str> {
    markdown.split('`').skip(1).step_by(2).collect()
}

fn is_function(span: &str) -> bool {
    span.contains('_')
        && span
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Returns the part of `document` below `heading`.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let rest = document.split_once(heading).unwrap_or_else(|| panic!("no heading {heading}")).1;
    rest.split("\n## ").next().unwrap()
}

/// Returns the cells of the rows of the table in `section`, without its head.
fn rows(section: &str) -> Vec<Vec<&str>> {
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn they_are_no_longer_than_they_may_be() {
    let bytes = text("README.md").len();
    assert!(
        bytes <= README_BYTES_MAX,
        "README.md has {bytes} bytes; what is more belongs in engine/guide"
    );
    let performance = text("PERFORMANCE.md");
    let lines = performance.lines().count();
    assert!(
        lines <= PERFORMANCE_LINES_MAX,
        "PERFORMANCE.md has {lines} lines; notes belong in bench/lab"
    );
    for (number, line) in (1..).zip(performance.lines()) {
        assert!(
            line.chars().count() <= COLUMNS_MAX,
            "PERFORMANCE.md:{number} is longer than {COLUMNS_MAX} columns"
        );
    }
}

#[test]
fn links_lead_to_files() {
    let mut found = 0;
    for document in DOCUMENTS {
        let (text, path) = (text(document), at(document));
        for target in links(&text) {
            let file = path.parent().unwrap().join(target);
            assert!(file.exists(), "{document} has a link to {target}, which is not there");
            found += 1;
        }
    }
    assert!(found >= 10, "only {found} links in the documents: this test reads them wrongly");
}

#[test]
fn the_laboratory_book_has_an_index_of_all_its_files() {
    let index = text("bench/lab/README.md");
    for entry in fs::read_dir(at("bench/lab")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "README.md" || links(&index).contains(&&*name),
            "bench/lab/README.md has no line on {name}"
        );
    }
}

/// The document has `FILE.rs` and, right after it, the names of functions in it.
#[test]
fn tests_that_watch_over_promises_are_there() {
    let performance = text("PERFORMANCE.md");
    let (mut file, mut found) = (None, 0);
    for span in spans(&performance) {
        if span.ends_with(".rs") {
            file = Some(span);
        } else if let (true, Some(file)) = (is_function(span), file) {
            let line = format!("fn {span}(");
            assert!(
                text(file).contains(&line),
                "PERFORMANCE.md names {span} in {file}, which has no such function"
            );
            found += 1;
        } else {
            file = None;
        }
    }
    assert!(
        found >= 10,
        "only {found} tests are named in PERFORMANCE.md: this test reads it wrongly"
    );
}

#[test]
fn every_promise_is_watched_over() {
    let performance = text("PERFORMANCE.md");
    let script = text("scripts/bench");
    let parts = script
        .lines()
        .rev()
        .find_map(|line| line.split_once("parts=("))
        .unwrap()
        .1
        .trim_end_matches(')');
    let itself = section(&performance, "\n## By itself\n");
    let promises = [rows(section(&performance, "\n## Beside peers\n")), rows(itself)].concat();
    assert!(promises.len() > 20, "only {} promises: this test reads them wrongly", promises.len());
    let letters: Vec<&str> = itself
        .lines()
        .filter_map(|line| line.strip_prefix("* ")?.split_once(": `"))
        .flat_map(|(letters, _)| letters.split(", "))
        .collect();
    for cells in &promises {
        let watchers = cells[cells.len() - 2];
        for watcher in watchers.split(", ") {
            let is_there = match watcher.strip_prefix('`') {
                Some(part) => parts.split(' ').any(|known| known == part.trim_end_matches('`')),
                None => letters.contains(&watcher),
            };
            assert!(
                is_there,
                "{}: neither a part of scripts/bench nor a test is {watcher:?}",
                cells[0]
            );
        }
    }
}

#[test]
fn instructions_are_as_recorded() {
    let recorded = text("abi/instructions");
    let recorded: BTreeMap<&str, &str> = recorded
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .collect();
    let performance = text("PERFORMANCE.md");
    let rows = rows(section(&performance, "\n## Instructions of what every request does\n"));
    let cells: Vec<&str> = rows.concat().into_iter().filter(|cell| !cell.is_empty()).collect();
    let promised: BTreeMap<&str, String> =
        cells.chunks(2).map(|pair| (pair[0].trim_matches('`'), pair[1].replace(',', ""))).collect();
    for (path, count) in &promised {
        let known = recorded.get(path);
        assert_eq!(
            known,
            Some(&&**count),
            "PERFORMANCE.md says {count} of {path}; abi/instructions {known:?}"
        );
    }
    assert_eq!(promised.len(), recorded.len(), "each path is promised");
}

#[test]
fn figures_of_the_readme_stand_in_performance() {
    let (readme, performance) = (text("README.md"), text("PERFORMANCE.md"));
    let fast = readme.split_once("**Fast:**").unwrap().1.split("\n\n").next().unwrap();
    let words = |text: &str| -> Vec<String> {
        text.split_whitespace()
            .map(|word| word.trim_matches(|c: char| !c.is_ascii_digit()).to_owned())
            .collect()
    };
    let promised = words(&performance);
    let figures: Vec<String> = words(fast).into_iter().filter(|word| !word.is_empty()).collect();
    assert!(figures.len() >= 5, "{figures:?}");
    for figure in figures {
        assert!(promised.contains(&figure), "README.md says {figure}, PERFORMANCE.md does not");
    }
}
