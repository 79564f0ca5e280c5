//! CONNECT: bytes both ways, early ones too, half-closes, ends, limits.
#![expect(clippy::unwrap_used, reason = "a test fails so")]

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use common::{STEP_TIMEOUT, Way, echo, node, run, server};
use egress::Limits;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

#[test]
fn bytes_go_both_ways_and_each_half_ends_by_itself() {
    run(async {
        let ways = [("a.example", Way::To(echo().await))];
        let node = node(&["a.example:443"], ways, Limits::new(4)).await;
        let mut client = node.client().await;
        let head = client.connect("a.example:443").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let lowered = head.to_ascii_lowercase();
        assert!(!lowered.contains("content-length") && !lowered.contains("transfer-encoding"));
        for round in 0..3_u8 {
            client.send([round; 1000]).await;
            assert_eq!(client.exactly(1000).await, [round; 1000]);
        }
        client.send("last").await;
        client.end().await;
        assert_eq!(client.rest().await, b"last");
    });
}

/// Python before 3.12 asks for tunnels in HTTP/1.0.
#[test]
fn http_1_0_can_ask_for_a_tunnel() {
    run(async {
        let ways = [("a.example", Way::To(echo().await))];
        let node = node(&["a.example:443"], ways, Limits::new(4)).await;
        let mut client = node.client().await;
        client.send("CONNECT a.example:443 HTTP/1.0\r\n\r\n").await;
        let head = client.head().await;
        assert!(head.contains(" 200 "), "{head}");
        client.send("hello").await;
        assert_eq!(client.exactly(5).await, b"hello");
    });
}

#[test]
fn bytes_behind_the_head_are_not_lost() {
    run(async {
        let ways = [("a.example", Way::To(echo().await))];
        let node = node(&["*.example:443"], ways, Limits::new(4)).await;
        for early in [1, 1000, 60_000, 1_000_000] {
            let client = node.client().await;
            let bytes: Vec<u8> = (0..early).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut sent =
                b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n".to_vec();
            sent.extend_from_slice(&bytes);
            let (read, mut write) = client.0.into_inner().into_split();
            let writing = tokio::task::spawn_local(async move {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            });
            let mut read = tokio::io::BufReader::new(read);
            let mut got = Vec::new();
            let reading = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut got);
            timeout(STEP_TIMEOUT, reading).await.unwrap().unwrap();
            writing.await.unwrap();
            let head = got.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            assert!(got[head..] == bytes[..], "{early}: {} came back", got.len() - head);
        }
    });
}

#[test]
fn a_hundred_tunnels_at_once_and_not_one_more() {
    run(async {
        let ways = [("a.example", Way::To(echo().await))];
        let node = Rc::new(node(&["a.example:443"], ways, Limits::new(100)).await);
        let mut opening = JoinSet::new();
        for _ in 0..100 {
            let node = Rc::clone(&node);
            opening.spawn_local(async move {
                let mut client = node.client().await;
                assert!(client.connect("a.example:443").await.contains(" 200 "));
                client
            });
        }
        let mut open = opening.join_all().await;
        let refused = node.client().await.connect("a.example:443").await;
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("100"), "{refused}");
        for (number, client) in open.iter_mut().enumerate() {
            client.send(vec![u8::try_from(number).unwrap(); 30_000]).await;
        }
        for (number, client) in open.iter_mut().enumerate() {
            let expected = vec![u8::try_from(number).unwrap(); 30_000];
            assert!(client.exactly(30_000).await == expected, "{number}");
        }
        let mut last = open.pop().unwrap();
        last.end().await;
        assert!(last.rest().await.is_empty());
        // The place is free once the proxy has seen both ends.
        let mut tries = 0;
        while !node.client().await.connect("a.example:443").await.contains(" 200 ") {
            tries += 1;
            assert!(tries < 1000, "the ended tunnel's place is not given on");
        }
    });
}

#[test]
fn a_client_that_leaves_while_it_waits_is_forgotten() {
    run(async {
        let ways = [("slow.example", Way::Silent), ("a.example", Way::To(echo().await))];
        let node = node(&["*.example:443"], ways, Limits::new(1)).await;
        let mut client = node.client().await;
        client.send("CONNECT slow.example:443 HTTP/1.1\r\nHost: slow.example\r\n\r\n").await;
        while node.connects.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        let refused = node.client().await.connect("a.example:443").await;
        assert!(refused.contains(" 503 "), "{refused}");
        drop(client);
        let mut tries = 0;
        while !node.client().await.connect("a.example:443").await.contains(" 200 ") {
            tries += 1;
            assert!(tries < 1000, "the place is not given on");
        }
    });
}

#[test]
fn a_server_that_breaks_ends_the_tunnel_and_a_client_that_breaks_does_too() {
    run(async {
        let broken = server(|_, mut client| async move {
            client.exactly(3).await;
        });
        let gone = Rc::new(Notify::new());
        let seen = Rc::clone(&gone);
        let talker = server(move |_, mut client| {
            let seen = Rc::clone(&seen);
            async move {
                while client.0.write_all(&[7; 1000]).await.is_ok() {}
                seen.notify_one();
            }
        });
        let ways = [("b.example", Way::To(broken.await)), ("t.example", Way::To(talker.await))];
        let node = node(&["*.example:443"], ways, Limits::new(4)).await;
        let mut client = node.client().await;
        client.connect("b.example:443").await;
        client.send("abc").await;
        client.ended().await;
        let mut client = node.client().await;
        client.connect("t.example:443").await;
        client.exactly(10).await;
        drop(client);
        timeout(STEP_TIMEOUT, gone.notified()).await.unwrap();
    });
}

#[test]
fn a_server_that_reads_nothing_is_not_read_for() {
    run(async {
        let held = Rc::new(RefCell::new(Vec::new()));
        let holder = Rc::clone(&held);
        let deaf = server(move |_, client| {
            holder.borrow_mut().push(client);
            async {}
        });
        let ways = [("a.example", Way::To(deaf.await))];
        let mut limits = Limits::new(1);
        limits.tunnel_idle_timeout = Duration::from_millis(500);
        let node = node(&["a.example:443"], ways, limits).await;
        let mut client = node.client().await;
        client.connect("a.example:443").await;
        // The kernel's buffers take some megabytes, the proxy next to nothing: then nothing moves,
        // and the tunnel ends.
        let mut taken = 0_usize;
        let chunk = vec![0; 64 * 1024];
        while timeout(STEP_TIMEOUT, client.0.write_all(&chunk)).await.unwrap().is_ok() {
            taken += chunk.len();
            assert!(taken < 64 * 1024 * 1024, "the proxy reads on");
        }
    });
}
