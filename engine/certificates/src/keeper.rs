//! Puts together what TLS needs, and notices when it changes: files that were replaced, and the
//! keys of tickets, which change with time. Owns no fds beyond a call.

use std::path::PathBuf;
use std::time::SystemTime;

use abi::certificates::Certificates;
use secrets::Key;

use crate::error::CertificateError;
use crate::{files, own, tickets};

/// Where certificates are.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file of `--tls-cert`.
    pub certificate: Option<PathBuf>,
    /// The file of `--tls-key`.
    pub key: Option<PathBuf>,
    /// The folder of `--tls-dir`.
    pub folder: Option<PathBuf>,
    /// The data folder, for the node's own.
    pub data: PathBuf,
}

/// Reads certificates, again and again.
pub struct Keeper {
    sources: Sources,
    ticket_secret: zeroize::Zeroizing<[u8; 32]>,
    current: Certificates,
    /// What was wrong at the last look, which is not logged again.
    complaints: Vec<String>,
}

/// Without the keys.
impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("sources", &self.sources)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

impl Keeper {
    /// Reads all certificates for the first time. `key` is the node's key of secrets.
    ///
    /// # Errors
    /// [`CertificateError`] when one cannot be used: an operator who starts a node wants to know.
    pub fn open(sources: Sources, key: &Key, now: SystemTime) -> Result<Self, CertificateError> {
        let ticket_secret = key.derive("session tickets");
        let (current, errors) = read(&sources, &ticket_secret, now)?;
        match errors.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(Self { sources, ticket_secret, current, complaints: Vec::new() }),
        }
    }

    /// Returns what TLS needs, as of the last look.
    pub fn current(&self) -> &Certificates {
        &self.current
    }

    /// Returns whether clients without a name, or with one that no certificate is for, get the
    /// certificate that the node has signed itself.
    pub fn uses_own(&self) -> bool {
        self.sources.certificate.is_none()
    }

    /// Looks again. Returns whether something has changed. What cannot be used is logged, and stays
    /// as it was: a file may be half written now.
    pub fn look(&mut self, now: SystemTime) -> bool {
        let (read, errors) = match read(&self.sources, &self.ticket_secret, now) {
            Ok((read, errors)) => (Some(read), errors),
            Err(error) => (None, vec![error]),
        };
        let complaints: Vec<String> = errors.iter().map(ToString::to_string).collect();
        for complaint in complaints.iter().filter(|new| !self.complaints.contains(new)) {
            tracing::error!("{complaint}; TLS goes on with what it had");
        }
        let is_whole = complaints.is_empty();
        self.complaints = complaints;
        let Some(mut read) = read else { return false };
        if !is_whole {
            // Those that were there are kept beside those that can be read.
            let kept = self.current.by_name.iter().filter(|old| {
                !read
                    .by_name
                    .iter()
                    .any(|new| new.names.iter().any(|name| old.names.contains(name)))
            });
            let kept: Vec<_> = kept.cloned().collect();
            read.by_name.extend(kept);
        }
        let has_changed = read != self.current;
        self.current = read;
        has_changed
    }
}

/// Reads everything. Returns what cannot be used beside it.
fn read(
    sources: &Sources,
    ticket_secret: &[u8; 32],
    now: SystemTime,
) -> Result<(Certificates, Vec<CertificateError>), CertificateError> {
    let single = files::single(sources.certificate.as_deref(), sources.key.as_deref())?;
    let (mut by_name, errors) = match &sources.folder {
        Some(folder) => files::of_folder(folder)?,
        None => Default::default(),
    };
    let default = match single {
        Some(certificate) => certificate,
        None => own::certificate(&sources.data, now)?,
    };
    // Of two for one name the first one is taken: what the operator has named wins.
    by_name.insert(0, default.clone());
    let ticket_keys = tickets::keys(ticket_secret, tickets::period(now));
    let challenges = Vec::new();
    Ok((Certificates { by_name, default: Some(default), challenges, ticket_keys }, errors))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::pair::tests::write;

    fn key() -> Key {
        Key::new(&[9; 32])
    }

    fn names(keeper: &Keeper) -> Vec<&str> {
        keeper.current().by_name.iter().map(|certificate| &*certificate.names[0]).collect()
    }

    #[test]
    fn changes_are_noticed_and_what_is_wrong_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (data, certificates) = (folder.path().join("data"), folder.path().join("tls"));
        fs::create_dir(&data).unwrap();
        fs::create_dir(&certificates).unwrap();
        write(&certificates, "a", &["a.example"]);
        let sources = Sources { folder: Some(certificates.clone()), data, ..Sources::default() };
        let now = SystemTime::now();
        let mut keeper = Keeper::open(sources, &key(), now).unwrap();
        assert_eq!(names(&keeper), ["localhost", "a.example"]);
        assert!(keeper.uses_own() && !keeper.look(now), "nothing has changed");
        write(&certificates, "b", &["b.example"]);
        assert!(keeper.look(now));
        assert_eq!(names(&keeper), ["localhost", "a.example", "b.example"]);
        fs::write(certificates.join("b.crt"), "half").unwrap();
        assert!(!keeper.look(now) || names(&keeper).contains(&"b.example"));
        assert!(names(&keeper).contains(&"b.example"), "it goes on with what it had");
        fs::remove_file(certificates.join("b.crt")).unwrap();
        assert!(keeper.look(now));
        assert_eq!(names(&keeper), ["localhost", "a.example"]);
        assert!(keeper.look(now + Duration::from_secs(12 * 60 * 60)), "tickets have another key");
    }

    #[test]
    fn a_node_does_not_start_with_what_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a", &["a.example"]);
        fs::write(folder.path().join("a.crt"), "no certificate").unwrap();
        let of = |sources| Keeper::open(sources, &key(), SystemTime::now());
        let data = folder.path().to_owned();
        let tls = Some(data.clone());
        assert!(of(Sources { folder: tls, data: data.clone(), ..Sources::default() }).is_err());
        let half = Sources { certificate: Some("x".into()), data, ..Sources::default() };
        assert!(of(half).unwrap_err().to_string().contains("--tls-key"));
    }
}
