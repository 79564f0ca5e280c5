//! Azure's custom handlers run unchanged, in both modes: with requests in envelopes, and forwarded.

use std::fs;

use harness::bytes::{assert_same, body, chunked};
use harness::client::{head, request};
use harness::native::{deploy, node_with, path, post_json, try_deploy, until_logged};
use harness::{Node, native};
use serde_json::json;
use tempfile::TempDir;

#[test]
fn a_handler_in_rust_is_forwarded_requests_as_they_came() {
    let node = node_with("azure-rust", "azure", &["--no-trial"]);
    let mut connection = node.connect();
    let headers = [("x-mine", "yes"), ("content-type", "text/plain")];
    connection.send(request("POST", "/azure-rust/api/hello?x=1&x=2", &headers, b"a body"));
    let reply = connection.reply();
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let seen = reply.json();
    assert_eq!((&seen["method"], &seen["body"]), (&json!("POST"), &json!("a body")));
    assert_eq!(seen["target"], "/api/hello?x=1&x=2", "with the prefix, and the key twice");
    assert_eq!(seen["headers"]["x-mine"], "yes");
    let id = seen["headers"]["x-azure-functions-invocationid"].as_str();
    assert_eq!(id, Some(reply.head.invocation_id()), "the ids of both sides are one");
    assert!(seen["variables"]["FUNCTIONS_CUSTOMHANDLER_PORT"].is_string(), "{seen}");
    assert!(seen["variables"]["FUNCTIONS_HTTPWORKER_PORT"].is_string(), "{seen}");

    let sent = body(3_000_000, 3);
    let headers = [("content-type", "image/png")];
    let bytes = request("POST", "/azure-rust/api/upload", &headers, &sent);
    let reply = connection.exchange(&bytes, 1).remove(0);
    assert_eq!(reply.head.get("content-type"), Some("image/png"));
    assert_same(&reply.body, &sent);
    until_logged(&node, "azure-rust", "listening on");
    node.stop();
}

#[test]
fn routes_are_the_apps() {
    let node = node_with("azure-rust", "azure", &["--no-trial"]);
    let seen = node.get("/azure-rust/api/items/7/a/b").json();
    assert_eq!(seen["target"], "/api/items/7/a/b");
    assert_eq!(node.get("/azure-rust/api/ITEMS/7").status(), 200, "letter case does not matter");
    for target in ["/api/items/seven", "/api/none", "/hello", "/api/upload/more"] {
        let status = node.get(&format!("/azure-rust{target}")).status();
        assert_eq!(status, 404, "{target}");
    }
    let refused = post_json(&node, "/azure-rust/api/items/7", &json!(1));
    assert!([404, 405].contains(&refused.status()), "{}", refused.text());
    node.stop();
}

#[test]
fn a_handler_in_python_gets_requests_in_envelopes() {
    let node = Node::start();
    let options = ["--no-trial", "--init-timeout", "60s", "--env", "GREETING=Salut"];
    deploy(&node, "azure-envelope", "azure", "shop", &options);
    let mut connection = node.connect();
    let reply = connection.get("/shop/api/hello?name=Ada");
    assert_eq!((reply.status(), reply.text().as_str()), (200, "Salut, Ada!"));
    assert_eq!(reply.head.get("x-handler"), Some("envelope"));
    let headers = [("content-type", "text/plain")];
    connection.send(request("POST", "/shop/api/hello", &headers, "Grüße".as_bytes()));
    assert_eq!(connection.reply().text(), "Salut, Grüße!");
    until_logged(&node, "shop", "greeted Ada");
    until_logged(&node, "shop", "hello to Ada");

    let told = connection.get("/shop/api/items/7?x=1").json();
    assert_eq!((&told["id"], &told["query"]["x"]), (&json!("7"), &json!("1")), "{told}");
    assert_eq!(told["function"], "items");
    assert!(told["url"].as_str().unwrap().ends_with("/api/items/7?x=1"), "{told}");
    let all: Vec<u8> = (0..=255).collect();
    let headers = [("content-type", "application/octet-stream")];
    connection.send(request("PUT", "/shop/api/items/7", &headers, &all));
    assert_same(&connection.reply().body, &all);
    connection.send(request("DELETE", "/shop/api/items/7", &[], b""));
    assert_eq!(connection.reply().status(), 204);

    for then in ["error", "text", "exit"] {
        let status = node.get(&format!("/shop/api/hello?then={then}")).status();
        assert!([500, 502].contains(&status), "{then}: {status}");
        assert_eq!(node.get("/shop/api/hello?name=x").text(), "Salut, x!", "after {then}");
    }
    node.stop();
}

