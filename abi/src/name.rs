//! What a function may be called. A pure check, used by the command line, the control API and the
//! catalogue.
//!
//! Owns no fds.

use crate::limits::NAME_BYTES_MAX;

/// Why a name was refused. Each message says what was expected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// No characters at all.
    #[error(
        "a function's name must not be empty; expected 1 to {NAME_BYTES_MAX} of a-z, 0-9 and '-'"
    )]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error(
        "a function's name of {length} bytes is too long; expected at most {NAME_BYTES_MAX} (one DNS label)"
    )]
    TooLong {
        /// The name's length in bytes.
        length: usize,
    },
    /// A character outside `a-z0-9-`.
    #[error(
        "the function's name {name:?} has the character {character:?}; expected only a-z, 0-9 and '-'"
    )]
    Character {
        /// The name as given.
        name: String,
        /// The first character that is not allowed.
        character: char,
    },
    /// A hyphen at the start or the end.
    #[error(
        "the function's name {name:?} begins or ends with '-'; expected a letter or digit at both ends"
    )]
    Hyphen {
        /// The name as given.
        name: String,
    },
}

/// Checks that `name` is one DNS label in lower case (RFC 1035 2.3.1, RFC 1123 2.1), so that it can
/// stand in a path, in a host name and in a file's name alike.
pub fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { length: name.len() });
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(character) = name.chars().find(|c| !allowed(*c)) {
        return Err(NameError::Character { name: name.to_owned(), character });
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(NameError::Hyphen { name: name.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_names() {
        for name in ["a", "hello", "hello-2", "0", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for name in
            ["", "a/b", "..", ".", "A", "a b", "ä", "-a", "a-", "a\0", "a_b", &"x".repeat(300)]
        {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
