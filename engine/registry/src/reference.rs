//! What something in a registry is called: `oci://HOST[:PORT]/PATH[:TAG][@DIGEST]`. Pure; owns no
//! fds.

use std::fmt;
use std::str::FromStr;

use crate::RegistryError;

/// What a reference begins with.
pub const SCHEME: &str = "oci://";
/// The longest repository's name, with its host (what registries agree on), and tag.
const NAME_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;

/// A name of something in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The registry, with its port.
    pub(crate) host: String,
    /// The repository in it.
    pub(crate) repository: String,
    /// The tag; with a digest, it is for people alone.
    pub(crate) tag: Option<String>,
    /// `sha256:` and 64 hexadecimal digits.
    pub(crate) digest: Option<String>,
}

impl Reference {
    /// Returns the last part of the repository's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }

    /// Returns whether the registry is on this machine, and so asked without TLS.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let host = self.host.rsplit_once(':').map_or(&*self.host, |(host, _)| host);
        host == "localhost" || host == "[::1]" || host.starts_with("127.")
    }

    /// Returns what a manifest is asked for by.
    pub(crate) fn manifest(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// Returns the same name, pinned to `digest`.
    #[must_use]
    pub(crate) fn pinned(&self, digest: &str) -> Self {
        Self { digest: Some(digest.to_owned()), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.host, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let wrong = |why| RegistryError::Reference { reference: text.to_owned(), why };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| wrong("it does not begin so"))?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(wrong("a digest is sha256: and 64 hexadecimal digits")),
            None => (rest, None),
        };
        let (host, path) = rest.split_once('/').ok_or_else(|| wrong("it has no path"))?;
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (path, None),
        };
        if !is_host(host) {
            return Err(wrong("it does not begin with a registry's host"));
        }
        if rest.len() > NAME_BYTES_MAX || !repository.split('/').all(is_component) {
            return Err(wrong("a path has lower-case letters, digits, and . _ - between them"));
        }
        if !tag.as_deref().is_none_or(is_tag) {
            return Err(wrong("a tag has letters, digits, and . _ -"));
        }
        Ok(Self { host: host.to_owned(), repository: repository.to_owned(), tag, digest })
    }
}

pub(crate) fn is_digest(text: &str) -> bool {
    let hex = |digits: &str| {
        digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    text.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64 && hex(digits))
}

/// Unlike Docker, which takes what has no dot for a path in its own registry.
fn is_host(text: &str) -> bool {
    let known = text.contains(['.', ':']) || text == "localhost";
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    known && !text.starts_with(['.', ':', '-']) && text.bytes().all(plain)
}

fn is_component(text: &str) -> bool {
    let inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let outer = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.bytes().all(inner) && outer(text.bytes().next()) && outer(text.bytes().last())
}

fn is_tag(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=TAG_BYTES_MAX).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[test]
    fn a_reference_is_written_as_it_is_read() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        for (text, manifest) in [
            ("oci://ghcr.io/u/app:v1".to_owned(), "v1"),
            ("oci://localhost:5000/a/b-c/d__e".to_owned(), "latest"),
            (format!("oci://127.0.0.1:1/a:v@{digest}"), &*digest),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.to_string(), reference.manifest()), (text, manifest));
        }
        let reference: Reference = "oci://ghcr.io/u/app:v1".parse().unwrap();
        assert!(reference.name() == "app" && !reference.is_local());
        assert!("oci://[::1]:5000/a".parse::<Reference>().unwrap().is_local());
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in [
            "ghcr.io/u/app",
            "oci://ghcr.io",
            "oci://u/app",
            "oci://ghcr.io/U/app",
            "oci://ghcr.io/../app",
            "oci://ghcr.io/u//app",
            "oci://ghcr.io/u/app:",
            "oci://ghcr.io/u/app:a b",
            "oci://ghcr.io/u/app:v1?x",
            "oci://ghcr.io@evil.test/u/app",
            "oci://ghcr.io/u/app@sha256:00",
            "oci://ghcr.io/u/app@sha512:00",
            "oci://ghcr.io#/u/app",
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("expected oci://"), "{error}");
        }
    }
}
