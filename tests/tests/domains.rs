//! Domains: hosts, and paths below them, that are for a function, on all nodes of a store.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::thread;
use std::time::Duration;

use abi::limits::DOMAINS_MAX;
use harness::answer::Answer;
use harness::client::{head, request};
use harness::faults::{Fault, Proxy};
use harness::running::records;
use harness::s3::Server;
use harness::{Connection, Node, NodeBuilder, Reply, native, wait};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// How long a change may take until another node serves it, on a machine that is busy with other
/// tests.
const SOON: Duration = Duration::from_secs(20);

/// Sends a GET to a host on a connection of its own.
fn at(node: &Node, host: &str, target: &str) -> Reply {
    on(&mut node.connect(), host, target)
}

/// Sends a GET to a host.
fn on(connection: &mut Connection, host: &str, target: &str) -> Reply {
    connection.send(head("GET", target, &[("host", host)]));
    connection.reply()
}

/// Deploys the guest `inspect`, which says by its environment who it is.
fn deploy(node: &Node, name: &str, options: &[&str]) {
    let variable = format!("NAME={name}");
    node.deploy("inspect", name, &[&["--env", &variable], options].concat());
}

/// Returns who answers a request to a host, or the status if it is an error.
fn who(node: &Node, host: &str, target: &str) -> String {
    name_in(&at(node, host, target))
}

fn name_in(reply: &Reply) -> String {
    match reply.status() {
        200 => reply.json()["environment"]["NAME"].as_str().unwrap().to_owned(),
        status => status.to_string(),
    }
}

fn add(node: &Node, domain: &str, function: &str) {
    let said = node.cli(&["domain", "add", domain, function]).expect_code(0).stdout;
    assert!(said.contains(&format!(" is for {function}")), "{said}");
}

fn domains(node: &Node) -> Vec<Value> {
    records(&node.cli(&["domain", "list", "--json"]).expect_code(0).stdout)
}

/// Returns the domains as people write them, each with what it is for.
fn shown(node: &Node) -> Vec<String> {
    let one = |listed: Value| {
        let alias = listed["alias"].as_str().map(|alias| format!("@{alias}")).unwrap_or_default();
        let text = |key: &str| listed[key].as_str().unwrap().to_owned();
        format!("{} {}{alias}", text("domain"), text("function"))
    };
    domains(node).into_iter().map(one).collect()
}

