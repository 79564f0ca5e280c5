//! What a file is decides how it is deployed: seen in `inspect`, in what is compiled, and in what
//! is refused by name.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;

// The engine's own list, which the worker's linker must have.
use abi::preview1;
use harness::{Node, guests};
use serde_json::Value;
use tempfile::TempDir;

fn inspected(node: &Node, name: &str) -> Value {
    serde_json::from_str(&node.cli(&["inspect", name, "--json"]).expect_code(0).stdout).unwrap()
}

/// A component that imports an empty instance and exports it under another name.
fn component(import: &str, export: &str) -> Vec<u8> {
    let section =
        |id: u8, content: &[u8]| [&[id, u8::try_from(content.len()).unwrap()], content].concat();
    let named = |text: &str| [&[0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let types = section(7, &[1, 0x42, 0]);
    let imports = section(10, &[&[1][..], &named(import), &[5, 0]].concat());
    let exports = section(11, &[&[1][..], &named(export), &[5, 0, 0]].concat());
    [guests::EMPTY_COMPONENT, &types, &imports, &exports].concat()
}

#[test]
fn every_kind_is_known_by_its_file() {
    let node = Node::start();
    for (guest, kind) in [
        ("hello", "http02"),
        ("hello-p3", "http03"),
        ("cmd", "command"),
        ("cmd-p1", "command"),
        ("c-hello", "command"),
        ("go-stdin", "command"),
    ] {
        node.deploy(guest, "a", &[]);
        assert_eq!(inspected(&node, "a")["kind"], kind, "{guest}");
    }
    node.stop();
}

#[test]
fn what_is_both_is_a_handler_unless_said_and_is_compiled_for_each() {
    let node = Node::start();
    for (option, kind, compiled) in [
        (&[][..], "http02", 1),
        (&["--kind", "command"], "command", 2),
        // As the active version has it.
        (&[], "command", 2),
        (&["--kind", "http"], "http02", 2),
        (&[], "http02", 2),
        (&["--kind", "command"], "command", 2),
        (&["--fresh-options"], "http02", 2),
    ] {
        node.deploy("hello-wstd", "both", option);
        assert_eq!(inspected(&node, "both")["kind"], kind);
        assert_eq!(node.status().node.compilations, compiled, "{kind}");
    }
    node.get("/both/").expect_hello();
    node.stop();
}

#[test]
fn imports_that_the_node_lacks_are_named() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bad.wasm");
    for (import, export) in [
        ("wasi:keyvalue/store@0.2.0-draft3", "wasi:http/incoming-handler@0.2.0"),
        ("wasi:nn/tensor@0.2.0-rc-2024-10-28", "wasi:http/handler@0.3.0"),
        ("wasi:http/client@0.3.0", "wasi:http/incoming-handler@0.2.0"),
        ("wasi:clocks/timezone@0.2.0", "wasi:cli/run@0.2.0"),
        ("mine:own/thing", "wasi:cli/run@0.2.0"),
    ] {
        fs::write(&file, component(import, export)).unwrap();
        let refused = node.cli(&["deploy", file.to_str().unwrap()]).expect_code(1);
        assert!(refused.stderr.contains(&format!("imports \"{import}\"")), "{refused:#?}");
    }
    for export in [
        "wasi:cli/run@0.3.0",
        "wasi:http/handler@0.3.0-rc-2026-01-06",
        "wasi:http/incoming-handler@1.0.0",
    ] {
        fs::write(&file, component("wasi:io/poll@0.2.0", export)).unwrap();
        let refused = node.cli(&["deploy", file.to_str().unwrap()]).expect_code(1);
        assert!(
            refused.stderr.contains(&format!("exports {export}; expected wasi:http")),
            "{refused:#?}"
        );
    }
    assert_eq!(node.list(), "");
    node.stop();
}

#[test]
fn all_of_preview_1_is_there() {
    let leb = |number: usize| {
        [u8::try_from(number % 128).unwrap() | 0x80, u8::try_from(number / 128).unwrap()]
    };
    let section = |id: u8, content: &[u8]| [&[id][..], &leb(content.len()), content].concat();
    let with_length = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let values = |letters: &str| {
        let types: Vec<u8> =
            letters.bytes().map(|letter| if letter == b'I' { 0x7e } else { 0x7f }).collect();
        [&[u8::try_from(types.len()).unwrap()], &types[..]].concat()
    };
    let (mut types, mut imports) = (Vec::new(), Vec::new());
    for (at, (name, signature)) in preview1::FUNCTIONS.iter().enumerate() {
        let (parameters, results) = signature.split_once('>').unwrap();
        types.extend([&[0x60][..], &values(parameters), &values(results)].concat());
        let of = u8::try_from(at).unwrap();
        imports.extend([with_length(preview1::MODULE), with_length(name), vec![0, of]].concat());
    }
    let count = u8::try_from(preview1::FUNCTIONS.len()).unwrap();
    let sections = [
        section(1, &[&[count + 1][..], &types, &[0x60, 0, 0]].concat()),
        section(2, &[&[count][..], &imports].concat()),
        section(3, &[1, count]),
        section(5, &[1, 0, 1]),
        section(
            7,
            &[&[2][..], &with_length("_start"), &[0, count], &with_length("memory"), &[2, 0]]
                .concat(),
        ),
        section(10, &[1, 2, 0, 0x0b]),
    ];
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("all.wasm");
    fs::write(&file, [guests::EMPTY_MODULE, &sections.concat()].concat()).unwrap();
    node.cli(&["deploy", file.to_str().unwrap()]).expect_code(0);
    let reply = node.get("/all/");
    assert_eq!((reply.status(), reply.text().as_str()), (200, ""));
    node.stop();
}

#[test]
fn every_choice_is_shown() {
    let node = Node::start();
    let options = [
        "--kind=command",
        "--memory=32MiB",
        "--timeout=7s",
        "--cpu-time=3s",
        "--table-elements=300",
        "--core-instances=20",
        "--request-body=1MiB",
        "--reply-head=16KiB",
        "--log-size=1KiB",
        "--concurrency=5",
        "--queue=6",
        "--queue-timeout=2s",
        "--outbound-requests=7",
        "--arg=-v",
        "--arg=x y",
        "--output=cgi",
        "--env=A=B",
        "--config=C=D",
        "--allow-outbound=example.com:443",
        "--kv=orders=shop-orders",
        "--kv-keys=8",
        "--kv-size=1MiB",
        "--kv-calls=9",
        "--job-attempts=5",
        "--job-age=1h",
        "--job-pause=2s",
    ];
    node.deploy("cmd", "all", &options);
    let shown = inspected(&node, "all");
    let limits = serde_json::json!({
        "memory_bytes_max": 32 << 20,
        "timeout_ms": 7000,
        "cpu_time_ms": 3000,
        "table_elements_max": 300,
        "core_instances_max": 20,
        "request_body_bytes_max": 1 << 20,
        "reply_head_bytes_max": 16 << 10,
        "log_bytes_max": 1024,
        "concurrency_max": 5,
        "queue_max": 6,
        "queue_timeout_ms": 2000,
        "outbound_requests_max": 7,
        "kv_keys_max": 8,
        "kv_bytes_max": 1 << 20,
        "kv_calls_max": 9,
        "job_attempts_max": 5,
        "job_age_ms": 3_600_000,
        "job_pause_ms": 2000,
        "processes_max": 10,
        "processes_min": 0,
        "process_requests_max": 0,
        "init_timeout_ms": 10_000,
        "process_idle_ms": 60_000,
        "process_grace_ms": 10_000,
        "threads_max": 1024,
        "tmp_bytes_max": 512 << 20,
    });
    assert_eq!(shown["limits"], limits);
    assert_eq!(shown["args"], serde_json::json!(["-v", "x y"]));
    assert_eq!(
        (&shown["output"], &shown["env"]["A"], &shown["config"]["C"]),
        (&"cgi".into(), &"B".into(), &"D".into())
    );
    assert_eq!(shown["allow_outbound"], serde_json::json!(["example.com:443"]));

    let printed = node.cli(&["inspect", "all"]).expect_code(0).stdout;
    for line in [
        "output cgi",
        "memory 32.0 MiB",
        "cpu-time 3s",
        "queue 6",
        "arg x y",
        "config C=D",
        "kv orders=shop-orders",
        "kv-size 1.0 MiB",
        "log-size 1.0 KiB",
    ] {
        let (key, value) = line.split_once(' ').unwrap();
        let found = printed
            .lines()
            .any(|line| line.split_once(' ').is_some_and(|(k, v)| k == key && v.trim() == value));
        assert!(found, "{line}: {printed}");
    }
    let listed = node.cli(&["list"]).expect_code(0).stdout;
    assert!(listed.contains("CONCURRENCY") && listed.contains("command"), "{listed}");
    node.stop();
}

#[test]
fn a_store_of_the_first_build_is_served() {
    let data = TempDir::new().unwrap();
    let node = Node::build().data(data.path()).in_folder().start();
    node.deploy("hello", "hello", &["--timeout", "9s"]);
    let version = inspected(&node, "hello")["version"].as_str().unwrap().to_owned();
    node.stop();

    // As that build wrote it: another layout, a manifest with fewer fields, and no checks around
    // it.
    let store = data.path().join("store");
    let sealed = fs::read_to_string(store.join(format!("versions/hello/{version}.json"))).unwrap();
    let (_, written) = sealed.split_once('\n').unwrap();
    let mut manifest: Value = serde_json::from_str(written).unwrap();
    let fields = manifest.as_object_mut().unwrap();
    let limits = fields.remove("limits").unwrap();
    for key in ["config", "args", "output", "allow_outbound", "number"] {
        fields.remove(key).unwrap();
    }
    fields.insert("kind".to_owned(), "http".into());
    for key in ["memory_bytes_max", "timeout_ms"] {
        fields.insert(key.to_owned(), limits[key].clone());
    }
    for folder in ["versions", "aliases"] {
        fs::remove_dir_all(store.join(folder)).unwrap();
    }
    fs::create_dir_all(store.join("functions/hello/versions")).unwrap();
    fs::write(store.join("format"), "sockhop-store 1\n").unwrap();
    fs::write(store.join("functions/hello/active"), &version).unwrap();
    let path = store.join(format!("functions/hello/versions/{version}.json"));
    fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();

    let node = Node::build().data(data.path()).in_folder().start();
    node.get("/hello/").expect_hello();
    assert!(!store.join("functions").exists(), "it is of today's format now");
    let shown = inspected(&node, "hello");
    assert_eq!((&shown["kind"], &shown["limits"]), (&"http02".into(), &limits));
    assert_eq!(node.status().node.compilations, 0);
    node.stop();
}

#[test]
fn a_module_is_ready_before_its_first_call() {
    let node = Node::with(&["hello"]);
    let cache = node.data().join("cache");
    let files = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
    let modules: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|name| name == "cwasm")).collect();
    assert!(!modules.is_empty(), "{} has no compiled module", cache.display());
    modules.iter().for_each(|module| fs::remove_file(module).unwrap());
    node.get("/hello/").expect_hello();
    assert_eq!(node.status().node.compilations, 1, "it was compiled at its deploy and never again");
    node.stop();
}

