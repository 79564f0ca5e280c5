//! What the fleet answers to single events; the simulation covers their mixtures.

use super::*;
use crate::core::watch::Seen;

const IDLE: Duration = Duration::from_secs(60);
/// Looks at a worker that waits for nothing of the machine's, until it is given up.
const STARTING_LOOKS: u32 = 40;

struct Story {
    fleet: Fleet,
    now: Instant,
}

impl Story {
    fn new(cores: usize) -> Self {
        Self::with_edges(cores, 0)
    }

    fn with_edges(cores: usize, edges: usize) -> Self {
        let (now, shared, edges) = (Instant::now(), (0..cores).collect(), (0..edges).collect());
        let plan = Plan { shared, edges, ends_tls: true, own_idle_timeout: IDLE };
        Self { fleet: Fleet::new(plan, 1, now), now }
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.fleet.on(event, self.now)
    }

    fn wait(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.fleet.move_on(self.now)
    }

    /// Brings every process that has been started to serve the newest catalogue.
    fn all_serve(&mut self) -> Vec<Action> {
        let mut actions = self.wait(Duration::ZERO);
        for worker in self.fleet.running_workers() {
            if !self.fleet.serves(worker) {
                actions.extend(self.on(Event::Hello { worker, same_build: true }));
            }
            actions.extend(self.on(Event::Flushed(worker)));
            let generation = self.fleet.generation();
            actions.extend(self.on(Event::Applied { worker, generation }));
        }
        actions
    }

    fn looks(&mut self, worker: WorkerId, look: Look, times: u32) -> Vec<Action> {
        let mut actions = Vec::new();
        for _ in 0..times {
            self.now += LOOK_INTERVAL;
            assert!(self.fleet.is_look_due(self.now));
            self.fleet.look(worker, look, 0, self.now);
            actions.extend(self.fleet.move_on(self.now));
        }
        actions
    }
}

#[test]
fn an_edge_takes_connections_knows_no_catalogue_and_is_never_idle() {
    let mut story = Story::with_edges(1, 1);
    let mut actions = story.wait(Duration::ZERO);
    let edge = worker(1, 1);
    actions.extend(story.on(Event::Hello { worker: edge, same_build: true }));
    assert!(actions.contains(&Action::Accept { worker: edge, pool: Pool::Edge }), "{actions:?}");
    let serving = story.on(Event::Applied { worker: edge, generation: 0 });
    assert_eq!(ready(&serving), Some(vec![1]));
    let _ = story.on(Event::Hello { worker: worker(0, 1), same_build: true });
    let _ = story.on(Event::Flushed(worker(0, 1)));
    let _ = story.on(Event::Applied { worker: worker(0, 1), generation: 1 });
    assert_eq!(story.on(publish(2, &["own"])), [Action::SendCatalogue(worker(0, 1))]);
    // The edge has not read its certificates yet.
    let routed = story.on(Event::Flushed(worker(0, 1)));
    assert!(matches!(&routed[..], [Action::Serve { generation: 2, .. }]), "{routed:?}");
    let done = story.on(Event::Applied { worker: worker(0, 1), generation: 2 });
    assert_eq!(answered(&done), [(2, Ok(()))], "a change waits for no edge");
    for beats in 1..=100 {
        let seen = Seen { heartbeat_ms: beats, ..Seen::default() };
        let looked = story.looks(edge, Look { seen, busy: false }, 1);
        assert!(!looked.iter().any(|action| matches!(action, Action::SendDrain(_))), "{looked:?}");
    }
    let mut died = story.on(Event::Exited(edge));
    assert_eq!(ready(&died), Some(vec![0]));
    died.extend(story.wait(Duration::from_secs(60)));
    assert!(died.contains(&Action::Start { worker: worker(1, 2), core: 0 }), "{died:?}");
}

