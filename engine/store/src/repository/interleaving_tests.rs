//! Several nodes on one store, one step of one of them at a time, in an order that a seed chooses.
//! Whoever deploys the same file, removes old versions or whole functions, restores them and tidies
//! away meanwhile, however slowly: no version is ever without its artefact, nor is one that is kept
//! of a removed function, and what an alias names is there in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;

use super::tests::{deploy, remove, restore};
use super::unused::CHANGE_MAX;
use super::*;
use crate::alias::Alias;
use crate::artefacts::{UPLOADS, upload_key};
use crate::contents::Contents;
use crate::manifest::Manifest;
use crate::objects::{Listed, checked};
use crate::removed::{REMOVED, Removed};
use crate::retention::{Policy, Verdict, versions};

const SEEDS: u64 = 60;
const STEPS: u32 = 3000;
const NODES: usize = 4;
/// Steps that a change takes at most: then it goes first. Tidying may take for ever.
const CHANGE_STEPS: u32 = 600;
/// What a step takes, so that no change takes longer than [`CHANGE_MAX`].
const STEP: Duration = Duration::from_secs(CHANGE_MAX.as_secs() / (CHANGE_STEPS as u64 + 300));
/// How long a removed function is kept: no shorter than any change takes.
const KEPT_FOR: Duration = CHANGE_MAX;

/// Lets others go first.
async fn step() {
    let mut waited = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A bucket in memory. Between any two requests of a node others may make theirs.
#[derive(Debug, Default)]
struct Bucket {
    objects: std::sync::Mutex<BTreeMap<String, (Vec<u8>, u64)>>,
    writes: AtomicU64,
    /// The versions that each removed function has.
    kept: std::sync::Mutex<BTreeMap<String, Vec<String>>>,
    /// The first version that was there without its artefact.
    incomplete: OnceLock<String>,
}

impl Bucket {
    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (Vec<u8>, u64)>> {
        self.objects.lock().unwrap()
    }

    fn request<'a, T: Send + 'a>(
        &'a self,
        made: impl FnOnce(&Self) -> T + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            step().await;
            let answer = made(self);
            step().await;
            Ok(answer)
        })
    }

    /// Remembers a version that is there, or kept, without its artefact.
    fn look(&self) {
        let all = self.all();
        let uploads = all.keys().filter(|key| key.starts_with(UPLOADS));
        let uploads: BTreeSet<&str> = uploads.filter_map(|key| key.rsplit('/').next()).collect();
        let versions = all.keys().filter(|key| key.starts_with("versions/"));
        let versions = versions.map(|key| (key, key.rsplit(['/', '.']).nth(1).unwrap()));
        let mut kept = self.kept.lock().unwrap();
        kept.retain(|key, _| all.contains_key(key));
        let kept = kept.iter().flat_map(|(key, ids)| ids.iter().map(move |id| (key, id.as_str())));
        if let Some((key, id)) = versions.chain(kept).find(|(_, id)| !uploads.contains(id)) {
            let _ = self.incomplete.set(format!("{key} was there without the artefact of {id}"));
        }
    }

    /// No version was ever without its artefact, and those that aliases name are there.
    fn check(&self) -> Result<(), String> {
        if let Some(wrong) = self.incomplete.get() {
            return Err(wrong.clone());
        }
        let all = self.all();
        for (key, (object, _)) in all.iter().filter(|(key, _)| key.starts_with("aliases/")) {
            let json = checked::open(key, object.clone()).unwrap();
            let alias: Alias = serde_json::from_slice(&json).unwrap();
            for target in alias.targets {
                let version = format!("versions/{}/{}.json", alias.name, target.version);
                let (object, _) = all.get(&version).ok_or(format!("{version} is not there"))?;
                let json = checked::open(key, object.clone()).unwrap();
                let artefact = Manifest::read(&json).unwrap().artefact;
                let upload = upload_key(&artefact, &target.version);
                if !all.contains_key(&upload) {
                    return Err(format!("{upload} is not there, and {key} names it"));
                }
            }
        }
        Ok(())
    }
}

