//! Clocks that go on, stand still, and are put forward and back, and nodes that start late.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::expression::moment;

const HOUR_MS: u64 = 60 * 60 * 1000;

fn timing(text: &str, missed: Missed, jitter_ms: u64) -> Timing {
    let created_ms = moment("2026-01-01T00:00:00Z").unwrap();
    let schedule = Schedule::read(text, None, created_ms).unwrap();
    Timing::new("web-0123", schedule, missed, jitter_ms, created_ms)
}

fn at(text: &str) -> u64 {
    moment(text).unwrap()
}

#[test]
fn a_tick_is_rung_when_it_is_due_and_once() {
    let hourly = timing("0 * * * *", Missed::Skip, 0);
    let ten = at("2026-05-01T10:00:00Z");
    let before = hourly.look(Some(ten - HOUR_MS), ten - 1);
    assert_eq!((before.ring, before.next_ms, before.missed), (None, Some(ten), 0));
    let now = hourly.look(Some(before.settled_ms), ten + 5);
    assert_eq!((now.ring, now.late_ms, now.missed), (Some(ten), 5, 0));
    assert_eq!((now.settled_ms, now.next_ms), (ten, Some(ten + HOUR_MS)));
    assert_eq!(hourly.look(Some(ten), ten + 5).ring, None);
}

#[test]
fn a_restart_within_a_minute_loses_no_tick_and_a_later_one_does_what_was_chosen() {
    let ten = at("2026-05-01T10:00:00Z");
    for (missed, late_ms, rings) in [
        (Missed::Skip, LATE_MAX_MS, true),
        (Missed::Skip, LATE_MAX_MS + 1, false),
        (Missed::RunOnce, LATE_MAX_MS + 1, true),
    ] {
        let verdict = timing("0 * * * *", missed, 0).look(Some(ten - HOUR_MS), ten + late_ms);
        assert_eq!(verdict.ring.is_some(), rings, "{missed:?} {late_ms}");
        assert_eq!((verdict.missed, verdict.settled_ms), (u64::from(!rings), ten));
    }
    // Of many that were missed, the last one alone is rung, whatever was chosen.
    let verdict = timing("0 * * * *", Missed::RunOnce, 0).look(Some(ten - 9 * HOUR_MS), ten + 1);
    assert_eq!((verdict.ring, verdict.missed), (Some(ten), 8));
    let verdict = timing("@every 1s", Missed::RunOnce, 0).look(Some(ten), ten + 9 * HOUR_MS);
    assert_eq!((verdict.ring, verdict.missed), (Some(ten + 9 * HOUR_MS), MISSED_COUNTED_MAX));
}

#[test]
fn a_schedule_that_nothing_is_known_of_is_due_from_now_on_or_from_its_beginning_if_it_is_new() {
    let every = timing("@every 10s", Missed::RunOnce, 0);
    let created = every.created_ms;
    assert_eq!(every.look(None, created).next_ms, Some(created + 10_000));
    assert_eq!(every.look(None, created + 10_001).ring, Some(created + 10_000));
    let later = every.look(None, created + HOUR_MS + 1);
    assert_eq!((later.ring, later.missed), (None, 0), "another node has rung it until now");
    // Made by a node whose clock is ahead.
    assert_eq!(every.look(None, created - HOUR_MS).ring, None);
}

#[test]
fn a_clock_that_goes_back_an_hour_repeats_no_tick_and_one_that_comes_forward_again_goes_on() {
    let often = timing("*/10 * * * *", Missed::Skip, 0);
    let ten = at("2026-05-01T10:00:00Z");
    let mut settled = often.look(Some(ten - 1), ten).settled_ms;
    assert_eq!(settled, ten);
    for minute in 0..=60 {
        let verdict = often.look(Some(settled), ten - HOUR_MS + minute * 60_000);
        assert_eq!((verdict.ring, verdict.next_ms), (None, Some(ten + 600_000)), "{minute}");
        settled = verdict.settled_ms;
    }
    assert_eq!(often.look(Some(settled), ten + 600_000).ring, Some(ten + 600_000));
    // An hour forward: six ticks were passed over, of which the last is within its minute.
    let forward = often.look(Some(ten), ten + HOUR_MS + 30_000);
    assert_eq!((forward.ring, forward.missed), (Some(ten + HOUR_MS), 5));
    assert_eq!(often.look(Some(forward.settled_ms), ten + HOUR_MS + 30_000).ring, None);
    // And back again.
    assert_eq!(often.look(Some(forward.settled_ms), ten + 30_000).ring, None);
}

#[test]
fn a_period_keeps_its_pace_on_a_clock_that_goes_back() {
    let every = timing("@every 10s", Missed::Skip, 0);
    let ten = at("2026-05-01T10:00:00Z");
    let back = every.look(Some(ten), ten - HOUR_MS);
    assert_eq!((back.ring, back.next_ms), (None, Some(ten - HOUR_MS + 10_000)));
    // Put right by less than a period, it is not rung again for the same tick.
    assert_eq!(every.look(Some(ten), ten - 500).next_ms, Some(ten + 10_000));
}

