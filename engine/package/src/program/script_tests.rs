//! First lines of scripts, on a host with a shell and Python.

use proptest::prelude::*;

use super::*;
use crate::NativeKind;
use crate::samples::{host, put};

fn of(script: &[u8]) -> Result<String, ScriptError> {
    let folder = tempfile::tempdir().unwrap();
    let system = host(&folder.path().join("root"));
    let package = folder.path().join("package");
    put(&package, "task/runtime/php", b"#!/bin/sh\n");
    put(&package, "opt/bin/tool", b"#!/bin/sh\n");
    let inside = Inside { package: &package, system: &system, kind: NativeKind::Lambda };
    interpreter(&inside, script)
}

fn why(script: &str) -> String {
    of(script.as_bytes()).unwrap_err().to_string()
}

#[test]
fn interpreters_are_found() {
    for (script, path) in [
        ("#!/bin/sh\necho", "/bin/sh"),
        ("#! /bin/sh -eu \necho", "/bin/sh"),
        ("#!/bin/sh", "/bin/sh"),
        ("#!/var/task/runtime/php\n", "/var/task/runtime/php"),
        ("#!/usr/bin/env python3\n", "/usr/bin/python3"),
        ("#!/usr/bin/env -S A=b python3 -u\n", "/usr/bin/python3"),
        ("#!/usr/bin/env tool\n", "/opt/bin/tool"),
        ("#!/usr/bin/env -i\n", "/usr/bin/env"),
        ("#!/usr/bin/env\n", "/usr/bin/env"),
    ] {
        assert_eq!(of(script.as_bytes()).as_deref(), Ok(path), "{script}");
    }
}

#[test]
fn what_does_not_start_is_told_so() {
    let text = why("#!/bin/sh\r\necho\r\n");
    assert!(text.contains("line ends of Windows") && text.contains("\"/bin/sh\\r\""), "{text}");
    assert!(text.contains("dos2unix"), "{text}");
    assert!(why("#!/usr/bin/env python3\r\n").contains("line ends of Windows"));
    assert!(why("#!/bin/bash\n").contains("interpreter \"/bin/bash\", which is neither"));
    assert!(why("#!/var/lang/bin/python3\n").contains("\"/var/lang/bin/python3\""));
    let text = why("#!/usr/bin/env ruby\n");
    assert!(text.contains("\"ruby\"") && text.contains("/usr/local/bin:/usr/bin"), "{text}");
    assert!(why("#!/usr/bin/env python3 -u\n").contains("`#!/usr/bin/env -S python3 -u`"));
    assert!(why("#!python3\n").contains("`#!/usr/bin/env python3`"));
    assert!(why("#!\n").contains("names no interpreter"));
    assert!(why(&format!("#!/{}\n", "x".repeat(300))).contains("more than 256 bytes"));
}

proptest! {
    #[test]
    fn any_first_line_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = first_line(&[b"#!", &bytes[..]].concat());
        let _ = env_program(&String::from_utf8_lossy(&bytes));
    }
}
