//! Files that cannot be deployed are refused with a message that says what was expected, and
//! nothing of them is stored.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::path::Path;

use harness::disk::{SmallDisk, picture};
use harness::{Node, guests};
use tempfile::TempDir;

const PREVIEW_1: &str = "wasi_snapshot_preview1";

/// Returns a core module with a memory that imports a function and exports it as `_start`.
fn module(module: &str, name: &str) -> Vec<u8> {
    let section =
        |id: u8, content: &[u8]| [&[id, u8::try_from(content.len()).unwrap()], content].concat();
    let with_length = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let imports = [&[1][..], &with_length(module), &with_length(name), &[0, 0]].concat();
    let exports =
        [&[2][..], &with_length("_start"), &[0, 0], &with_length("memory"), &[2, 0]].concat();
    let sections = [
        section(1, &[1, 0x60, 0, 0]),
        section(2, &imports),
        section(5, &[1, 0, 1]),
        section(7, &exports),
    ];
    [guests::EMPTY_MODULE, &sections.concat()].concat()
}

/// A node with `hello`, its store, and a folder for files to deploy.
struct Place {
    node: Node,
    store: TempDir,
    files: TempDir,
}

impl Place {
    fn new() -> Self {
        let store = TempDir::new().unwrap();
        let node = Node::build().option("--store", store.path()).start();
        node.deploy("hello", "hello", &[]);
        Self { node, store, files: TempDir::new().unwrap() }
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.files.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Tries the deploy. Checks that it fails with `words`, and that list, generation and store
    /// stay as they are.
    #[track_caller]
    fn refuses(&self, what: &str, arguments: &[&str], words: &[&str]) {
        println!("{what}");
        // Segments of the log are shipped at any time.
        let stored = || {
            let mut stored = picture(self.store.path());
            stored.retain(|path, _| !path.starts_with(self.store.path().join("logs")));
            stored
        };
        let state = || (self.node.list(), self.node.status().node.generation, stored());
        let before = state();
        let refused = self.node.cli(&[&["deploy"], arguments].concat());
        let code = refused.code;
        assert!(matches!(code, Some(1 | 2)), "{what}: {refused:#?}");
        refused.expect_error_text(words);
        let after = state();
        assert_eq!((before.0, before.1), (after.0, after.1), "{what}: list and generation");
        let stored: Vec<_> =
            after.2.iter().filter(|(path, content)| before.2.get(*path) != Some(content)).collect();
        let files: Vec<_> = stored.iter().map(|(path, _)| path).collect();
        assert!(
            files.is_empty() && before.2.len() == after.2.len(),
            "{what}: the store changed: {files:?}"
        );
        self.node.get("/hello/").expect_hello();
    }
}

#[test]
fn files_that_are_no_function() {
    let place = Place::new();
    let hello = fs::read(guests::path("hello")).unwrap();
    let mut flipped = hello.clone();
    flipped[4] = 0x77;
    let cases: [(&str, &[u8], &[&str]); 12] = [
        ("a text file", b"This is no such thing.\n", &["component"]),
        ("a script", b"#!/bin/sh\necho this is no such thing\n", &["--kind lambda", "server"]),
        ("an empty file", b"", &["empty"]),
        ("a core module without exports", guests::EMPTY_MODULE, &["_start", "component"]),
        (
            "a core module with no known entry",
            guests::MODULE_WITHOUT_ENTRY,
            &["_start", "component"],
        ),
        (
            "a core module that imports from a browser",
            &module("env", "now"),
            &["env.now", "component"],
        ),
        (
            "a core module with a preview-1 import that there is not",
            &module(PREVIEW_1, "fd_fly"),
            &["fd_fly"],
        ),
        ("a component for another world", guests::EMPTY_COMPONENT, &["wasi:http"]),
        ("half a component", &hello[..hello.len() / 2], &["component"]),
        ("a component without its last bytes", &hello[..hello.len() - 7], &["component"]),
        ("the first 4 bytes of a component", &hello[..4], &["component"]),
        ("a component of an unknown version", &flipped, &["component"]),
    ];
    for (what, content, words) in cases {
        let file = place.file("bad.wasm", content);
        place.refuses(what, &[&file, "--name", "bad"], words);
        // Also over a version that is good.
        place.refuses(what, &[&file, "--name", "hello"], words);
        place.node.get("/bad/").expect_problem(404);
    }
    place.node.stop();
}

/// The error names the import that guests do not have here, and nothing of the module's inside.
#[test]
fn proposals_that_guests_do_not_have_are_named() {
    // A command: `_start`, which does what `code` says, and a memory of `memory`.
    let command = |types: &[u8], memory: &[u8], code: &[u8]| {
        let section = |id: u8, content: &[u8]| {
            [&[id, u8::try_from(content.len()).unwrap()], content].concat()
        };
        let exports = [&[2, 6][..], b"_start", &[0, 0, 6], b"memory", &[2, 0]].concat();
        let body = [&[1, u8::try_from(code.len() + 2).unwrap(), 0], code, &[0x0b]].concat();
        let rest = [section(5, memory), section(7, &exports), section(10, &body)].concat();
        [guests::EMPTY_MODULE, &section(1, types), &section(3, &[1, 0]), &rest].concat()
    };
    let place = Place::new();
    let (plain, one_page): (&[u8], &[u8]) = (&[1, 0x60, 0, 0], &[1, 0, 1]);
    type Case<'a> = (&'a str, &'a [u8], &'a [u8], &'a [u8]);
    let cases: [Case<'_>; 4] = [
        ("legacy exception handling", plain, one_page, &[0x06, 0x40, 0x0b]),
        ("custom page sizes", plain, &[1, 8, 1, 0], &[]),
        ("stack switching", &[2, 0x60, 0, 0, 0x5d, 0], one_page, &[]),
        (
            "wide arithmetic",
            plain,
            one_page,
            &[0x42, 0, 0x42, 0, 0x42, 0, 0x42, 0, 0xfc, 0x13, 0x1a, 0x1a],
        ),
    ];
    for (name, types, memory, code) in cases {
        let file = place.file("needs.wasm", &command(types, memory, code));
        place.refuses(
            name,
            &[&file, "--name", "bad"],
            &[name, "guests of this node do not have", "build it without"],
        );
    }
    let plain = place.file("plain.wasm", &command(plain, one_page, &[]));
    place.node.cli(&["deploy", &plain, "--name", "plain"]).expect_code(0);
    place.node.stop();
}

#[test]
fn files_that_are_not_there_or_no_files() {
    let place = Place::new();
    let missing = place.files.path().join("missing.wasm");
    let missing = missing.to_str().unwrap();
    place.refuses("a missing file", &[missing, "--name", "bad"], &["missing.wasm"]);
    let folder = place.files.path().to_str().unwrap();
    place.refuses("a folder", &[folder, "--name", "bad"], &[folder]);
    place.node.stop();
}

#[test]
fn names_that_are_no_names() {
    let place = Place::new();
    let hello = guests::path("hello");
    let hello = hello.to_str().unwrap();
    let long = "x".repeat(300);
    for name in [
        "a/b", "..", ".", "/", "a\\b", "", "-a", "a-", "Hello", "a b", "a.b", "a\nb", "ä",
        "%2e%2e", &long,
    ] {
        let option = format!("--name={name}");
        place.refuses(&format!("the name {name:?}"), &[hello, &option], &["name", "expected"]);
        // The manifest does not allow it either.
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("hello.wasm");
        fs::copy(hello, &file).unwrap();
        fs::write(folder.path().join("sockhop.toml"), format!("name = {name:?}\n")).unwrap();
        place.refuses(
            &format!("the name {name:?} in the manifest"),
            &[file.to_str().unwrap()],
            &["name"],
        );
    }
    // The longest name that is allowed.
    place.node.deploy("hello", &long[..63], &[]);
    place.node.get(&format!("/{}/", &long[..63])).expect_hello();
    place.node.stop();
}

#[test]
fn manifests_and_options_that_make_no_sense() {
    let place = Place::new();
    let hello = guests::path("hello");
    let hello = hello.to_str().unwrap();
    for (option, value) in [
        ("--memory", "0"),
        ("--memory", "8TiB"),
        ("--timeout", "0s"),
        ("--timeout", "9days"),
        ("--cpu-time", "1ms"),
        ("--table-elements", "0"),
        ("--core-instances", "101"),
        ("--reply-head", "1GiB"),
        ("--log-size", "1GiB"),
        ("--concurrency", "0"),
        ("--queue", "100001"),
        ("--queue-timeout", "1day"),
    ] {
        place.refuses(option, &[hello, "--name", "bad", option, value], &[option, "expected"]);
    }
    for (option, value, words) in [
        ("--kind", "command", &["kind command", "http02"][..]),
        ("--arg", "x", &["--arg", "for commands"]),
        ("--output", "cgi", &["--output", "for commands"]),
        ("--allow-outbound", "https://example.com/", &["https://example.com/", "expected"]),
        ("--config", "=x", &["config", "name=value"]),
    ] {
        place.refuses(option, &[hello, "--name", "bad", option, value], words);
    }
    let command = guests::path("cmd");
    let command = command.to_str().unwrap();
    for (option, value, words) in [
        ("--kind", "http", &["kind http", "command"][..]),
        ("--instances", "reuse=2", &["reuse=2", "command"]),
    ] {
        place.refuses(option, &[command, "--name", "bad", option, value], words);
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bad.wasm");
    fs::copy(hello, &file).unwrap();
    for (manifest, word) in [
        ("memory = [", "sockhop.toml"),
        ("memori = \"1MiB\"", "memori"),
        ("memory = \"much\"", "memory"),
        ("timeout = \"later\"", "timeout"),
        ("isolation = \"somehow\"", "isolation"),
        ("cpu-time = \"1s\"", "cpu-time"),
        ("concurrency = 0", "concurrency"),
        ("concurrency = \"many\"", "concurrency"),
        ("args = \"x\"", "args"),
        ("allow_outbound = [\"nowhere\"]", "nowhere"),
        ("dead_letters = \"ftp://a/\"", "ftp://a/"),
        ("[env]\nA = 1", "expected a string"),
        ("[limits]\nmemory = \"1MiB\"", "limits"),
    ] {
        fs::write(folder.path().join("sockhop.toml"), manifest).unwrap();
        place.refuses(manifest, &[file.to_str().unwrap()], &[word]);
    }
    place.node.stop();
}

#[test]
fn a_full_store_is_an_error_and_the_old_version_stays() {
    let disk = SmallDisk::mount(4);
    let node = Node::build().option("--store", disk.path()).start();
    expect_full_is_survived(&disk, &node, disk.path());
    node.stop();
}

#[test]
fn a_full_data_folder_is_an_error_and_the_old_version_stays() {
    let disk = SmallDisk::mount(16);
    let data = disk.path().join("data");
    let node = Node::build().data(&data).start();
    expect_full_is_survived(&disk, &node, &data);
    node.stop();
}

/// Fills the disk, checks that a deploy fails and changes nothing, makes room, and deploys again.
fn expect_full_is_survived(disk: &SmallDisk, node: &Node, stored: &Path) {
    node.deploy("hello", "hello", &[]);
    let mut before = (node.list(), node.status().node.generation);
    // A name gets its identity with the first attempt to deploy under it.
    let identity = |path: &Path| {
        path.ends_with("identities/another")
            || path.parent().is_some_and(|folder| folder.ends_with("identities/another"))
    };
    let names = || picture(stored).into_keys().filter(|path| !identity(path)).collect::<Vec<_>>();
    let filler = disk.fill();
    let stored_before = names();
    for name in ["hello", "another"] {
        let file = guests::path("echo");
        let deploy = ["deploy", file.to_str().unwrap(), "--name", name, "--no-trial"];
        node.cli(&deploy).expect_error(&["no space left"]);
        assert_eq!((node.list(), node.status().node.generation), before);
        // A trial serves the version by its id for a moment, which takes a generation and changes
        // nothing else.
        node.cli(&deploy[..4]).expect_error(&["no space left"]);
        assert_eq!(node.list(), before.0);
        before.1 = node.status().node.generation;
        assert_eq!(names(), stored_before, "nothing half-written is left");
        node.get("/hello/").expect_hello();
    }
    fs::remove_file(filler).unwrap();
    node.deploy("echo", "hello", &[]);
    assert_eq!(
        node.connect().post("/hello/", b"there is room again").text(),
        "there is room again"
    );
}
