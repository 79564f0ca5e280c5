//! Nodes against a real pebble: orders, renewals, what fails, and who dies when.

mod faults;
mod liar;
mod orders;
mod pebble;
mod responder;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host::backoff::Backoff;
use secrets::KeyFile;
use store::objects::Objects;
use store::objects::directory::Directory;
use tempfile::TempDir;
use tokio::sync::watch;

use self::pebble::{Identity, Pebble, Plan};
use self::responder::Behind;
use crate::plan::Policy;
use crate::settings::ExternalAccount;
use crate::{Acme, Certificate, Held, NameStatus, Possible, Settings};

const NAME: &str = "shop.example.com";
/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

const POLICY: Policy = Policy {
    backoff: Backoff { first: Duration::from_millis(300), max: Duration::from_secs(2) },
    pause_min: Duration::from_millis(50),
    settle: Duration::from_secs(1),
};

/// A store, a CA's identity, and what answers for the name.
struct Bed {
    folder: TempDir,
    identity: Identity,
    objects: Arc<dyn Objects>,
    behind: Arc<Behind>,
    http_port: u16,
    tls_port: u16,
}

impl Bed {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::new(folder.path());
        let objects: Arc<dyn Objects> = Arc::new(Directory::new(folder.path().join("store")));
        objects.make().unwrap();
        let behind = Arc::new(Behind::default());
        let http_port = responder::http(Arc::clone(&behind)).await;
        let tls_port = responder::tls(Arc::clone(&behind)).await;
        Self { folder, identity, objects, behind, http_port, tls_port }
    }

    fn plan(&self) -> Plan {
        Plan::new(self.http_port, self.tls_port)
    }

    fn pebble(&self, plan: &Plan) -> Pebble {
        Pebble::start(self.folder.path(), &self.identity, plan)
    }

    fn key(&self, data: &str) -> Arc<KeyFile> {
        let data = self.folder.path().join(data);
        std::fs::create_dir_all(&data).unwrap();
        Arc::new(KeyFile::open(None, &data).unwrap())
    }

    fn settings(&self, data: &str, directory: &str, possible: Possible) -> Settings {
        let data = self.folder.path().join(data);
        std::fs::create_dir_all(data.join("cache")).unwrap();
        Settings {
            email: "me@example.com".to_owned(),
            directory: directory.to_owned(),
            root: Some(self.identity.root.clone()),
            external_account: None,
            possible,
            interval: Duration::from_millis(200),
            data,
        }
    }

    /// Starts a node that wants a certificate for [`NAME`].
    fn node(&self, data: &str, directory: &str, possible: Possible) -> Node {
        Node::start(self.settings(data, directory, possible), &self.objects, self.key(data))
    }

    /// Returns all keys of objects in the store.
    async fn keys(&self) -> Vec<String> {
        let listed = self.objects.list("", "").await.unwrap();
        listed.into_iter().map(|listed| listed.key).collect()
    }

    async fn count(&self, part: &str) -> usize {
        self.keys().await.iter().filter(|key| key.contains(part)).count()
    }
}

const HTTP: Possible = Possible { http01: true, tls_alpn01: false, preferred: None };
const TLS: Possible = Possible { http01: false, tls_alpn01: true, preferred: None };
const BOTH: Possible = Possible { http01: true, tls_alpn01: true, preferred: None };

struct Node {
    acme: Arc<Acme>,
    held: watch::Receiver<Arc<Held>>,
    wanted: watch::Sender<Vec<String>>,
}

impl Node {
    fn start(settings: Settings, objects: &Arc<dyn Objects>, key: Arc<KeyFile>) -> Self {
        let (wanted, names) = watch::channel(vec![NAME.to_owned()]);
        let (acme, held) =
            Acme::start_with(POLICY, settings, Arc::clone(objects), key, names).unwrap();
        Self { acme: Arc::new(acme), held, wanted }
    }

    /// Waits for what is held to be as it is wanted.
    async fn until_held<T>(&mut self, look: impl Fn(&Held) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = look(&self.held.borrow_and_update()) {
                    return found;
                }
                self.held.changed().await.unwrap();
            }
        };
        let found = tokio::time::timeout(LIMIT, found).await;
        found.unwrap_or_else(|_| panic!("not held in time: {:?}", self.acme.status()))
    }

    async fn certificate(&mut self) -> Arc<Certificate> {
        self.until_held(|held| held.certificates.first().cloned()).await
    }

    /// Waits until the status of [`NAME`] is as it is wanted.
    async fn until_status(&self, wanted: impl Fn(&NameStatus) -> bool) -> NameStatus {
        let found = || self.acme.status().into_iter().find(|status| status.name == NAME);
        until("the status", || found().filter(&wanted)).await
    }

    async fn error(&self, part: &str) -> String {
        let has =
            |status: &NameStatus| status.error.as_ref().is_some_and(|text| text.contains(part));
        self.until_status(has).await.error.unwrap()
    }
}

/// Looks again and again until there is something.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < LIMIT, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns whether any file below a folder has these bytes, or them as hexadecimal digits.
fn any_file_has(folder: &Path, bytes: &[u8]) -> bool {
    let digits = hex::encode(bytes).into_bytes();
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return any_file_has(&path, bytes);
        }
        let contents = std::fs::read(path).unwrap();
        let has = |part: &[u8]| contents.windows(part.len()).any(|window| window == part);
        has(bytes) || has(&digits)
    })
}

fn external(bed: &Bed, id: &str, hmac: &str) -> ExternalAccount {
    use std::os::unix::fs::PermissionsExt as _;
    let path = bed.folder.path().join("hmac");
    std::fs::write(&path, hmac).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    ExternalAccount::read(id.to_owned(), &path).unwrap()
}
