//! The plan against a simulated CA, store and clock: whatever fails and whoever crashes, a week has
//! only so many orders, and a certificate is renewed before it ends. A seed that fails is replayed
//! by `SOCKHOP_SIMULATION_SEED=… cargo nextest run -p sockhop-acme simulated`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use host::backoff::Backoff;
use proptest::prelude::*;

use crate::plan::{self, Next, Policy, Validity, World};
use crate::record::Attempts;

const MINUTE: u64 = 60 * 1000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
/// Some time in 2027.
const START: u64 = 1_800_000_000_000;
const NAME: &str = "shop.example.com";
const SEEDS: u64 = 300;

/// How often what goes wrong, in a hundred attempts.
#[derive(Debug, Clone, Copy)]
struct Faults {
    challenge: u32,
    away: u32,
    crash: u32,
    /// The same after the CA has been asked to issue.
    crash_late: u32,
    /// The certificate vanishes from the store, an hour.
    lost: u32,
}

/// The store, the CA, and what the latter has seen.
#[derive(Debug)]
struct Simulation {
    rng: Rng,
    now: u64,
    lifetime: u64,
    faults: Faults,
    attempts: BTreeMap<String, Attempts>,
    authority: Attempts,
    held: BTreeMap<String, Validity>,
    away_until: u64,
    orders: Vec<u64>,
    issued: Vec<u64>,
    /// How long there was no valid certificate, after the first.
    uncovered: u64,
}

impl Simulation {
    fn new(seed: u64, lifetime: u64, faults: Faults) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            now: START,
            lifetime,
            faults,
            attempts: BTreeMap::new(),
            authority: Attempts::default(),
            held: BTreeMap::new(),
            away_until: 0,
            orders: Vec::new(),
            issued: Vec::new(),
            uncovered: 0,
        }
    }

    fn chance(&mut self, in_hundred: u32) -> bool {
        self.rng.u32(0..100) < in_hundred
    }

    fn run(&mut self, until: u64) {
        let wanted = BTreeSet::from([NAME.to_owned()]);
        while self.now < until {
            // Any of three nodes looks.
            let seed = self.rng.u64(0..3);
            let world = World {
                wanted: &wanted,
                held: &self.held,
                attempts: &self.attempts,
                authority: &self.authority,
                seed,
            };
            let before = self.now;
            match plan::next(world, self.now) {
                Next::Order(name) => {
                    assert_eq!(name, NAME);
                    self.attempt(seed);
                    self.now += self.rng.u64(1000..MINUTE);
                }
                Next::WaitUntil(due) => {
                    assert!(due > self.now, "a wait that is over");
                    self.now = due.min(self.now + HOUR);
                }
                other => panic!("{other:?}"),
            }
            if self.now - before >= HOUR && self.chance(self.faults.lost) {
                self.held.clear();
            }
            let ends = self.held.get(NAME).map(|held| held.ends_ms);
            if let Some(ends) = ends {
                self.uncovered += self.now.saturating_sub(ends.max(before));
            }
        }
    }

    /// As `order::attempt` writes it.
    fn attempt(&mut self, seed: u64) {
        let (policy, spread) = (Policy::STANDARD, plan::spread(seed, NAME));
        let held = self.held.get(NAME).copied();
        let before = self.attempts.get(NAME).cloned().unwrap_or_default();
        let mut record = plan::begin(before.clone(), policy, spread, held, self.now);
        self.authority = plan::charge_account(self.authority.clone(), self.now);
        self.attempts.insert(NAME.to_owned(), record.clone());
        if self.chance(self.faults.crash) {
            return;
        }
        // Up to a day, and then two days none.
        if self.now >= self.away_until + 2 * DAY && self.chance(self.faults.away) {
            self.away_until = self.now + self.rng.u64(0..DAY);
        }
        if self.now < self.away_until {
            let failures = self.authority.failures + 1;
            let begun = Attempts { failures, ..self.authority.clone() };
            let why = ("away".to_owned(), None);
            let policy = policy.of_authority();
            self.authority = plan::failed(begun, policy, (spread, None), why, self.now);
            record.failures = before.failures;
            record.not_before_ms = before.not_before_ms;
            self.attempts.insert(NAME.to_owned(), record);
            return;
        }
        self.orders.push(self.now);
        if self.chance(self.faults.crash) {
            return;
        }
        if self.chance(self.faults.challenge) {
            let why = ("no".to_owned(), None);
            let failed = plan::failed(record, policy, (spread, held), why, self.now);
            self.attempts.insert(NAME.to_owned(), failed);
            return;
        }
        record = plan::charge(record, held, self.now);
        self.attempts.insert(NAME.to_owned(), record.clone());
        self.issued.push(self.now);
        if self.chance(self.faults.crash_late) {
            return;
        }
        let got = Validity { issued_ms: self.now - 1, ends_ms: self.now - 1 + self.lifetime };
        self.held.insert(NAME.to_owned(), got);
        if self.chance(self.faults.crash) {
            return;
        }
        self.attempts.insert(NAME.to_owned(), plan::succeeded(record, got, self.now));
        if self.authority.failures > 0 {
            let well = Attempts { failures: 0, not_before_ms: 0, ..self.authority.clone() };
            self.authority = well;
        }
    }
}

