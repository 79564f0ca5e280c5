//! How a function's version or alias is named: behind an `@`, by number (`v12`, `12`), by an id or
//! its beginning, or by alias.
//!
//! Paths, host names, commands and the control API all read it here, so that what is an alias for
//! one is no version for another. Pure; owns no fds.

use crate::limits::{ALIAS_BYTES_MAX, VERSION_ID_PREFIX_BYTES_MIN};
use crate::name;

/// An id as text: 32 hexadecimal digits and the hyphens between them (RFC 9562 4).
const ID_BYTES: usize = 36;
const ID_HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// What a reference may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference<'a> {
    /// The version with this number.
    Number(u32),
    /// The version whose id begins so.
    Id(&'a str),
    /// An alias.
    Alias(&'a str),
}

/// Text that is no alias, and what was expected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AliasNameError {
    /// It reads as a version.
    #[error(
        "the alias {0:?} looks like a version's number or id; choose another name, for example \"staging\""
    )]
    Version(String),
    /// It is no label.
    #[error(
        "the alias {0:?} is no name; expected 1 to {ALIAS_BYTES_MAX} of a-z, 0-9 and single '-', with no '-' at either end"
    )]
    Form(String),
}

impl<'a> Reference<'a> {
    /// Reads a reference; none when it can mean nothing.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        match version(text) {
            None => check_alias(text).is_ok().then_some(Self::Alias(text)),
            version => version,
        }
    }
}

/// A name, and what stands behind its `@`.
#[must_use]
pub fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once('@').map_or((text, None), |(name, reference)| (name, Some(reference)))
}

/// Checks what an alias is to be called: a name as functions have, without `--`, which ends a
/// function's name in a host's, and nothing that reads as a version.
///
/// # Errors
/// [`AliasNameError`] saying which.
pub fn check_alias(text: &str) -> Result<(), AliasNameError> {
    if version(text).is_some() {
        return Err(AliasNameError::Version(text.to_owned()));
    }
    match name::check(text).is_ok() && text.len() <= ALIAS_BYTES_MAX && !text.contains("--") {
        true => Ok(()),
        false => Err(AliasNameError::Form(text.to_owned())),
    }
}

fn version(text: &str) -> Option<Reference<'_>> {
    let (digits, marked) = text.strip_prefix('v').map_or((text, false), |digits| (digits, true));
    let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // As long as an id's beginning, it is one.
    if numeric && (marked || digits.len() < VERSION_ID_PREFIX_BYTES_MIN) {
        // A number that no version can have names none, and is no alias either.
        return Some(Reference::Number(digits.parse().unwrap_or(u32::MAX)));
    }
    let fits = |(at, byte): (usize, u8)| match ID_HYPHENS.contains(&at) {
        true => byte == b'-',
        false => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    let id = (VERSION_ID_PREFIX_BYTES_MIN..=ID_BYTES).contains(&text.len())
        && text.bytes().enumerate().all(fits);
    id.then_some(Reference::Id(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_and_aliases_are_told_apart() {
        let id = "01a2b3c4-d5e6-7f00-8000-0123456789ab";
        for (text, expected) in [
            ("v12", Some(Reference::Number(12))),
            ("12", Some(Reference::Number(12))),
            ("v99999999999", Some(Reference::Number(u32::MAX))),
            ("12345678", Some(Reference::Id("12345678"))),
            ("v12345678", Some(Reference::Number(12_345_678))),
            (&id[..8], Some(Reference::Id(&id[..8]))),
            (&id[..9], Some(Reference::Id(&id[..9]))),
            (id, Some(Reference::Id(id))),
            ("staging", Some(Reference::Alias("staging"))),
            ("v1-beta", Some(Reference::Alias("v1-beta"))),
            ("v", Some(Reference::Alias("v"))),
            ("facade", Some(Reference::Alias("facade"))),
            ("a--b", None),
            ("", None),
            ("Staging", None),
            ("a@b", None),
            ("../x", None),
        ] {
            assert_eq!(Reference::read(text), expected, "{text}");
        }
        for text in ["v1", "7", "deadbeef", "01a2b3c4-d5e6"] {
            assert_eq!(check_alias(text), Err(AliasNameError::Version(text.to_owned())));
        }
        assert!(matches!(
            check_alias(&"x".repeat(ALIAS_BYTES_MAX + 1)),
            Err(AliasNameError::Form(_))
        ));
        assert_eq!(split("a@b@c"), ("a", Some("b@c")));
        assert_eq!(split("a"), ("a", None));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,50}", like in "[v0-9a-f-]{0,40}") {
            for text in [text, like] {
                let alias = matches!(Reference::read(&text), Some(Reference::Alias(_)));
                prop_assert_eq!(alias, check_alias(&text).is_ok());
            }
        }
    }
}
