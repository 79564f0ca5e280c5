//! The addresses that a function is reached by, and what it sees of them.

use harness::client::request;
use harness::{Connection, Node, Reply};

/// Requests `target` at `host`, with a header that claims another prefix.
fn get(connection: &mut Connection, host: &str, target: &str) -> Reply {
    connection.send(request(
        "GET",
        target,
        &[("host", host), ("x-forwarded-prefix", "/theirs")],
        b"",
    ));
    connection.reply()
}

#[test]
fn a_name_below_localhost_is_a_function_with_its_path_whole() {
    let node = Node::with(&["inspect", "hello"]);
    node.deploy("inspect", "alone", &["--isolation", "process"]);
    let port = node.addresses()[0].port();
    let mut kept = node.connect();
    // The first request of a connection is routed by a shard, later ones by a worker, some by both.
    for name in ["inspect", "alone", "inspect", "INSPECT"] {
        for host in [
            format!("{name}.localhost:{port}"),
            format!("{name}.localhost"),
            format!("{name}.Localhost.:{port}"),
        ] {
            for connection in [&mut node.connect(), &mut kept] {
                let seen = get(connection, &host, "/hello/x?y").json();
                assert_eq!(
                    (&seen["path"], &seen["query"]),
                    (&"/hello/x".into(), &"y".into()),
                    "{host}"
                );
                assert_eq!(
                    (&seen["authority"], &seen["headers"]["x-forwarded-prefix"]),
                    (&host.clone().into(), &().into())
                );
            }
        }
    }
    for connection in [&mut node.connect(), &mut kept] {
        let detail =
            get(connection, &format!("nobody.localhost:{port}"), "/inspect/").expect_problem(404);
        assert!(detail.contains("nobody"), "{detail}");
    }
    node.stop();
}

#[test]
fn other_hosts_are_routed_by_path_and_the_prefix_is_the_nodes_word() {
    let node = Node::with(&["inspect"]);
    let mut kept = node.connect();
    for host in [
        "localhost",
        "localhost:8080",
        "a.b.localhost",
        "127.0.0.1",
        "[::1]:80",
        "inspect.localhost.example",
    ] {
        for connection in [&mut node.connect(), &mut kept] {
            let seen = get(connection, host, "/inspect/x?y").json();
            assert_eq!((&seen["path"], &seen["authority"]), (&"/x".into(), &host.into()));
            assert_eq!(
                seen["headers"]["x-forwarded-prefix"],
                serde_json::json!(["/inspect"]),
                "{host}"
            );
        }
    }
    node.stop();
}
