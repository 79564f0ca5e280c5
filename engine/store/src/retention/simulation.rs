//! Several nodes with policies and clocks that a seed chooses, and a store whose clock is set now
//! and then, for some weeks. Whatever goes, no node that runs keeps it, nor one that ran within a
//! week: not by the store's clock, nor by what that was at any time of the last three quarters of
//! an hour.

use abi::function::Kind;
use api::options::Options;
use fastrand::Rng;

use super::memory::Memory;
use super::segments;
use super::*;
use crate::artefacts::Artefacts;
use crate::contents::Contents;
use crate::manifest::Manifest;
use crate::repository::Repository;
use crate::stored::sealed;
use host::files;

const SEEDS: u64 = 40;
/// Of ten minutes, or so.
const STEPS: u32 = 2500;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NODES: usize = 4;
/// What the store's clock may be wrong by without anybody's notice, and more.
const SLACK: Duration = Duration::from_secs(15 * 60);
/// For how long a clock that was set has to stay so before it may be believed.
const UNBELIEVED: Duration = Duration::from_secs(45 * 60);

/// A node. Its clock is wrong by `wrong_s`, from the first day on.
struct Node {
    retention: Retention,
    runs: bool,
    wrong_s: u64,
    looked: Duration,
    retained: Option<Duration>,
    /// What it last wrote, and when by the store's clock; the policy that it has promised.
    written: Option<(Policy, SystemTime)>,
}

struct World {
    memory: Arc<Memory>,
    random: Rng,
    folder: tempfile::TempDir,
    repository: Repository,
    nodes: Vec<Node>,
    /// On everybody's monotonic clock.
    passed: Duration,
    start: SystemTime,
    /// How far the store's clock is ahead of what has passed, since when, the last one last.
    ahead: Vec<(Duration, Duration)>,
    deleted: (usize, usize),
}

impl World {
    fn new(seed: u64) -> Self {
        let (memory, folder) = (Arc::new(Memory::new()), tempfile::tempdir().unwrap());
        let objects: Arc<dyn Objects> = Arc::clone(&memory) as _;
        let artefacts = Artefacts::open(Arc::clone(&objects), folder.path().join("artefacts"));
        let repository = Repository::new(objects, Arc::new(artefacts.unwrap()));
        let (start, ahead) = (memory.now(), vec![(Duration::ZERO, 100 * DAY)]);
        let (nodes, random) = (Vec::new(), Rng::with_seed(seed));
        let (passed, deleted) = (Duration::ZERO, (0, 0));
        let mut world =
            Self { memory, random, folder, repository, nodes, passed, start, ahead, deleted };
        for number in 0..NODES {
            let node = world.started(number);
            world.nodes.push(node);
        }
        world
    }

    /// A node that starts, with a policy of its own.
    fn started(&mut self, number: usize) -> Node {
        let random = &mut self.random;
        let hours = |hours: u64| hours * 3_600_000;
        let policy = Policy {
            logs_kept_for_ms: hours([0, 1, 5, 48, 24 * 9][random.usize(..5)]),
            logs_kept_bytes: 1 << random.u64(..12),
            versions_kept: random.u32(1..=4),
            versions_kept_for_ms: hours([0, 1, 30, 24 * 8][random.usize(..4)]),
        };
        let wrong_s = [0, random.u64(..1_000_000_000), 1_800_000_000][random.usize(..3)];
        let data = self.folder.path().join(number.to_string());
        std::fs::create_dir_all(&data).unwrap();
        let objects: Arc<dyn Objects> = Arc::clone(&self.memory) as _;
        let retention = Retention::new(objects, (&data, "node"), policy, HOUR).unwrap();
        let written = self.nodes.get(number).and_then(|node| node.written);
        Node { retention, runs: true, wrong_s, looked: Duration::ZERO, retained: None, written }
    }

    fn pass(&mut self, time: Duration) {
        self.passed += time;
        let (_, ahead) = *self.ahead.last().unwrap();
        self.memory.set_clock(self.start + ahead + self.passed);
    }

