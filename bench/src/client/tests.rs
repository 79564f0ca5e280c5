//! Tests of the client against small servers made of std threads, on ports the kernel gives.
//! Listeners and sockets belong to the server threads, which end with the test process.

use super::*;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// A server that hands every connection to `serve`, on a thread of its own.
fn server(serve: impl Fn(TcpStream) + Send + Sync + Copy + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Waits for a request; false when the client has closed.
fn request(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 1024]), Ok(count) if count > 0)
}

fn plan(address: SocketAddr) -> Plan {
    Plan {
        address,
        request: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        expected_body: Some(b"ok".to_vec()),
        keep_alive: true,
        connections: 2,
        rate: None,
        warmup: Duration::ZERO,
        window: Duration::from_millis(300),
    }
}

fn serve_ok(mut stream: TcpStream) {
    while request(&mut stream) {
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

#[test]
fn a_good_server_has_no_errors() {
    for keep_alive in [true, false] {
        let record = run(&Plan { keep_alive, ..plan(server(serve_ok)) }).unwrap();
        assert!(record.completed > 10, "{}", record.completed);
        assert_eq!(record.errors, ErrorCounts::default());
        assert_eq!(record.uncorrected.len(), record.completed);
    }
}

#[test]
fn an_open_loop_keeps_its_rate_and_sees_a_stall() {
    let address = server(|mut stream| {
        let mut served = 0;
        while request(&mut stream) {
            served += 1;
            if served == 20 {
                std::thread::sleep(Duration::from_millis(100));
            }
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    });
    let rate = NonZeroU64::new(200);
    let record = run(&Plan { rate, connections: 1, window: Duration::from_millis(500), ..plan(address) }).unwrap();
    let corrected = record.corrected.unwrap();
    assert!((95..=100).contains(&record.completed), "{}", record.completed);
    assert_eq!(corrected.len(), 100, "every intended request counts");
    // One request in a hundred was slow to answer, but about twenty were late.
    let slow = |histogram: &hdrhistogram::Histogram<u64>| histogram.count_between(20_000_000, 1_000_000_000);
    assert!(slow(&record.uncorrected) <= 3, "{}", slow(&record.uncorrected));
    assert!(slow(&corrected) >= 10, "{}", slow(&corrected));
}

#[test]
fn errors_are_told_apart() {
    let close = server(|mut stream| {
        request(&mut stream);
    });
    assert!(run(&plan(close)).unwrap().errors.reset > 0);

    let cut = server(|mut stream| {
        request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no");
    });
    assert!(run(&plan(cut)).unwrap().errors.malformed > 0);

    let other = server(|mut stream| {
        while request(&mut stream) && stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok!").is_ok() {}
    });
    assert!(run(&plan(other)).unwrap().errors.bad_body > 0);

    let busy = server(|mut stream| {
        while request(&mut stream) && stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").is_ok() {}
    });
    let record = run(&plan(busy)).unwrap();
    assert!(record.errors.status_5xx > 0);
    assert_eq!(record.completed, 0);
}

#[test]
fn a_dead_server_is_not_hammered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let record = run(&plan(address)).unwrap();
    assert!((2..=30).contains(&record.errors.connect), "{}", record.errors.connect);
}

#[test]
fn a_silent_server_leaves_its_requests_unanswered() {
    let silent = server(|mut stream| while request(&mut stream) {});
    let record = run(&plan(silent)).unwrap();
    assert_eq!((record.completed, record.unanswered), (0, 2));
    assert!(record.oldest_unanswered > Duration::from_millis(200));
}

#[test]
fn a_body_is_read_back_while_it_is_sent() {
    const BYTES: usize = 32 * 1024 * 1024;
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\n\r\n";
    let echo = server(|mut stream| {
        // More than all socket buffers together: who does not read meanwhile never gets it sent.
        let mut buffer = vec![0; 64 * 1024];
        while stream.read_exact(&mut buffer[..HEAD.len()]).is_ok() {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
            if stream.write_all(head.as_bytes()).is_err() {
                return;
            }
            let mut left = BYTES;
            while left > 0 {
                let most = left.min(buffer.len());
                match stream.read(&mut buffer[..most]) {
                    Ok(count) if count > 0 && stream.write_all(&buffer[..count]).is_ok() => left -= count,
                    _ => return,
                }
            }
        }
    });
    let body = crate::load::payload(BYTES);
    let request = [HEAD, &body].concat();
    let window = Duration::from_millis(1500);
    let record = run(&Plan { request, expected_body: Some(body), connections: 1, window, ..plan(echo) }).unwrap();
    assert!(record.completed > 0);
    assert_eq!(record.errors, ErrorCounts::default());
}

#[test]
fn a_reply_before_the_request_has_left_is_the_connection_s_last() {
    let hasty = server(|mut stream| {
        request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        std::thread::sleep(Duration::from_millis(100));
    });
    let request = [b"POST / HTTP/1.1\r\n\r\n", &*vec![0; 32 * 1024 * 1024]].concat();
    let record = run(&Plan { request, ..plan(hasty) }).unwrap();
    assert!(record.completed > 0);
    assert_eq!(record.errors, ErrorCounts::default());
}
