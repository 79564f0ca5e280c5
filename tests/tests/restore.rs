//! A function that `sockhop remove` has removed is gone at once on all nodes, and `sockhop restore`
//! restores all of it, on any node. (`killed_at_every_step.rs` and the engine's own tests interrupt
//! both at every step.)
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use harness::client::Reply;
use harness::running::records;
use harness::s3::Server;
use harness::{Node, NodeBuilder, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a change may take until another node serves it, on a machine that is busy with other
/// tests.
const SOON: Duration = Duration::from_secs(20);

/// Runs a command, and returns its output. Panics if it fails.
#[track_caller]
fn done(node: &Node, arguments: &[&str]) -> String {
    node.cli(arguments).expect_code(0).stdout
}

/// Returns the records that a command prints as JSON.
#[track_caller]
fn json_records(node: &Node, arguments: &[&str]) -> Vec<Value> {
    records(&done(node, &[arguments, &["--json"]].concat()))
}

#[track_caller]
fn set_secret(node: &Node, name: &str, key: &str, value: &str) {
    node.cli_with_stdin(&["secret", "set", name, key], value.as_bytes()).expect_code(0);
}

/// Returns the environment of the guest `inspect`, or null if it is not served.
fn environment(node: &Node, target: &str) -> Value {
    let reply = node.get(target);
    if reply.status() == 404 { Value::Null } else { reply.json()["environment"].clone() }
}

fn until(node: &Node, target: &str, expected: &Value) {
    wait::for_value(
        &format!("{target}: {expected}"),
        SOON,
        || environment(node, target),
        |now| now == expected,
    );
}

/// Checks what two nodes do with one store of any kind.
fn two_nodes_restore(with_store: impl Fn(NodeBuilder) -> NodeBuilder) {
    let folder = TempDir::new().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "01".repeat(32)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let start = || {
        with_store(Node::build().option("--sync-interval", "100ms").option("--secrets-key", &key))
            .start()
    };
    let (one, other) = (start(), start());
    for version in ["VERSION=1", "VERSION=2"] {
        one.deploy("inspect", "it", &["--env", version, "--previews"]);
    }
    done(&one, &["alias", "set", "it@staging", "v1", "--env", "PLACE=staging"]);
    set_secret(&one, "it", "KEY", "hush");
    let active = json!({"VERSION": "2", "KEY": "hush"});
    let staging = json!({"VERSION": "1", "KEY": "hush", "PLACE": "staging"});
    until(&other, "/it/", &active);
    let before = ["inspect", "versions"].map(|command| json_records(&one, &[command, "it"]));

    for (remover, restorer) in [(&one, &other), (&other, &one), (&one, &one)] {
        let removed = remover.cli(&["remove", "it"]).expect_code(0);
        assert_eq!(removed.stdout, "removed it\n");
        assert!(
            removed.stderr.contains("until ") && removed.stderr.contains("sockhop restore it"),
            "{removed:#?}"
        );
        for node in [remover, restorer] {
            for target in ["/it/", "/it@staging/", "/it@v1/"] {
                until(node, target, &Value::Null);
            }
        }
        assert_eq!(done(restorer, &["list", "--json"]), "");
        let [kept] = &json_records(restorer, &["list", "--removed"])[..] else {
            panic!("one is removed")
        };
        assert_eq!(
            (&kept["name"], &kept["versions"], &kept["secrets"]),
            (&json!("it"), &json!(2), &json!(["KEY"]))
        );
        assert!(done(restorer, &["list", "--removed"]).contains("v2, active, of 2 versions"));

        let restored = done(restorer, &["restore", "it"]);
        assert!(restored.contains("restored it, v2, with 1 secret\n"), "{restored}");
        assert!(
            restored.contains(&format!("http://{}/it/", restorer.addresses()[0])),
            "{restored}"
        );
        // Every worker of this node serves it by now, and those of other nodes soon.
        assert_eq!(
            (environment(restorer, "/it/"), environment(restorer, "/it@staging/")),
            (active.clone(), staging.clone())
        );
        until(remover, "/it/", &active);
        until(remover, "/it@staging/", &staging);
        for node in [remover, restorer] {
            assert_eq!(
                ["inspect", "versions"].map(|command| json_records(node, &[command, "it"])),
                before
            );
            assert_eq!(done(node, &["list", "--removed", "--json"]), "");
        }
        node_refuses(restorer, "it", &["not removed"]);
    }
    done(&other, &["rollback", "it"]);
    assert_eq!(environment(&other, "/it/")["VERSION"], "1", "it goes back to where it went before");
    one.stop();
    other.stop();
}

#[track_caller]
fn node_refuses(node: &Node, name: &str, words: &[&str]) {
    node.cli(&["restore", name]).expect_error(words);
}

#[test]
fn two_nodes_on_one_folder_restore_what_either_has_removed() {
    let folder = TempDir::new().unwrap();
    let store = folder.path().join("store");
    two_nodes_restore(|node| node.option("--store", &store));
}

#[test]
fn so_they_do_on_one_bucket() {
    let server = Server::s3s_fs();
    two_nodes_restore(|node| node.bucket(&server, "shared", server.address()));
}

#[test]
fn and_on_another_server() {
    let server = Server::garage();
    two_nodes_restore(|node| node.bucket(&server, "shared", server.address()));
}

#[test]
fn a_function_of_any_kind_comes_back_with_its_options_after_a_restart_too() {
    let data = TempDir::new().unwrap();
    let node = Node::build().data(data.path()).start();
    let names = ["hello", "hello-p3", "cmd", "cmd-p1"];
    for name in names {
        let options: &[&str] = match name {
            "cmd" => &["--arg", "env", "--env", "COLOUR=green", "--isolation", "process"],
            _ => &["--memory", "32MiB"],
        };
        node.deploy(name, name, options);
    }
    node.deploy("hello", "waiting", &["--no-activate"]);
    let target = |name: &str| {
        if name.starts_with("cmd") { format!("/{name}/?env") } else { format!("/{name}/") }
    };
    // Without the lines with ports, which differ for each connection.
    let text = |reply: &Reply| {
        let text = reply.text();
        text.lines()
            .filter(|line| !line.contains("_PORT="))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    let look = |node: &Node| {
        names.map(|name| {
            let reply = node.get(&target(name));
            (reply.status(), text(&reply))
        })
    };
    let options =
        |node: &Node| names.map(|name| json_records(node, &["inspect", name])[0]["limits"].clone());
    let (before, limits) = (look(&node), options(&node));
    assert!(before.iter().all(|(status, _)| *status == 200), "{before:?}");
    for name in names.iter().chain(&["waiting"]) {
        done(&node, &["remove", name]);
    }
    node.stop();
    // The module is compiled again.
    fs::remove_dir_all(data.path().join("cache")).unwrap();
    let node = Node::build().data(data.path()).start();
    assert_eq!(json_records(&node, &["list", "--removed"]).len(), 5);
    for name in names {
        node.get(&target(name)).expect_problem(404);
        done(&node, &["restore", name]);
        assert_eq!(node.get(&target(name)).status(), 200, "{name}");
    }
    assert_eq!((look(&node), options(&node)), (before, limits));
    assert_eq!(node.status().pool("cmd").count(), 1, "it has a worker of its own again");
    assert!(done(&node, &["restore", "waiting"]).contains("no version of it is active"));
    node.cli(&["invoke", "waiting"]).expect_error(&["active"]);
    done(&node, &["invoke", "waiting@v1"]);
    node.stop();
}

#[test]
fn a_new_function_of_the_name_has_nothing_of_the_removed_one_and_is_in_its_way() {
    let data = TempDir::new().unwrap();
    let (node, store) =
        (Node::build().in_folder().data(data.path()).start(), data.path().join("store"));
    node_refuses(&node, "it", &["nothing", "sockhop list --removed"]);
    node.deploy("inspect", "it", &["--env", "VERSION=1"]);
    node_refuses(&node, "it", &["not removed"]);
    set_secret(&node, "it", "KEY", "hush");
    done(&node, &["remove", "it"]);
    node.cli(&["remove", "it"]).expect_error(&["removed already", "sockhop restore it"]);

    node.deploy("inspect", "it", &["--env", "OTHER=1"]);
    assert_eq!(
        environment(&node, "/it/"),
        json!({"OTHER": "1"}),
        "neither its options nor its secrets"
    );
    assert_eq!(json_records(&node, &["versions", "it"])[0]["number"], 1);
    let id = json_records(&node, &["list", "--removed"])[0]["id"].as_str().unwrap().to_owned();
    node_refuses(
        &node,
        "it",
        &["v1, active", "sockhop remove it", &format!("sockhop restore it {id}")],
    );
    assert_eq!(environment(&node, "/it/"), json!({"OTHER": "1"}));

    // As it says.
    done(&node, &["remove", "it"]);
    assert_eq!(json_records(&node, &["list", "--removed"]).len(), 2);
    node.cli(&["restore", "it", "ffff"]).expect_error(&["no removal", "ffff"]);
    done(&node, &["restore", "it", &id]);
    assert_eq!(environment(&node, "/it/"), json!({"VERSION": "1", "KEY": "hush"}));
    node.cli(&["restore", "it", "0"]).expect_error(&["is deployed", "v1, active"]);
    done(&node, &["remove", "it"]);
    done(&node, &["restore", "it"]);
    assert_eq!(
        environment(&node, "/it/"),
        json!({"VERSION": "1", "KEY": "hush"}),
        "what was removed last"
    );

    // Secrets of a new function of the name prevent it too.
    done(&node, &["remove", "it"]);
    set_secret(&node, "it", "NEXT", "1");
    node_refuses(&node, "it", &["NEXT", "sockhop secret remove it KEY"]);
    assert_eq!(done(&node, &["list", "--json"]), "", "nothing is restored by half");
    assert!(!store.join("versions/it").exists());
    done(&node, &["secret", "remove", "it", "NEXT"]);
    done(&node, &["restore", "it"]);
    assert_eq!(environment(&node, "/it/"), json!({"VERSION": "1", "KEY": "hush"}));
    node.stop();
}

#[test]
fn what_is_removed_for_good_is_not_kept() {
    let data = TempDir::new().unwrap();
    let node = Node::build().in_folder().data(data.path()).start();
    let kept = || data.path().join("store/removed/it").exists();
    node.deploy("inspect", "it", &[]);
    done(&node, &["remove", "it", "--for-good"]);
    node_refuses(&node, "it", &["nothing"]);
    node.cli(&["remove", "it", "--for-good"]).expect_error(&["no function"]);
    // Nor is what was removed before, which can be removed for good afterwards, too.
    for afterwards in [false, true] {
        node.deploy("inspect", "it", &[]);
        done(&node, &["remove", "it"]);
        if !afterwards {
            node.deploy("inspect", "it", &[]);
        }
        assert!(kept());
        done(&node, &["remove", "it", "--for-good"]);
        assert!(!kept() && json_records(&node, &["list", "--removed"]).is_empty());
    }
    node.stop();
}

#[test]
fn what_is_kept_of_a_secret_is_neither_readable_nor_where_functions_look() {
    const MARK: &str = "hush-7Qx9Zt4Lw2";
    let data = TempDir::new().unwrap();
    let node = Node::build().in_folder().data(data.path()).start();
    node.deploy("inspect", "it", &[]);
    set_secret(&node, "it", "KEY", MARK);
    done(&node, &["remove", "it"]);
    for folder in ["secrets", "identities"] {
        let left =
            fs::read_dir(data.path().join("store").join(folder)).into_iter().flatten().count();
        assert_eq!(left, 0, "{folder}");
    }
    let folder = data.path().join("store/removed/it");
    let kept = fs::read(fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()).unwrap();
    assert!(!kept.windows(MARK.len()).any(|part| part == MARK.as_bytes()));
    assert!(!done(&node, &["list", "--removed", "--json"]).contains(MARK));
    done(&node, &["restore", "it"]);
    assert_eq!(environment(&node, "/it/"), json!({"KEY": MARK}));
    node.stop();
}