#[test]
fn a_host_and_the_longest_prefix_of_a_path_choose_the_function() {
    let node = Node::start();
    for name in ["web", "api", "any"] {
        deploy(&node, name, &[]);
    }
    deploy(&node, "api", &["--env", "NAME=second"]);
    node.cli(&["alias", "set", "api@first", "v1"]).expect_code(0);
    add(&node, "Example.COM.", "web");
    add(&node, "example.com/api/*", "api");
    add(&node, "example.com/api/v1/*", "api@first");
    add(&node, "*.example.com", "any");
    assert_eq!(
        shown(&node),
        [
            "*.example.com any",
            "example.com web",
            "example.com/api/* api",
            "example.com/api/v1/* api@first",
        ]
    );
    for target in ["/", "/?x=/api", "/apix", "/API/", "/x/api/", "//api/", "/%61pi/", "/web/", "*"]
    {
        let mut connection = node.connect();
        let method = if target == "*" { "OPTIONS" } else { "GET" };
        connection.send(head(method, target, &[("host", "example.com")]));
        assert_eq!(name_in(&connection.reply()), "web", "{target}");
    }
    for target in ["/api", "/api/", "/api?x", "/api/x/y", "/api/v1x", "/api/../web"] {
        assert_eq!(who(&node, "example.com", target), "second", "{target}");
    }
    for target in ["/api/v1", "/api/v1/x", "http://EXAMPLE.com:81/api/v1/?x"] {
        assert_eq!(who(&node, "example.com", target), "api", "{target}");
    }
    for host in
        ["EXAMPLE.Com", "example.com:8080", "example.com.", "Example.com.:80", "example.com:"]
    {
        assert_eq!(who(&node, host, "/"), "web", "{host}");
    }
    for host in ["a.example.com", "web.example.com", "A-b.EXAMPLE.com.:1"] {
        assert_eq!(who(&node, host, "/api/"), "any", "{host}");
    }
    // Hosts that only look alike are none of it.
    for host in [
        "a.b.example.com",
        ".example.com",
        "*.example.com",
        "xexample.com",
        "example.com..",
        "example%2ecom",
        "example.co",
        "[::1]",
        "",
    ] {
        assert_eq!(who(&node, host, "/web/"), "web", "{host}");
        assert_eq!(who(&node, host, "/"), "404", "{host}");
    }
    for host in
        ["user@example.com", "example.com:80:80", "example.com/", "b\u{fc}cher.example", "a b"]
    {
        at(&node, host, "/").expect_problem(400);
    }
    let mut twice = node.connect();
    twice.send("GET / HTTP/1.1\r\nHost: example.com\r\nHost: a.example.com\r\n\r\n");
    twice.reply().expect_problem(400);
    let mut user = node.connect();
    user.send("GET http://a@example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n");
    user.reply().expect_problem(400);
    // The target in absolute form counts, and the function sees the path whole.
    assert_eq!(who(&node, "a.example.com", "http://example.com/api/x"), "second");
    let seen = at(&node, "example.com", "/api/a%20b?x=1").json();
    assert_eq!((&seen["path"], &seen["query"]), (&json!("/api/a%20b"), &json!("x=1")));
    assert_eq!(seen["headers"].get("x-forwarded-prefix"), None, "{seen}");

    node.cli(&["domain", "remove", "example.com/api/*"]).expect_code(0);
    assert_eq!(who(&node, "example.com", "/api/x"), "web");
    node.cli(&["domain", "remove", "EXAMPLE.com/"]).expect_code(0);
    assert_eq!(who(&node, "example.com", "/api/v1/"), "api");
    assert_eq!(who(&node, "example.com", "/"), "404");
    let none = node.cli(&["domain", "remove", "example.com"]).expect_code(1).stderr;
    assert!(none.contains("no domain example.com"), "{none}");
    node.stop();
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let node = Node::build().option("--admin", "127.0.0.1:0").start();
    deploy(&node, "web", &[]);
    deploy(&node, "off", &["--no-activate"]);
    add(&node, "example.com", "web");
    add(&node, "example.com/", "web");
    node.cli(&["alias", "set", "web@beta", "v1"]).expect_code(0);
    let refused = |domain: &str, function: &str, code: i32, parts: &[&str]| {
        let said = node.cli(&["domain", "add", domain, function]).expect_code(code).stderr;
        assert!(parts.iter().all(|part| said.contains(part)), "{domain}: {said}");
    };
    refused("example.com", "web@beta", 1, &["example.com", "\"web\"", "\"web@beta\"", "remove"]);
    refused("a.example", "nope", 1, &["no function \"nope\""]);
    refused("a.example", "web@nope", 1, &["no alias \"nope\""]);
    refused("a.example", "off", 1, &["no version", "active"]);
    refused("a.example", "web@v1", 2, &["alias set"]);
    refused("a.example:443", "web", 2, &["port"]);
    refused("b\u{fc}cher.example", "web", 2, &["punycode"]);
    refused("https://a.example", "web", 2, &["host alone"]);
    refused("127.0.0.1", "web", 2, &["address"]);
    refused("a.*.example", "web", 2, &["*.example.com"]);
    refused("a.example/x", "web", 2, &["a.example/x/*"]);
    assert_eq!(shown(&node), ["example.com web"]);

    // What goes over the wire is looked at again, however it is written.
    let status = node.status().node;
    let token = fs::read_to_string(node.data().join("admin.token")).unwrap();
    let token = format!("Bearer {}", token.trim());
    let ask = |method: &str, path: &str, body: &Value| {
        let address = status.admin.as_ref().unwrap().strip_prefix("http://").unwrap();
        let mut connection = Connection::open(address.parse().unwrap());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("authorization", token.as_str()), ("connection", "close")];
        connection.send(request(method, path, &headers, body.as_bytes()));
        let answer = Answer::read(method, &connection.rest());
        (answer.status.unwrap(), answer.text())
    };
    let web = json!({ "function": "web" });
    for (status, path, body) in [
        (200, "/v1/domains/%2A.A.example?prefix=%2Fapi", &web),
        (200, "/v1/domains/*.a.example?prefix=/api", &web),
        (
            409,
            "/v1/domains/*.a.example?prefix=/api",
            &json!({ "function": "web", "alias": "beta" }),
        ),
        (404, "/v1/domains/b.example", &json!({ "function": "nope" })),
        (400, "/v1/domains/b.example", &Value::Null),
        (400, "/v1/domains/b.example", &json!({ "function": "../web" })),
        (400, "/v1/domains/b.example", &json!({ "function": "web", "alias": "v1" })),
        (400, "/v1/domains/b.example", &json!({ "function": "web", "version": "v1" })),
        (400, "/v1/domains/..%2F..%2Fformat", &web),
        (400, "/v1/domains/b.example%2Fapi", &web),
        (400, "/v1/domains/b.example%00", &web),
        (400, "/v1/domains/b.example?prefix=api", &web),
        (400, "/v1/domains/b.example?prefix=/", &web),
        (400, "/v1/domains/b.example?prefix=/a/../b", &web),
        (400, "/v1/domains/b.example?path=/api", &web),
    ] {
        let (answered, text) = ask("PUT", path, body);
        assert_eq!(answered, status, "{path} {body}: {text}");
    }
    assert_eq!(ask("DELETE", "/v1/domains/b.example", &Value::Null).0, 404);
    assert_eq!(ask("DELETE", "/v1/domains/..", &Value::Null).0, 400);
    assert_eq!(ask("DELETE", "/v1/domains/*.a.example?prefix=/api", &Value::Null).0, 204);
    let (_, listed) = ask("GET", "/v1/domains", &Value::Null);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["domain"], "example.com");
    node.stop();
}

