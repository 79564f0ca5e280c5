//! Tests of the client against small servers made of std threads, on ports the kernel gives.
//! Listeners and sockets belong to the server threads, which end with the test process.

use super::*;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// A server that hands every connection to `serve`, on a thread of its own.
fn server(serve: impl Fn(TcpStream) + Send + Sync + Copy + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || serve(stream));
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
        protocol: Protocol::Http1,
        tls: None,
        mix: mix(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), b"ok".to_vec()),
        kept_share: 1.0,
        connections: 2,
        rate: None,
        warmup: Duration::ZERO,
        window: Duration::from_millis(300),
        timeout: TIMEOUT,
        cores: Vec::new(),
        spin: false,
    }
}

fn mix(request: Vec<u8>, body: Vec<u8>) -> RequestMix {
    RequestMix::one(PreparedRequest {
        close: request.clone(),
        keep: request,
        message: None,
        expected_body: Some(body),
        head_only: false,
    })
}

fn run(plan: &Plan) -> Result<Record, Error> {
    super::run(plan, false)
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
    for (kept_share, spin) in [(1.0, false), (0.0, false), (0.5, true)] {
        let whole = run(&Plan { kept_share, spin, ..plan(server(serve_ok)) }).unwrap().whole();
        assert!(whole.completed > 10, "{}", whole.completed);
        assert_eq!(whole.errors, ErrorCounts::default());
        assert_eq!(whole.uncorrected.len(), whole.completed);
    }
}

#[test]
fn an_open_loop_keeps_its_rate_and_sees_a_stall() {
    let address = server(|mut stream| {
        let mut served = 0;
        while request(&mut stream) {
            served += 1;
            if served == 20 {
                thread::sleep(Duration::from_millis(100));
            }
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    });
    let rate = Some(Rate::steady(200));
    let whole =
        run(&Plan { rate, connections: 1, window: Duration::from_millis(500), ..plan(address) })
            .unwrap()
            .whole();
    let corrected = whole.corrected.unwrap();
    assert!((95..=100).contains(&whole.completed), "{}", whole.completed);
    assert_eq!(corrected.len(), 100, "every intended request counts");
    // One request in a hundred was slow to answer, but about twenty were late.
    let slow = |histogram: &hdrhistogram::Histogram<u64>| {
        histogram.count_between(20_000_000, 1_000_000_000)
    };
    assert!(slow(&whole.uncorrected) <= 3, "{}", slow(&whole.uncorrected));
    assert!(slow(&corrected) >= 10, "{}", slow(&corrected));
}

#[test]
fn errors_are_told_apart() {
    let close = server(|mut stream| {
        request(&mut stream);
    });
    assert!(run(&plan(close)).unwrap().whole().errors.reset > 0);

    let cut = server(|mut stream| {
        request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no");
    });
    assert!(run(&plan(cut)).unwrap().whole().errors.malformed > 0);

    let other = server(|mut stream| {
        while request(&mut stream)
            && stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok!").is_ok()
        {
        }
    });
    assert!(run(&plan(other)).unwrap().whole().errors.bad_body > 0);

    let busy = server(|mut stream| {
        while request(&mut stream)
            && stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").is_ok()
        {}
    });
    let record = run(&plan(busy)).unwrap();
    let whole = record.whole();
    assert!(whole.errors.status_5xx > 0);
    assert_eq!(record.bad_statuses, BTreeMap::from([(503, whole.errors.status_5xx)]));
    assert_eq!(whole.completed, 0);
}

#[test]
fn a_dead_server_is_not_hammered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let errors = run(&plan(address)).unwrap().whole().errors;
    assert!((2..=30).contains(&errors.connect), "{}", errors.connect);
}

#[test]
fn a_silent_server_leaves_its_requests_unanswered() {
    let silent = server(|mut stream| while request(&mut stream) {});
    let record = run(&plan(silent)).unwrap();
    assert_eq!((record.whole().completed, record.unanswered), (0, 2));
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
                    Ok(count) if count > 0 && stream.write_all(&buffer[..count]).is_ok() => {
                        left -= count
                    }
                    _ => return,
                }
            }
        }
    });
    let body = crate::load::payload(BYTES);
    let mix = mix([HEAD, &body].concat(), body);
    let window = Duration::from_millis(1500);
    let whole = run(&Plan { mix, connections: 1, window, ..plan(echo) }).unwrap().whole();
    assert!(whole.completed > 0);
    assert_eq!(whole.errors, ErrorCounts::default());
}

#[test]
fn a_reply_before_the_request_has_left_is_the_connection_s_last() {
    let hasty = server(|mut stream| {
        request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        thread::sleep(Duration::from_millis(100));
    });
    let request = [b"POST / HTTP/1.1\r\n\r\n", &*vec![0; 32 * 1024 * 1024]].concat();
    let whole = run(&Plan { mix: mix(request, b"ok".to_vec()), ..plan(hasty) }).unwrap().whole();
    assert!(whole.completed > 0);
    assert_eq!(whole.errors, ErrorCounts::default());
}

#[test]
fn several_threads_share_connections_and_rate() {
    let core = 0;
    let rate = Some("200,400".parse().unwrap());
    let plan = Plan {
        cores: vec![core; 3],
        connections: 8,
        rate,
        window: Duration::from_secs(1),
        ..plan(server(serve_ok))
    };
    let record = run(&plan).unwrap();
    let completed: Vec<u64> = record.sections.iter().map(|section| section.completed).collect();
    assert_eq!(record.threads.len(), 3);
    // A request due at the end of a section may be answered in the next, or too late.
    assert!(
        (90..=102).contains(&completed[0]) && (185..=202).contains(&completed[1]),
        "{completed:?}"
    );
    let due: u64 =
        record.sections.iter().map(|section| section.corrected.as_ref().unwrap().len()).sum();
    assert_eq!(due, 300, "every intended request counts, whichever thread had it");
}
