//! What the compiler has done once it does not do again, and the module is the same, byte by byte.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test] functions")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use harness::{Node, guests, node, wait};
use serde_json::Value;
use tempfile::TempDir;

const PATIENTLY: Duration = Duration::from_secs(30);

/// Compiles `input`. Returns the module, and what the compiler said of what it reused.
fn compile(folder: &Path, input: &Path, packs: &[&Path], new: Option<&Path>) -> (Vec<u8>, Value) {
    let output = folder.join("module");
    let mut arguments: Vec<&std::ffi::OsStr> =
        ["compile", "--kind", "http02"].map(AsRef::as_ref).into();
    for pack in packs {
        arguments.extend(["--pack".as_ref(), pack.as_os_str()]);
    }
    arguments.extend(new.iter().flat_map(|new| ["--new-pack".as_ref(), new.as_os_str()]));
    arguments.extend([input.as_os_str(), output.as_os_str()]);
    let finished = node::run(arguments).expect_code(0);
    (fs::read(output).unwrap(), serde_json::from_str(&finished.stdout).unwrap())
}

/// An empty file of this name.
fn empty(folder: &TempDir, name: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, "").unwrap();
    path
}

/// Another file with the same code: it has a custom section more.
fn with_section(wasm: &Path, folder: &TempDir) -> PathBuf {
    let path = folder.path().join("other.wasm");
    fs::write(&path, [&fs::read(wasm).unwrap()[..], b"\0\x05\x04more"].concat()).unwrap();
    path
}

#[test]
fn what_was_compiled_is_reused_and_the_module_is_the_same() {
    let folder = TempDir::new().unwrap();
    let page = guests::path("page");
    let new = empty(&folder, "new");
    let (alone, said) = compile(folder.path(), &page, &[], None);
    assert_eq!((&said["compiled"], &said["kept"]), (&0.into(), &false.into()));
    let (first, said) = compile(folder.path(), &page, &[], Some(&new));
    assert_eq!((&said["found"], &said["kept"]), (&0.into(), &true.into()));
    let functions = said["compiled"].as_u64().unwrap();
    let (second, said) = compile(folder.path(), &page, &[&new], None);
    assert_eq!(said["packs"], serde_json::json!([0]));
    assert!(said["found"].as_u64().unwrap() > functions * 9 / 10, "{said} of {functions}");
    assert!(alone == first && alone == second);
    let hello = compile(folder.path(), &guests::path("hello"), &[], None).0;
    let (reused, said) = compile(folder.path(), &guests::path("hello"), &[&new], None);
    assert!(said["found"].as_u64().unwrap() > 0, "they have much of Rust's library: {said}");
    assert!(hello == reused);
}

#[test]
fn a_pack_that_is_damaged_or_missing_and_a_full_disk_only_cost_time() {
    let folder = TempDir::new().unwrap();
    let hello = guests::path("hello");
    let (new, damaged) = (empty(&folder, "new"), folder.path().join("damaged"));
    let (module, _) = compile(folder.path(), &hello, &[], Some(&new));
    let bytes = fs::read(&new).unwrap();
    // Every byte of the code of every function.
    let index_end = 16 + 72 * usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let flipped = bytes.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at >= index_end));
    fs::write(&damaged, flipped.collect::<Vec<u8>>()).unwrap();
    let (again, said) = compile(folder.path(), &hello, &[&damaged], None);
    assert_eq!(said["found"], 0);
    assert!(again == module);
    fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    let nowhere = folder.path().join("nowhere");
    let (again, said) =
        compile(folder.path(), &hello, &[&nowhere, &damaged], Some(Path::new("/dev/full")));
    assert_eq!((&said["packs"], &said["kept"]), (&serde_json::json!([1]), &false.into()), "{said}");
    assert!(again == module);
}

#[test]
fn a_node_keeps_what_it_has_compiled_for_the_next_deploy_unless_it_is_to_keep_nothing() {
    let folder = TempDir::new().unwrap();
    let page = guests::path("page");
    let other = with_section(&page, &folder);
    let packs = |node: &Node| -> Vec<(PathBuf, SystemTime)> {
        let entries = fs::read_dir(node.data().join("cache/incremental")).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        let packs = paths.filter(|path| path.extension().is_some_and(|is| is == "pack"));
        packs.map(|path| (path.clone(), fs::metadata(path).unwrap().modified().unwrap())).collect()
    };
    let deploy = |node: &Node, file: &Path, name: &str| {
        node.cli(&["deploy", file.to_str().unwrap(), "--name", name]).expect_code(0);
    };
    let node = Node::start();
    deploy(&node, &page, "page");
    let first = wait::until("a pack", PATIENTLY, || packs(&node).pop());
    deploy(&node, &other, "other");
    wait::until("the pack was of use", PATIENTLY, || {
        packs(&node).iter().find(|(path, used)| *path == first.0 && *used > first.1).cloned()
    });
    assert_eq!(node.get("/other/").status(), 200);

    let node = Node::build().option("--compile-cache-size", "0").start();
    deploy(&node, &page, "page");
    assert_eq!(packs(&node), []);
}