#[test]
fn an_edge_goes_on_by_itself_only_when_the_node_is_handed_over() {
    let mut story = Story::with_edges(1, 1);
    let _ = story.all_serve();
    let (edge, shared) = (worker(1, 1), worker(0, 1));
    let early = story.on(Event::Detached(edge));
    assert!(
        matches!(&early[..], [.., Action::Kill { worker, .. }] if *worker == edge),
        "{early:?}"
    );
    let mut story = Story::with_edges(1, 1);
    let _ = story.all_serve();
    let drained = story.on(Event::Drain);
    assert!(drained.contains(&Action::SendDrain(edge)), "{drained:?}");
    let _ = story.on(Event::Draining(edge));
    assert_eq!(story.on(Event::Detached(edge)), [Action::Release(edge)]);
    assert!(story.on(Event::Detached(edge)).is_empty(), "it is not known any more");
    let not_an_edge = story.on(Event::Detached(shared));
    assert!(matches!(&not_an_edge[..], [.., Action::Kill { .. }]), "{not_an_edge:?}");
    let _ = story.on(Event::Exited(shared));
    assert!(story.fleet.is_empty());
}

fn worker(slot: usize, incarnation: u64) -> WorkerId {
    WorkerId { slot, incarnation }
}

fn publish(generation: u64, own: &[&str]) -> Event {
    Event::Publish {
        generation,
        own: own.iter().map(ToString::to_string).collect(),
        ticket: generation,
    }
}

fn answered(actions: &[Action]) -> Vec<(Ticket, Result<(), PublishError>)> {
    let answer = |action: &Action| match action {
        Action::Answer { ticket, outcome } => Some((*ticket, outcome.clone())),
        _ => None,
    };
    actions.iter().filter_map(answer).collect()
}

/// Who gets connections, as of the last word.
fn ready(actions: &[Action]) -> Option<Vec<usize>> {
    actions.iter().rev().find_map(|action| match action {
        Action::Serve { ready, .. } => Some(ready.iter().map(|(_, worker)| worker.slot).collect()),
        _ => None,
    })
}

#[test]
fn a_change_is_answered_when_every_worker_serves_it_and_routed_by_when_all_have_it() {
    let mut story = Story::new(2);
    story.all_serve();
    let begun = story.on(publish(2, &[]));
    assert_eq!(begun, [Action::SendCatalogue(worker(0, 1)), Action::SendCatalogue(worker(1, 1))]);
    assert_eq!(story.on(Event::Flushed(worker(0, 1))), []);
    let routed = story.on(Event::Flushed(worker(1, 1)));
    assert!(
        matches!(&routed[..], [Action::Serve { generation: 2, ready }] if ready.len() == 2),
        "{routed:?}"
    );
    assert_eq!(story.on(Event::Applied { worker: worker(1, 1), generation: 2 }), []);
    let done = story.on(Event::Applied { worker: worker(0, 1), generation: 2 });
    assert_eq!(answered(&done), [(2, Ok(()))]);
}

#[test]
fn a_change_that_a_worker_does_not_read_is_answered_in_time_and_the_worker_goes() {
    let mut story = Story::new(1);
    story.all_serve();
    let _ = story.on(publish(2, &[]));
    let late = story.wait(event::PUBLISH_TIMEOUT);
    assert!(late.iter().any(|action| matches!(action, Action::Kill { .. })), "{late:?}");
    assert_eq!(answered(&late), [(2, Err(PublishError::Slow))]);
}

#[test]
fn a_functions_own_worker_comes_when_it_is_wanted_and_goes_when_it_is_idle() {
    let mut story = Story::new(1);
    story.all_serve();
    let _ = story.on(publish(2, &["own"]));
    assert_eq!(
        answered(&story.all_serve()),
        [(2, Ok(()))],
        "nobody waits for a worker that nobody wants"
    );
    let started = story.on(Event::Needed(Pool::Function("own".into())));
    assert_eq!(started, [Action::Start { worker: worker(1, 1), core: 0 }]);
    assert_eq!(story.on(Event::Needed(Pool::Function("own".into()))), []);
    assert_eq!(ready(&story.all_serve()), Some(vec![0, 1]));

    let beating = |beat| Look { seen: Seen { heartbeat_ms: beat, ..Seen::default() }, busy: false };
    assert_eq!(story.looks(worker(1, 1), beating(1), 1), []);
    story.now += IDLE;
    let leaves = story.looks(worker(1, 1), beating(2), 1);
    assert_eq!(ready(&leaves), Some(vec![0]));
    assert!(leaves.contains(&Action::SendDrain(worker(1, 1))), "{leaves:?}");
    // Wanted while it goes: the next one starts as soon as it has gone.
    assert_eq!(story.on(Event::Needed(Pool::Function("own".into()))), []);
    let again = story.on(Event::Exited(worker(1, 1)));
    assert!(again.contains(&Action::Start { worker: worker(1, 2), core: 0 }), "{again:?}");
    assert!(again.contains(&Action::Reap(worker(1, 1))), "{again:?}");
    assert!(!again.iter().any(|action| matches!(action, Action::ReportDeath { .. })), "{again:?}");
}