    /// Sets the store's clock, for ever or for a while.
    fn jump(&mut self) {
        let by = [MINUTE, 20 * MINUTE, 3 * DAY, 400 * DAY][self.random.usize(..4)];
        let (_, ahead) = *self.ahead.last().unwrap();
        let back = self.random.u32(..2) == 0;
        let ahead = if back { ahead.saturating_sub(by) } else { ahead + by };
        self.ahead.push((self.passed, ahead));
        self.pass(Duration::ZERO);
    }

    /// The time that nobody may take for later: the earliest of what the store's clock has said
    /// lately.
    fn now(&self) -> SystemTime {
        let since = self.passed.saturating_sub(UNBELIEVED);
        let current = self.ahead.iter().rposition(|(from, _)| *from <= since).unwrap_or(0);
        let least = self.ahead[current..].iter().map(|(_, ahead)| *ahead).min().unwrap();
        self.start + least + self.passed + SLACK
    }

    /// A policy that did not count at some time never counts again, whatever the clock says then.
    fn forget(&mut self) {
        let now = self.now();
        for node in self.nodes.iter_mut().filter(|node| !node.runs) {
            let age = |at: SystemTime| now.duration_since(at).unwrap_or_default();
            node.written = node.written.filter(|(_, at)| age(*at) <= COUNTS_FOR);
        }
    }

    /// What every node keeps that runs, or has written so lately that it counts.
    fn promised(&self) -> Vec<Policy> {
        self.nodes.iter().filter_map(|node| node.written).map(|(policy, _)| policy).collect()
    }

    /// Whether somebody keeps a segment: it is young, and in what is newest.
    fn keeps_segment(&self, key: &str) -> bool {
        let all = self.memory.all();
        let (_, modified, _) = &all[key];
        // Of those of one time, any may be the older one.
        let newer =
            all.iter().filter(|(key, (_, at, _))| key.starts_with("logs/") && at >= modified);
        let bytes: u64 = newer.map(|(_, (object, ..))| object.len() as u64).sum();
        let age = self.now().duration_since(*modified).unwrap_or_default().as_millis();
        let promised = self.promised();
        let young = promised.iter().any(|policy| {
            policy.logs_kept_for_ms > 0 && age <= u128::from(policy.logs_kept_for_ms)
        });
        young && promised.iter().any(|policy| bytes <= policy.logs_kept_bytes)
    }

    /// Whether somebody keeps a version: it is young, or among the newest.
    fn keeps_version(&self, version: &Manifest, newer: usize) -> bool {
        let key = format!("versions/a/{}.json", version.version);
        let (_, modified, _) = self.memory.all()[&key];
        let age = self.now().duration_since(modified).unwrap_or_default().as_millis();
        self.promised().iter().any(|policy| {
            let kept_for_ms = policy.versions_kept_for_ms;
            (kept_for_ms > 0 && age <= u128::from(kept_for_ms))
                || newer < usize::try_from(policy.versions_kept).unwrap()
        })
    }

    /// A node looks, as [`logs`] has it look.
    async fn look(&mut self, number: usize) -> Verdict {
        let (passed, now) = (self.passed, self.memory.now());
        let node = &mut self.nodes[number];
        node.written = Some((node.retention.own, now));
        node.looked = passed;
        node.retention.look_by(|| passed).await.unwrap()
    }

    async fn delete_logs(&mut self, number: usize) -> Result<(), String> {
        let listed = self.memory.list("logs/", "").await.unwrap();
        let verdict = self.look(number).await;
        self.nodes[number].retained = Some(self.passed);
        for key in segments::to_remove(listed, &verdict) {
            if self.keeps_segment(&key) {
                let promised = self.promised();
                return Err(format!(
                    "node {number} deletes {key}, by {verdict:?}; promised was {promised:?}"
                ));
            }
            self.memory.delete(&key).await.unwrap();
            self.deleted.0 += 1;
        }
        Ok(())
    }

