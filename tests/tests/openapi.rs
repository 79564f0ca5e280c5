//! The document of the control API is valid, and describes exactly what is served.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;

use harness::answer::Answer;
use harness::client::request;
use harness::{Connection, Node, openapi};
use serde_json::Value;

const DOCUMENT: &str = "/v1/openapi.json";
/// A method that only endpoints for any method accept.
const UNKNOWN_METHOD: &str = "PROPFIND";

/// A node that serves its control API over TCP.
struct Served {
    node: Node,
    address: SocketAddr,
    token: String,
}

impl Served {
    fn start() -> Self {
        let node = Node::build().option("--admin", "127.0.0.1:0").start();
        let address =
            node.status().node.admin.unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        let token = fs::read_to_string(node.data().join("admin.token")).unwrap();
        Self { node, address, token: format!("Bearer {}", token.trim()) }
    }

    fn ask(&self, method: &str, path: &str) -> Answer {
        self.ask_with(method, path, &[("authorization", &self.token)])
    }

    fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut connection = Connection::open(self.address);
        let headers = [&[("connection", "close")], headers].concat();
        connection.send(request(method, path, &headers, b""));
        Answer::read(method, &connection.rest())
    }

    fn document(&self) -> Value {
        let answer = self.ask("GET", DOCUMENT);
        assert_eq!(answer.status, Some(200), "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }
}

/// Returns the path with a value for each parameter.
fn filled(path: &str) -> String {
    let values = [
        ("name", "hello"),
        ("alias", "staging"),
        ("version", "v1"),
        ("key", "KEY"),
        ("id", "1"),
        ("path", "x"),
        ("host", "a.example"),
    ];
    values
        .iter()
        .fold(path.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value))
}

#[test]
fn the_document_is_valid_and_needs_the_token() {
    let served = Served::start();
    let document = served.document();
    assert_eq!(document["openapi"], "3.1.0");
    let validated = openapi::validate(document.to_string().as_bytes());
    assert!(validated.status.success(), "{}", String::from_utf8_lossy(&validated.stdout));
    // The validator finds errors.
    assert!(!openapi::validate(br#"{"openapi": "3.1.0", "paths": {}}"#).status.success());
    assert_eq!(served.ask_with("GET", DOCUMENT, &[]).status, Some(401));
    served.node.stop();
}

#[test]
fn each_path_is_served_with_exactly_the_methods_that_the_document_has() {
    let served = Served::start();
    let document = served.document();
    let paths = document["paths"].as_object().unwrap();
    for path in ["/v1/status", "/v1/functions/{name}", "/v1/logs", DOCUMENT] {
        assert!(paths.contains_key(path), "{path}");
    }
    for (path, operations) in paths {
        let described: BTreeSet<String> = operations.as_object().unwrap().keys().cloned().collect();
        let answer = served.ask(UNKNOWN_METHOD, &filled(path));
        if path.ends_with("/invoke/{path}") {
            // The endpoint accepts any method, and answers that there is no such function.
            assert_eq!(answer.status, Some(404), "{path}: {answer:?}");
            assert!(answer.text().contains("there is no function"), "{path}: {answer:?}");
            continue;
        }
        assert_eq!(answer.status, Some(405), "{path}: {answer:?}");
        let allowed = answer.all("allow").flat_map(|methods| methods.split(','));
        let allowed = allowed.map(|method| method.trim().to_ascii_lowercase());
        // Every GET may be sent as a HEAD.
        let allowed: BTreeSet<String> = allowed.filter(|method| method != "head").collect();
        assert_eq!(allowed, described, "{path}");
    }
    served.node.stop();
}

#[test]
fn answers_are_as_the_document_describes_them() {
    let served = Served::start();
    served.node.deploy("hello", "hello", &[]);
    served.node.get("/hello/").expect_hello();
    served.node.cli(&["kv", "set", "hello", "k", "v"]).expect_code(0);
    let document = served.document();
    let paths = document["paths"].as_object().unwrap();
    let schema = |path: &str, status: &str| {
        let schema =
            &paths[path]["get"]["responses"][status]["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{path} {status}");
        schema.clone()
    };
    // An id needs an object that has to be made first.
    let named = |path: &str| ["{id}", "{path}"].iter().any(|parameter| path.contains(parameter));
    for path in paths.keys().filter(|path| paths[*path].get("get").is_some() && !named(path)) {
        let query = if path.ends_with("/kv/value") { "?key=k" } else { "" };
        let answer = served.ask("GET", &(filled(path) + query));
        assert_eq!(answer.status, Some(200), "{path}: {answer:?}");
        let media_type = answer.all("content-type").next().unwrap();
        let content = &paths[path]["get"]["responses"]["200"]["content"];
        assert!(content.get(media_type).is_some(), "{path}: {media_type} is not described");
        if media_type != "application/json" {
            continue;
        }
        let answered: Value = serde_json::from_slice(&answer.body).unwrap();
        expect_described(&document, &schema(path, "200"), &answered, path);
    }
    let error = served.ask("GET", "/v1/functions/nothing");
    let error: Value = serde_json::from_slice(&error.body).unwrap();
    expect_described(&document, &schema("/v1/functions/{name}", "default"), &error, "an error");
    served.node.stop();
}

/// Checks that `answered` has every required field, and that every field is described.
fn expect_described(document: &Value, schema: &Value, answered: &Value, what: &str) {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let schema = document.pointer(reference.strip_prefix('#').unwrap());
        return expect_described(document, schema.unwrap(), answered, what);
    }
    match answered {
        Value::Array(items) => {
            items.iter().for_each(|item| expect_described(document, &schema["items"], item, what));
        }
        Value::Object(fields) => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            for name in required.filter_map(Value::as_str) {
                assert!(fields.contains_key(name), "{what}: {name} is missing in {answered}");
            }
            // A schema without properties is a map, or a choice of several schemas.
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
                return;
            };
            for (name, field) in fields {
                let schema = properties.get(name);
                let schema = schema
                    .unwrap_or_else(|| panic!("{what}: {name} is not described in {schema:?}"));
                expect_described(document, schema, field, &format!("{what}: {name}"));
            }
        }
        _ => {}
    }
}
