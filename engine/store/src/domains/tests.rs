//! Several nodes add and remove domains of one store, one step of one of them at a time, in an order
//! that a seed chooses; and what is damaged, away, or none of ours.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;

use super::*;
use crate::artefacts::Artefacts;
use crate::contents::Contents;
use crate::objects::directory::Directory;
use crate::repository::Repository;

const SEEDS: u64 = 400;

/// A bucket in memory. Between any two requests of a node others may make theirs.
#[derive(Debug, Default)]
struct Bucket {
    objects: std::sync::Mutex<BTreeMap<String, (Vec<u8>, u64)>>,
    writes: AtomicU64,
    away: AtomicBool,
}

impl Bucket {
    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (Vec<u8>, u64)>> {
        self.objects.lock().unwrap()
    }

    fn write(&self, key: &str, contents: Vec<u8>) {
        let write = self.writes.fetch_add(1, SeqCst);
        self.all().insert(key.to_owned(), (contents, write));
    }

    fn request<'a, T: Send + 'a>(
        &'a self,
        made: impl FnOnce(&Self) -> T + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            step().await;
            if self.away.load(SeqCst) {
                let (name, endpoint) = (self.name(), "nowhere".to_owned());
                return Err(StoreError::Away { name, endpoint, reason: "a test".to_owned() });
            }
            let answer = made(self);
            step().await;
            Ok(answer)
        })
    }
}

/// Lets others go first.
async fn step() {
    let mut waited = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

impl Objects for Bucket {
    fn name(&self) -> String {
        "bucket".to_owned()
    }
    fn get<'a>(&'a self, key: &'a str, _: usize) -> Answer<'a, Option<Vec<u8>>> {
        self.request(|bucket| bucket.all().get(key).map(|(object, _)| object.clone()))
    }
    fn get_range<'a>(&'a self, key: &'a str, _: u64, _: usize) -> Answer<'a, Option<Vec<u8>>> {
        self.get(key, 0)
    }
    fn put<'a>(&'a self, key: &'a str, contents: Vec<u8>) -> Answer<'a, ()> {
        self.request(|bucket| bucket.write(key, contents))
    }
    fn download<'a>(&'a self, _: &'a str, _: &'a Path) -> Answer<'a, bool> {
        self.request(|_| false)
    }
    fn upload<'a>(&'a self, key: &'a str, from: &'a Path) -> Answer<'a, ()> {
        self.put(key, std::fs::read(from).unwrap())
    }
    fn list<'a>(&'a self, prefix: &'a str, _: &'a str) -> Answer<'a, Vec<Listed>> {
        self.request(move |bucket| {
            let all = bucket.all();
            let ours = all.iter().filter(|(key, _)| key.starts_with(prefix));
            let listed = ours.map(|(key, (object, write))| Listed {
                key: key.clone(),
                bytes: object.len() as u64,
                tag: write.to_string(),
                modified: SystemTime::UNIX_EPOCH,
            });
            listed.collect()
        })
    }
    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        self.request(|bucket| drop(bucket.all().remove(key)))
    }
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

fn target(text: &str) -> Target {
    let (function, alias) = abi::reference::split(text);
    Target { function: function.to_owned(), alias: alias.map(str::to_owned) }
}

/// All routes, as they are written.
fn shown(domains: &Domains) -> Vec<String> {
    let routes = domains.routes();
    routes.values().map(|route| format!("{} {}", route.domain, route.target)).collect()
}

#[tokio::test]
async fn domains_are_added_once_found_by_other_nodes_and_removed() {
    let (bucket, folder) = (Arc::new(Bucket::default()), tempfile::tempdir().unwrap());
    let one = Domains::new(Arc::clone(&bucket) as _, folder.path());
    let other = Domains::new(Arc::clone(&bucket) as _, folder.path());
    for (text, wanted) in
        [("a.example", "web"), ("a.example/api/*", "api@beta"), ("*.a.example", "web")]
    {
        one.add(&domain(text), target(wanted)).await.unwrap();
        for node in [&one, &one, &other, &other] {
            let again = node.add(&domain(text), target(wanted)).await.unwrap();
            assert_eq!(again.target, target(wanted));
        }
        let refused = other.add(&domain(text), target("else")).await.unwrap_err();
        assert_eq!(refused.fault(), Fault::CONFLICT);
        let said = refused.to_string();
        assert!(said.contains(wanted) && said.contains("else") && said.contains(text), "{said}");
    }
    let all = ["*.a.example web", "a.example web", "a.example/api/* api@beta"];
    assert_eq!((shown(&one), shown(&other)), (all.map(str::to_owned).into(), shown(&one)));
    assert_eq!(one.exact_hosts(), ["a.example"]);
    assert_eq!(bucket.all().len(), 6, "an object of each node for each");
    let third = Domains::new(Arc::clone(&bucket) as _, folder.path());
    third.refresh().await.unwrap();
    third.state.write().unwrap().settled.values_mut().for_each(|settled| *settled -= ADD_MAX);
    third.add(&domain("a.example"), target("web")).await.unwrap();
    assert_eq!(bucket.all().len(), 6, "what has been there for long stays");
    let removed = other.remove(&domain("a.example")).await.unwrap();
    assert_eq!(removed.unwrap().target, target("web"));
    let unknown = other.remove(&domain("a.example")).await.unwrap_err();
    assert_eq!(unknown.fault(), Fault::NOT_FOUND);
    one.refresh().await.unwrap();
    assert_eq!(shown(&one), [all[0], all[2]]);
    one.add(&domain("a.example"), target("else")).await.unwrap();
}

