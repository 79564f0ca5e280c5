//! Schedules as people write them, through a year of clocks that are put forward and back.

use proptest::prelude::*;

use super::*;

fn schedule(text: &str, zone: &str) -> Schedule {
    Schedule::read(text, Some(zone), 0).unwrap()
}

/// Returns the `count` ticks after a moment, as RFC 3339 has them.
fn ticks(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
    let mut at = moment(after).unwrap();
    let next = || {
        at = schedule.next(at).unwrap();
        rfc3339(at)
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[test]
fn five_fields_six_and_names_are_due_when_they_say() {
    for (text, after, next) in [
        ("*/15 * * * *", "2026-01-01T00:14:59Z", "2026-01-01T00:15:00Z"),
        ("*/15 * * * *", "2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"),
        ("* * * * * *", "2026-01-01T00:15:00Z", "2026-01-01T00:15:01Z"),
        ("5,35 30 9 * * MON-FRI", "2026-01-03T00:00:00Z", "2026-01-05T09:30:05Z"),
        ("0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("0 0 L * *", "2026-02-01T00:00:00Z", "2026-02-28T00:00:00Z"),
        ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("0 0 * * FRI#2", "2026-01-01T00:00:00Z", "2026-01-09T00:00:00Z"),
        ("0 0 * JAN FRIL", "2026-01-01T00:00:00Z", "2026-01-30T00:00:00Z"),
        ("0 0 15W * *", "2026-02-01T00:00:00Z", "2026-02-16T00:00:00Z"),
        ("@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
        ("@DAILY", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("@monthly", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        (" @yearly ", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
    ] {
        let schedule = Schedule::read(text, None, 0).unwrap();
        assert_eq!(ticks(&schedule, after, 1), [next], "{text}");
    }
}

#[test]
fn what_is_no_schedule_or_never_due_is_refused_with_what_is_expected() {
    let why = |text: &str, zone| Schedule::read(text, zone, 0).unwrap_err().to_string();
    for (text, part) in [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("* * * * * * 2026", "7 fields"),
        ("61 * * * *", "minute, hour"),
        ("* * * * FOO", "expected five fields"),
        ("@reboot", "@reboot"),
        ("0 @daily", "@daily"),
        ("@every", "expected"),
        ("@every soon", "expected"),
        ("@every 10ms", "1s"),
        ("@every 400days", "366 days"),
        ("* * * * é", "character"),
        ("* * * *\n*", "character"),
        ("0 0 30 2 *", "never due"),
        ("0 0 31 4,6,9,11 *", "never due"),
    ] {
        let error = why(text, None);
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(why(&"1,".repeat(150), None).contains("200 bytes"));
    assert!(why("@every 1s", Some("Europe/Berlin")).contains("leave it out"));
    assert!(why("@daily", Some("Europe/Berln")).contains("Europe/Berlin"));
}

/// Berlin puts its clocks forward from 2:00 to 3:00 on 2026-03-29 (at 01:00Z), and back from 3:00 to
/// 2:00 on 2026-10-25 (at 01:00Z).
#[test]
fn one_time_of_day_is_due_once_a_day_also_where_clocks_change() {
    let nightly = schedule("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        ticks(&nightly, "2026-03-28T00:00:00Z", 3),
        // The time that does not exist is rung when it would be over: at 3:00.
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        ticks(&nightly, "2026-10-24T12:00:00Z", 2),
        // Of the two 2:30 it is the first.
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    // The hour before the gap, and the one behind it, are as ever.
    for (text, spring) in [
        ("0 1 * * *", ["2026-03-29T00:00:00Z", "2026-03-29T23:00:00Z"]),
        ("0 3 * * *", ["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]),
    ] {
        assert_eq!(ticks(&schedule(text, "Europe/Berlin"), "2026-03-28T12:00:00Z", 2), spring);
    }
    // Half an hour's gap, south of the equator: Lord Howe, 2026-10-04, 2:00 to 2:30.
    let howe = schedule("15 2 * * *", "Australia/Lord_Howe");
    assert_eq!(
        ticks(&howe, "2026-10-03T00:00:00Z", 2),
        ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]
    );
}

#[test]
fn several_times_go_by_what_the_clock_shows() {
    let hourly = schedule("30 * * * *", "Europe/Berlin");
    assert_eq!(
        ticks(&hourly, "2026-03-29T00:00:00Z", 2),
        ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"],
        "an hour is left out on the clock and none in between"
    );
    assert_eq!(
        ticks(&hourly, "2026-10-25T00:00:00Z", 3),
        ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"],
        "2:30 happens twice"
    );
    // Two hours are several times: that which does not exist is left out, the other happens twice.
    let twice = schedule("30 2,14 * * *", "Europe/Berlin");
    assert_eq!(ticks(&twice, "2026-03-29T00:00:00Z", 1), ["2026-03-29T12:30:00Z"]);
    assert_eq!(
        ticks(&twice, "2026-10-24T23:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]
    );
}

#[test]
fn a_period_is_counted_from_its_beginning_whatever_the_clocks_show() {
    let every = Schedule::read("@every 1h 30m", None, 500).unwrap();
    let period = 90 * 60 * 1000;
    assert_eq!(every.period_ms(), Some(period));
    for (after, next) in [
        (0, period + 500),
        (500, period + 500),
        (period + 499, period + 500),
        (period + 500, 2 * period + 500),
        (u64::MAX, 0),
    ] {
        assert_eq!(every.next(after), (next > 0).then_some(next), "{after}");
    }
    assert_eq!(every.last(0, period), None);
    assert_eq!(every.last(0, 3 * period), Some(2 * period + 500));
    assert_eq!(every.count(0, 10 * period, 100), 9);
    assert_eq!(every.count(0, 10 * period, 4), 4);
}

/// Schedules of all sorts, in zones of all sorts.
fn any_schedule() -> impl Strategy<Value = Schedule> {
    let fields = prop_oneof![
        Just("*/7 * * * *"),
        Just("30 2 * * *"),
        Just("0 1-3 * * *"),
        Just("30 2,14 * * SUN"),
        Just("15 0 2 * * *"),
        Just("0 0 1 * *"),
        Just("59 23 L * *"),
        Just("0 12 29 2 *"),
        Just("10 */20 1,2 * * *"),
    ];
    let zones = prop_oneof![
        Just("UTC"),
        Just("Europe/Berlin"),
        Just("America/New_York"),
        Just("Australia/Lord_Howe"),
        Just("Asia/Kathmandu"),
        Just("America/St_Johns"),
        Just("Pacific/Apia"),
        Just("Africa/Casablanca"),
    ];
    let every = (1..100_000_u64, any::<u32>()).prop_map(|(seconds, anchor)| {
        Schedule::read(&format!("@every {seconds}s"), None, u64::from(anchor) * 1000).unwrap()
    });
    prop_oneof![
        4 => (fields, zones).prop_map(|(fields, zone)| schedule(fields, zone)),
        1 => every,
    ]
}

/// Some moment from 2020 to 2040; most often near one at which Berlin's or New York's clocks change.
fn any_moment() -> impl Strategy<Value = u64> {
    let near = |text: &str| {
        let at = moment(text).unwrap();
        (at - 30 * 60 * 60 * 1000)..(at + 30 * 60 * 60 * 1000)
    };
    prop_oneof![
        1_577_836_800_000..2_208_988_800_000_u64,
        near("2026-03-29T01:00:00Z"),
        near("2026-10-25T01:00:00Z"),
        near("2026-11-01T06:00:00Z"),
        near("2026-10-03T15:30:00Z"),
    ]
}

proptest! {
    #[test]
    fn ticks_follow_one_another_and_the_last_of_them_is_found_backwards_too(
        schedule in any_schedule(), start in any_moment(),
    ) {
        let mut at = start;
        for _ in 0..8 {
            let Some(next) = schedule.next(at) else { break };
            prop_assert!(next > at);
            prop_assert_eq!(schedule.next(next - 1), Some(next), "nothing is between them");
            prop_assert_eq!(schedule.last(at, next), Some(next));
            prop_assert_eq!(schedule.last(at, next - 1), None);
            prop_assert_eq!(schedule.last(at, next + 999), Some(next));
            prop_assert_eq!(moment(&rfc3339(next)), Some(next));
            at = next;
        }
    }

    #[test]
    fn any_text_is_survived(text in ".{0,40}", zone in ".{0,20}", at in any::<u64>()) {
        let _ = Schedule::read(&text, Some(&zone), at);
        if let Ok(schedule) = Schedule::read(&text, None, at) {
            let _ = (schedule.next(at), schedule.last(0, at));
        }
        let _ = (rfc3339(at), moment(&text));
    }

    #[test]
    fn any_fields_are_survived(text in "[-0-9*/,LW#? @A-Z]{0,30}", at in any::<u64>()) {
        if let Ok(schedule) = Schedule::read(&text, None, at) {
            let _ = (schedule.next(at), schedule.last(0, at));
        }
    }
}
