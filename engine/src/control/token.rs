//! The token of the control API over TCP: 32 random bytes, in a file that only the node's user can read.
//!
//! Made once and kept, so that a client has it as long as the data folder lives. Owns no fds beyond a call.

use std::fs::{File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq as _;

use crate::store::files;

/// Random bytes in a token; their hexadecimal digits are its text.
const TOKEN_BYTES: usize = 32;
/// Its file in the data folder.
const FILE: &str = "admin.token";

/// Where a node's token stands.
pub(crate) fn path(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// What a client must show.
pub(crate) struct Token(String);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[error("the token file {path:?} cannot be {what}: {source}; the admin listener needs it")]
pub(crate) struct TokenError {
    path: PathBuf,
    what: &'static str,
    source: io::Error,
}

impl Token {
    /// The token of the node whose data folder this is, made if there is none or what there is is none.
    ///
    /// # Errors
    /// [`TokenError`] naming the file.
    pub(crate) fn of(data: &Path) -> Result<Self, TokenError> {
        let path = path(data);
        let failed = |what| {
            let path = path.clone();
            move |source| TokenError { path, what, source }
        };
        match std::fs::read_to_string(&path) {
            Ok(text) if is_token(text.trim_end()) => {
                std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed("made private"))?;
                return Ok(Self(text.trim_end().to_owned()));
            }
            Ok(_) => tracing::warn!("{path:?} holds no token; a new one is written"),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {}
            Err(error) => return Err(failed("read")(error)),
        }
        let mut bytes = [0; TOKEN_BYTES];
        File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).map_err(failed("made"))?;
        let text = files::hex(&bytes);
        files::write(&path, format!("{text}\n").as_bytes()).map_err(failed("written"))?;
        Ok(Self(text))
    }

    /// Whether an Authorization header (RFC 6750 2.1) has it. How long this takes tells nothing of how much of it was right.
    pub(crate) fn is_in(&self, header: Option<&[u8]>) -> bool {
        let shown = header.and_then(|header| header.split_at_checked(7));
        shown.is_some_and(|(scheme, shown)| {
            scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(shown.ct_eq(self.0.as_bytes()))
        })
    }
}

fn is_token(text: &str) -> bool {
    text.len() == 2 * TOKEN_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_is_private() {
        let data = tempfile::tempdir().unwrap();
        let first = Token::of(data.path()).unwrap().0;
        assert!(is_token(&first));
        std::fs::set_permissions(path(data.path()), Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Token::of(data.path()).unwrap().0, first);
        assert_eq!(std::fs::metadata(path(data.path())).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(path(data.path()), "secret\n").unwrap();
        let second = Token::of(data.path()).unwrap().0;
        assert!(is_token(&second) && second != first);
    }

    #[test]
    fn only_the_whole_token_is_taken() {
        let token = Token("a".repeat(64));
        let shown = |text: &str| token.is_in(Some(text.as_bytes()));
        assert!(shown(&format!("Bearer {}", "a".repeat(64))) && shown(&format!("bearer {}", "a".repeat(64))));
        for wrong in ["", "Bearer ", "Bearer", "Basic x", &"a".repeat(64), &format!("Bearer {}", "a".repeat(63))] {
            assert!(!shown(wrong), "{wrong:?}");
        }
        assert!(!shown(&format!("Bearer {}b", "a".repeat(63))) && !token.is_in(None));
    }
}
