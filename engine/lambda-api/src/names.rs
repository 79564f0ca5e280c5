//! What functions, aliases and versions are called: the patterns of the service's model, read from
//! paths, queries and bodies. Pure; owns no fds.
//!
//! ```text
//! NAME    NAME:QUALIFIER
//! ACCOUNT:function:NAME    ACCOUNT:function:NAME:QUALIFIER
//! arn:aws:lambda:REGION:ACCOUNT:function:NAME    ...:NAME:QUALIFIER
//! ```
//!
//! Partition, region and account of an ARN are not compared with the node's: scripts and
//! configurations bring along those of the account that they were written for.

use std::fmt;

/// The most characters of a function's name.
pub const FUNCTION_NAME_CHARS_MAX: usize = 64;
/// The most characters of an alias.
pub const ALIAS_CHARS_MAX: usize = 128;
/// The most bytes of a function's name with everything around it.
const REFERENCE_BYTES_MAX: usize = 256;
/// The version that is not a number: what the function's bare name means.
const LATEST: &str = "$LATEST";

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant has its sentence")]
pub enum NameError {
    #[error(
        "the function's name {0:?} is not valid; expected 1 to {FUNCTION_NAME_CHARS_MAX} of a-z, \
         A-Z, 0-9, '-' and '_', or an ARN with such a name"
    )]
    Function(String),
    #[error(
        "the alias {0:?} is not valid; expected 1 to {ALIAS_CHARS_MAX} of a-z, A-Z, 0-9, '-' and \
         '_', and not digits alone"
    )]
    Alias(String),
    #[error(
        "the version {0:?} is not valid; expected $LATEST or a number up to {max}",
        max = u32::MAX
    )]
    Version(String),
    #[error(
        "The derived qualifier from the function name does not match the specified qualifier: \
         {in_name} and {specified}"
    )]
    Qualifiers { in_name: Qualifier, specified: Qualifier },
    #[error("{0:?} has a qualifier, and what is asked is of the function; leave it out")]
    Qualified(String),
}

/// The name of a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionName(String);

/// The name of an alias.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AliasName(String);

/// One version of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VersionName {
    /// `$LATEST`.
    Latest,
    /// A published one.
    Number(u32),
}

/// What stands behind a function's name: a version or an alias.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Qualifier {
    /// A version.
    Version(VersionName),
    /// An alias.
    Alias(AliasName),
}

/// A function, and which of its versions is meant if that was said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FunctionReference {
    /// The function's name.
    pub name: FunctionName,
    /// The version or alias. Without it, `$LATEST` is meant.
    pub qualifier: Option<Qualifier>,
}

impl FunctionName {
    /// Reads a bare name.
    ///
    /// # Errors
    /// Returns [`NameError::Function`] if it is none.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match is_word(text, FUNCTION_NAME_CHARS_MAX) {
            true => Ok(Self(text.to_owned())),
            false => Err(NameError::Function(told(text))),
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AliasName {
    /// Reads an alias.
    ///
    /// # Errors
    /// Returns [`NameError::Alias`] if it is none.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match is_word(text, ALIAS_CHARS_MAX) && !is_digits(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(NameError::Alias(told(text))),
        }
    }

    /// Returns the alias.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl VersionName {
    /// Reads `$LATEST` or a number.
    ///
    /// # Errors
    /// Returns [`NameError::Version`] if it is neither.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let number = || text.parse().ok().filter(|_| is_digits(text)).map(Self::Number);
        match text {
            LATEST => Ok(Self::Latest),
            _ => number().ok_or_else(|| NameError::Version(told(text))),
        }
    }
}

impl Qualifier {
    /// Reads a version or an alias.
    ///
    /// # Errors
    /// Returns a [`NameError`] that says what was expected.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text == LATEST || is_digits(text) {
            VersionName::parse(text).map(Self::Version)
        } else {
            AliasName::parse(text).map(Self::Alias)
        }
    }
}

impl FunctionReference {
    /// Reads a function's name in any of its forms, after percent-decoding.
    ///
    /// # Errors
    /// Returns a [`NameError`] that says what was expected.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let refused = || NameError::Function(told(text));
        if text.len() > REFERENCE_BYTES_MAX {
            return Err(refused());
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (name, qualifier) = match parts.as_slice() {
            [name] => (name, None),
            [name, qualifier] => (name, Some(qualifier)),
            [account, "function", name, rest @ ..]
            | ["arn", _, "lambda", _, account, "function", name, rest @ ..]
                if is_account(account) && rest.len() <= 1 =>
            {
                (name, rest.first())
            }
            _ => return Err(refused()),
        };
        if let ["arn", partition, _, region, ..] = parts.as_slice()
            && !(partition.starts_with("aws") && is_word(partition, 32) && is_word(region, 32))
        {
            return Err(refused());
        }
        let qualifier = qualifier.map(|qualifier| Qualifier::parse(qualifier)).transpose()?;
        Ok(Self { name: FunctionName::parse(name)?, qualifier })
    }

    /// Returns the reference with the qualifier of a query, if there is one.
    ///
    /// # Errors
    /// Returns [`NameError::Qualifiers`] if the name has another one, or why it is none.
    pub fn with_qualifier(self, qualifier: Option<&str>) -> Result<Self, NameError> {
        let Some(qualifier) = qualifier else { return Ok(self) };
        let specified = Qualifier::parse(qualifier)?;
        match self.qualifier {
            Some(in_name) if in_name != specified => {
                Err(NameError::Qualifiers { in_name, specified })
            }
            _ => Ok(Self { qualifier: Some(specified), ..self }),
        }
    }

    /// Returns the function's name, for what is asked of a function and none of its versions.
    ///
    /// # Errors
    /// Returns [`NameError::Qualified`] if a version or alias is named, other than `$LATEST`.
    pub fn unqualified(self) -> Result<FunctionName, NameError> {
        match self.qualifier {
            None | Some(Qualifier::Version(VersionName::Latest)) => Ok(self.name),
            Some(_) => Err(NameError::Qualified(self.to_string())),
        }
    }
}

impl From<FunctionName> for FunctionReference {
    fn from(name: FunctionName) -> Self {
        Self { name, qualifier: None }
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str(LATEST),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => version.fmt(f),
            Self::Alias(alias) => alias.fmt(f),
        }
    }
}

impl fmt::Display for FunctionReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.qualifier {
            Some(qualifier) => write!(f, "{}:{qualifier}", self.name),
            None => self.name.fmt(f),
        }
    }
}

fn is_word(text: &str, chars_max: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=chars_max).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && is_digits(text)
}

/// What of a refused name is told back.
fn told(text: &str) -> String {
    text.chars().take(FUNCTION_NAME_CHARS_MAX).collect()
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
