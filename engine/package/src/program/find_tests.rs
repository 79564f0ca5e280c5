//! Packages of each kind, and which file of them is started.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::samples::{LIBRARY, PROGRAM, host, put};

/// Finds the program among files, whose names end with `*` if they are executable.
fn of(kind: NativeKind, entry: Option<&str>, names: &[&str]) -> Result<String, ProgramError> {
    let folder = tempfile::tempdir().unwrap();
    let system = host(&folder.path().join("root"));
    let package = folder.path().join("package");
    std::fs::create_dir_all(package.join("task")).unwrap();
    for name in names {
        let path = name.trim_end_matches('*');
        let bytes = match path {
            _ if path.ends_with(".so") => LIBRARY.bytes(),
            _ if path.ends_with(".txt") => b"text".to_vec(),
            _ if path.ends_with(".sh") => b"#!/bin/sh\n".to_vec(),
            _ => PROGRAM.bytes(),
        };
        put(&package, path, &bytes);
        let mode = if name.ends_with('*') { 0o755 } else { 0o644 };
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(package.join(path), permissions).unwrap();
    }
    let inside = Inside { package: &package, system: &system, kind };
    find(&inside, &Wanted { entry: entry.map(str::to_owned) })
}

fn why(kind: NativeKind, entry: Option<&str>, names: &[&str]) -> String {
    of(kind, entry, names).unwrap_err().to_string()
}

#[test]
fn a_lambda_starts_its_bootstrap() {
    let of = |names: &[&str]| of(NativeKind::Lambda, None, names).unwrap();
    assert_eq!(of(&["task/bootstrap", "opt/bootstrap*"]), "/var/task/bootstrap");
    assert_eq!(of(&["task/data.txt", "opt/bootstrap*"]), "/opt/bootstrap");
    assert_eq!(of(&["task/bootstrap/data.txt", "opt/bootstrap*"]), "/opt/bootstrap");
    let why = |names: &[&str]| why(NativeKind::Lambda, None, names);
    assert!(why(&["task/app*", "task/a.txt"]).contains("rename \"app\" to bootstrap"));
    assert!(why(&["task/a*", "task/b*"]).contains("it has \"a\", \"b\""));
    assert!(why(&[]).contains("it has nothing"));
    let text = why(&["task/my-function/bootstrap*", "task/__MACOSX/x.txt"]);
    assert!(text.contains("zip the contents of \"my-function\""), "{text}");
}

#[test]
fn a_server_starts_the_one_executable() {
    let find = |names: &[&str]| of(NativeKind::Server, None, names).unwrap();
    assert_eq!(find(&["task/server", "task/other*"]), "/var/task/server");
    assert_eq!(find(&["task/app*", "task/lib.so*", "task/a.txt"]), "/var/task/app");
    assert_eq!(find(&["task/run.sh", "task/a.txt"]), "/var/task/run.sh");
    assert_eq!(find(&["task/app*", "task/helper.sh"]), "/var/task/app");
    let named = of(NativeKind::Server, Some("./bin/app"), &["task/server*", "task/bin/app*"]);
    assert_eq!(named.unwrap(), "/var/task/bin/app");
    let why = |entry, names: &[&str]| why(NativeKind::Server, entry, names);
    let text = why(None, &["task/a*", "task/b*"]);
    assert!(text.contains("several executables at its top: \"a\", \"b\""), "{text}");
    assert!(why(None, &["task/a.txt"]).contains("no other executable"));
    assert!(why(None, &["task/app/server*"]).contains("zip the contents of \"app\""));
    assert!(why(Some("x"), &["task/a*"]).contains("no file \"x\", which was named as its entry"));
    assert!(why(Some("../opt/x"), &["opt/x*", "task/a*"]).contains("\"../opt/x\""));
}

#[test]
fn an_azure_function_starts_what_host_json_names() {
    let why = |entry, names: &[&str]| why(NativeKind::Azure, entry, names);
    assert!(why(None, &["task/handler*"]).contains("no host.json at its top"));
    assert!(why(None, &["task/app/host.json"]).contains("zip the contents of \"app\""));
    assert!(why(Some("x"), &["task/x*"]).contains("for a function of kind server alone"));
}