#[test]
fn a_domain_outlives_its_function_and_says_what_is_missing() {
    let node = Node::start();
    deploy(&node, "shop", &[]);
    node.cli(&["alias", "set", "shop@beta", "v1"]).expect_code(0);
    add(&node, "shop.example", "shop");
    add(&node, "shop.example/beta/*", "shop@beta");
    node.cli(&["alias", "remove", "shop@beta"]).expect_code(0);
    let detail = at(&node, "shop.example", "/beta/x").expect_problem(404);
    assert!(detail.contains("shop.example/beta/*") && detail.contains("\"shop@beta\""), "{detail}");
    let mut kept = node.connect();
    assert_eq!(name_in(&on(&mut kept, "shop.example", "/")), "shop");
    let said = node.cli(&["remove", "shop"]).expect_code(0).stderr;
    assert!(said.contains("shop.example, shop.example/beta/*"), "{said}");
    // A shard answers on a new connection, and the worker on one that it has.
    for reply in [at(&node, "shop.example", "/"), on(&mut kept, "shop.example", "/")] {
        let detail = reply.expect_problem(404);
        assert!(detail.contains("domain shop.example ") && detail.contains("\"shop\""), "{detail}");
    }
    let printed = node.cli(&["domain", "list"]).expect_code(0).stdout;
    assert!(printed.contains("404: there is no function \"shop\""), "{printed}");
    assert!(domains(&node).iter().all(|listed| listed["error"].is_string()));
    deploy(&node, "shop", &[]);
    assert_eq!(who(&node, "shop.example", "/"), "shop");
    let errors: Vec<bool> = domains(&node).iter().map(|it| it["error"].is_string()).collect();
    assert_eq!(errors, [false, true], "the alias is not there again");
    node.stop();
}

