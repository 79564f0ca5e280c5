//! The first line of a script, and whether its interpreter is there. Owns no fds.

use crate::inside::Inside;
use crate::limits::quoted;

/// How much of a script the kernel looks at (`BINPRM_BUF_SIZE`).
const FIRST_LINE_BYTES_MAX: usize = 256;

/// Why a script does not run here. The message is what follows the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// Its first line ends as on Windows.
    #[error(
        "has the line ends of Windows, so that Linux looks for an interpreter \"{0}\\r\"; convert it with `sed -i 's/\\r$//' FILE` or dos2unix, and let git keep it with `*.sh eol=lf` in .gitattributes"
    )]
    WindowsLineEnd(String),
    /// Its first line is too long for the kernel.
    #[error(
        "has a first line of more than {FIRST_LINE_BYTES_MAX} bytes, of which Linux reads no more; use a shorter path to the interpreter"
    )]
    LongLine,
    /// Its first line names nothing.
    #[error("names no interpreter behind `#!`; write for example `#!/bin/sh`")]
    NoInterpreter,
    /// Its interpreter has no absolute path.
    #[error(
        "names the interpreter {0:?} without an absolute path; write for example `#!/usr/bin/env {0}`"
    )]
    RelativeInterpreter(String),
    /// Its interpreter is not there.
    #[error(
        "needs the interpreter {0:?}, which is neither on this node nor in the package; install it on the node below /usr, bring it in the package (as /var/task/... or in a layer as /opt/...), or use one that is there"
    )]
    InterpreterMissing(String),
    /// What `env` is to run is not there.
    #[error(
        "needs {name:?}, which is not in any folder of PATH ({path}); install it on the node, bring it in a layer as /opt/bin/{name}, or name it by its path"
    )]
    NotInPath {
        /// What is looked for.
        name: String,
        /// The folders that are looked into.
        path: &'static str,
    },
    /// `env` is given several words in one.
    #[error(
        "gives env the words {0:?} as one, as Linux splits them off only once; write `#!/usr/bin/env -S {0}`"
    )]
    EnvWithWords(String),
    /// Scripts are each other's interpreters.
    #[error(
        "has a script as its interpreter, of a script, and so on; use a program as interpreter"
    )]
    TooManyInterpreters,
}

/// The first line of a script.
#[derive(Debug, PartialEq, Eq)]
struct FirstLine {
    interpreter: String,
    /// All that follows, which the kernel passes as one argument.
    argument: Option<String>,
}

/// Returns the path of the interpreter that a script needs, which may be the program that
/// `/usr/bin/env` finds for it. `first_bytes` begin with `#!`.
///
/// # Errors
/// [`ScriptError`] when it is not inside.
pub(super) fn interpreter(inside: &Inside<'_>, first_bytes: &[u8]) -> Result<String, ScriptError> {
    let FirstLine { interpreter, argument } = first_line(first_bytes)?;
    if !interpreter.starts_with('/') {
        return Err(ScriptError::RelativeInterpreter(quoted(&interpreter)));
    }
    if !inside.find(&interpreter).is_some_and(|found| found.path.is_file()) {
        return Err(ScriptError::InterpreterMissing(quoted(&interpreter)));
    }
    if !interpreter.ends_with("/env") {
        return Ok(interpreter);
    }
    match env_program(argument.as_deref().unwrap_or_default())? {
        Some(name) if name.contains('/') => match inside.find(&name) {
            Some(found) if found.path.is_file() => Ok(name),
            _ => Err(ScriptError::InterpreterMissing(quoted(&name))),
        },
        Some(name) => inside.find_in_search_path(&name).ok_or_else(|| ScriptError::NotInPath {
            name: quoted(&name),
            path: crate::inside::search_path(inside.kind),
        }),
        None => Ok(interpreter),
    }
}

/// Reads `#!INTERPRETER ARGUMENT` as execve(2) does.
fn first_line(first_bytes: &[u8]) -> Result<FirstLine, ScriptError> {
    let seen = first_bytes.get(..FIRST_LINE_BYTES_MAX).unwrap_or(first_bytes);
    let line = match seen.iter().position(|byte| *byte == b'\n') {
        Some(end) => seen.get(..end).unwrap_or(seen),
        None if seen.len() < FIRST_LINE_BYTES_MAX => seen,
        None => return Err(ScriptError::LongLine),
    };
    let line = String::from_utf8_lossy(line.strip_prefix(b"#!").unwrap_or(line));
    let blanks = [' ', '\t'];
    if let Some(before) = line.strip_suffix('\r') {
        return Err(ScriptError::WindowsLineEnd(quoted(before.trim_matches(blanks))));
    }
    let line = line.trim_matches(blanks);
    let (interpreter, argument) = line.split_once(blanks).unwrap_or((line, ""));
    if interpreter.is_empty() {
        return Err(ScriptError::NoInterpreter);
    }
    let argument = argument.trim_matches(blanks);
    Ok(FirstLine {
        interpreter: interpreter.to_owned(),
        argument: (!argument.is_empty()).then(|| argument.to_owned()),
    })
}

/// Returns what env(1) runs when it is given `argument`. Returns `None` where that cannot be told.
fn env_program(argument: &str) -> Result<Option<String>, ScriptError> {
    let words = match argument.strip_prefix("-S").or(argument.strip_prefix("--split-string=")) {
        Some(words) => words.trim_start(),
        None if argument.starts_with('-') => return Ok(None),
        None if argument.contains([' ', '\t']) => {
            return Err(ScriptError::EnvWithWords(quoted(argument)));
        }
        None => argument,
    };
    // Variables may stand before the program; an option or a quote is env's own business.
    let program = words.split([' ', '\t']).find(|word| !word.is_empty() && !word.contains('='));
    let is_plain = |word: &&str| !word.starts_with('-') && !word.contains(['"', '\'', '$', '\\']);
    Ok(program.filter(is_plain).map(str::to_owned))
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
