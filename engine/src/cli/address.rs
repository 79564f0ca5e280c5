//! Where a node is: the address that `--node` gives, or the first data folder that exists; and why
//! none answers there. [`super::choice`] says which of them counts. Owns no fds.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use nix::unistd::{Uid, User};

/// Data folders that are looked at when none is given, in this order.
pub(super) const DATA_FOLDERS: [&str; 2] = ["./sockhop-data", "/var/lib/sockhop"];
/// The control socket in a data folder.
const SOCKET: &str = "control.sock";
/// The port of an `https` URL without one (RFC 9110 4.2.2).
const HTTPS_PORT: u16 = 443;

/// Which node a command talks to, as far as the command says.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which node")]
pub(crate) struct Target {
    /// A node that `sockhop login` has kept, or local for the one on this machine (or
    /// SOCKHOP_CONTEXT)
    #[arg(long, value_name = "NAME", conflicts_with_all = ["data", "node"])]
    pub(super) context: Option<String>,
    /// The node's data folder, or SOCKHOP_DATA (default: the context in use, else ./sockhop-data if
    /// it exists, else /var/lib/sockhop)
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// The URL of the node's admin listener, or its control socket (or SOCKHOP_NODE)
    #[arg(long, value_name = "URL|SOCKET")]
    pub(super) node: Option<Address>,
    /// A PEM file with the certificates to trust for an https:// URL, instead of the system's (or
    /// SOCKHOP_CA)
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// The context that a project names, and where it does.
    #[arg(skip)]
    pub(super) project: Option<(String, String)>,
    /// Whether the command has started the node itself.
    #[arg(skip)]
    pub(super) own: bool,
}

impl Target {
    /// The node that this command has started in its data folder.
    pub(super) fn own(folder: PathBuf) -> Self {
        Self { data: Some(folder), own: true, ..Self::default() }
    }
}

/// The control socket of the node whose data folder this is.
pub(super) fn socket(folder: &Path) -> PathBuf {
    folder.join(SOCKET)
}

/// The first of `folders` that exists. Another one is not taken for it, even if the node there does
/// not run: it is another node, with other functions.
pub(super) fn existing(folders: &[PathBuf]) -> Option<&PathBuf> {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    folders.iter().find(|folder| !std::fs::metadata(folder).is_err_and(|error| missing(&error)))
}

/// Where a node's control API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Socket(PathBuf),
    /// The authority of an admin listener, HOST:PORT.
    Http(String),
    /// The host and port of what speaks TLS in front of one.
    Https(String, u16),
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected the path of a socket, or a URL".into());
        }
        if text.starts_with("https://") {
            return https(text).ok_or_else(|| {
                "expected https://HOST or https://HOST:PORT, without a path".into()
            });
        }
        match text.strip_prefix("http://") {
            Some(address) => settings::address(address.trim_end_matches('/')).map(Self::Http),
            None => Ok(Self::Socket(text.into())),
        }
    }
}

fn https(text: &str) -> Option<Address> {
    let url = reqwest::Url::parse(text).ok()?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    (plain && anonymous).then(|| {
        Some(Address::Https(url.host_str()?.to_owned(), url.port().unwrap_or(HTTPS_PORT)))
    })?
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{path:?}"),
            Self::Http(authority) => write!(f, "http://{authority}"),
            Self::Https(host, HTTPS_PORT) => write!(f, "https://{host}"),
            Self::Https(host, port) => write!(f, "https://{host}:{port}"),
        }
    }
}

/// Why no node answers.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoNode {
    #[error("no node answers; looked in{}", lines(.0))]
    Folders(Vec<Attempt>),
    #[error("no node answers at {path:?}: {reason}", reason = reason(path, path, source))]
    Socket { path: PathBuf, source: io::Error },
    #[error(
        "no node answers at {address} ({source}); start it with --admin, and see that no firewall is in the way"
    )]
    There { address: Address, source: io::Error },
}

/// What came of looking for a node in a data folder.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) folder: PathBuf,
    /// None if a node answers there.
    pub(super) error: Option<io::Error>,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.folder.display();
        match &self.error {
            None => write!(f, "{shown}: a node answers here; choose it with --data {shown}"),
            Some(error) => {
                write!(f, "{shown}: {}", reason(&self.folder, &socket(&self.folder), error))
            }
        }
    }
}

