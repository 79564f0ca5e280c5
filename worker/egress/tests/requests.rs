//! Requests for whole URLs: heads, bodies, trailers, kept connections, broken servers.
#![expect(clippy::unwrap_used, reason = "a test fails so")]

mod common;

use std::rc::Rc;
use std::time::Duration;

use common::{STEP_TIMEOUT, Way, node, run, server};
use egress::Limits;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

const URL_HEAD: &str = "GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[test]
fn the_server_gets_the_request_without_what_is_the_proxys() {
    run(async {
        let (heads, mut got) = mpsc::unbounded_channel();
        let server = server(move |_, mut client| {
            let heads = heads.clone();
            async move {
                heads.send(client.head().await).unwrap();
                let reply = "HTTP/1.1 200 Fine\r\nConnection: close, x-mine\r\nX-Mine: 1\r\n\
                    Keep-Alive: timeout=1\r\nContent-Length: 2\r\nX-End: 1\r\n\r\nok";
                client.send(reply).await;
            }
        });
        let ways = [("a.example", Way::To(server.await))];
        let node = node(&["a.example:80"], ways, Limits::new(1)).await;
        let mut client = node.client().await;
        let request = "GET http://a.example/x?y HTTP/1.1\r\nHost: evil.example\r\n\
            Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\n\
            Connection: X-Secret\r\nX-Secret: 1\r\nX-End: 2\r\n\r\n";
        client.send(request).await;
        let reply = client.head().await.to_ascii_lowercase();
        assert_eq!(client.exactly(2).await, b"ok");
        assert!(reply.starts_with("http/1.1 200 fine\r\n"), "{reply}");
        assert!(reply.contains("x-end: 1") && reply.contains("via: 1.1 sockhop"), "{reply}");
        assert!(!reply.contains("x-mine") && !reply.contains("keep-alive"), "{reply}");
        let head = got.recv().await.unwrap().to_ascii_lowercase();
        assert!(head.starts_with("get /x?y http/1.1\r\n"), "{head}");
        assert!(head.contains("host: a.example\r\n") && head.contains("x-end: 2"), "{head}");
        assert!(!head.contains("secret") && !head.contains("proxy-"), "{head}");
        assert!(!head.contains("evil"), "{head}");
    });
}

#[test]
fn bodies_and_trailers_stream_both_ways() {
    run(async {
        let (got_part, replied) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let (part, reply) = (Rc::clone(&got_part), Rc::clone(&replied));
        let server = server(move |_, mut client| {
            let (part, reply) = (Rc::clone(&part), Rc::clone(&reply));
            async move {
                let head = client.head().await.to_ascii_lowercase();
                assert!(head.contains("transfer-encoding: chunked"), "{head}");
                assert!(head.contains("te: trailers"), "{head}");
                assert_eq!(client.exactly(8).await, b"3\r\nabc\r\n");
                part.notify_one();
                let rest = client.exactly(21).await;
                assert_eq!(rest.to_ascii_lowercase(), b"0\r\nx-sum: request\r\n\r\n");
                let head =
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n";
                client.send(head).await;
                client.send("2\r\nde\r\n").await;
                reply.notified().await;
                client.send("0\r\nX-Sum: reply\r\n\r\n").await;
                client.rest().await;
            }
        });
        let ways = [("a.example", Way::To(server.await))];
        let node = node(&["a.example:80"], ways, Limits::new(1)).await;
        let mut client = node.client().await;
        let head = "GET http://a.example/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
            TE: trailers\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n";
        client.send(head).await;
        timeout(STEP_TIMEOUT, got_part.notified()).await.unwrap();
        client.send("0\r\nX-Sum: request\r\n\r\n").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(client.exactly(7).await, b"2\r\nde\r\n");
        replied.notify_one();
        let rest = client.exactly(19).await;
        assert_eq!(rest.to_ascii_lowercase(), b"0\r\nx-sum: reply\r\n\r\n");
    });
}

/// Answers requests without bodies by the connection's number, `replies` of them.
async fn counting(replies: usize) -> std::net::SocketAddr {
    server(move |number, mut client| async move {
        for _ in 0..replies {
            client.head().await;
            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
            client.send(reply).await;
        }
    })
    .await
}

