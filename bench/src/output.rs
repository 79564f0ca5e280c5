//! Files the commands are told of: the component that goes in and the report that comes out,
//! there and on stdout.
//! Opens each for the length of one read or write only.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// What goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No component to serve.
    #[error("the component {} is not a file; build the guests (tests/guests), or say --component", path.display())]
    Component {
        /// As given.
        path: PathBuf,
    },
    /// No report file.
    #[error("cannot write {} ({source}); does its folder exist?", path.display())]
    Write {
        /// As given.
        path: PathBuf,
        /// What the kernel or serde said.
        source: std::io::Error,
    },
}

/// The component's whole path: servers run elsewhere.
pub fn component(path: &Path) -> Result<PathBuf, Error> {
    let whole = path.canonicalize().ok().filter(|path| path.is_file());
    whole.ok_or_else(|| Error::Component { path: path.to_owned() })
}

/// Prints a report. Who has stopped reading, as `head` does, has read enough: that is no error.
pub fn show(report: &impl Display) {
    let mut stdout = std::io::stdout().lock();
    let _ = write!(stdout, "{report}").and_then(|()| stdout.flush());
}

/// Writes a report as JSON, if it was asked for.
pub fn write(path: Option<&Path>, report: &impl Serialize) -> Result<(), Error> {
    let Some(path) = path else {
        return Ok(());
    };
    let error = |source| Error::Write { path: path.to_owned(), source };
    let json = serde_json::to_string_pretty(report).map_err(|source| error(source.into()))?;
    std::fs::write(path, json + "\n").map_err(error)
}

/// Writes a text, in a folder that may have to be made.
pub fn text(path: &Path, text: &str) -> Result<(), Error> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, text))
        .map_err(|source| Error::Write { path: path.to_owned(), source })
}
