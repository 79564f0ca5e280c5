//! With what a node shows who it is: a file of one of the forms that NATS knows. No message and no
//! `Debug` shows what is in it. Owns no fds.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;
use host::private_file::{self, NotPrivate};

/// The most bytes that are read of the file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// What is in a file that `nsc` or a provider has made.
const JWT_MARK: &str = "-----BEGIN NATS USER JWT-----";
/// What the seed of a user's key begins with.
const SEED_MARK: &str = "SU";
/// How long such a seed is.
const SEED_BYTES: usize = 58;

/// Why a file of credentials is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file system's own error.
    #[error("the file {path:?} with the credentials of NATS cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error(
        "others may read the file {path:?} with the credentials of NATS (mode {mode:04o}); chmod 600 it"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It has none of the known forms.
    #[error(
        "the file {path:?} has no credentials of NATS: expected a .creds file, the seed of a key, \
         USER:PASSWORD, or a token"
    )]
    Form {
        /// The file.
        path: PathBuf,
    },
}

/// What is in the file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// A user's JWT and seed, as `nsc` writes them.
    Jwt(String),
    /// The seed of a user's key.
    Seed(String),
    Password {
        user: String,
        password: String,
    },
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl Credentials {
    /// Reads the file.
    ///
    /// # Errors
    /// [`CredentialsError`] says what is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self, CredentialsError> {
        let unreadable = |source| CredentialsError::Unreadable { path: path.to_owned(), source };
        let file = private_file::open(path).map_err(|error| match error {
            NotPrivate::Io(source) => unreadable(source),
            NotPrivate::Open { mode } => CredentialsError::Open { path: path.to_owned(), mode },
        })?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        parse(&text).ok_or_else(|| CredentialsError::Form { path: path.to_owned() })
    }

    /// Adds them to what a connection is made with.
    ///
    /// # Errors
    /// [`CredentialsError::Form`] if the JWT's or the key's text is damaged.
    pub(crate) fn add_to(
        self,
        options: ConnectOptions,
        path: &Path,
    ) -> Result<ConnectOptions, CredentialsError> {
        match self {
            Self::Jwt(text) => options
                .credentials(&text)
                .map_err(|_| CredentialsError::Form { path: path.to_owned() }),
            Self::Seed(seed) => Ok(options.nkey(seed)),
            Self::Password { user, password } => Ok(options.user_and_password(user, password)),
            Self::Token(token) => Ok(options.token(token)),
        }
    }
}

fn parse(text: &str) -> Option<Credentials> {
    if text.contains(JWT_MARK) {
        return Some(Credentials::Jwt(text.to_owned()));
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let is_seed = |line: &str| {
        let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        line.len() == SEED_BYTES && line.starts_with(SEED_MARK) && line.bytes().all(allowed)
    };
    Some(match line.split_once(':') {
        None if is_seed(line) => Credentials::Seed(line.to_owned()),
        None => Credentials::Token(line.to_owned()),
        Some((user, password)) => {
            Credentials::Password { user: user.to_owned(), password: password.to_owned() }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn each_form_is_known_and_none_is_shown() {
        let seed = format!("SU{}", "A".repeat(56));
        let jwt = format!("{JWT_MARK}\nx\n------END NATS USER JWT------\n");
        for (text, expected) in [
            (jwt.clone(), Some(Credentials::Jwt(jwt))),
            (format!("\n{seed}\n"), Some(Credentials::Seed(seed))),
            ("s3cr3t\n".to_owned(), Some(Credentials::Token("s3cr3t".to_owned()))),
            (
                "me:a:b".to_owned(),
                Some(Credentials::Password { user: "me".to_owned(), password: "a:b".to_owned() }),
            ),
            (String::new(), None),
            ("two\nlines".to_owned(), None),
        ] {
            let found = parse(&text);
            assert_eq!(found, expected);
            let shown = format!("{found:?}");
            assert!(!shown.contains("s3cr3t") && !shown.contains("a:b"), "{shown}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nats");
        assert!(matches!(Credentials::read(&path), Err(CredentialsError::Unreadable { .. })));
        std::fs::write(&path, "me:secret").unwrap();
        for (mode, taken) in [(0o644, false), (0o640, false), (0o600, true), (0o400, true)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let read = Credentials::read(&path);
            assert_eq!(read.is_ok(), taken, "{read:?}");
        }
    }
}
