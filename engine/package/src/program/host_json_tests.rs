//! What `host.json` files say of their executable.

use proptest::prelude::*;

use super::*;
use crate::NativeKind;
use crate::samples::{host, put};

fn of(json: &str) -> Result<String, HostJsonError> {
    let folder = tempfile::tempdir().unwrap();
    let system = host(&folder.path().join("root"));
    let package = folder.path().join("package");
    put(&package, "task/host.json", json.as_bytes());
    put(&package, "task/bin/handler", b"#!/bin/sh\n");
    let inside = Inside { package: &package, system: &system, kind: NativeKind::Azure };
    find(&inside)
}

fn named(path: &str) -> String {
    format!(r#"{{"customHandler":{{"description":{{"defaultExecutablePath":{path:?}}}}}}}"#)
}

#[test]
fn the_executable_is_of_the_package_or_the_host() {
    for (path, found) in [
        ("bin/handler", "/var/task/bin/handler"),
        ("./bin/handler", "/var/task/bin/handler"),
        ("node", "/usr/bin/node"),
        ("/usr/bin/node", "/usr/bin/node"),
    ] {
        assert_eq!(of(&named(path)).as_deref(), Ok(found));
    }
    let old = r#"{"HttpWorker":{"Description":{"DefaultExecutablePath":"bin/handler"}}}"#;
    assert_eq!(of(old).as_deref(), Ok("/var/task/bin/handler"));
    let commented = format!("\u{feff}// of \"mine\"\n/* {{ */{}", named("node"));
    assert_eq!(of(&commented).as_deref(), Ok("/usr/bin/node"));
}

#[test]
fn what_is_missing_is_named() {
    let why = |json: &str| of(json).unwrap_err().to_string();
    assert!(why("{}").contains("customHandler.description.defaultExecutablePath"));
    assert!(why(&named(" ")).contains("customHandler.description.defaultExecutablePath"));
    assert!(why("{").contains("host.json cannot be read: EOF"));
    assert!(why(&named("ruby")).contains("in any folder of PATH"), "{}", why(&named("ruby")));
    assert!(why(&named("bin/other")).contains("\"bin/other\""));
    assert!(why(&named("handler.exe")).contains("no .exe"));
    assert!(why(&named("/root/x")).contains("nor on this node"));
}

proptest! {
    #[test]
    fn json_without_comments_stays_as_it_is(text in "[^/]{0,60}") {
        prop_assert_eq!(without_comments(&text), text);
    }

    #[test]
    fn any_text_is_survived(text in "[\"\\\\/*\n{}a\u{e9}]{0,60}") {
        prop_assert_eq!(without_comments(&text).chars().count(), text.chars().count());
        let _ = executable(text.as_bytes());
    }
}
