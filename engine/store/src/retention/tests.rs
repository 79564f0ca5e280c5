//! A node's looks at a store whose clock goes as the test wants it. Owns no fds.

use super::memory::Memory;
use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

const STRICT: Policy =
    Policy { logs_kept_for_ms: 1, logs_kept_bytes: 1, versions_kept: 1, versions_kept_for_ms: 0 };
const GENEROUS: Policy = Policy {
    logs_kept_for_ms: 1000,
    logs_kept_bytes: 0,
    versions_kept: 9,
    versions_kept_for_ms: 5,
};

/// A store, nodes on it, and what has passed on their monotonic clocks.
struct World {
    memory: Arc<Memory>,
    folder: tempfile::TempDir,
    passed: Duration,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { memory: Arc::new(Memory::new()), folder, passed: Duration::ZERO }
    }

    /// A node that is started, perhaps not for the first time.
    fn node(&self, name: &str, policy: Policy) -> Retention {
        let data = self.folder.path().join(name);
        std::fs::create_dir_all(&data).unwrap();
        let objects: Arc<dyn Objects> = Arc::clone(&self.memory) as _;
        Retention::new(objects, (&data, name), policy, HOUR).unwrap()
    }

    /// Time passes, on all clocks.
    fn pass(&mut self, time: Duration) {
        self.passed += time;
        self.jump(time);
    }

    /// Somebody sets the store's clock.
    fn jump(&self, by: Duration) {
        self.memory.set_clock(self.memory.now() + by);
    }

    async fn look(&self, node: &Retention) -> Verdict {
        node.look_by(|| self.passed).await.unwrap()
    }

    fn policies(&self) -> Vec<String> {
        self.memory.all().keys().filter(|key| key.starts_with(FOLDER)).cloned().collect()
    }
}

#[tokio::test]
async fn the_most_generous_policy_counts_field_by_field_for_seven_days() {
    let mut world = World::new();
    let (strict, generous) = (world.node("strict", STRICT), world.node("generous", GENEROUS));
    assert_eq!(world.look(&strict).await.policy, STRICT);
    world.look(&generous).await;
    let both = Policy { logs_kept_bytes: 1, ..GENEROUS };
    assert_eq!(world.look(&strict).await.policy, both);
    // The generous node is gone, and so are its looks.
    for _ in 0..7 * 24 * 4 {
        world.pass(15 * MINUTE);
        assert_eq!(world.look(&strict).await.policy, both);
    }
    world.pass(15 * MINUTE);
    assert_eq!(world.look(&strict).await.policy, STRICT);
    assert_eq!(world.policies().len(), 1, "it is removed");
    world.look(&generous).await;
    assert_eq!(world.look(&strict).await.policy, both);
}

#[tokio::test]
async fn a_node_that_restarts_with_another_policy_has_one() {
    let world = World::new();
    world.look(&world.node("one", GENEROUS)).await;
    let one = world.node("one", STRICT);
    assert_eq!(world.look(&one).await.policy, STRICT);
    assert_eq!(world.policies().len(), 1);
    // Another engine of the same node has taken over.
    one.hand_over();
    assert!(matches!(one.look().await, Err(RetentionError::TakenOver)));
}

#[tokio::test]
async fn nothing_is_old_at_a_first_look_nor_by_a_clock_that_jumps() {
    let mut world = World::new();
    let (node, written) = (world.node("one", STRICT), world.memory.now());
    let old = |verdict: Verdict| verdict.is_older(written, 60_000);
    world.pass(100 * HOUR);
    assert!(!old(world.look(&node).await));
    world.pass(54 * MINUTE);
    assert!(!old(world.look(&node).await));
    world.pass(MINUTE);
    assert!(old(world.look(&node).await));
    world.jump(400 * 24 * HOUR);
    assert!(!old(world.look(&node).await));
    world.pass(30 * MINUTE);
    assert!(!old(world.look(&node).await));
    world.pass(25 * MINUTE);
    assert!(old(world.look(&node).await));
    // What is not kept at all needs no clock.
    let first = world.node("other", STRICT);
    assert!(world.look(&first).await.is_older(written, 0));
}

#[tokio::test]
async fn a_clock_that_jumps_a_month_lets_no_policy_of_a_running_node_expire() {
    let mut world = World::new();
    let (strict, generous) = (world.node("strict", STRICT), world.node("generous", GENEROUS));
    for quarter in 0..40 {
        if quarter == 20 {
            world.jump(30 * 24 * HOUR);
        }
        // The strict one sees the new time just before the other one writes by it.
        let verdict = world.look(&strict).await;
        assert!(quarter == 0 || verdict.policy.versions_kept == 9, "{quarter}");
        world.look(&generous).await;
        world.pass(15 * MINUTE);
    }
}

#[tokio::test]
async fn a_store_that_was_away_for_weeks_lets_no_policy_of_a_running_node_expire() {
    let mut world = World::new();
    let (strict, generous) = (world.node("strict", STRICT), world.node("generous", GENEROUS));
    for away in [Duration::ZERO, 15 * MINUTE, 20 * 24 * HOUR, 15 * MINUTE, 15 * MINUTE] {
        world.pass(away);
        // The strict one is the first to see it again.
        let verdict = world.look(&strict).await;
        assert!(away.is_zero() || verdict.policy.versions_kept == 9, "{away:?}");
        world.look(&generous).await;
    }
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_keeps_everything_until_it_is_gone() {
    let world = World::new();
    let (one, other) = (world.node("one", STRICT), world.node("other", STRICT));
    world.look(&other).await;
    world.memory.write(&other.key, b"{}".to_vec());
    world.memory.write("retention/notes.txt", b"not ours".to_vec());
    assert_eq!(world.look(&one).await.policy, Policy::EVERYTHING);
    world.look(&other).await;
    assert_eq!(world.look(&one).await.policy, STRICT);
    world.memory.write(&other.key, checked::seal(b"{\"logs_kept_for_ms\": 1}"));
    assert_eq!(world.look(&one).await.policy, Policy::EVERYTHING);
    world.memory.all().remove(&other.key);
    assert_eq!(world.look(&one).await.policy, STRICT);
}

#[tokio::test]
async fn nothing_is_written_into_what_is_no_store_of_todays_format() {
    let world = World::new();
    let node = world.node("one", STRICT);
    for format in [None, Some("sockhop-store 1\n"), Some("sockhop-store 9\n")] {
        world.memory.all().clear();
        format.iter().for_each(|format| world.memory.write(FORMAT_KEY, (*format).into()));
        assert!(matches!(node.look().await, Err(RetentionError::NotYet(_))), "{format:?}");
        assert!(world.policies().is_empty());
    }
    assert!(node.last().is_none());
    assert_eq!(node.policy(), STRICT);
}