/// The most of `times` that are in any span of this length.
fn most_within(span: u64, times: &[u64]) -> usize {
    let within =
        |start: u64| times.iter().filter(|time| (start..start + span).contains(time)).count();
    times.iter().map(|start| within(*start)).max().unwrap_or(0)
}

fn most_in_a_week(times: &[u64]) -> usize {
    most_within(WEEK, times)
}

fn each_seed(simulate: impl Fn(u64)) {
    match std::env::var("SOCKHOP_SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => simulate(seed),
        None => (0..SEEDS).for_each(simulate),
    }
}

#[test]
fn simulated_weeks_have_only_so_many_orders_whatever_crashes() {
    each_seed(|seed| {
        let limits = [(90 * DAY, 24, 4), (45 * DAY, 24, 4), (6 * DAY, 50, 5)];
        for (lifetime, orders_max, issued_max) in limits {
            let mut rng = Rng::with_seed(seed);
            let faults = Faults {
                challenge: rng.u32(0..101),
                away: rng.u32(0..30),
                crash: rng.u32(0..101),
                crash_late: rng.u32(0..101),
                lost: 0,
            };
            let mut simulation = Simulation::new(seed, lifetime, faults);
            simulation.run(START + 10 * WEEK);
            let orders = most_in_a_week(&simulation.orders);
            assert!(orders <= orders_max, "seed {seed}, {lifetime}: {orders} orders a week");
            let issued = most_in_a_week(&simulation.issued);
            assert!(issued <= issued_max, "seed {seed}, {lifetime}: {issued} certificates a week");
        }
    });
}

#[test]
fn simulated_losses_of_certificates_do_not_spend_what_the_ca_allows() {
    each_seed(|seed| {
        let faults = Faults { challenge: 20, away: 5, crash: 5, crash_late: 5, lost: 30 };
        let mut simulation = Simulation::new(seed, 90 * DAY, faults);
        simulation.run(START + 10 * WEEK);
        let issued = most_in_a_week(&simulation.issued);
        assert!((1..=4).contains(&issued), "seed {seed}: {issued} certificates a week");
    });
}

#[test]
fn simulated_certificates_are_renewed_before_they_end_if_the_ca_answers() {
    each_seed(|seed| {
        for lifetime in [HOUR, DAY, 6 * DAY, 45 * DAY, 90 * DAY] {
            let long = lifetime >= 6 * DAY;
            let faults = Faults {
                challenge: if long { 40 } else { 10 },
                away: if long { 2 } else { 0 },
                crash: if long { 5 } else { 2 },
                // What is lost so was issued, and the CA's limits go before a renewal in time.
                crash_late: 0,
                lost: 0,
            };
            let mut simulation = Simulation::new(seed, lifetime, faults);
            simulation.run(START + 10 * lifetime);
            let late = simulation.uncovered;
            assert_eq!(
                late, 0,
                "seed {seed}: a certificate of {lifetime} ms ended {late} ms before"
            );
            let renewals = simulation.issued.len();
            assert!((10..=60).contains(&renewals), "seed {seed}: {renewals} of {lifetime} ms");
        }
    });
}

fn world<'a>(
    wanted: &'a BTreeSet<String>,
    held: &'a BTreeMap<String, Validity>,
    attempts: &'a BTreeMap<String, Attempts>,
    authority: &'a Attempts,
) -> World<'a> {
    World { wanted, held, attempts, authority, seed: 7 }
}

#[test]
fn what_has_no_certificate_goes_before_what_is_renewed_and_a_failing_name_stands_in_no_way() {
    let wanted: BTreeSet<String> = ["a", "b", "c"].map(str::to_owned).into();
    let old = Validity { issued_ms: START - 80 * DAY, ends_ms: START + 10 * DAY };
    let held = BTreeMap::from([("a".to_owned(), old)]);
    let failing = Attempts { failures: 3, began_ms: START, ..Attempts::default() };
    let mut attempts = BTreeMap::from([("b".to_owned(), failing.clone())]);
    let (authority, none) = (Attempts::default(), BTreeMap::new());
    let next =
        |attempts: &_, authority: &_| plan::next(world(&wanted, &held, attempts, authority), START);
    assert_eq!(next(&attempts, &authority), Next::Order("c".to_owned()));
    let busy = Attempts { not_before_ms: START + 9, ..failing };
    attempts.insert("c".to_owned(), busy.clone());
    assert_eq!(next(&attempts, &authority), Next::Order("a".to_owned()));
    // The CA has asked for a pause, or is away: nothing is ordered.
    let paused = Attempts { began_ms: START, not_before_ms: START + HOUR, ..Attempts::default() };
    assert_eq!(next(&none, &paused), Next::WaitUntil(START + HOUR));
    let nothing = BTreeSet::new();
    let idle = plan::next(world(&nothing, &held, &attempts, &authority), START);
    assert_eq!(idle, Next::Nothing);
    let early = plan::next(world(&wanted, &held, &none, &authority), 0);
    assert_eq!(early, Next::WrongClock);
}

