//! What `sockhop new` begins builds, deploys and answers, each with the tools that it names.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::{Finished, Node, Running, node};
use tempfile::TempDir;

/// How long a toolchain may take for a small program with some dependencies.
const BUILD: Duration = Duration::from_secs(300);

/// Runs `sockhop` in `folder`, with the tools that the scripts have installed.
fn in_folder(folder: &Path, arguments: &[&str]) -> Finished {
    let mut command = node::sockhop();
    command.current_dir(folder).args(arguments);
    with_tools(&mut command);
    // Cargo's dependencies are built soon.
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
    Running::spawn(&mut command).finish(BUILD)
}

fn with_tools(command: &mut Command) {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/target");
    let installed = fs::read_dir(guests).into_iter().flatten().flatten().map(|entry| entry.path());
    let own = installed.flat_map(|path| {
        let of = |folder: &str, program: &str| (path.join(folder), path.join(folder).join(program));
        [of("go/bin", "go"), of("ziglang", "zig")]
    });
    let own = own.filter(|(_, program)| program.is_file()).map(|(folder, _)| folder);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = own.chain(std::env::split_paths(&path)).collect();
    command.env("PATH", std::env::join_paths(folders).unwrap());
    for (name, value) in [("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOFLAGS", "")] {
        command.env(name, value);
    }
}

/// Begins a function, builds and deploys it by one command, and calls it. Then runs its test.
fn begins(language: &str, kind: &str, named: &str, test: Option<&[&str]>) {
    let folder = TempDir::new().unwrap();
    in_folder(folder.path(), &["new", "first", "--lang", language, "--kind", kind]).expect_code(0);
    let project = folder.path().join("first");
    let node = Node::start();
    let data = node.data().to_str().unwrap();
    let deployed = in_folder(&project, &["deploy", "--data", data]).expect_code(0);
    assert!(deployed.stdout.starts_with("deployed first, version v1 "), "{deployed:#?}");
    let reply = node.get("/first/there");
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert_eq!(reply.status(), 200, "{text}");
    // What Go's CGI calls the path has the function's name in front.
    assert!(text.starts_with(&format!("Hello from {named}, at /")), "{text:?}");
    assert!(text.contains("/there"), "{text:?}");
    if let Some([program, arguments @ ..]) = test {
        let mut command = Command::new(program);
        command.current_dir(&project).args(arguments);
        with_tools(&mut command);
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
        Running::spawn(&mut command).finish(BUILD).expect_code(0);
    }
}

const CARGO_TEST: Option<&[&str]> = Some(&["cargo", "test", "--release", "--quiet"]);
const GO_TEST: Option<&[&str]> = Some(&["go", "test"]);

#[test]
fn a_handler_in_rust() {
    begins("rust", "http", "Rust", CARGO_TEST);
}

#[test]
fn a_command_in_rust() {
    begins("rust", "command", "Rust", CARGO_TEST);
}

#[test]
fn a_lambda_in_rust() {
    begins("rust", "lambda", "Rust", CARGO_TEST);
}

#[test]
fn a_server_in_rust() {
    begins("rust", "server", "Rust", CARGO_TEST);
}

#[test]
fn a_command_in_go() {
    begins("go", "command", "Go", GO_TEST);
}

#[test]
fn a_server_in_go() {
    begins("go", "server", "Go", GO_TEST);
}

#[test]
fn a_command_in_c() {
    begins("c", "command", "C", None);
}

#[test]
fn a_lambda_in_go() {
    begins("go", "lambda", "Go", GO_TEST);
}

#[test]
fn a_command_in_zig() {
    begins("zig", "command", "Zig", None);
}

#[test]
fn a_server_in_c() {
    begins("c", "server", "C", None);
}

#[test]
fn a_server_in_python() {
    begins("python", "server", "Python", None);
}

#[test]
fn what_there_is_no_template_for_is_refused_and_nothing_is_written() {
    let folder = TempDir::new().unwrap();
    let new = |arguments: &[&str]| in_folder(folder.path(), &[&["new"], arguments].concat());
    new(&["a", "--lang", "go", "--kind", "http"])
        .expect_code(2)
        .expect_error_text(&["--lang go --kind http", "there is --kind command"]);
    new(&["Not-A-Name", "--lang", "go"]).expect_code(2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    new(&["a", "--lang", "go"]).expect_code(0);
    new(&["a", "--lang", "go"]).expect_code(1).expect_error_text(&["is there already"]);
}

#[test]
fn a_build_that_fails_is_told_and_nothing_is_deployed() {
    let folder = TempDir::new().unwrap();
    let toml = |text: &str| fs::write(folder.path().join("sockhop.toml"), text).unwrap();
    let node = Node::start();
    let data = node.data().to_str().unwrap();
    toml("name = \"a\"\n[build]\ncommand = \"echo why; exit 3\"\noutput = \"a.wasm\"\n");
    for arguments in [&["build"][..], &["deploy", "--data", data]] {
        let failed = in_folder(folder.path(), arguments).expect_code(1);
        assert!(failed.stdout.is_empty(), "{failed:#?}");
        for words in ["why\n", "the build failed: `echo why; exit 3`", "exit status: 3"] {
            assert!(failed.stderr.contains(words), "{words}: {failed:#?}");
        }
    }
    in_folder(folder.path(), &["deploy", "--no-build", "--data", data])
        .expect_code(1)
        .expect_error_text(&["a.wasm", "its build has not made it"]);
    toml("name = \"a\"\nsource = \"a.wasm\"\n");
    in_folder(folder.path(), &["build"])
        .expect_code(1)
        .expect_error_text(&["no sockhop.toml with a table [build]"]);
    assert!(!node.list().contains('a'), "{}", node.list());
}