#[test]
fn a_connection_is_kept_for_its_own_clients_next_request() {
    run(async {
        let ways = [("a.example", Way::To(counting(100).await))];
        let node = node(&["a.example:80"], ways, Limits::new(4)).await;
        let mut client = node.client().await;
        for _ in 0..3 {
            client.send(URL_HEAD).await;
            client.head().await;
            assert_eq!(client.exactly(1).await, b"0");
        }
        let mut other = node.client().await;
        other.send(URL_HEAD).await;
        other.head().await;
        assert_eq!(other.exactly(1).await, b"1");
    });
}

#[test]
fn a_kept_connection_that_the_server_has_closed_is_made_anew() {
    run(async {
        let ways = [("a.example", Way::To(counting(1).await))];
        let node = node(&["a.example:80"], ways, Limits::new(4)).await;
        let mut client = node.client().await;
        for number in 0..5 {
            client.send(URL_HEAD).await;
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert_eq!(client.exactly(1).await, format!("{number}").as_bytes());
        }
    });
}

#[test]
fn broken_and_slow_servers_are_told_of() {
    run(async {
        let broken = server(|_, mut client| async move {
            client.head().await;
        });
        let garbage = server(|_, mut client| async move {
            client.head().await;
            client.send("this is no HTTP\r\n\r\n").await;
            client.rest().await;
        });
        let huge = server(|_, mut client| async move {
            client.head().await;
            client.send(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000))).await;
            client.rest().await;
        });
        let switching = server(|_, mut client| async move {
            client.head().await;
            client.send("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
            client.ended().await;
        });
        let slow = server(|_, mut client| async move {
            client.head().await;
            client.ended().await;
        });
        let ways = [
            ("broken.example", Way::To(broken.await)),
            ("garbage.example", Way::To(garbage.await)),
            ("huge.example", Way::To(huge.await)),
            ("switching.example", Way::To(switching.await)),
            ("slow.example", Way::To(slow.await)),
        ];
        let mut limits = Limits::new(1);
        limits.read_timeout = Duration::from_secs(3);
        let node = node(&["*.example:80"], ways, limits).await;
        for (host, status) in [
            ("broken.example", 502),
            ("garbage.example", 502),
            ("huge.example", 502),
            ("switching.example", 502),
            ("slow.example", 504),
        ] {
            let mut client = node.client().await;
            client.send(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            let head = client.head().await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {head}");
            assert!(head.contains(host), "{head}");
        }
    });
}

#[test]
fn a_reply_that_is_cut_is_not_made_whole() {
    run(async {
        let server = server(|number, mut client| async move {
            client.head().await;
            client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").await;
            // The first ends, the second is silent.
            if number == 1 {
                client.ended().await;
            }
        });
        let ways = [("a.example", Way::To(server.await))];
        let mut limits = Limits::new(1);
        limits.read_timeout = Duration::from_secs(3);
        let node = node(&["a.example:80"], ways, limits).await;
        for _ in 0..2 {
            let mut client = node.client().await;
            client.send(URL_HEAD).await;
            client.head().await;
            assert_eq!(client.rest().await, b"1\r\nx\r\n");
        }
    });
}

#[test]
fn a_client_that_leaves_ends_the_servers_connection_and_its_place_is_free() {
    run(async {
        let (asked, left) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let (ask, leave) = (Rc::clone(&asked), Rc::clone(&left));
        let server = server(move |number, mut client| {
            let (ask, leave) = (Rc::clone(&ask), Rc::clone(&leave));
            async move {
                client.head().await;
                if number == 0 {
                    ask.notify_one();
                    client.ended().await;
                    leave.notify_one();
                } else {
                    client.send("HTTP/1.1 204 None\r\n\r\n").await;
                }
            }
        });
        let ways = [("a.example", Way::To(server.await))];
        let node = node(&["a.example:80"], ways, Limits::new(1)).await;
        let mut client = node.client().await;
        client.send(URL_HEAD).await;
        timeout(STEP_TIMEOUT, asked.notified()).await.unwrap();
        let mut second = node.client().await;
        second.send(URL_HEAD).await;
        assert!(second.head().await.starts_with("HTTP/1.1 503 "));
        drop(client);
        timeout(STEP_TIMEOUT, left.notified()).await.unwrap();
        second = node.client().await;
        second.send(URL_HEAD).await;
        assert!(second.head().await.starts_with("HTTP/1.1 204 "));
    });
}