#[test]
fn a_record_of_a_clock_that_was_wrong_does_not_hold_a_name_for_good() {
    let wanted = BTreeSet::from([NAME.to_owned()]);
    let (held, authority) = (BTreeMap::new(), Attempts::default());
    let due = |record: Attempts| {
        let attempts = BTreeMap::from([(NAME.to_owned(), record)]);
        plan::due_ms(world(&wanted, &held, &attempts, &authority), NAME, START)
    };
    let ahead = Attempts {
        began_ms: START + 900 * DAY,
        not_before_ms: START + 901 * DAY,
        allowance_ms: START + 900 * DAY,
        ..Attempts::default()
    };
    assert_eq!(due(ahead.clone()), 0);
    let begun = plan::begin(ahead, Policy::STANDARD, 0.0, None, START);
    assert_eq!((begun.began_ms, begun.not_before_ms), (START, START + 2 * MINUTE));
    assert_eq!(begun.allowance_ms, 0);
    // One that says more than was ever written.
    let endless = Attempts {
        began_ms: START,
        not_before_ms: u64::MAX,
        allowance_ms: u64::MAX,
        ..Attempts::default()
    };
    assert!(due(endless) <= START + 9 * DAY);
}

#[test]
fn an_account_orders_no_more_than_the_ca_allows() {
    let mut authority = Attempts::default();
    let wanted: BTreeSet<String> = (0..600).map(|number| format!("n{number}")).collect();
    let mut held = BTreeMap::new();
    let (attempts, mut now, mut orders) = (BTreeMap::new(), START, Vec::new());
    while held.len() < wanted.len() {
        match plan::next(world(&wanted, &held, &attempts, &authority), now) {
            Next::Order(name) => {
                orders.push(now);
                authority = plan::charge_account(authority, now);
                held.insert(name, Validity { issued_ms: now, ends_ms: now + 90 * DAY });
                now += 100;
            }
            Next::WaitUntil(due) => now = due,
            other => panic!("{other:?}"),
        }
    }
    let most = most_within(3 * HOUR, &orders);
    assert!((201..=300).contains(&most), "{most}");
}

proptest! {
    /// Whatever the policy, a name that fails once more waits no less.
    #[test]
    fn pauses_never_shrink_as_failures_grow(
        first in 1_u64..200, max in 1_u64..100_000, spread in 0.0..1.0_f64,
        lifetime in proptest::option::of(1_u64..DAY * 400),
    ) {
        let [shortest, longest] = [first, first + max].map(Duration::from_secs);
        let backoff = Backoff { first: shortest, max: longest };
        let policy = Policy { backoff, ..Policy::STANDARD };
        let of = |lifetime| Validity { issued_ms: START, ends_ms: START + lifetime };
        let held = lifetime.map(of);
        let mut before = 0;
        let mut record = Attempts::default();
        for _ in 0..40 {
            record = plan::begin(record, policy, spread, held, START);
            let pause = record.not_before_ms - START;
            prop_assert!(pause >= before && pause >= 1);
            prop_assert!(pause <= (first + max) * 1250);
            before = pause;
        }
    }

    /// At its earliest when five twelfths of the lifetime are left, at its latest when a third is.
    #[test]
    fn renewals_are_spread_before_the_last_third(
        seed: u64, lifetime in 12_000_u64..DAY * 400, name in "[a-z]{1,9}",
    ) {
        let validity = Validity { issued_ms: START, ends_ms: START + lifetime };
        let renewal = plan::renewal_ms(validity, seed, &name) - START;
        prop_assert!(renewal <= lifetime - lifetime / 3);
        prop_assert!(renewal >= lifetime - lifetime / 3 - lifetime / 12);
    }

    /// Nothing that stands in a record makes the plan panic.
    #[test]
    fn any_record_is_borne(
        failures: u32, began_ms: u64, not_before_ms: u64, allowance_ms: u64, now: u64,
        issued_ms: u64, ends_ms: u64,
    ) {
        let times = Attempts { began_ms, not_before_ms, allowance_ms, ..Attempts::default() };
        let record = Attempts { failures, ..times };
        let wanted = BTreeSet::from([NAME.to_owned()]);
        let validity = Validity { issued_ms, ends_ms };
        let held = BTreeMap::from([(NAME.to_owned(), validity)]);
        let attempts = BTreeMap::from([(NAME.to_owned(), record.clone())]);
        plan::next(world(&wanted, &held, &attempts, &record), now);
        let begun = plan::begin(record, Policy::STANDARD, 0.5, Some(validity), now);
        let charged = plan::charge(plan::charge_account(begun, now), Some(validity), now);
        let why = (String::new(), Some(u64::MAX));
        plan::failed(charged.clone(), Policy::STANDARD, (0.9, None), why, now);
        plan::succeeded(charged, validity, now);
    }
}
