//! The limits' defaults, their ranges, and what the guide says of both.

use super::*;

#[test]
fn defaults_are_in_range_and_stand_for_what_a_manifest_leaves_out() {
    let limits = FunctionLimits::default();
    assert_eq!(limits.check(), Ok(()));
    let read: FunctionLimits = serde_json::from_str("{}").unwrap();
    assert_eq!(read, limits);
}

/// `| --option VALUE | what | default | least | most | what happens |`, for every option that is a
/// limit, and in that order.
#[test]
fn the_guide_has_every_limit_with_its_default_and_its_range() {
    let guide = include_str!("../../../../engine/guide/limits.md");
    let rows = guide.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `--")?.split('|').map(str::trim).collect();
        let option = cells.first()?.split([' ', '`']).next()?;
        Some((option, [*cells.get(2)?, *cells.get(3)?, *cells.get(4)?]))
    });
    let rows: Vec<_> = rows.collect();
    // As the page writes it: with a space before the unit and commas between thousands.
    let plain = |text: &str| text.replace([' ', ','], "").replace(".0", "").replace("min", "m");
    let described = FunctionLimits::default().describe();
    for Limit { option, unit, amount, range } in &described {
        let found: Vec<_> = rows.iter().filter(|(named, _)| named == option).collect();
        let [(_, [default_cell, least, most])] = found[..] else {
            panic!("--{option} has {} rows", found.len())
        };
        let text = |amount: u64| match amount {
            0 => "0".to_owned(),
            u64::MAX => "none".to_owned(),
            amount => plain(&unit.text(amount)),
        };
        let default =
            if *option == "cpu-time" { "as`--timeout`".to_owned() } else { text(*amount) };
        let expected = [default, text(*range.start()), text(*range.end())];
        assert_eq!([default_cell, least, most].map(|cell| plain(cell)), expected, "--{option}");
    }
    let order =
        rows.iter().filter(|(named, _)| described.iter().any(|limit| limit.option == *named));
    let order: Vec<_> = order.map(|(option, _)| *option).collect();
    assert_eq!(order, described.map(|limit| limit.option));
}

#[test]
fn a_limit_out_of_range_is_named_with_its_range() {
    let why = |limits: FunctionLimits| limits.check().unwrap_err().to_string();
    let text = why(FunctionLimits { memory_bytes_max: 1, ..FunctionLimits::default() });
    assert_eq!(text, "--memory is 1 B; expected 64.0 KiB to 4.0 GiB");
    let text = why(FunctionLimits { cpu_time_ms: u32::MAX, ..FunctionLimits::default() });
    assert!(
        text.starts_with("--cpu-time is 1month") && text.ends_with("; expected 10ms to 15m"),
        "{text}"
    );
    assert_eq!(
        why(FunctionLimits { concurrency_max: 0, ..FunctionLimits::default() }),
        "--concurrency is 0; expected 1 to 100000"
    );
}
