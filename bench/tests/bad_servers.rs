//! What `sockhop-bench load` shows of servers that do not do what they should: the real program
//! against real sockets. Listeners belong to the server threads, which end with the test process.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that hands every connection to `serve`, on a thread of its own.
#[expect(clippy::unwrap_used, reason = "a test that cannot listen has failed")]
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let serve = Arc::new(serve);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (serve, stream) = (Arc::clone(&serve), stream.unwrap());
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Waits for a request; false when the client has closed.
fn request(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 1024]), Ok(count) if count > 0)
}

/// Whether it ended well, and what it printed on both streams.
#[expect(clippy::unwrap_used, reason = "a test whose program does not start has failed")]
fn load(address: SocketAddr, options: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sockhop-bench"))
        .args(["load", &format!("http://{address}/"), "--warmup-seconds", "0"])
        .args(if options.contains(&"--seconds") {
            &[][..]
        } else {
            &["--seconds", "0.5", "--connections", "2"]
        })
        .args(options)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[expect(clippy::unwrap_used, reason = "a test whose program prints something else has failed")]
fn json(address: SocketAddr, options: &[&str]) -> serde_json::Value {
    let (good, text) = load(address, &[&["--json"], options].concat());
    assert!(good, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_server_that_is_not_there_is_said_so() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (good, text) = load(address, &[]);
    assert!(!good);
    assert!(text.contains(&format!("nothing accepts connections at {address}")), "{text}");
}

#[test]
fn wrong_statuses_are_counted_each_for_itself() {
    let address = server(|mut stream| {
        let mut served = 0;
        while request(&mut stream) {
            served += 1;
            let reply: &[u8] = match served % 3 {
                0 => b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
                1 => OK,
                _ => b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",
            };
            if stream.write_all(reply).is_err() {
                return;
            }
        }
    });
    let (good, text) = load(address, &[]);
    assert!(good, "some replies were good\n{text}");
    for shown in ["status 404: ", "status 503: ", "4xx ", "5xx "] {
        assert!(text.contains(shown), "{shown} is not in\n{text}");
    }
}

#[test]
fn a_server_with_nothing_good_fails_the_run() {
    let address = server(|mut stream| {
        while request(&mut stream)
            && stream.write_all(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n").is_ok()
        {}
    });
    let (good, text) = load(address, &[]);
    assert!(
        !good && text.contains("status 500: ") && text.contains("not one good reply"),
        "{text}"
    );
}

#[test]
fn a_server_that_resets_is_told_from_one_that_answers() {
    // The first connection is the one that fetches the expected body.
    let fetched = AtomicBool::new(false);
    let address = server(move |mut stream| {
        let first = !fetched.swap(true, Ordering::SeqCst);
        let mut served = 0;
        while request(&mut stream) {
            served += 1;
            if !first && served % 5 == 0 {
                // Closed with a request unread: the kernel resets the connection.
                return;
            }
            if stream.write_all(OK).is_err() {
                return;
            }
        }
    });
    let (good, text) = load(address, &[]);
    assert!(good && text.contains("reset "), "{text}");
    let (good, text) = load(server(drop), &["--any-body"]);
    assert!(!good && text.contains("reset ") && text.contains("not one good reply"), "{text}");
}

/// It answers at once, but for one second in which it answers nobody.
fn stalling() -> SocketAddr {
    let stalled = AtomicBool::new(false);
    server(move |mut stream| {
        let mut served = 0;
        while request(&mut stream) {
            served += 1;
            if served == 100 && !stalled.swap(true, Ordering::SeqCst) {
                thread::sleep(Duration::from_secs(1));
            }
            if stream.write_all(OK).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_stall_of_a_second_is_seen_by_the_open_loop_and_hidden_by_the_closed() {
    let us = |report: &serde_json::Value, which: &str, percentile: &str| {
        report[which][percentile].as_f64().unwrap_or(f64::NAN)
    };
    let options = ["--connections", "1", "--seconds", "2.5"];
    // Of 500 requests 200 were due while it stalled: two in five had to wait, half of these longer
    // than half a second.
    let open = json(stalling(), &[&["--rate", "200"], &options[..]].concat());
    assert!(us(&open, "latency_corrected", "p90_us") > 400_000.0, "{open}");
    // One request of many was slow; no percentile below the last knows of it, and nothing is there
    // to correct it by.
    let closed = json(stalling(), &options);
    assert!(us(&closed, "latency", "p99_us") < 400_000.0, "{closed}");
    assert!(us(&closed, "latency", "max_us") > 900_000.0, "{closed}");
    assert!(closed["latency_corrected"].is_null(), "{closed}");
}