/// A command whose `_start` calls another function in tail position, which writes to the second of
/// two memories and reads from the second of two tables.
#[test]
fn modules_may_have_several_memories_and_tables_and_tail_calls() {
    let section =
        |id: u8, content: &[u8]| [&[id, u8::try_from(content.len()).unwrap()], content].concat();
    let exports = [&[2, 6][..], b"_start", &[0, 0, 6], b"memory", &[2, 0]].concat();
    let tail_call = [4, 0, 0x12, 1, 0x0b];
    // i32.store of 7 in memory 1, and the element 0 of table 1 dropped.
    let body = [0, 0x41, 0, 0x41, 7, 0x36, 0x42, 1, 0, 0x41, 0, 0x25, 1, 0x1a, 0x0b];
    let code = [&[2][..], &tail_call, &[u8::try_from(body.len()).unwrap()], &body].concat();
    let sections = [
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[2, 0, 0]),
        section(4, &[2, 0x70, 0, 1, 0x70, 0, 1]),
        section(5, &[2, 0, 1, 0, 1]),
        section(7, &exports),
        section(10, &code),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("several.wasm");
    fs::write(&file, [guests::EMPTY_MODULE, &sections.concat()].concat()).unwrap();
    let node = Node::start();
    for options in [&["--name", "shared"][..], &["--name", "alone", "--isolation", "process"]] {
        node.cli(&[&["deploy", file.to_str().unwrap()], options].concat()).expect_code(0);
    }
    for target in ["/shared/", "/alone/"] {
        assert_eq!(node.get(target).status(), 200, "{}", node.stderr());
    }
    node.stop();
}
