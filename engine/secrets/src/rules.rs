//! What a secret's key and value may be. Pure; owns no fds.

use abi::limits::{SECRET_BYTES_MAX, SECRET_KEY_BYTES_MAX, SECRETS_BYTES_MAX, SECRETS_MAX};
use host::fault::Fault;

/// Why a secret is refused. No message has any part of its value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error(
        "the secret's key {key:?} is no variable's name; expected 1 to {SECRET_KEY_BYTES_MAX} of A-Z, a-z, 0-9 and '_', no digit first"
    )]
    Key { key: String },
    #[error(
        "the value has {bytes} bytes; a secret has at most {SECRET_BYTES_MAX}: keep what is larger elsewhere, and its key here"
    )]
    TooLarge { bytes: usize },
    #[error("the value is empty; to have no such secret, use: sockhop secret remove")]
    Empty,
    #[error(
        "the value is not text in UTF-8, as a variable's must be; encode it, for example with base64"
    )]
    NotText,
    #[error(
        "the value has a zero byte, which no variable can have; encode it, for example with base64"
    )]
    ZeroByte,
    #[error("the function has {SECRETS_MAX} secrets, and can have no more; remove some")]
    TooMany,
    #[error(
        "the function's secrets would have {bytes} bytes together, and may have {SECRETS_BYTES_MAX}; remove some"
    )]
    TooMuch { bytes: usize },
}

impl RuleError {
    /// Returns whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Key { .. }
            | Self::TooLarge { .. }
            | Self::Empty
            | Self::NotText
            | Self::ZeroByte => Fault::INVALID,
            Self::TooMany | Self::TooMuch { .. } => Fault::CONFLICT,
        }
    }
}

/// Checks that `key` can be the name of a variable, and a part of an object's key.
///
/// # Errors
/// [`RuleError::Key`] when it cannot.
pub fn check_key(key: &str) -> Result<(), RuleError> {
    let letters = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match letters
        && (1..=SECRET_KEY_BYTES_MAX).contains(&key.len())
        && !key.starts_with(|c: char| c.is_ascii_digit())
    {
        true => Ok(()),
        // A key that is far too long is cut, but stays too long.
        false => Err(RuleError::Key { key: key.chars().take(SECRET_KEY_BYTES_MAX + 1).collect() }),
    }
}

/// Checks that `value` can be the value of a variable. Returns it as text.
///
/// # Errors
/// [`RuleError`] says what is wrong with it.
pub fn check_value(value: &[u8]) -> Result<&str, RuleError> {
    match value {
        [] => Err(RuleError::Empty),
        value if value.len() > SECRET_BYTES_MAX => Err(RuleError::TooLarge { bytes: value.len() }),
        value if value.contains(&0) => Err(RuleError::ZeroByte),
        value => std::str::from_utf8(value).map_err(|_| RuleError::NotText),
    }
}

/// Checks that a function may have another secret of `bytes` bytes, besides `others` secrets that
/// have `others_bytes` together.
///
/// # Errors
/// [`RuleError`] names the limit that it would pass.
pub fn check_sum(others: usize, others_bytes: usize, bytes: usize) -> Result<(), RuleError> {
    match others_bytes + bytes {
        _ if others >= SECRETS_MAX => Err(RuleError::TooMany),
        bytes if bytes > SECRETS_BYTES_MAX => Err(RuleError::TooMuch { bytes }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_names_of_variables() {
        for key in ["A", "_", "api_Key_2", &"x".repeat(SECRET_KEY_BYTES_MAX)] {
            assert_eq!(check_key(key), Ok(()), "{key}");
        }
        for key in [
            "",
            "1A",
            "A-B",
            "A.B",
            "A/B",
            "..",
            "A=B",
            "é",
            "A\0",
            "A B",
            &"x".repeat(SECRET_KEY_BYTES_MAX + 1),
        ] {
            assert!(matches!(check_key(key), Err(RuleError::Key { .. })), "{key}");
        }
    }

    #[test]
    fn values_are_text_of_some_length() {
        assert_eq!(check_value("é\n".as_bytes()), Ok("é\n"));
        assert_eq!(check_value(b""), Err(RuleError::Empty));
        assert_eq!(check_value(b"a\0b"), Err(RuleError::ZeroByte));
        assert_eq!(check_value(b"\xff"), Err(RuleError::NotText));
        let most = vec![b'x'; SECRET_BYTES_MAX + 1];
        assert!(check_value(&most[1..]).is_ok());
        assert_eq!(check_value(&most), Err(RuleError::TooLarge { bytes: SECRET_BYTES_MAX + 1 }));
        assert_eq!(check_sum(0, SECRETS_BYTES_MAX - 1, 1), Ok(()));
        assert_eq!(
            check_sum(0, SECRETS_BYTES_MAX, 1),
            Err(RuleError::TooMuch { bytes: SECRETS_BYTES_MAX + 1 })
        );
        assert_eq!(check_sum(SECRETS_MAX, 0, 1), Err(RuleError::TooMany));
    }
}