#[test]
fn functions_of_every_pool_are_reached_on_one_connection() {
    let node = Node::start();
    deploy(&node, "web", &[]);
    deploy(&node, "own", &["--isolation", "process"]);
    native::deploy(&node, "server", "server", "server", &[]);
    add(&node, "web.example", "web");
    add(&node, "own.example", "own");
    add(&node, "web.example/server/*", "server");
    assert_eq!(who(&node, "own.example", "/x"), "own");
    let mut kept = node.connect();
    for _ in 0..3 {
        assert_eq!(name_in(&on(&mut kept, "web.example", "/")), "web");
        assert_eq!(name_in(&on(&mut kept, "OWN.example", "/")), "own");
        let seen = on(&mut kept, "web.example", "/server/a%20b?x").json();
        assert_eq!(seen["target"], "/server/a%20b?x");
        let named = |name: &str| {
            seen["headers"].as_array().unwrap().iter().find(|pair| pair[0] == name).cloned()
        };
        assert_eq!(named("x-forwarded-prefix"), None);
        assert_eq!(named("host").unwrap()[1], "web.example");
    }
    // Several requests at once, each for another pool.
    let one = |host: &str| head("GET", "/", &[("host", host)]);
    let hosts = ["web.example", "own.example", "web.example", "own.example"];
    let replies = kept.exchange(&hosts.map(one).concat(), hosts.len());
    assert_eq!(replies.iter().map(name_in).collect::<Vec<_>>(), ["web", "own", "web", "own"]);
    node.stop();
}

#[test]
fn a_domain_that_was_added_goes_before_names_and_leaves_the_others() {
    let node = Node::build().option("--domain", "example.com").start();
    for name in ["web", "shop", "other"] {
        deploy(&node, name, &[]);
    }
    assert_eq!(who(&node, "example.com", "/"), "404");
    assert_eq!(who(&node, "shop.example.com", "/"), "shop");
    add(&node, "example.com", "web");
    add(&node, "shop.example.com/other/*", "other");
    assert_eq!(who(&node, "example.com", "/shop/"), "web", "the bare domain is a function now");
    assert_eq!(who(&node, "shop.example.com", "/other/"), "other");
    assert_eq!(who(&node, "shop.example.com", "/"), "shop", "what is not taken is as it was");
    assert_eq!(who(&node, "shop.localhost", "/"), "shop");
    assert_eq!(who(&node, "elsewhere.test", "/shop/"), "shop");
    add(&node, "*.example.com", "web");
    assert_eq!(who(&node, "shop.example.com", "/"), "web");
    // The control API's own requests name their function in the path, and it stays so.
    add(&node, "localhost", "web");
    assert_eq!(who(&node, "localhost:8080", "/shop/"), "web");
    let seen = node.cli(&["invoke", "shop", "--path", "/x"]).expect_code(0).stdout;
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!((&seen["environment"]["NAME"], &seen["path"]), (&json!("shop"), &json!("/x")));
    // What deploy prints begins with what people call it by.
    let file = harness::guests::path("inspect");
    let printed = node.cli(&["deploy", file.to_str().unwrap(), "--name", "web", "--no-trial"]);
    let printed = printed.expect_code(0).stdout;
    let port = node.addresses()[0].port();
    let url = printed.lines().find(|line| line.starts_with("http://")).unwrap();
    assert_eq!(url, format!("http://example.com:{port}/"), "{printed}");
    node.stop();
}

