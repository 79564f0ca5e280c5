//! The guest `fetch` behind the node and behind `wasmtime serve`, with one upstream server: it gets
//! the same requests, and the guest sees the same results. Where the node differs on purpose, the
//! test says what wasmtime does.

use std::time::Duration;

use harness::client::head;
use harness::unreachable::{ClosedPort, FullQueue};
use harness::upstream::Upstream;
use harness::wasmtime::{Both, Request};
use harness::{Connection, wait};

/// How long it may take until both notice something.
const SOON: Duration = Duration::from_secs(10);

/// Serves the guest with both. On the node it may connect to the addresses of the tests, and to
/// names.
fn both() -> Both {
    Both::serving("fetch", &["--allow-outbound", "127.0.0.1:*", "--allow-outbound", "*:80"])
}

fn asked(query: &str) -> Request {
    Request::get(&format!("/?{query}"))
}

#[test]
fn answers_are_reported_and_passed_on_the_same() {
    let upstream = Upstream::start();
    let both = both();
    let statuses = [200, 201, 204, 301, 302, 303, 304, 307, 308, 401, 404, 500, 503]
        .map(|code| format!("/status/{code}"));
    let paths = ["/ok", "/chunked", "/early-hints", "/large"].map(str::to_owned);
    for path in statuses.iter().chain(&paths) {
        let query = upstream.query(path);
        let reported = both.same(&asked(&query));
        let passed_on = both.same(&asked(&format!("stream=1&{query}")));
        if let Some(code) = path.strip_prefix("/status/") {
            // Redirects are left to the guest.
            assert!(
                reported.text().starts_with(&format!("status: {code}\nheader: location: /ok\n")),
                "{reported:#?}"
            );
            assert_eq!(passed_on.status, code.parse().ok());
        }
    }
    assert!(both.same(&asked(&upstream.query("/chunked"))).text().ends_with("trailer: x-sum: 6\n"));
    both.same(&asked(&format!("count=3&{}", upstream.query("/ok"))));
    both.same(&asked(&format!("parallel=5&{}", upstream.query("/together/5"))));
}

#[test]
fn the_same_requests_are_sent() {
    let upstream = Upstream::start();
    let both = both();
    let url = upstream.query("/seen?a=%2526b%23fragment");
    for more in [
        "",
        "&method=HEAD",
        "&method=POST&body=hello",
        "&method=PUT&header=content-length:5&body=hello",
        // The Content-Length counts: more is not sent, and a body that is too short makes the
        // request fail.
        "&method=PUT&header=content-length:3&body=hello",
        "&method=PUT&header=content-length:9&body=hello",
        "&header=x-a:1&header=X-A:2&header=x-empty:&header=cookie:a%3Db",
        "&header=user-agent:me&header=accept:*/*&header=te:trailers&header=expect:nothing",
        // Headers that a guest must not set.
        "&header=host:evil",
        "&header=connection:close",
        "&header=transfer-encoding:gzip",
        "&header=upgrade:h2c",
        "&header=x-a:a%0d%0ax-b:c",
    ] {
        let asked = asked(&format!("{url}{more}"));
        let (ours, theirs) = (both.ours(&asked), both.theirs(&asked));
        // The node puts its Host behind the guest's headers, wasmtime before them: the order of
        // names has no meaning.
        let sorted = |text: String| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(
            sorted(ours.text()),
            sorted(theirs.text()),
            "the node (left) and wasmtime (right) for {more}"
        );
    }
}

/// wasmtime frames a body without a length as is usual for the method.
#[test]
fn a_body_is_framed_by_what_it_has_where_wasmtime_goes_by_the_method() {
    const CHUNKED: &str = "transfer-encoding: chunked";
    let upstream = Upstream::start();
    let both = both();
    let url = upstream.query("/seen");
    let framing = |text: String| -> Vec<String> {
        let framed = ["content-length:", "transfer-encoding:", "hello"];
        let lines = text.lines().filter(|line| framed.iter().any(|start| line.starts_with(start)));
        lines.map(str::to_owned).collect()
    };
    let cases: [(&str, &[&str], &[&str]); 5] = [
        ("&method=OPTIONS", &[], &[CHUNKED]),
        ("&method=DELETE", &[], &[CHUNKED]),
        ("&method=PURGE", &[], &[CHUNKED]),
        ("&method=PUT&body=", &["content-length: 0"], &[CHUNKED]),
        // wasmtime loses it.
        ("&body=hello", &[CHUNKED, "hello"], &[]),
    ];
    for (more, ours, theirs) in cases {
        let asked = asked(&format!("{url}{more}"));
        assert_eq!(framing(both.ours(&asked).text()), ours, "the node for {more}");
        assert_eq!(framing(both.theirs(&asked).text()), theirs, "wasmtime for {more}");
    }
}

