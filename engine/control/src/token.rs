//! The token of the control API over TCP: 32 random bytes, in a file that only the node's user can
//! read.
//!
//! Made once and kept, so that a client has it as long as the data folder lives. A request shows it
//! in a header of its own, or in `Authorization`; it is taken out of the request where it is
//! checked, so that nothing behind the check has it. Owns no fds beyond a call.

use std::fmt;
use std::fs::{File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use api::endpoint::TOKEN_HEADER;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use subtle::ConstantTimeEq as _;

use host::files;

/// Random bytes in a token; their hexadecimal digits are its text.
const TOKEN_BYTES: usize = 32;
/// Its file in the data folder.
const FILE: &str = "admin.token";

/// The header that is only ever for the node: where it is, `Authorization` is the function's.
pub const HEADER: HeaderName = HeaderName::from_static(TOKEN_HEADER);
/// What the value of a header with the token begins with (RFC 6750 2.1).
const SCHEME: &[u8] = b"Bearer ";

/// Returns the path of a node's token.
pub fn path(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// What a client must show.
pub struct Token(String);

impl fmt::Debug for Token {
    /// Writes nothing of the token itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[error("the token file {path:?} cannot be {what}: {source}; the admin listener needs it")]
pub struct TokenError {
    path: PathBuf,
    what: &'static str,
    source: io::Error,
}

impl Token {
    /// Returns the token itself, for who hands it on, or checks signatures made with it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the token of the node whose data folder this is. Makes one if there is none, or what
    /// the file holds is none.
    ///
    /// # Errors
    /// [`TokenError`] naming the file.
    pub fn of(data: &Path) -> Result<Self, TokenError> {
        let path = path(data);
        let failed = |what| {
            let path = path.clone();
            move |source| TokenError { path, what, source }
        };
        match std::fs::read_to_string(&path) {
            Ok(text) if is_token(text.trim_end()) => {
                std::fs::set_permissions(&path, Permissions::from_mode(0o600))
                    .map_err(failed("made private"))?;
                return Ok(Self(text.trim_end().to_owned()));
            }
            Ok(_) => tracing::warn!("{path:?} holds no token; a new one is written"),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
            }
            Err(error) => return Err(failed("read")(error)),
        }
        let token = Self::fresh().map_err(failed("made"))?;
        let text = format!("{}\n", token.0);
        files::write(&path, text.as_bytes()).map_err(failed("written"))?;
        Ok(token)
    }

    /// Returns a token that nobody has yet, and that is kept nowhere.
    ///
    /// # Errors
    /// Those of reading `/dev/urandom`.
    pub fn fresh() -> io::Result<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(files::hex(&bytes)))
    }

    /// Takes the token out of a request's headers. Returns whether it was there. Where there is a
    /// [`HEADER`], that alone decides. A copy of the token in `Authorization` goes in any case;
    /// what else stands there stays.
    pub fn take_from(&self, headers: &mut HeaderMap) -> bool {
        let own = headers.remove(HEADER);
        let shown = headers.get_all(AUTHORIZATION).iter().any(|value| self.is_in(value));
        if shown {
            headers.remove(AUTHORIZATION);
        }
        own.map_or(shown, |own| self.is_in(&own))
    }

    /// Returns whether a header's value has it. How long this takes does not depend on how much of
    /// it is right.
    fn is_in(&self, value: &HeaderValue) -> bool {
        let shown = value.as_bytes().split_at_checked(SCHEME.len());
        shown.is_some_and(|(scheme, shown)| {
            // The grammar has one space or more (RFC 9110 11.4).
            scheme.eq_ignore_ascii_case(SCHEME)
                && bool::from(shown.trim_ascii_start().ct_eq(self.0.as_bytes()))
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
        assert_eq!(
            std::fs::metadata(path(data.path())).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::write(path(data.path()), "secret\n").unwrap();
        let second = Token::of(data.path()).unwrap().0;
        assert!(is_token(&second) && second != first);
    }

    #[test]
    fn only_the_whole_token_is_taken() {
        let token = Token("a".repeat(64));
        for name in [HEADER, AUTHORIZATION] {
            let shown = |text: &str| {
                let value = HeaderValue::from_str(text).unwrap();
                token.take_from(&mut HeaderMap::from_iter([(name.clone(), value)]))
            };
            for right in ["Bearer ", "bearer ", "Bearer  "] {
                assert!(shown(&format!("{right}{}", "a".repeat(64))), "{right:?}");
            }
            for wrong in [
                "",
                "Bearer ",
                "Bearer",
                "Basic x",
                &"a".repeat(64),
                &format!("Bearer {}", "a".repeat(63)),
            ] {
                assert!(!shown(wrong), "{wrong:?}");
            }
            assert!(!shown(&format!("Bearer {}b", "a".repeat(63))));
        }
        assert!(!token.take_from(&mut HeaderMap::new()));
    }

    #[test]
    fn it_is_gone_from_the_headers_and_what_is_anothers_stays() {
        let (token, shown) = (Token("a".repeat(64)), format!("Bearer {}", "a".repeat(64)));
        let left = |given: &[(HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.append(name, HeaderValue::from_str(value).unwrap());
            }
            let taken = token.take_from(&mut headers);
            assert!(
                headers.values().all(|value| value != shown.as_str())
                    && !headers.contains_key(HEADER),
                "{given:?}"
            );
            (taken, headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned()))
        };
        let guests = Some("Bearer guest".to_owned());
        assert_eq!(left(&[(AUTHORIZATION, &shown)]), (true, None));
        assert_eq!(left(&[(AUTHORIZATION, "Bearer guest"), (AUTHORIZATION, &shown)]), (true, None));
        assert_eq!(
            left(&[(HEADER, &shown), (AUTHORIZATION, "Bearer guest")]),
            (true, guests.clone())
        );
        assert_eq!(
            left(&[(HEADER, &shown), (HEADER, &shown), (AUTHORIZATION, &shown)]),
            (true, None)
        );
        assert_eq!(left(&[(HEADER, "Bearer no"), (AUTHORIZATION, &shown)]), (false, None));
        assert_eq!(left(&[(AUTHORIZATION, "Bearer guest")]), (false, guests));
    }
}
