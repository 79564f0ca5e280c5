//! The nodes that the user has logged in to, each by a name: where it is, its token, and the
//! certificates that are trusted for it.
//!
//! They are in one file in the user's configuration folder, which only its owner may read. A file
//! that others can read is refused. Owns no fds beyond a call.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _};
use std::path::PathBuf;

use host::files;
use host::private_file::{self, NotPrivate};
use serde::{Deserialize, Serialize};

use super::address::Address;

/// The name for the node that is found on this machine, which no context has.
pub(super) const LOCAL: &str = "local";
/// The most characters of a name: those of a host with a port.
const NAME_CHARACTERS_MAX: usize = 260;
/// The most bytes that are read of the file.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The file, in the folder `sockhop` of the user's configuration folder.
const FILE: &str = "contexts.toml";

/// What stands in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contexts {
    /// The context in use. None is the node on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<String>,
    #[serde(default, rename = "context")]
    all: BTreeMap<String, Context>,
}

/// A node that the user has logged in to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Context {
    /// Where it is.
    #[serde(with = "as_text")]
    pub(super) url: Address,
    pub(super) token: Token,
    /// The certificates that are trusted for it as PEM. None are those that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) certificates: Option<String>,
}

/// A node's token, which is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Token(pub(super) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Why contexts cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContextsError {
    #[error("the contexts cannot be kept: neither XDG_CONFIG_HOME nor HOME is set")]
    NoFolder,
    #[error("the contexts in {path:?} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: NotPrivate },
    #[error(
        "the contexts in {path:?} are not understood: {reason}; mend the file, or remove it and log in again"
    )]
    Unknown { path: PathBuf, reason: String },
    #[error("the contexts in {path:?} cannot be written: {source}")]
    Unwritten { path: PathBuf, source: io::Error },
    #[error("there is no context {name:?}, only {there}; `sockhop login URL` adds one")]
    NotThere { name: String, there: String },
    #[error(
        "{0:?} cannot be a context's name: expected letters, digits and .-_:[], and not {LOCAL:?}, which is the node on this \
         machine"
    )]
    Name(String),
}

impl Contexts {
    /// Reads the file. Without one there are no contexts.
    pub(super) fn read() -> Result<Self, ContextsError> {
        let Some(path) = path() else { return Ok(Self::default()) };
        let unreadable = |source| ContextsError::Unreadable { path: path.clone(), source };
        let file = match private_file::open(&path) {
            Err(NotPrivate::Io(error)) if is_missing(&error) => return Ok(Self::default()),
            opened => opened.map_err(unreadable)?,
        };
        let mut text = String::new();
        let read = file.take(FILE_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|error| unreadable(error.into()))?;
        // Its own message would show the line, in which a token may stand.
        toml::from_str(&text)
            .map_err(|error| ContextsError::Unknown { path, reason: error.message().to_owned() })
    }

    /// Writes the file: whole, or as it was before.
    pub(super) fn write(&self) -> Result<PathBuf, ContextsError> {
        let path = path().ok_or(ContextsError::NoFolder)?;
        let unwritten = |source| ContextsError::Unwritten { path: path.clone(), source };
        let text = toml::to_string(self).map_err(|error| unwritten(io::Error::other(error)))?;
        path.parent().map_or(Ok(()), files::create_folder).map_err(unwritten)?;
        files::write(&path, text.as_bytes()).map_err(unwritten)?;
        Ok(path)
    }

    /// All of them, by name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Context)> {
        self.all.iter()
    }

    pub(super) fn get(&self, name: &str) -> Result<&Context, ContextsError> {
        self.all.get(name).ok_or_else(|| self.not_there(name))
    }

    /// The context of the node at `url`, if the user has logged in there.
    pub(super) fn of_url(&self, url: &Address) -> Option<(&String, &Context)> {
        self.all.iter().find(|(_, context)| context.url == *url)
    }

    /// Puts a context, which is in use from then on.
    pub(super) fn put(&mut self, name: &str, context: Context) -> Result<(), ContextsError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        let length = name.chars().count();
        let is_name = (1..=NAME_CHARACTERS_MAX).contains(&length) && name.chars().all(fits);
        if !is_name || name == LOCAL {
            return Err(ContextsError::Name(name.to_owned()));
        }
        self.all.insert(name.to_owned(), context);
        self.current = Some(name.to_owned());
        Ok(())
    }

    /// Has `name` be in use.
    pub(super) fn choose(&mut self, name: &str) -> Result<(), ContextsError> {
        if name != LOCAL {
            self.get(name)?;
        }
        self.current = Some(name.to_owned()).filter(|name| name != LOCAL);
        Ok(())
    }

    /// Removes a context. If it was in use, the node on this machine is.
    pub(super) fn remove(&mut self, name: &str) -> Result<Context, ContextsError> {
        let removed = self.all.remove(name).ok_or_else(|| self.not_there(name))?;
        self.current = self.current.take().filter(|current| current != name);
        Ok(removed)
    }

    fn not_there(&self, name: &str) -> ContextsError {
        let there: Vec<&str> = self.all.keys().map(String::as_str).chain([LOCAL]).collect();
        ContextsError::NotThere { name: name.to_owned(), there: there.join(", ") }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The file, if it is known where the user's configuration is (XDG Base Directory Specification).
fn path() -> Option<PathBuf> {
    let folder = |name| {
        std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute())
    };
    let configuration =
        folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
    configuration.map(|folder| folder.join("sockhop").join(FILE))
}

/// An address as it is written.
mod as_text {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Address;

    pub(super) fn serialize<S: Serializer>(url: &Address, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(url)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Address, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(url: &str) -> Context {
        Context { url: url.parse().unwrap(), token: Token("hush".to_owned()), certificates: None }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut contexts = Contexts::default();
        contexts.put("a.example", context("https://a.example")).unwrap();
        let pem = Some("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n".to_owned());
        let with = Context { certificates: pem, ..context("http://[::1]:9") };
        contexts.put("[::1]:9", with).unwrap();
        let text = toml::to_string(&contexts).unwrap();
        assert_eq!(toml::from_str::<Contexts>(&text).unwrap(), contexts);
        assert_eq!(toml::from_str::<Contexts>("").unwrap(), Contexts::default());
        assert!(!format!("{contexts:?}").contains("hush"));
    }

    #[test]
    fn one_is_in_use_or_the_node_on_this_machine() {
        let mut contexts = Contexts::default();
        contexts.put("a", context("https://a")).unwrap();
        contexts.put("b", context("https://b")).unwrap();
        assert_eq!(contexts.current.as_deref(), Some("b"));
        contexts.choose("a").unwrap();
        let error = contexts.choose("c").unwrap_err().to_string();
        assert!(error.contains("a, b, local") && error.contains("sockhop login"), "{error}");
        assert_eq!(contexts.current.as_deref(), Some("a"));
        contexts.remove("b").unwrap();
        assert_eq!(contexts.current.as_deref(), Some("a"));
        contexts.remove("a").unwrap();
        assert_eq!((contexts.current.as_deref(), contexts.all().count()), (None, 0));
        contexts.put("a", context("https://a")).unwrap();
        contexts.choose(LOCAL).unwrap();
        assert_eq!(contexts.current, None);
        for name in ["", "a b", "a\nb", LOCAL] {
            assert!(contexts.put(name, context("https://a")).is_err(), "{name:?}");
        }
    }
}