#[test]
fn a_handler_in_python_is_forwarded_requests_and_streams_its_reply() {
    let node = node_with("azure-forwarding", "azure", &["--no-trial", "--init-timeout", "60s"]);
    let mut connection = node.connect();
    let reply = connection.get("/azure-forwarding/v1/hello?name=Ada");
    assert_eq!((reply.status(), reply.text().as_str()), (200, "Hello, Ada!"));
    assert_eq!(
        connection.get("/azure-forwarding/v1/hello?lines=3").text(),
        "line 0\nline 1\nline 2\n"
    );
    let mut bytes =
        head("PUT", "/azure-forwarding/v1/items/5", &[("transfer-encoding", "chunked")]);
    let sent = body(300_000, 4);
    bytes.extend(chunked(&sent, 9_001));
    let reply = connection.exchange(&bytes, 1).remove(0);
    assert_eq!((reply.status(), reply.head.get("location")), (201, Some("/v1/items/5")));
    assert_same(&reply.body, &sent);
    assert_eq!(connection.get("/azure-forwarding/v1/items/five").status(), 404);
    assert_eq!(connection.get("/azure-forwarding/api/hello").status(), 404, "its prefix is v1");
    node.stop();
}

#[test]
fn an_app_with_another_trigger_is_refused_by_name() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    for file in ["azure-rust", "host.json"] {
        fs::copy(path("azure-rust").join(file), folder.path().join(file)).unwrap();
    }
    fs::create_dir(folder.path().join("nightly")).unwrap();
    let trigger = r#"{"bindings":[{"type":"timerTrigger","direction":"in","name":"timer"}]}"#;
    fs::write(folder.path().join("nightly/function.json"), trigger).unwrap();
    try_deploy(&node, folder.path(), "azure", "app", &[])
        .expect_error(&["nightly", "timerTrigger"]);
    node.stop();
}

#[test]
fn an_app_that_asks_its_callers_for_a_key_is_refused() {
    let node = Node::start();
    let folder = TempDir::new().unwrap();
    for file in ["azure-rust", "host.json"] {
        fs::copy(path("azure-rust").join(file), folder.path().join(file)).unwrap();
    }
    fs::create_dir(folder.path().join("orders")).unwrap();
    // Without a level it is `function`, as on Azure.
    for level in [r#","authLevel":"function""#, r#","authLevel":"admin""#, ""] {
        let trigger = format!(r#"{{"type":"httpTrigger","direction":"in","name":"req"{level}}}"#);
        let bindings = format!(r#"{{"bindings":[{trigger}]}}"#);
        fs::write(folder.path().join("orders/function.json"), bindings).unwrap();
        try_deploy(&node, folder.path(), "azure", "app", &[]).expect_error(&[
            "orders/function.json",
            "authLevel",
            "anonymous",
        ]);
    }
    assert_eq!(node.get("/app/api/orders").status(), 404, "nothing was deployed");
    node.stop();
}

#[test]
fn deploys_and_rollbacks_lose_no_request() {
    let node = node_with("azure-rust", "azure", &["--no-trial"]);
    let (served, failed) = native::under_load(&node, "/azure-rust/api/hello", 4, || {
        for colour in ["red", "green"] {
            let options = ["--no-trial", "--env", &format!("COLOUR={colour}")];
            deploy(&node, "azure-rust", "azure", "azure-rust", &options);
        }
        node.cli(&["rollback", "azure-rust"]).expect_code(0);
    });
    assert_eq!(failed, Vec::<String>::new(), "{served} were served");
    node.stop();
}
