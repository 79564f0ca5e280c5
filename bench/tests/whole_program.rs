//! The real program, from its command line to its exit code: measuring itself, and comparing what
//! it wrote. Each test owns a temporary folder.

use std::path::{Path, PathBuf};
use std::process::Command;

/// How it ended, and what it printed on stdout.
#[expect(clippy::unwrap_used, reason = "a test whose program does not start has failed")]
fn bench(arguments: &[&str], files: &[&Path]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sockhop-bench"))
        .args(arguments)
        .args(files)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[expect(clippy::unwrap_used, reason = "a test that cannot write has failed")]
fn results(folder: &Path, name: &str, rounds: &[f64]) -> PathBuf {
    let path = folder.join(name);
    let series = serde_json::json!({"scenario": "hello", "server": "sockhop", "measure": "rate", "unit": "requests/s", "better": "higher", "rounds": rounds});
    std::fs::write(&path, serde_json::json!({ "series": [series] }).to_string()).unwrap();
    path
}

#[test]
fn it_measures_its_own_cost() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.json");
    let (code, text) = bench(&["client", "--rounds", "2", "--seconds", "0.2", "--json"], &[&file]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("| null | sockhop-bench |") && text.contains("harness:"), "{text}");
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let rates: Vec<f64> = (written["series"].as_array().unwrap().iter())
        .filter(|series| series["scenario"] == "null" && series["measure"] == "rate")
        .flat_map(|series| {
            series["rounds"].as_array().unwrap().iter().filter_map(serde_json::Value::as_f64)
        })
        .collect();
    assert!(rates.len() >= 4 && rates.iter().all(|&rate| rate > 0.0), "{rates:?}");
    assert!(written["environment"]["harness"]["profile"].is_string());
}

#[test]
fn a_regression_has_an_exit_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let before = results(folder.path(), "before", &[1000.0, 1010.0, 990.0, 1005.0, 995.0, 1002.0]);
    let after = results(folder.path(), "after", &[950.0, 960.0, 940.0, 955.0, 945.0, 952.0]);
    let (code, text) = bench(&["compare", "--fail-on-regression"], &[&before, &after]);
    assert!(code == Some(3) && text.contains("WORSE"), "{code:?}\n{text}");
    assert_eq!(bench(&["compare"], &[&before, &after]).0, Some(0));
    assert_eq!(bench(&["compare", "--fail-on-regression"], &[&before, &before]).0, Some(0));
    assert_eq!(bench(&["compare"], &[&before, &folder.path().join("none")]).0, Some(1));
    assert_eq!(bench(&["compare"], &[&before]).0, Some(2));
}
