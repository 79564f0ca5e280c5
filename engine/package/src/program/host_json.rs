//! The executable that an Azure app's `host.json` names. The rest of that file is not read here.
//!
//! As the real host does, keys are compared without case, and comments and a byte order mark are
//! passed over. Owns no fds longer than it takes to read the file.

use std::fs::File;
use std::io::Read as _;

use serde_json::Value;

use crate::inside::Inside;
use crate::limits::quoted;

/// Largest `host.json` that is read.
const HOST_JSON_BYTES_MAX: u64 = 1024 * 1024;

/// Where the executable is named, in the order in which it is looked for. `httpWorker` is the
/// deprecated spelling.
const SECTIONS: [&str; 2] = ["customHandler", "httpWorker"];

/// Why `host.json` names no executable that is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostJsonError {
    /// It is not there.
    #[error(
        "the package has no host.json at its top, which a function of kind azure needs; deploy the folder of the function app, the one with host.json in it"
    )]
    Missing,
    /// It cannot be read.
    #[error("host.json cannot be read: {0}; it is JSON of up to 1 MiB")]
    Unreadable(String),
    /// It names no executable.
    #[error(
        "host.json has no text at customHandler.description.defaultExecutablePath; name the handler's executable there, relative to host.json"
    )]
    NoExecutable,
    /// It names one that is not there.
    #[error(
        "host.json names the executable {path:?}, which is neither in the package nor {place}; put it there, or correct customHandler.description.defaultExecutablePath{hint}"
    )]
    ExecutableMissing {
        /// What is named.
        path: String,
        /// Where else it was looked for.
        place: String,
        /// What may be wrong.
        hint: &'static str,
    },
}

/// Returns the path inside of the executable that `host.json` names: a file of the package, else,
/// like `node`, one of the host.
///
/// # Errors
/// [`HostJsonError`] when it names none that is there.
pub(super) fn find(inside: &Inside<'_>) -> Result<String, HostJsonError> {
    let Some(found) = inside.find("/var/task/host.json").filter(|found| found.path.is_file())
    else {
        return Err(HostJsonError::Missing);
    };
    let unreadable = |error: std::io::Error| HostJsonError::Unreadable(error.to_string());
    let file = File::open(found.path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(HOST_JSON_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > HOST_JSON_BYTES_MAX {
        return Err(HostJsonError::Unreadable("it is too large".to_owned()));
    }
    let path = executable(&bytes)?;
    place(inside, &path)
}

fn place(inside: &Inside<'_>, path: &str) -> Result<String, HostJsonError> {
    let is_file = |path: &str| inside.find(path).is_some_and(|found| found.path.is_file());
    let in_package = format!("/var/task/{}", path.strip_prefix("./").unwrap_or(path));
    let (found, place) = if path.starts_with('/') {
        (is_file(path).then(|| path.to_owned()), "on this node".to_owned())
    } else if is_file(&in_package) {
        (Some(in_package), String::new())
    } else if path.contains('/') {
        (None, "a program of this node, as it has a slash".to_owned())
    } else {
        let folders = crate::inside::search_path(inside.kind);
        (inside.find_in_search_path(path), format!("in any folder of PATH ({folders})"))
    };
    let hint = if path.contains('\\') || path.to_ascii_lowercase().ends_with(".exe") {
        ": a handler for Linux has slashes and no .exe"
    } else {
        ""
    };
    found.ok_or_else(|| HostJsonError::ExecutableMissing { path: quoted(path), place, hint })
}

/// Returns what a `host.json` says of its executable.
fn executable(bytes: &[u8]) -> Result<String, HostJsonError> {
    let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    let json: Value = serde_json::from_str(&without_comments(&text))
        .map_err(|error| HostJsonError::Unreadable(error.to_string()))?;
    let mut named = SECTIONS.into_iter().filter_map(|section| {
        let path = ["description", "defaultExecutablePath"];
        path.into_iter().try_fold(get(&json, section)?, get)?.as_str()
    });
    let named = named.find(|path| !path.trim().is_empty());
    named.map(|path| path.trim().to_owned()).ok_or(HostJsonError::NoExecutable)
}

/// Returns the value of a key, which may be written in any case.
fn get<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let mut entries = value.as_object()?.iter();
    entries.find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
}

/// Replaces comments by blanks, so that an error's line and column stay true.
fn without_comments(text: &str) -> String {
    enum State {
        Json,
        Text { escaped: bool },
        Line,
        Block,
    }
    let (mut state, mut plain) = (State::Json, String::with_capacity(text.len()));
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let next = characters.peek().copied();
        let (following, kept) = match (state, character, next) {
            (State::Json, '/', Some('/')) => (State::Line, ' '),
            (State::Json, '/', Some('*')) => {
                characters.next();
                plain.push(' ');
                (State::Block, ' ')
            }
            (State::Json, '"', _) => (State::Text { escaped: false }, character),
            (State::Json, ..) => (State::Json, character),
            (State::Text { escaped: false }, '"', _) => (State::Json, character),
            (State::Text { escaped }, ..) => {
                (State::Text { escaped: character == '\\' && !escaped }, character)
            }
            (State::Line, '\n', _) => (State::Json, character),
            (State::Line, ..) => (State::Line, ' '),
            (State::Block, '*', Some('/')) => {
                characters.next();
                plain.push(' ');
                (State::Json, ' ')
            }
            (State::Block, '\n', _) => (State::Block, character),
            (State::Block, ..) => (State::Block, ' '),
        };
        state = following;
        plain.push(kept);
    }
    plain
}

#[cfg(test)]
#[path = "host_json_tests.rs"]
mod tests;
