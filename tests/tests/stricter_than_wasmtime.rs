//! The deliberate differences of the node and `wasmtime serve` for the same guest and the same
//! bytes: the node reports an error or cuts the reply, and never presents it as complete. The
//! behaviour of wasmtime is asserted too, so that a change there is noticed.

use std::time::Duration;

use harness::answer::Answer;
use harness::client::head;
use harness::wait;
use harness::wasmtime::{Both, Request};

/// Returns a request for the guest `headers` whose client accepts trailers.
fn asking(query: &str) -> Request {
    Request::get(&format!("/?{query}")).header("te", "trailers")
}

/// Checks for a complete error of the node itself.
#[track_caller]
fn expect_problem(answer: &Answer, status: u16, word: &str) {
    assert_eq!((answer.status, answer.whole), (Some(status), true), "{answer:#?}");
    assert_eq!(answer.all("content-type").next(), Some("application/problem+json"), "{answer:#?}");
    assert!(answer.text().contains(word), "{word:?} is not said: {}", answer.text());
}

/// Returns the trailers as text.
fn trailers(answer: &Answer) -> String {
    answer.trailers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

#[test]
fn a_guest_that_fails_before_its_reply_is_a_500_at_both() {
    for (guest, path) in
        [("panic", "/"), ("no-reply", "/"), ("echo-p3", "/trap-at-once"), ("echo-p3", "/error")]
    {
        let both = Both::serving(guest, &[]);
        let asked = Request::get(path);
        expect_problem(&both.ours(&asked), 500, guest);
        // A page of its own.
        assert_eq!(both.theirs(&asked).status, Some(500), "{guest}");
    }
}

#[test]
fn a_trap_in_the_middle_cuts_the_reply() {
    for (guest, path) in [("panic", "/after-head"), ("echo-p3", "/trap")] {
        let both = Both::serving(guest, &[]);
        let asked = Request::get(path);
        let ours = both.ours(&asked);
        assert_eq!(
            (ours.status, ours.text().as_str(), ours.whole),
            (Some(200), "begin", false),
            "{guest}"
        );
        // wasmtime ends the body regularly, and no client can detect it.
        let theirs = both.theirs(&asked);
        assert_eq!(
            (theirs.status, theirs.text().as_str(), theirs.whole),
            (Some(200), "begin", true),
            "{guest}"
        );
    }
}

#[test]
fn a_body_that_is_not_as_long_as_promised_is_a_500() {
    let both = Both::serving("headers", &[]);
    // wasmtime sends what fits into the Content-Length, as if it were all. It sends no reply if the
    // body is too short.
    for (query, theirs_whole) in [
        ("header=content-length:3&body=hello", true),
        ("header=content-length:9&body=hello", false),
        ("header=content-length:5&header=content-length:5&body=hello", true),
        ("header=content-length:5&header=content-length:6&body=hello", true),
    ] {
        expect_problem(&both.ours(&asking(query)), 500, "as long as its head says");
        assert_eq!(both.theirs(&asking(query)).whole, theirs_whole, "{query}");
    }
}

#[test]
fn an_informational_status_is_no_reply() {
    let both = Both::serving("headers", &[]);
    // wasmtime: 101 goes out and nothing after it, the others are a 500 without a word.
    for (status, theirs) in [(100, Some(500)), (101, None), (103, Some(500)), (199, Some(500))] {
        let asked = asking(&format!("status={status}"));
        expect_problem(&both.ours(&asked), 500, "its log has the reason");
        both.expect_logged(&status.to_string());
        assert_eq!(both.theirs(&asked).status, theirs, "{status}");
    }
}

#[test]
fn a_head_beyond_its_limit_is_a_500() {
    let both = Both::serving("headers", &[]);
    for query in ["size=7000&many=10", "size=70000&many=1"] {
        expect_problem(&both.ours(&asking(query)), 500, "its log has the reason");
        both.expect_logged("65536");
        // wasmtime has a limit on each list of headers a guest makes (128 KiB), and none on what it
        // sends.
        assert_eq!(both.theirs(&asking(query)).status, Some(200), "{query}");
    }
}

#[test]
fn a_request_that_is_not_well_formed_is_a_400() {
    let both = Both::serving("headers", &[]);
    let broken = Request::new("POST", "/")
        .header("transfer-encoding", "chunked")
        .framed(b"x\r\nabc\r\n0\r\n\r\n");
    expect_problem(&both.ours(&broken), 400, "not well formed");
    // wasmtime reports the error to its guest only, whose answer is the reply.
    assert_eq!(both.theirs(&broken).status, Some(200));
    // Two lengths, and one beside chunks: bytes that the next reader could take for a second
    // request.
    for (name, value) in [("content-length", "4"), ("transfer-encoding", "chunked")] {
        let two_ways = Request::new("POST", "/").body(b"abc").header(name, value);
        expect_problem(&both.ours(&two_ways), 400, "");
    }
    expect_problem(&both.ours(&Request::new("CONNECT", "/")), 400, "CONNECT");
}

#[test]
fn no_trailer_is_lost() {
    let both = Both::serving("headers", &[]);
    // wasmtime sends those that the header `trailer` names, and of each name the last; and takes
    // the last of each.
    for (query, ours, theirs) in [
        ("trailer=x-sum:1&body=hi", "x-sum: 1\n", ""),
        (
            "header=trailer:x-sum&trailer=x-sum:1&trailer=x-o:2&body=hi",
            "x-sum: 1\nx-o: 2\n",
            "x-sum: 1\n",
        ),
        (
            "header=trailer:x-sum&trailer=x-sum:1&trailer=x-sum:2&body=hi",
            "x-sum: 1\nx-sum: 2\n",
            "x-sum: 2\n",
        ),
    ] {
        assert_eq!(trailers(&both.ours(&asking(query))), ours, "{query}");
        assert_eq!(trailers(&both.theirs(&asking(query))), theirs, "{query}");
    }
    let twice = b"1\r\na\r\n0\r\nx-sum: 7\r\nx-sum: 8\r\n\r\n";
    let asked = Request::new("POST", "/").header("transfer-encoding", "chunked").framed(twice);
    assert_eq!(both.ours(&asked).text(), "trailer: x-sum: 7\ntrailer: x-sum: 8\n");
    assert_eq!(both.theirs(&asked).text(), "trailer: x-sum: 8\n");
}

#[test]
fn a_client_that_does_not_wait_need_not_be_told_to_continue() {
    let both = Both::serving("echo", &[]);
    let asked = Request::new("POST", "/").header("expect", "100-continue").body(b"hello");
    let (ours, theirs) = (both.ours(&asked), both.theirs(&asked));
    assert_eq!((ours.text(), theirs.text()), ("hello".to_owned(), "hello".to_owned()));
    // RFC 9110 10.1.1 lets a server leave it out when the body is there, and whether it was there
    // yet is chance.
    for answer in [ours, theirs] {
        assert!(matches!(answer.interim[..], [] | [100]), "{answer:#?}");
    }
}

#[test]
fn a_client_that_leaves_early_takes_its_own_reply_with_it_and_nothing_else() {
    let both = Both::serving("flood", &[]);
    let asked = Request::get("/?bytes=300000");
    for (mut connection, target) in
        [(both.node.connect(), "/flood/"), (both.wasmtime.connect(), "/")]
    {
        connection.send(head("GET", target, &[]));
        // The first byte of 64 MiB: the reply is under way when its client goes.
        wait::until("the reply begins", Duration::from_secs(10), || {
            (!connection.silent()).then_some(())
        });
        drop(connection);
    }
    let answer = both.same(&asked);
    assert_eq!(answer.body.len(), 300_000);
    both.node.until_status("the flood ends with its client", Duration::from_secs(10), |status| {
        status.in_flight() == 0
    });
}
