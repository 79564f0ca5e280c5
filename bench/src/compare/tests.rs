//! Tests of whole comparisons, from files. They own a temporary folder each.

use super::*;
use crate::cli::{Cli, Command};
use clap::Parser as _;

/// Ten rounds about a value, with noise of one part in a hundred.
fn rounds(value: f64, seed: u64) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..10).map(|_| value * (0.99 + 0.02 * random.f64())).collect()
}

fn series(server: &str, rounds: Vec<f64>) -> serde_json::Value {
    serde_json::json!({"scenario": "hello", "server": server, "measure": "rate", "unit": "requests/s", "better": "higher", "rounds": rounds})
}

fn run(
    files: &[Vec<serde_json::Value>],
    options: &[&str],
) -> (Result<Comparison, Error>, Result<(), Error>) {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (files.iter().enumerate())
        .map(|(index, series)| {
            let path = folder.path().join(format!("{index}.json"));
            std::fs::write(&path, serde_json::json!({"series": series}).to_string()).unwrap();
            path.into_os_string()
        })
        .collect();
    let words = ["sockhop-bench", "compare"].map(Into::into).into_iter().chain(paths);
    let cli = Cli::parse_from(words.chain(options.iter().map(Into::into)));
    let Command::Compare(arguments) = cli.command else { panic!("another command") };
    (compare(&arguments), command(&arguments))
}

#[test]
fn a_planted_slowdown_is_found_and_fails_when_asked() {
    let files =
        [vec![series("sockhop", rounds(1000.0, 1))], vec![series("sockhop", rounds(950.0, 2))]];
    let (found, quiet) = run(&files, &[]);
    assert_eq!(found.unwrap().rows[0].verdict, Verdict::Worse);
    assert!(quiet.is_ok());
    assert!(matches!(
        run(&files, &["--fail-on-regression"]).1,
        Err(Error::Regression { count: 1, of: 1 })
    ));
    assert!(run(&files, &["--fail-on-regression", "--tolerance-percent", "8"]).1.is_ok());
}

#[test]
fn equal_builds_are_alike() {
    let files =
        [vec![series("sockhop", rounds(1000.0, 1))], vec![series("sockhop", rounds(1000.0, 2))]];
    let (found, failed) = run(&files, &["--fail-on-regression"]);
    assert_eq!(found.unwrap().rows[0].verdict, Verdict::Alike);
    assert!(failed.is_ok());
}

#[test]
fn a_slower_machine_is_no_difference_beside_a_reference() {
    let day = |factor: f64| {
        vec![
            series("sockhop", rounds(1000.0 * factor, 1)),
            series("nginx", rounds(5000.0 * factor, 1)),
        ]
    };
    let files = [day(1.0), day(0.7)];
    assert_eq!(run(&files, &[]).0.unwrap().rows[0].verdict, Verdict::Worse);
    let relative = run(&files, &["--relative-to", "nginx"]).0.unwrap();
    assert_eq!(relative.rows.len(), 1);
    assert_eq!(relative.rows[0].verdict, Verdict::Alike);
    assert!((relative.rows[0].after - 0.2).abs() < 0.01);
}

#[test]
fn two_servers_of_one_file_are_compared_round_by_round() {
    let drift: Vec<f64> = (0..10).map(|round| 1000.0 - 40.0 * f64::from(round)).collect();
    let slower = drift.iter().map(|value| value * 0.95).collect();
    let files = [vec![series("old", drift), series("new", slower)]];
    let found = run(&files, &["--servers", "old,new"]).0.unwrap();
    assert_eq!(found.rows[0].verdict, Verdict::Worse);
    assert!((found.rows[0].ratio.unwrap().ratio - 0.95).abs() < 1e-9);
}

#[test]
fn what_cannot_be_compared_is_said() {
    let few = [vec![series("a", vec![1.0; 3])], vec![series("a", vec![1.0; 3])]];
    assert_eq!(run(&few, &[]).0.unwrap().rows[0].verdict, Verdict::TooFewRounds);
    let strangers = [vec![series("a", vec![1.0; 9])], vec![series("b", vec![1.0; 9])]];
    assert!(matches!(run(&strangers, &[]).0, Err(Error::Nothing(_))));
    let alone = [vec![series("a", vec![1.0; 9])]];
    assert!(matches!(run(&alone, &["--servers", "a"]).0, Err(Error::Sides(1))));
}
