//! The credentials of a bucket: from environment variables, or from a file in the format of AWS's
//! own tools. No other place is read, neither a home folder nor the network. No message and no
//! `Debug` shows a secret. Owns no fds.

use std::ffi::OsString;
use std::fmt;
use std::io::Read as _;
use std::path::Path;

use host::private_file::{self, NotPrivate};

use crate::error::CredentialsError;

/// The variables with credentials, which only the engine has.
const VARIABLES: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
/// The most bytes that are read of a file of credentials.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A key, its secret, and the token of their session, if they have one.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub key: String,
    pub secret: String,
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Returns the credentials of the file, if one is named, or else of the environment.
    ///
    /// # Errors
    /// [`CredentialsError`] says what is missing, and where.
    pub fn find(
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, CredentialsError> {
        if let Some(path) = file {
            let text = read(path)?;
            return parse(&text).map_err(|missing| CredentialsError::Incomplete {
                path: path.to_owned(),
                missing,
            });
        }
        // An empty variable counts as not set.
        let [key, secret, token] = VARIABLES.map(|name| {
            variable(name).and_then(|text| text.into_string().ok()).filter(|text| !text.is_empty())
        });
        match (key, secret) {
            (Some(key), Some(secret)) => Ok(Self { key, secret, token }),
            (None, None) => Err(CredentialsError::None),
            (Some(_), None) => {
                Err(CredentialsError::Half { there: VARIABLES[0], missing: VARIABLES[1] })
            }
            (None, Some(_)) => {
                Err(CredentialsError::Half { there: VARIABLES[1], missing: VARIABLES[0] })
            }
        }
    }
}

fn read(path: &Path) -> Result<String, CredentialsError> {
    let unreadable = |source| CredentialsError::Unreadable { path: path.to_owned(), source };
    let file = private_file::open(path).map_err(|error| match error {
        NotPrivate::Io(source) => unreadable(source),
        NotPrivate::Open { mode } => CredentialsError::Open { path: path.to_owned(), mode },
    })?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Parses the section `[default]`, to which lines before any section belong. The error is the name
/// of a missing key.
fn parse(text: &str) -> Result<Credentials, &'static str> {
    let (mut section, mut found) = ("default", [None, None, None]);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim();
        } else if let Some((key, value)) =
            line.split_once('=').filter(|_| !line.starts_with(['#', ';']))
        {
            let at = VARIABLES.iter().position(|name| name.eq_ignore_ascii_case(key.trim()));
            if let Some(at) = at.filter(|_| section == "default" && !value.trim().is_empty()) {
                found[at] = Some(value.trim().to_owned());
            }
        }
    }
    let [key, secret, token] = found;
    let (key, secret) = (key.ok_or("aws_access_key_id")?, secret.ok_or("aws_secret_access_key")?);
    Ok(Credentials { key, secret, token })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    const FILE: &str = "# ours\n[other]\naws_access_key_id = no\n\n[default]\naws_access_key_id = AKIA\n\
                        aws_secret_access_key=s/e=c\n; aws_session_token = x\n[third]\naws_session_token = no\n";

    fn found(variables: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
        let find = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, text)| OsString::from(text))
        };
        Credentials::find(None, find)
    }

    #[test]
    fn the_environment_has_them_both_or_it_is_said_what_is_missing() {
        let (key, secret, token) = (
            ("AWS_ACCESS_KEY_ID", "k"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_SESSION_TOKEN", "t"),
        );
        assert_eq!(found(&[key, secret]).unwrap().token, None);
        assert_eq!(found(&[key, secret, token]).unwrap().token.unwrap(), "t");
        assert!(matches!(found(&[]), Err(CredentialsError::None)));
        let said = found(&[key, ("AWS_SECRET_ACCESS_KEY", "")]).unwrap_err().to_string();
        assert!(
            said.starts_with("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"),
            "{said}"
        );
        assert!(
            found(&[secret]).unwrap_err().to_string().starts_with("AWS_SECRET_ACCESS_KEY is set")
        );
    }

    #[test]
    fn a_file_is_read_when_only_its_owner_can_and_its_secret_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let find = || Credentials::find(Some(&path), |_| None);
        assert!(find().unwrap_err().to_string().contains("cannot be read"));
        std::fs::write(&path, FILE).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let said = find().unwrap_err().to_string();
        assert!(said.contains("0640") && said.contains("chmod 600"), "{said}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let credentials = find().unwrap();
        assert_eq!(
            credentials,
            Credentials { key: "AKIA".into(), secret: "s/e=c".into(), token: None }
        );
        assert!(!format!("{credentials:?}").contains("s/e=c"));
        std::fs::write(&path, FILE.replace("secret", "sacred")).unwrap();
        assert!(find().unwrap_err().to_string().contains("no aws_secret_access_key"));
    }

    proptest! {
        #[test]
        fn any_file_is_survived(text in "(\\[default\\]|aws_access_key_id|aws_secret_access_key|=|\\[|\\]|#|;|é|a|\n| ){0,40}") {
            let _ = parse(&text);
        }
    }
}