#[test]
fn paths_name_functions_only_where_the_node_says_so() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("node.toml");
    fs::write(&file, "path_routes = \"off\"\ndomain = \"example.com\"\n").unwrap();
    let node = Node::build().option("--config", &file).start();
    deploy(&node, "web", &[]);
    deploy(&node, "own", &["--isolation", "process"]);
    add(&node, "web.test", "web");
    let detail = at(&node, "h.test", "/web/").expect_problem(404);
    assert!(detail.contains("h.test"), "{detail}");
    let unnamed =
        node.connect().exchange(b"GET /web/ HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", 1);
    unnamed[0].expect_problem(404);
    for (host, name) in [("web.test", "web"), ("web.example.com", "web"), ("own.localhost", "own")]
    {
        assert_eq!(who(&node, host, "/own/"), name, "{host}");
    }
    let mut kept = node.connect();
    assert_eq!(name_in(&on(&mut kept, "web.test", "/")), "web");
    on(&mut kept, "h.test", "/web/").expect_problem(404);
    for name in ["web", "own"] {
        let seen = node.cli(&["invoke", name]).expect_code(0).stdout;
        assert!(seen.contains(&format!("\"NAME\":\"{name}\"")), "{seen}");
    }
    let inspect = harness::guests::path("inspect");
    let printed = node.cli(&["deploy", inspect.to_str().unwrap(), "--name", "web"]).expect_code(0);
    assert!(!printed.stdout.contains("/web/"), "{}", printed.stdout);
    // A running node takes it over, also for connections that it has.
    fs::write(&file, "domain = \"example.com\"\n").unwrap();
    node.hang_up();
    wait::until("paths name functions", SOON, || {
        (who(&node, "h.test", "/web/") == "web").then_some(())
    });
    assert_eq!(name_in(&on(&mut kept, "h.test", "/web/")), "web");
    assert_eq!(name_in(&on(&mut kept, "h.test", "/own/")), "own");
    assert!(node.stderr().contains("path_routes off -> on"));
    node.stop();
}

fn node() -> NodeBuilder {
    Node::build().option("--sync-interval", "100ms")
}

fn until(node: &Node, host: &str, expected: &str) {
    let what = format!("{host} is answered by {expected}");
    wait::for_value(&what, SOON, || who(node, host, "/"), |now| now == expected);
}

/// Checks what two nodes do with one store of any kind.
fn two_nodes_agree(with_store: impl Fn(NodeBuilder) -> NodeBuilder) {
    let (one, other) = (with_store(node()).start(), with_store(node()).start());
    deploy(&one, "web", &[]);
    deploy(&one, "api", &[]);
    add(&one, "web.example", "web");
    until(&other, "web.example", "web");
    // Also before the other has looked.
    add(&other, "api.example", "api");
    let taken = one.cli(&["domain", "add", "api.example", "web"]).expect_code(1).stderr;
    assert!(taken.contains("\"api\"") && taken.contains("\"web\""), "{taken}");
    until(&one, "api.example", "api");
    // Both add at once, several times: at most one is told that it has, and both serve the same.
    for round in 0..4 {
        let domain = format!("r{round}.example");
        let adding =
            |node: &Node, name: &str| node.cli(&["domain", "add", &domain, name]).code == Some(0);
        let told = thread::scope(|scope| {
            let first = scope.spawn(|| adding(&one, "web"));
            let second = scope.spawn(|| adding(&other, "api"));
            [first.join().unwrap(), second.join().unwrap()]
        });
        let expected = match told {
            [true, false] => "web",
            [false, true] => "api",
            [false, false] => "404",
            [true, true] => panic!("both have added {domain}"),
        };
        until(&one, &domain, expected);
        until(&other, &domain, expected);
    }
    one.cli(&["domain", "remove", "api.example"]).expect_code(0);
    until(&other, "api.example", "404");
    other.cli(&["remove", "web"]).expect_code(0);
    until(&one, "web.example", "404");
    let listed = [&one, &other].map(|node| {
        wait::for_value("both list the same", SOON, || shown(node), |now| *now == shown(&one))
    });
    assert!(listed[0].contains(&"web.example web".to_owned()), "{listed:?}");
    one.stop();
    other.stop();
}

#[test]
fn two_nodes_on_one_folder_have_the_same_domains() {
    let folder = TempDir::new().unwrap();
    two_nodes_agree(|node| node.option("--store", folder.path().join("store")));
}

#[test]
fn two_nodes_on_one_bucket_have_the_same_domains() {
    let server = Server::garage();
    two_nodes_agree(|node| node.bucket(&server, "shared", server.address()));
}