/// Nodes that add one domain at once, each for the function that `wanted` has. Returns which were
/// told that they have done it, and what each serves then.
fn race(seed: u64, wanted: &[&str]) -> (Vec<bool>, Vec<Vec<String>>) {
    let (bucket, mut random) = (Arc::new(Bucket::default()), Rng::with_seed(seed));
    let nodes: Vec<Domains> = (0..wanted.len())
        .map(|_| Domains::new(Arc::clone(&bucket) as _, Path::new("/nonexistent")))
        .collect();
    let shop = domain("shop.example");
    type Adding<'a> = Pin<Box<dyn Future<Output = bool> + 'a>>;
    let add = |(at, node): (usize, _)| -> Adding<'_> {
        let (shop, wanted): (_, &str) = (&shop, wanted[at]);
        let wanted = target(wanted);
        Box::pin(async move { Domains::add(node, shop, wanted).await.is_ok() })
    };
    let mut tasks: Vec<Adding<'_>> = nodes.iter().enumerate().map(add).collect();
    let (mut context, mut told) = (Context::from_waker(Waker::noop()), vec![None; wanted.len()]);
    while told.contains(&None) {
        let node = random.usize(..told.len());
        if told[node].is_none()
            && let Poll::Ready(done) = tasks[node].as_mut().poll(&mut context)
        {
            told[node] = Some(done);
        }
    }
    drop(tasks);
    let mut refreshed = Box::pin(async {
        for node in &nodes {
            node.refresh().await.unwrap();
        }
    });
    while refreshed.as_mut().poll(&mut context).is_pending() {}
    (told.into_iter().flatten().collect(), nodes.iter().map(shown).collect())
}

#[test]
fn of_nodes_that_add_one_domain_at_once_at_most_one_is_told_that_it_has() {
    let (mut won, mut lost) = (0, 0);
    for seed in 0..SEEDS {
        let (told, served) = race(seed, &["a", "b"]);
        let expected: &[&str] = match told[..] {
            [true, false] => &["shop.example a"],
            [false, true] => &["shop.example b"],
            [false, false] => &[],
            _ => panic!("seed {seed}: both were told so"),
        };
        assert!(served.iter().all(|served| *served == expected), "seed {seed}: {served:?}");
        if expected.is_empty() { lost += 1 } else { won += 1 }
    }
    assert!(won > SEEDS / 10 && lost > 0, "both happen: {won} {lost}");
}

#[test]
fn nodes_that_add_the_same_at_once_are_not_in_each_others_way() {
    for seed in 0..SEEDS {
        let (told, served) = race(seed, &["a", "a", "a"]);
        assert_eq!(told, [true; 3], "seed {seed}");
        assert!(served.iter().all(|served| *served == ["shop.example a"]), "seed {seed}");
        // With one more that wants something else, never both.
        let (told, served) = race(seed, &["a", "b", "a"]);
        let expected: &[&str] = match (told[0] || told[2], told[1]) {
            (true, false) => &["shop.example a"],
            (false, true) => &["shop.example b"],
            (false, false) => &[],
            (true, true) => panic!("seed {seed}: {told:?}"),
        };
        assert!(served.iter().all(|served| *served == expected), "seed {seed}: {served:?}");
    }
}