#[test]
fn failures_and_timeouts_are_reported_the_same() {
    let upstream = Upstream::start();
    let (full, closed) = (FullQueue::start(), ClosedPort::start());
    let both = both();
    for (query, error) in [
        (format!("first-byte-ms=100&{}", upstream.query("/silent")), "ConnectionReadTimeout"),
        (
            format!("between-ms=100&{}", upstream.query("/stalled")),
            "body: begin\nerror: connection read timeout",
        ),
        (format!("connect-ms=100&url=http://{}/", full.address()), "ConnectionTimeout"),
        (format!("url=http://{}/", closed.address()), "ConnectionRefused"),
        // Too long for a label, so that the resolver fails without a query.
        (format!("url=http://{}.invalid/", "x".repeat(64)), "DnsError"),
        (upstream.query("/no-http"), "HttpProtocolError"),
        (upstream.query("/ok").replace("http:", "https:"), "TlsProtocolError"),
        ("url=ftp://127.0.0.1/".to_owned(), "HttpProtocolError"),
        ("url=http:///ok".to_owned(), "is refused"),
        ("url=http://127.0.0.1:1/a%20b".to_owned(), "is refused"),
    ] {
        let answer = both.same(&asked(&query));
        assert!(answer.text().contains(error), "{query}: {}", answer.text());
        both.same(&asked(&format!("stream=1&{query}")));
    }
    // A body that is cut cuts the reply that it is passed on in. If the head was not sent by then,
    // which is chance, the node answers with an error, and wasmtime closes the connection.
    for path in ["/cut", "/cut-chunked"] {
        let asked = asked(&format!("stream=1&{}", upstream.query(path)));
        let (ours, theirs) = (both.ours(&asked), both.theirs(&asked));
        assert!(
            matches!((ours.status, ours.whole), (Some(200), false) | (Some(500), true)),
            "{path}: {ours:#?}"
        );
        assert!(
            matches!((theirs.status, theirs.whole), (Some(200) | None, false)),
            "{path}: {theirs:#?}"
        );
    }
    wait::until("no connection is left", SOON, || (upstream.open() == 0).then_some(()));
}

#[test]
fn the_node_is_more_exact_about_what_went_wrong() {
    let upstream = Upstream::start();
    let both = both();
    let user = upstream.query("/ok").replace("http://", "http://user@");
    for (query, ours, theirs) in [
        (
            upstream.query("/cut"),
            "incomplete HTTP response",
            "hyper error: error reading a body from connection",
        ),
        (
            upstream.query("/cut-chunked"),
            "incomplete HTTP response",
            "hyper error: error reading a body from connection",
        ),
        (
            upstream.query("/cut-head"),
            "ErrorCode::ConnectionTerminated",
            "ErrorCode::HttpProtocolError",
        ),
        (
            upstream.query("/no-head"),
            "ErrorCode::ConnectionTerminated",
            "ErrorCode::HttpProtocolError",
        ),
        // A user in a URL is no part of an HTTP request (RFC 9110 4.2.4); wasmtime takes it for the
        // name of a host.
        (user, "ErrorCode::HttpRequestUriInvalid", "ErrorCode::DnsError"),
    ] {
        for (answer, error) in
            [(both.ours(&asked(&query)), ours), (both.theirs(&asked(&query)), theirs)]
        {
            assert!(
                answer.text().contains(&format!("error: {error}")),
                "{query}: {}",
                answer.text()
            );
        }
    }
    // A tunnel would bypass the list of allowed addresses. wasmtime has no list, and sends the
    // request.
    let tunnel = asked(&format!("method=CONNECT&{}", upstream.query("/ok")));
    assert_eq!(both.ours(&tunnel).text(), "error: ErrorCode::HttpRequestMethodInvalid\n");
    assert!(!both.theirs(&tunnel).text().contains("HttpRequestMethodInvalid"));
}

#[test]
fn a_client_that_leaves_ends_what_was_asked_for_it() {
    let upstream = Upstream::start();
    let both = both();
    let target = format!("/?stream=1&{}", upstream.query("/stalled"));
    let leave = |mut connection: Connection, target: &str| {
        connection.send(head("GET", target, &[]));
        wait::until("the reply begins", SOON, || (!connection.silent()).then_some(()));
    };
    // The guest in wasmtime waits as long as the server does, so its connection stays and the
    // node's is closed.
    leave(both.wasmtime.connect(), &target);
    leave(both.node.connect(), &format!("/fetch{target}"));
    assert_eq!(upstream.accepted(), 2);
    wait::until("the node's request ends with its client", SOON, || {
        (upstream.open() == 1).then_some(())
    });
}