#[test]
fn domains_stay_over_a_restart_without_the_store() {
    let (server, folder) = (Server::garage(), TempDir::new().unwrap());
    let proxy = Proxy::before(server.address());
    let data = folder.path().join("data");
    let start = || node().data(&data).bucket(&server, "p", proxy.address()).start();
    let node = start();
    deploy(&node, "web", &[]);
    add(&node, "web.example", "web");
    wait::until("the node has noted it", SOON, || {
        let known = fs::read(data.join("cache/domains")).ok()?;
        String::from_utf8_lossy(&known).contains("web.example").then_some(())
    });
    wait::until("and the function", SOON, || data.join("cache/known").exists().then_some(()));
    node.stop();
    proxy.always(Fault::Drop);
    let node = start();
    assert_eq!(who(&node, "web.example", "/"), "web");
    let away = node.cli(&["domain", "add", "more.example", "web"]).expect_code(1).stderr;
    assert!(away.contains("away"), "{away}");
    assert_eq!(shown(&node), ["web.example web"]);
    proxy.always(Fault::None);
    wait::until("the store is there again", SOON, || {
        let added = node.cli(&["domain", "add", "more.example", "web"]);
        (added.code == Some(0)).then_some(())
    });
    assert_eq!(who(&node, "more.example", "/"), "web");
    node.stop();
    let node = start();
    assert_eq!(shown(&node), ["more.example web", "web.example web"]);
    assert_eq!(who(&node, "more.example", "/"), "web");
    node.stop();
}

#[test]
fn a_new_engine_takes_domains_over_with_the_connections() {
    let node = Node::start();
    deploy(&node, "web", &[]);
    deploy(&node, "own", &["--isolation", "process"]);
    add(&node, "web.example", "web");
    add(&node, "web.example/own/*", "own");
    let mut kept = node.connect();
    assert_eq!(name_in(&on(&mut kept, "web.example", "/")), "web");
    let node = node.taken_over();
    assert_eq!(name_in(&on(&mut kept, "web.example", "/own/x")), "own");
    assert_eq!(name_in(&on(&mut kept, "web.example", "/")), "web");
    assert_eq!(who(&node, "web.example", "/own/"), "own");
    node.cli(&["domain", "remove", "web.example"]).expect_code(0);
    assert_eq!(who(&node, "web.example", "/"), "404");
    node.stop();
}

/// A store with as many domains as there may be is served, and takes no more.
#[test]
fn there_may_be_so_many_domains_and_no_more() {
    // So many files are removed slowly from some file systems.
    let folder = TempDir::new_in("/dev/shm").unwrap();
    let store = folder.path().join("store");
    let start = || Node::build().option("--store", &store).start();
    let node = start();
    deploy(&node, "web", &[]);
    node.stop();
    let digest = |bytes: &[u8]| {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let prefix = digest(b"");
    for number in 1..DOMAINS_MAX {
        let host = format!("h{number}.example");
        let object = json!({ "host": host, "function": "web", "added_ms": 1 }).to_string();
        let head = format!("sockhop 1 sha256={}\n", digest(object.as_bytes()));
        let place = store.join("domains").join(&host);
        fs::create_dir_all(&place).unwrap();
        let id = format!("01900000-0000-7000-8000-{number:012}");
        fs::write(place.join(format!("{prefix}-{id}.json")), head + &object).unwrap();
    }
    let node = start();
    add(&node, "last.example", "web");
    let full = node.cli(&["domain", "add", "more.example", "web"]).expect_code(1).stderr;
    assert!(full.contains(&DOMAINS_MAX.to_string()), "{full}");
    for host in ["h1.example", "h5000.example", "last.example"] {
        assert_eq!(who(&node, host, "/"), "web");
    }
    assert_eq!(who(&node, "more.example", "/"), "404");
    node.cli(&["domain", "remove", "h1.example"]).expect_code(0);
    add(&node, "more.example", "web");
    assert_eq!(
        (who(&node, "more.example", "/"), who(&node, "h1.example", "/")),
        ("web".into(), "404".into())
    );
    assert_eq!(domains(&node).len(), DOMAINS_MAX);
    node.stop();
}
