//! What is refused, and how it is said: denied and unreachable destinations, garbage, huge heads.
#![expect(clippy::unwrap_used, reason = "a test fails so")]

mod common;

use std::time::Duration;

use common::{Way, echo, node, run};
use egress::Limits;
use tokio::net::TcpListener;

#[test]
fn a_denied_host_is_not_looked_up_and_the_log_says_so() {
    run(async {
        let ways = [("a.example", Way::To(echo().await)), ("x.b.example", Way::To(echo().await))];
        let node = node(&["a.example:443", "*.b.example:443"], ways, Limits::new(4)).await;
        for allowed in ["a.example:443", "A.Example.:443", "x.b.example:443"] {
            let head = node.client().await.connect(allowed).await;
            assert!(!head.contains(" 403 "), "{allowed}: {head}");
        }
        node.connects.borrow_mut().clear();
        let denied = [
            "b.example:443",
            "a.example:80",
            "evil-a.example:443",
            "a.example.evil.net:443",
            "127.0.0.1:443",
            "[::1]:443",
            "169.254.169.254:443",
        ];
        for host in denied {
            let mut client = node.client().await;
            let head = client.connect(host).await;
            assert!(head.starts_with("HTTP/1.1 403 "), "{host}: {head}");
            let (status_line, fields) = head.split_once("\r\n").unwrap();
            assert!(status_line.contains(&format!("--allow-outbound {host}")), "{status_line}");
            assert!(fields.contains("connection: close"), "{fields}");
            let body = String::from_utf8(client.rest().await).unwrap();
            assert!(body.starts_with(&format!("[outgoing request to {host} denied")), "{body}");
        }
        assert!(node.connects.borrow().is_empty());
        assert_eq!(node.denied.borrow().len(), denied.len());
        let mut client = node.client().await;
        client.send("GET http://a.example/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        assert!(node.denied.borrow().last().unwrap().contains("a.example:80"));
    });
}

#[test]
fn a_failed_connection_has_its_status() {
    run(async {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let ways = [
            ("private.example", Way::Denied),
            ("slow.example", Way::Silent),
            ("closed.example", Way::To(closed)),
        ];
        let mut limits = Limits::new(4);
        limits.connect_timeout = Duration::from_millis(50);
        let node = node(&["*.example:443", "*.example:80"], ways, limits).await;
        for (host, status) in [
            ("private.example", 403),
            ("slow.example", 504),
            ("closed.example", 502),
            ("missing.example", 502),
        ] {
            let head = node.client().await.connect(&format!("{host}:443")).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {head}");
            let mut client = node.client().await;
            client.send(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            let head = client.head().await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {head}");
        }
        let private = "[that address is private]".to_owned();
        assert_eq!(*node.denied.borrow(), [private.clone(), private]);
    });
}

#[test]
fn what_is_no_request_for_a_proxy_is_told_so() {
    run(async {
        let ways = [("a.example", Way::To(echo().await))];
        let node = node(&["*:80", "*:443"], ways, Limits::new(4)).await;
        for (request, says) in [
            ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "no pages of its own"),
            ("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", "no pages of its own"),
            ("GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "send CONNECT"),
            ("GET ftp://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "send CONNECT"),
            ("GET http://me@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "no valid host"),
            ("CONNECT a.example HTTP/1.1\r\nHost: a.example\r\n\r\n", "no valid host"),
            ("CONNECT a.example:0 HTTP/1.1\r\nHost: a.example\r\n\r\n", "no valid host"),
            ("CONNECT me@a.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", "no valid host"),
            (
                "CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
                "may have no body",
            ),
        ] {
            let mut client = node.client().await;
            client.send(request).await;
            let (head, body) = client.reply().await;
            assert!(head.starts_with("HTTP/1.1 400 "), "{request:?}: {head}");
            assert!(head.lines().next().unwrap().contains(says), "{request:?}: {head}");
            assert!(body.contains(says), "{request:?}: {body}");
        }
        assert!(node.connects.borrow().is_empty());
    });
}

#[test]
fn garbage_is_answered_400_and_a_huge_head_431() {
    run(async {
        let node = node(&["*:443"], [], Limits::new(4)).await;
        let tls = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0];
        for garbage in
            [&tls[..], b"\0\0\0\0\r\n\r\n", b"CONNECT \xff:1 HTTP/1.1\r\n\r\n", b"x y\r\n\r\n"]
        {
            let mut client = node.client().await;
            client.send(garbage).await;
            let reply = String::from_utf8(client.rest().await).unwrap();
            assert!(reply.starts_with("HTTP/1.1 400 "), "{garbage:?}: {reply:?}");
        }
        for huge in [
            format!("CONNECT a:443 HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1024 * 1024)),
            format!("CONNECT a:443 HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200)),
        ] {
            let mut client = node.client().await;
            client.send(huge).await;
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
        }
    });
}

#[test]
fn a_client_that_sends_no_head_is_closed_and_one_connection_too_many_is_told() {
    run(async {
        let mut limits = Limits::new(4);
        limits.connections_max = 2;
        limits.client_idle_timeout = Duration::from_millis(300);
        let node = node(&["*:443"], [], limits).await;
        let mut idle = [node.client().await, node.client().await];
        let mut third = node.client().await;
        let head = third.head().await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        idle[0].send("CONNECT a:443 HT").await;
        for client in &mut idle {
            client.ended().await;
        }
    });
}