#[test]
fn a_silent_worker_gets_no_connections_until_it_beats_and_is_killed_in_the_end() {
    let mut story = Story::new(2);
    story.all_serve();
    let still = Look { seen: Seen { heartbeat_ms: 7, ..Seen::default() }, busy: true };
    assert_eq!(ready(&story.looks(worker(0, 1), still, 4)), Some(vec![1]));
    let moved = Look { seen: Seen { heartbeat_ms: 8, ..Seen::default() }, busy: true };
    assert_eq!(ready(&story.looks(worker(0, 1), moved, 1)), Some(vec![0, 1]));
    let given_up = story.looks(worker(0, 1), moved, 100);
    assert_eq!(
        given_up.iter().filter(|action| matches!(action, Action::Kill { .. })).count(),
        1,
        "{given_up:?}"
    );
}

#[test]
fn a_removed_function_takes_its_worker_along() {
    let mut story = Story::new(1);
    let _ = story.on(publish(2, &["own"]));
    let _ = story.on(Event::Needed(Pool::Function("own".into())));
    story.all_serve();
    let gone = story.on(publish(3, &[]));
    assert!(gone.contains(&Action::SendDrain(worker(1, 1))), "{gone:?}");
    assert_eq!(ready(&gone), Some(vec![0]));
    assert!(
        !gone.contains(&Action::SendCatalogue(worker(1, 1))),
        "it serves what it has to its end"
    );
    let _ = story.on(Event::Exited(worker(1, 1)));
    assert_eq!(story.fleet.slots().count(), 1);
}

#[test]
fn nothing_that_a_worker_says_out_of_turn_is_believed() {
    let mut story = Story::new(1);
    story.wait(Duration::ZERO);
    let killed =
        |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Kill { .. }));
    assert!(killed(&story.on(Event::Applied { worker: worker(0, 1), generation: 1 })));
    let _ = story.on(Event::Exited(worker(0, 1)));
    story.wait(Duration::from_secs(1));
    assert!(killed(&story.on(Event::Hello { worker: worker(0, 2), same_build: false })));
    let _ = story.on(Event::Exited(worker(0, 2)));
    story.wait(Duration::from_secs(1));
    let _ = story.on(Event::Hello { worker: worker(0, 3), same_build: true });
    assert!(killed(&story.on(Event::Applied { worker: worker(0, 3), generation: 9 })));
    // One that is gone says nothing any more.
    assert_eq!(story.on(Event::Applied { worker: worker(0, 2), generation: 1 }), []);
}

#[test]
fn a_worker_that_says_nothing_or_dies_at_once_is_replaced_ever_later() {
    let mut story = Story::new(1);
    story.wait(Duration::ZERO);
    assert_eq!(story.looks(worker(0, 1), Look::default(), STARTING_LOOKS - 1), []);
    let late = story.looks(worker(0, 1), Look::default(), 1);
    assert!(matches!(&late[..], [.., Action::Kill { .. }]), "{late:?}");
    let died = story.on(Event::Exited(worker(0, 1)));
    assert!(matches!(died[0], Action::ReportDeath { failed_starts: 1, .. }), "{died:?}");
    assert_eq!(story.wait(Duration::from_millis(99)), []);
    story.wait(Duration::from_millis(1));
    for incarnation in 2..8 {
        let _ = story.on(Event::Exited(worker(0, incarnation)));
        assert_eq!(
            story.wait(Duration::from_millis(50)),
            [],
            "the next after the {incarnation}th came too soon"
        );
        story.wait(Duration::from_secs(10));
    }
    assert_eq!(story.fleet.slots[&0].failed_starts(), 7);
}