#[tokio::test]
async fn what_is_not_understood_counts_for_nothing_and_can_be_removed() {
    let (bucket, folder) = (Arc::new(Bucket::default()), tempfile::tempdir().unwrap());
    let domains = Domains::new(Arc::clone(&bucket) as _, folder.path());
    let shop = domain("shop.example");
    let place = Place::new(&shop);
    bucket.write(&place.key(), b"damaged".to_vec());
    bucket.write("domains/readme", b"not ours".to_vec());
    domains.refresh().await.unwrap();
    assert!(domains.routes().is_empty());
    let refused = domains.add(&shop, target("web")).await.unwrap_err();
    assert!(matches!(refused, DomainsError::Unfit { .. }), "{refused}");
    // It becomes one, under the same key.
    let route = DomainRoute { domain: shop.clone(), target: target("web"), added_ms: 1 };
    bucket.write(&place.key(), checked::seal(&route.to_json().unwrap()));
    domains.refresh().await.unwrap();
    assert_eq!(shown(&domains), ["shop.example web"]);
    // A crash has left a second object: the older one counts, and both are removed.
    let other = DomainRoute { target: target("other"), ..route };
    bucket.write(&Place::new(&shop).key(), checked::seal(&other.to_json().unwrap()));
    domains.refresh().await.unwrap();
    assert_eq!(shown(&domains), ["shop.example web"]);
    domains.remove(&shop).await.unwrap();
    assert_eq!(bucket.all().keys().collect::<Vec<_>>(), ["domains/readme"]);
}

#[tokio::test]
async fn a_node_whose_store_is_away_starts_with_what_it_remembers() {
    let (bucket, folder) = (Arc::new(Bucket::default()), tempfile::tempdir().unwrap());
    let domains = || Domains::new(Arc::clone(&bucket) as _, folder.path());
    let node = domains();
    node.load().await.unwrap();
    node.remember().await;
    assert!(!folder.path().join("domains").exists(), "there is nothing to remember");
    node.add(&domain("a.example/x/*"), target("web@beta")).await.unwrap();
    node.remember().await;
    bucket.away.store(true, SeqCst);
    let later = domains();
    assert!(later.load().await.is_err_and(|error| error.is_away()));
    assert_eq!(shown(&later), ["a.example/x/* web@beta"]);
    // Of another store it remembers nothing.
    let elsewhere = Directory::open(folder.path().join("else")).unwrap();
    let other = Domains::new(Arc::new(elsewhere), folder.path());
    other.load().await.unwrap();
    assert!(other.routes().is_empty());
    std::fs::write(folder.path().join("domains"), "damaged").unwrap();
    let damaged = domains();
    assert!(damaged.load().await.is_err() && damaged.routes().is_empty());
    bucket.away.store(false, SeqCst);
    damaged.refresh().await.unwrap();
    assert_eq!(shown(&damaged), shown(&later));
}

#[tokio::test]
async fn whoever_tidies_the_store_leaves_domains_alone() {
    let folder = tempfile::tempdir().unwrap();
    let objects: Arc<dyn Objects> = Arc::new(Directory::open(folder.path().join("store")).unwrap());
    let artefacts = Artefacts::open(Arc::clone(&objects), folder.path().join("artefacts")).unwrap();
    let repository = Repository::new(Arc::clone(&objects), Arc::new(artefacts));
    repository.prepare().await.unwrap();
    let domains = Domains::new(Arc::clone(&objects), folder.path());
    domains.add(&domain("a.example"), target("web")).await.unwrap();
    domains.add(&domain("*.a.example/x/*"), target("gone@beta")).await.unwrap();
    let before = objects.list(FOLDER, "").await.unwrap();
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    for now in [Instant::now(), Instant::now() + year] {
        repository.clear_removed(Duration::ZERO, now).await.unwrap();
        repository.remove_unused_artefacts(&Contents::new(), now).await.unwrap();
        repository.forget_removed("web").await.unwrap();
        repository.clear_unfinished().await.unwrap();
        repository.prepare().await.unwrap();
    }
    assert_eq!(objects.list(FOLDER, "").await.unwrap(), before);
}

#[tokio::test]
async fn there_are_as_many_as_there_may_be() {
    let (bucket, folder) = (Arc::new(Bucket::default()), tempfile::tempdir().unwrap());
    for at in 1..DOMAINS_MAX {
        let domain = domain(&format!("h{at}.example"));
        let place = Place::new(&domain);
        let route = DomainRoute { domain, target: target("web"), added_ms: 1 };
        bucket.write(&place.key(), checked::seal(&route.to_json().unwrap()));
    }
    let domains = Domains::new(Arc::clone(&bucket) as _, folder.path());
    domains.add(&domain("last.example"), target("web")).await.unwrap();
    let full = domains.add(&domain("more.example"), target("web")).await.unwrap_err();
    assert!(matches!(full, DomainsError::TooMany));
    domains.add(&domain("last.example"), target("web")).await.unwrap();
    assert_eq!((domains.routes().len(), domains.exact_hosts().len()), (DOMAINS_MAX, DOMAINS_MAX));
    domains.remove(&domain("h1.example")).await.unwrap();
    domains.add(&domain("more.example"), target("web")).await.unwrap();
}
