//! What is read of a struct with limits among its fields, from JSON and TOML, and what is refused.

use std::time::Duration;

use serde::Deserialize;

use super::super::{Size, Time};
use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(remote = "Self", default)]
struct Options {
    name: Option<String>,
    args: Vec<String>,
    #[serde(skip)]
    limits: LimitOptions,
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (own, limits) = with_limits(deserializer, |own| Self::deserialize(own))?;
        Ok(Self { limits, ..own })
    }
}

fn expected() -> Options {
    Options {
        name: Some("a".to_owned()),
        args: vec!["-v".to_owned()],
        limits: LimitOptions {
            memory: Some(Size(64 << 20)),
            log_size: Some(Size(0)),
            timeout: Some(Time(Duration::from_millis(1500))),
            queue: Some(3),
            ..LimitOptions::default()
        },
    }
}

const TOML: &str = "name = \"a\"\nmemory = \"64MiB\"\nargs = [\"-v\"]\ntimeout = \"1s 500ms\"\nlog_size = 0\nqueue = 3\n";

#[test]
fn json_toml_and_toml_that_was_read_before_are_the_same() {
    let json = r#"{"memory": "64MiB", "name": "a", "log_size": 0, "timeout": "1s 500ms",
        "cpu_time": null, "queue": 3, "args": ["-v"]}"#;
    assert_eq!(serde_json::from_str::<Options>(json).unwrap(), expected());
    assert_eq!(toml::from_str::<Options>(TOML).unwrap(), expected());
    let table: toml::Table = toml::from_str(TOML).unwrap();
    assert_eq!(table.try_into::<Options>().unwrap(), expected());
    assert_eq!(serde_json::from_str::<Options>("{}").unwrap(), Options::default());
}

#[test]
fn an_unknown_key_is_refused_where_it_stands_with_the_one_that_was_meant() {
    let error = toml::from_str::<Options>("name = \"a\"\nmemroy = 3\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "TOML parse error at line 2, column 1\n  |\n2 | memroy = 3\n  | ^^^^^^\n\
         there is no key \"memroy\"; did you mean \"memory\"?\n"
    );
    let error = serde_json::from_str::<Options>(r#"{"nam": "a"}"#).unwrap_err().to_string();
    assert!(error.starts_with("there is no key \"nam\"; did you mean \"name\"? at line 1"));
    let error = serde_json::from_str::<Options>(r#"{"zzz": 1}"#).unwrap_err().to_string();
    let all = format!("expected one of name, args, {}", LimitOptions::KEYS.join(", "));
    assert!(error.contains(&all), "{error}");
}

#[test]
fn a_value_that_cannot_be_read_is_refused_with_its_key_and_its_place() {
    let error = toml::from_str::<Options>("timeout = \"later\"\n").unwrap_err().to_string();
    assert_eq!(
        error,
        "TOML parse error at line 1, column 11\n  |\n\
         1 | timeout = \"later\"\n  |           ^^^^^^^\n\
         timeout: \"later\" is no time: expected number at 0; expected for example \"5s\"\n"
    );
    for (json, words) in [
        (r#"{"memory": "much"}"#, ["memory: \"much\" is no size", "64MiB"]),
        (r#"{"memory": true}"#, ["memory: expected a size", "64MiB"]),
        (r#"{"cpu_time": "later"}"#, ["cpu_time: \"later\" is no time", "5s"]),
        (r#"{"queue": -1}"#, ["queue: ", "u32"]),
        (r#"{"queue": 1, "queue": 2}"#, ["queue: ", "duplicate"]),
        (r#"{"args": 1}"#, ["integer", "sequence"]),
        (r#"[]"#, ["sequence", "Options"]),
    ] {
        let error = serde_json::from_str::<Options>(json).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(error.ends_with(|last: char| last.is_ascii_digit()), "no place: {error}");
    }
}
