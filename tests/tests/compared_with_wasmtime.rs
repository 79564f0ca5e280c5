//! The node and `wasmtime serve` serve the same guest and get the same bytes: the guest sees the
//! same, and its answers arrive the same. Where the node is stricter or must be better, the test
//! says what wasmtime does.

use harness::bytes::{assert_same, body};
use harness::wasmtime::{Both, Request};
use serde_json::Value;

const MIB: usize = 1024 * 1024;

fn post(path: &str) -> Request {
    Request::new("POST", path)
}

/// Returns a request for the guest `headers` whose client accepts trailers.
fn asking(query: &str) -> Request {
    Request::get(&format!("/?{query}")).header("te", "trailers")
}

/// Returns a request with a body in chunks, and trailers after them.
fn with_trailers(path: &str, trailers: &str) -> Request {
    let framed = format!("3\r\nabc\r\n0\r\n{trailers}\r\n");
    post(path)
        .header("transfer-encoding", "chunked")
        .header("trailer", "x-sum")
        .framed(framed.as_bytes())
}

#[test]
fn a_guest_sees_the_same_request() {
    let both = Both::serving("inspect", &[]);
    let methods =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PURGE", "purge"];
    let mut table: Vec<Request> =
        methods.map(|method| Request::new(method, "/a%20b/?q=%26")).into();
    table.extend(
        ["/", "/?", "/??", "//x//y/../z", "/a%2Fb%00", "/*?x=?y", "/~;=,@:!$'()+"]
            .map(Request::get),
    );
    table.push(Request::get("/").header("host", "shop.test:81"));
    table.push(post("/").body(b"abc"));
    table.push(post("/").chunked(b"abc", 1));
    let many =
        (0..90).fold(Request::get("/"), |asked, number| asked.header(&format!("x-{number}"), "v"));
    table.push(many.header("x-long", &"v".repeat(40_000)));
    // Repeated, empty, not ASCII, and those that are about the connection and not for the guest.
    let fields = [
        ("x-a", "1"),
        ("X-A", "2"),
        ("x-empty", ""),
        ("x-latin", "\u{fc}"),
        ("x-spaces", "  a  b\t "),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("authorization", "Basic eA=="),
        ("te", "trailers"),
        ("trailer", "x-sum"),
        ("keep-alive", "timeout=3"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic eA=="),
        ("upgrade", "websocket"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
    ];
    table.push(
        fields.iter().fold(Request::get("/"), |asked, (name, value)| asked.header(name, value)),
    );

    for asked in table {
        let (ours, theirs) = (both.ours(&asked), both.theirs(&asked));
        assert_eq!((ours.status, ours.whole), (Some(200), true), "{asked:?}");
        assert_eq!((theirs.status, theirs.whole), (Some(200), true), "{asked:?}");
        if ours.body.is_empty() {
            assert!(theirs.body.is_empty(), "to a HEAD");
            continue;
        }
        let (mut ours, mut theirs): (Value, Value) = (parse(&ours.body), parse(&theirs.body));
        // What each server adds for its guests: the node adds where the function is and who the
        // client is, wasmtime adds the id of the instance.
        for (name, value) in [
            ("x-forwarded-prefix", "/inspect"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
        ] {
            let expected = ours["headers"].as_object_mut().and_then(|headers| headers.remove(name));
            assert_eq!(expected, Some(serde_json::json!([value])), "{name}");
        }
        let instance = theirs["environment"]
            .as_object_mut()
            .and_then(|environment| environment.remove("INSTANCE_ID"));
        assert!(instance.is_some(), "{theirs}");
        assert_eq!(ours, theirs, "the node (left) and wasmtime (right) for {asked:?}");
    }
}

fn parse(json: &[u8]) -> Value {
    serde_json::from_slice(json)
        .unwrap_or_else(|e| panic!("no JSON ({e}): {}", String::from_utf8_lossy(json)))
}

#[test]
fn hello_to_every_method() {
    for guest in ["hello", "hello-wstd", "hello-p3"] {
        let both = Both::serving(guest, &[]);
        for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PURGE"] {
            let answer = both.same(&Request::new(method, "/"));
            let body = if method == "HEAD" { "" } else { "Hello, world!" };
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (Some(200), body),
                "{guest}, {method}"
            );
        }
        both.same(&post("/any?path").body(b"unread"));
        both.same(&post("/").chunked(b"unread", 2));
    }
}

#[test]
fn headers_come_out_the_same_good_and_bad() {
    let both = Both::serving("headers", &[]);
    for query in [
        "",
        "body=hi",
        "header=x-a:1&header=x-b:2&body=hi",
        "header=x-a:1&header=X-A:2&header=x-a:3",
        "header=set-cookie:a=1&header=set-cookie:b=2",
        "header=content-type:text/html&header=server:me&header=te:trailers",
        "header=location:/x&status=302",
        "header=x-empty:&header=x-latin:%ff%fe&header=x-utf8:%c3%bc&header=x-tab:%09a%20",
        "many=90",
        "many=500",
        "size=4000&many=10",
        // Headers that a guest must not set.
        "header=connection:close",
        "header=transfer-encoding:chunked&body=hi",
        "header=upgrade:h2c",
        "header=host:evil",
        "header=keep-alive:5",
        "header=proxy-connection:a",
        "header=proxy-authenticate:a",
        "header=http2-settings:a",
        // Malformed, or made to end the head early.
        "header=x-a:a%0d%0ax-b:%20c",
        "header=x-a:a%0ab",
        "header=x-a:a%0d%0a%0d%0aHTTP/1.1%20200%20OK%0d%0a%0d%0a",
        "header=x-z:a%00b",
        "header=x-d:%7f",
        "header=x%20a:b",
        "header=x-a%00:b",
        "header=x-%c3%bc:b",
        "header=:b",
        // Lengths that are right, and lengths that are not.
        "header=content-length:5&body=hello",
        "header=content-length:0",
        "header=content-length:-1&body=hi",
        "header=content-length:abc&body=hi",
        "header=content-length:18446744073709551616&body=hi",
    ] {
        let answer = both.same(&asking(query));
        assert!(answer.status.is_some() && answer.whole, "{query}: {answer:#?}");
        assert_eq!(
            answer.all("x-b").next().is_some(),
            query.contains("header=x-b"),
            "{query}: {answer:#?}"
        );
    }
}

#[test]
fn statuses_come_out_the_same() {
    let both = Both::serving("status", &[]);
    for code in
        [200, 201, 202, 204, 205, 206, 299, 301, 302, 304, 400, 404, 418, 500, 503, 599, 600, 999]
    {
        let answer = both.same(&post(&format!("/?code={code}")).body(b"twelve bytes"));
        assert_eq!((answer.status, answer.all("x-body-bytes").next()), (Some(code), Some("12")));
    }
    let both = Both::serving("headers", &[]);
    // A body where there must be none, and numbers that are no status.
    for query in [
        "status=204&body=hi",
        "status=304&body=hi",
        "status=205&body=hi",
        "status=0",
        "status=99",
        "status=1000",
    ] {
        both.same(&asking(query));
    }
}

#[test]
fn bodies_come_back_the_same() {
    for (guest, paths) in [("echo", &["/"][..]), ("echo-p3", &["/", "/copy"])] {
        let both = Both::serving(guest, &[]);
        for length in [0, 1, 5, 65_536, MIB] {
            let sent = body(length, 1);
            for path in paths {
                for asked in [post(path).body(&sent), post(path).chunked(&sent, 70_001)] {
                    let answer = both.same(&asked.header("content-type", "text/x-test"));
                    assert_eq!(
                        (answer.status, answer.whole),
                        (Some(200), true),
                        "{guest}, {length} bytes"
                    );
                    assert_same(&answer.body, &sent);
                }
            }
        }
        for path in paths {
            both.same(&Request::new("HEAD", path).body(b"hello"));
            both.same(&post(path).chunked(b"", 1));
        }
        let with_extensions = b"3;a=b\r\nabc\r\n2 ; c=\"d\"\r\nde\r\n0;e\r\n\r\n";
        let answer =
            both.same(&post("/").header("transfer-encoding", "chunked").framed(with_extensions));
        assert_eq!(answer.text(), "abcde");
    }
}

#[test]
fn events_and_waits_come_out_the_same() {
    let both = Both::serving("echo-p3", &[]);
    for path in ["/wait?ms=5", "/sse?n=3&ms=5", "/after?ms=1", "/break"] {
        both.same(&Request::get(path));
    }
}

#[test]
fn trailers_pass_the_same_both_ways() {
    let both = Both::serving("headers", &[]);
    let answer = both.same(&asking("header=trailer:x-sum&trailer=x-sum:1&body=hi"));
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "1".to_owned())]);
    // A client that does not accept trailers gets none, and a reply without chunks has none.
    both.same(&Request::get("/?header=trailer:x-sum&trailer=x-sum:1&body=hi"));
    both.same(&asking("header=trailer:x-sum&header=content-length:2&trailer=x-sum:1&body=hi"));
    for trailers in
        ["x-sum: 7\r\n", "x-sum: 7\r\nx-other: \r\n", "content-length: 9\r\nhost: evil\r\n", ""]
    {
        let answer = both.same(&with_trailers("/", trailers));
        assert_eq!(
            answer.text().contains("trailer: x-sum: 7"),
            trailers.contains("x-sum"),
            "{answer:#?}"
        );
    }

    let both = Both::serving("echo-p3", &[]);
    for path in ["/", "/copy"] {
        let answer = both.same(&with_trailers(path, "x-sum: 42\r\n").header("te", "trailers"));
        assert_eq!(answer.trailers, [("x-sum".to_owned(), "42".to_owned())], "{path}");
        both.same(&with_trailers(path, "x-sum: 42\r\n"));
    }
}

#[test]
fn a_promised_body_may_stay_away_where_none_is_sent() {
    let both = Both::serving("headers", &[]);
    // The usual way to answer a HEAD, and a conditional GET: the head of the whole reply, and no
    // body.
    for (method, query) in [
        ("HEAD", "header=content-length:9"),
        ("HEAD", "header=content-length:9&status=404"),
        ("GET", "header=content-length:9&status=304"),
        ("GET", "header=content-length:9&status=204"),
    ] {
        let answer = both.same(&Request::new(method, &format!("/?{query}")));
        let expected = if query.contains("204") { None } else { Some("9") };
        assert_eq!(answer.all("content-length").next(), expected, "{method} {query}");
    }
}