fn lines(attempts: &[Attempt]) -> String {
    let lines: String = attempts.iter().map(|attempt| format!("\n  {attempt}")).collect();
    let missing = |attempt: &Attempt| {
        attempt.error.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    // A hint to start a node must not be one to start a second one.
    match attempts.iter().all(|attempt| missing(attempt) && !attempt.folder.exists()) {
        true => format!(
            "{lines}\nif a node runs, name its data folder with --data or SOCKHOP_DATA, or its address with --node; \
             else start one with: sockhop serve"
        ),
        false => lines,
    }
}

/// Why the node of the data folder, or of the socket itself, does not answer, and what to do.
fn reason(place: &Path, socket: &Path, error: &io::Error) -> String {
    let shown = place.display();
    match error.kind() {
        io::ErrorKind::NotFound if !place.exists() => "it does not exist".to_owned(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused if place == socket => {
            "no node listens there any more".to_owned()
        }
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("its node is not running; start it with: sockhop serve --data {shown}")
        }
        io::ErrorKind::PermissionDenied => {
            let owner = std::fs::metadata(place).ok().and_then(|meta| user(meta.uid()));
            match owner {
                Some(owner) => format!(
                    "permission denied; run this as the node's user: sudo -u {owner} sockhop ..."
                ),
                None => "permission denied; run this as the node's user".to_owned(),
            }
        }
        _ => error.to_string(),
    }
}

fn user(id: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(id)).ok().flatten().map(|user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_a_socket_or_a_url() {
        assert_eq!("a/control.sock".parse(), Ok(Address::Socket("a/control.sock".into())));
        assert_eq!("http://[::1]:9000/".parse(), Ok(Address::Http("[::1]:9000".into())));
        assert!("http://host".parse::<Address>().is_err_and(|error| error.contains("HOST:PORT")));
        assert!("".parse::<Address>().is_err());
        for (text, host, port) in [
            ("https://node.example", "node.example", 443),
            ("https://[::1]:9/", "[::1]", 9),
            ("https://h:443", "h", 443),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address, Address::Https(host.into(), port));
            assert_eq!(address.to_string().parse(), Ok(address), "{text}");
        }
        for text in
            ["https://", "https://host/v1", "https://user@host", "https://host?x", "https://host:x"]
        {
            assert!(
                text.parse::<Address>().is_err_and(|error| error.contains("https://HOST")),
                "{text}"
            );
        }
    }

    #[test]
    fn the_first_folder_that_exists_is_the_nodes() {
        let here = tempfile::tempdir().unwrap();
        let there = here.path().join("there");
        std::fs::create_dir(&there).unwrap();
        let folders = [here.path().join("missing"), there.clone(), here.path().to_owned()];
        assert_eq!(existing(&folders), Some(&there));
        assert_eq!(existing(&folders[..1]), None);
    }

    #[test]
    fn a_second_node_is_suggested_only_where_there_is_none() {
        let here = tempfile::tempdir().unwrap();
        let attempt =
            |folder: PathBuf, kind: io::ErrorKind| Attempt { folder, error: Some(kind.into()) };
        let missing = || attempt(here.path().join("missing"), io::ErrorKind::NotFound);
        let text = NoNode::Folders(vec![missing()]).to_string();
        assert!(
            text.contains("does not exist") && text.contains("start one with: sockhop serve"),
            "{text}"
        );
        let denied = attempt(here.path().to_owned(), io::ErrorKind::PermissionDenied);
        let text = NoNode::Folders(vec![missing(), denied]).to_string();
        assert!(text.contains("permission denied; run this as the node's user"), "{text}");
        assert!(!text.contains("start"), "{text}");
        let stopped = attempt(here.path().to_owned(), io::ErrorKind::ConnectionRefused);
        let text = NoNode::Folders(vec![stopped]).to_string();
        assert!(
            text.contains(&format!("sockhop serve --data {}", here.path().display())),
            "{text}"
        );
    }
}