#[test]
fn a_clock_that_was_far_ahead_silences_nothing() {
    let daily = timing("@daily", Missed::RunOnce, 0);
    let verdict = daily.look(Some(at("2036-01-01T00:00:00Z")), at("2026-05-01T10:00:00Z"));
    assert_eq!((verdict.ring, verdict.next_ms), (None, Some(at("2026-05-02T00:00:00Z"))));
}

#[test]
fn jitter_is_the_same_each_time_and_another_for_another_schedule() {
    let ten = at("2026-05-01T10:00:00Z");
    let jitter_ms = 600_000;
    let offset = |id: &str| {
        let schedule = Schedule::read("0 * * * *", None, 0).unwrap();
        let timing = Timing::new(id, schedule, Missed::Skip, jitter_ms, 0);
        let rung = timing.next_ms(ten - HOUR_MS / 2).unwrap();
        assert_eq!(timing.next_ms(rung).unwrap(), rung + HOUR_MS);
        assert_eq!(timing.look(Some(ten - HOUR_MS), rung - 1).ring, None);
        let verdict = timing.look(Some(ten - HOUR_MS), rung);
        assert_eq!((verdict.ring, verdict.late_ms), (Some(ten), 0));
        rung - ten
    };
    let offsets: BTreeSet<u64> = (0..50).map(|number| offset(&format!("f-{number}"))).collect();
    assert!(offsets.len() > 45 && *offsets.last().unwrap() < jitter_ms, "{offsets:?}");
    assert_eq!(offset("f-1"), offset("f-1"));
}

proptest! {
    /// However the clock goes, and whenever the node is looked at or started anew: no tick of a
    /// calendar is rung twice unless the clock was wrong by more than hours, none before it is due,
    /// and none that is later than it may be.
    #[test]
    fn no_tick_is_rung_twice_or_early_or_in_a_storm(
        (text, run_once, jitter) in (
            prop_oneof![
                Just("* * * * * *"), Just("*/5 * * * *"), Just("30 2 * * *"), Just("@hourly"),
                Just("0 9-17 * * MON-FRI"),
            ],
            any::<bool>(),
            0..200_000_u64,
        ),
        steps in proptest::collection::vec(
            prop_oneof![
                8 => 0..90_000_i64,
                1 => -3_000_000..3_600_000_i64,
                1 => Just(3_600_000_i64),
                1 => 0..200_000_000_i64,
            ],
            1..60,
        ),
    ) {
        let missed = if run_once { Missed::RunOnce } else { Missed::Skip };
        let timing = timing(text, missed, jitter);
        let (mut now, mut furthest) = (at("2026-05-01T10:00:00Z"), 0);
        let (mut settled, mut rung) = (None, BTreeSet::new());
        for step in steps {
            now = now.saturating_add_signed(step);
            // Never further back than what is taken for a repetition.
            now = now.max(furthest.max(STEP_BACK_MAX_MS) - STEP_BACK_MAX_MS);
            furthest = now.max(furthest);
            let verdict = timing.look(settled, now);
            if let Some(tick) = verdict.ring {
                prop_assert!(rung.insert(tick), "{tick} is rung twice");
                prop_assert!(tick + timing.offset_ms + verdict.late_ms == now);
                prop_assert!(verdict.late_ms <= LATE_MAX_MS || run_once);
                prop_assert_eq!(timing.schedule.next(tick - 1), Some(tick));
            }
            prop_assert!(settled.is_none_or(|settled| verdict.settled_ms >= settled));
            prop_assert!(verdict.next_ms.is_none_or(|next| next > now));
            settled = Some(verdict.settled_ms);
            // To look again changes nothing.
            let again = timing.look(settled, now);
            prop_assert_eq!((again.ring, again.missed), (None, 0));
            prop_assert_eq!(again.next_ms, verdict.next_ms);
        }
    }

    /// A node that is looked at each time when it wants to be rings every tick.
    #[test]
    fn whoever_comes_when_it_is_time_misses_nothing(
        text in prop_oneof![Just("*/7 * * * *"), Just("30 2 * * *"), Just("@every 90s")],
        jitter in 0..90_000_u64,
    ) {
        let timing = timing(text, Missed::Skip, jitter);
        let mut now = at("2026-03-20T00:00:00Z");
        let mut settled = timing.look(None, now).settled_ms;
        for _ in 0..50 {
            now = timing.look(Some(settled), now).next_ms.unwrap();
            let expected = timing.schedule.next(settled);
            let verdict = timing.look(Some(settled), now);
            prop_assert_eq!(verdict.ring, expected);
            prop_assert_eq!((verdict.late_ms, verdict.missed), (0, 0));
            settled = verdict.settled_ms;
        }
    }
}