impl Objects for Bucket {
    fn name(&self) -> String {
        "bucket".to_owned()
    }
    fn get<'a>(&'a self, key: &'a str, _: usize) -> Answer<'a, Option<Vec<u8>>> {
        self.request(|bucket| bucket.all().get(key).map(|(object, _)| object.clone()))
    }
    fn get_range<'a>(&'a self, key: &'a str, _: u64, bytes: usize) -> Answer<'a, Option<Vec<u8>>> {
        self.request(move |bucket| {
            bucket.all().get(key).map(|(object, _)| object.iter().take(bytes).copied().collect())
        })
    }
    fn put<'a>(&'a self, key: &'a str, contents: Vec<u8>) -> Answer<'a, ()> {
        self.request(|bucket| {
            let write = bucket.writes.fetch_add(1, SeqCst);
            if key.starts_with(REMOVED) {
                let versions = Removed::read(key, contents.clone()).unwrap().function;
                let ids = versions.versions().map(|version| version.version.clone()).collect();
                bucket.kept.lock().unwrap().insert(key.to_owned(), ids);
            }
            drop(bucket.all().insert(key.to_owned(), (contents, write)));
            bucket.look();
        })
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
        self.request(|bucket| {
            drop(bucket.all().remove(key));
            bucket.look();
        })
    }
}

/// What a node does, and since which step.
struct Task<'a> {
    begun: u32,
    is_change: bool,
    done: Pin<Box<dyn Future<Output = ()> + 'a>>,
}

async fn prune_oldest(repository: &Repository, name: &str) {
    let function = repository.read_function(name, &Contents::new()).await.unwrap();
    let policy = Policy {
        logs_kept_for_ms: 0,
        logs_kept_bytes: 0,
        versions_kept: 1,
        versions_kept_for_ms: 0,
    };
    for version in versions::to_remove(&function, &Verdict { policy, now: None }) {
        repository.prune(&version).await.unwrap();
    }
}

fn begin<'a>(repository: &'a Repository, random: &mut Rng, begun: u32, now: Instant) -> Task<'a> {
    let name = ["a", "b"][random.usize(..2)];
    let file = ["one", "two"][random.usize(..2)];
    let (is_change, done): (bool, Pin<Box<dyn Future<Output = ()> + 'a>>) = match random.usize(..7)
    {
        0 => {
            let tidied = async move {
                repository.clear_removed(KEPT_FOR, now).await.unwrap();
                repository.remove_unused_artefacts(&Contents::new(), now).await.unwrap();
            };
            (false, Box::pin(tidied))
        }
        1 => (true, Box::pin(async move { remove(repository, name).await.unwrap() })),
        // What was kept may have been cleared away meanwhile.
        2 | 3 => (true, Box::pin(async move { drop(restore(repository, name).await) })),
        4 => (true, Box::pin(prune_oldest(repository, name))),
        _ => (true, Box::pin(async move { drop(deploy(repository, name, file).await.unwrap()) })),
    };
    Task { begun, is_change, done }
}

fn run(seed: u64, folder: &Path) -> Result<(), String> {
    let (bucket, mut random, start) =
        (Arc::new(Bucket::default()), Rng::with_seed(seed), Instant::now());
    let node = |_| {
        let artefacts = Artefacts::open(Arc::clone(&bucket) as _, folder.to_owned()).unwrap();
        Repository::new(Arc::clone(&bucket) as _, Arc::new(artefacts))
    };
    let nodes: Vec<Repository> = (0..NODES).map(node).collect();
    let mut tasks: Vec<Option<Task<'_>>> = (0..NODES).map(|_| None).collect();
    let mut context = Context::from_waker(Waker::noop());
    for at in 0.. {
        let late = |task: &Option<Task<'_>>| {
            task.as_ref().is_some_and(|task| task.is_change && at - task.begun > CHANGE_STEPS)
        };
        let node = tasks.iter().position(late).unwrap_or_else(|| random.usize(..NODES));
        if tasks[node].is_none() && at < STEPS {
            tasks[node] = Some(begin(&nodes[node], &mut random, at, start + STEP * at));
        }
        if let Some(task) = &mut tasks[node]
            && task.done.as_mut().poll(&mut context).is_ready()
        {
            tasks[node] = None;
        }
        if at >= STEPS && tasks.iter().all(Option::is_none) {
            break;
        }
    }
    bucket.check()
}

#[test]
fn what_a_deploy_has_made_stays_whoever_tidies_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..SEEDS {
        if let Err(wrong) = run(seed, folder.path()) {
            panic!("seed {seed}: {wrong}");
        }
    }
}