/// One that the machine gives no processor is waited for, and so is who waits for it; one that has
/// had its time is not.
#[test]
fn a_busy_machine_is_no_reason_to_give_up_a_worker_that_starts() {
    let starved = Some(crate::core::watch::Process { runnable: true, cpu: Duration::ZERO });
    let starved = Look { seen: Seen { process: starved, ..Seen::default() }, busy: false };
    let mut story = Story::new(2);
    let _ = story.on(publish(2, &[]));
    let _ = story.on(Event::Hello { worker: worker(1, 1), same_build: true });
    let _ = story.on(Event::Flushed(worker(1, 1)));
    for starting in [worker(0, 1), worker(1, 1)] {
        assert_eq!(
            story.looks(starting, starved, 2 * STARTING_LOOKS),
            [],
            "after {:?}",
            event::PUBLISH_TIMEOUT
        );
    }
    let _ = story.on(Event::Hello { worker: worker(0, 1), same_build: true });
    let _ = story.on(Event::Flushed(worker(0, 1)));
    assert_eq!(answered(&story.on(Event::Applied { worker: worker(0, 1), generation: 2 })), []);
    let served = story.on(Event::Applied { worker: worker(1, 1), generation: 2 });
    assert_eq!(answered(&served), [(2, Ok(()))]);
    // It says hello, and then waits for something that does not come.
    let mut story = Story::new(1);
    let _ = story.on(publish(2, &[]));
    assert_eq!(story.looks(worker(0, 1), Look::default(), STARTING_LOOKS - 1), []);
    let _ = story.on(Event::Hello { worker: worker(0, 1), same_build: true });
    let _ = story.on(Event::Flushed(worker(0, 1)));
    assert_eq!(answered(&story.looks(worker(0, 1), Look::default(), STARTING_LOOKS - 1)), []);
    let late = story.looks(worker(0, 1), Look::default(), 1);
    assert!(late.iter().any(|action| matches!(action, Action::Kill { .. })), "{late:?}");
    assert_eq!(answered(&late), [(2, Err(PublishError::Slow))], "nobody is waited for any more");
}

#[test]
fn draining_ends_with_nobody() {
    let mut story = Story::new(2);
    story.all_serve();
    let _ = story.on(publish(2, &[]));
    let drained = story.on(Event::Drain);
    assert_eq!(answered(&drained), [(2, Err(PublishError::Stopping))]);
    assert!(
        drained.contains(&Action::SendDrain(worker(0, 1)))
            && drained.contains(&Action::SendDrain(worker(1, 1)))
    );
    let _ = story.on(Event::Exited(worker(0, 1)));
    assert!(!story.fleet.is_empty());
    let _ = story.on(Event::Kill);
    let _ = story.on(Event::Exited(worker(1, 1)));
    assert!(story.fleet.is_empty());
    assert_eq!(answered(&story.on(publish(3, &[]))), [(3, Err(PublishError::Stopping))]);
}

#[test]
fn a_trial_has_a_worker_of_its_own_that_serves_nothing_and_goes_when_it_is_done() {
    let mut story = Story::new(1);
    story.all_serve();
    let trial = Pool::Trial("own".into());
    assert_eq!(
        story.on(Event::Needed(trial.clone())),
        [Action::Start { worker: worker(1, 1), core: 0 }]
    );
    assert_eq!(story.on(Event::Needed(trial.clone())), []);
    let accepted = story.on(Event::Hello { worker: worker(1, 1), same_build: true });
    assert_eq!(accepted, [Action::Accept { worker: worker(1, 1), pool: trial.clone() }]);
    let applied = story.on(Event::Applied { worker: worker(1, 1), generation: 1 });
    assert_eq!(ready(&applied), Some(vec![0]), "it gets no connections");
    // What is published meanwhile does not wait for it, nor take it away.
    assert_eq!(story.on(publish(2, &["other"])), [Action::SendCatalogue(worker(0, 1))]);
    let _ = story.on(Event::Flushed(worker(0, 1)));
    let done = story.on(Event::Applied { worker: worker(0, 1), generation: 2 });
    assert_eq!(answered(&done), [(2, Ok(()))]);
    let over = story.on(Event::TrialsDone(worker(1, 1)));
    assert!(over.contains(&Action::SendDrain(worker(1, 1))), "{over:?}");
    let _ = story.on(Event::Draining(worker(1, 1)));
    let gone = story.on(Event::Exited(worker(1, 1)));
    assert!(gone.contains(&Action::Reap(worker(1, 1))), "{gone:?}");
    assert!(story.fleet.slots().all(|(_, slot)| slot.pool != trial));
    assert_eq!(story.wait(IDLE), []);
}