    /// Deploys a version and removes old ones, as a deploy does.
    async fn deploy(&mut self, number: usize) -> Result<(), String> {
        let function = self.repository.read_function("a", &Contents::new()).await.unwrap();
        let wrong_s = self.nodes[number].wrong_s;
        let version = Manifest::new("a", Kind::Http02, Options::default(), files::hex(&[7; 32]), 1);
        let mut id = version.version.clone();
        id.replace_range(..8, &format!("{:08x}", wrong_s + self.passed.as_secs()));
        let created_ms = 1000 * wrong_s;
        let next = function.next_number();
        let version = Manifest { version: id.clone(), number: next, created_ms, ..version };
        self.memory.write(&format!("versions/a/{id}.json"), sealed(&version).unwrap());
        let function = self.repository.read_function("a", &Contents::new()).await.unwrap();
        let verdict = self.look(number).await;
        for version in versions::to_remove(&function, &verdict) {
            let newer = function.versions().filter(|other| other.number > version.number).count();
            if self.keeps_version(&version, newer) {
                let number = version.number;
                let promised = self.promised();
                return Err(format!(
                    "a deploy removes version {number}, by {verdict:?}; promised was {promised:?}"
                ));
            }
            self.repository.remove_version(&version).await.unwrap();
            self.deleted.1 += 1;
        }
        Ok(())
    }

    /// A segment is shipped by a node, whose clock makes its name.
    fn ship(&mut self, number: usize) {
        let last_ms = 1000 * (self.nodes[number].wrong_s + self.passed.as_secs());
        let (id, bytes) = (uuid::Uuid::now_v7(), 1 + self.random.u64(..40));
        let key = format!("logs/2026-11-22/08/{last_ms:013}-{last_ms:013}-node-{id}.log");
        self.memory.write(&key, vec![0; usize::try_from(bytes).unwrap()]);
    }

    /// Something happens on a node, if it runs, or to it.
    async fn happen(&mut self) -> Result<(), String> {
        self.forget();
        let number = self.random.usize(..NODES);
        let runs = self.nodes[number].runs;
        match self.random.u64(..100) {
            0 => self.nodes[number].runs = false,
            1 if !runs => self.nodes[number] = self.started(number),
            10 if runs => self.nodes[number] = self.started(number),
            11 => self.jump(),
            // The store is away.
            12 if self.random.u32(..8) == 0 => {
                let hours = [1, 20, 400][self.random.usize(..3)];
                self.pass(HOUR * hours);
            }
            12..20 if runs => self.deploy(number).await?,
            20..60 if runs => self.ship(number),
            60 => {
                // Somebody damages what a node has written.
                let key = self.nodes[number].retention.key.clone();
                if self.memory.all().contains_key(&key) {
                    self.memory.write(&key, b"damaged".to_vec());
                    let now = self.memory.now();
                    let node = &mut self.nodes[number];
                    node.written = node.written.map(|(policy, _)| (policy, now));
                }
            }
            _ => {}
        }
        self.forget();
        for number in 0..NODES {
            let Node { runs, looked, retained, ref retention, .. } = self.nodes[number];
            let due = |last: Duration, interval| self.passed.saturating_sub(last) >= interval;
            if !runs {
                continue;
            }
            if retained.is_none_or(|last| due(last, retention.interval())) {
                self.delete_logs(number).await?;
            } else if due(looked, retention.refresh_interval()) {
                self.look(number).await;
            }
        }
        Ok(())
    }
}

async fn run(seed: u64) -> Result<(usize, usize), String> {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        let time = MINUTE * world.random.u32(..20);
        world.pass(time);
        world.happen().await?;
    }
    Ok(world.deleted)
}

#[tokio::test]
async fn nobody_deletes_what_anybody_keeps_whatever_the_clocks_say() {
    let mut deleted = (0, 0);
    for seed in 0..SEEDS {
        match run(seed).await {
            Ok((logs, versions)) => deleted = (deleted.0 + logs, deleted.1 + versions),
            Err(wrong) => panic!("seed {seed}: {wrong}"),
        }
    }
    // It would be easy to delete nothing.
    assert!(deleted.0 > 1000 && deleted.1 > 100, "{deleted:?}");
}
