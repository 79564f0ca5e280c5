//! Traces (W3C Trace Context): a function, and the servers that it calls, see the node's own span
//! in the caller's trace. An OpenTelemetry receiver gets the spans of sampled traces.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers outside #[test] functions too"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::answer::Answer;
use harness::client::request;
use harness::collector::{Collector, Span};
use harness::upstream::Upstream;
use harness::{Connection, Node, NodeBuilder, Reply, node, wait};
use serde_json::{Value, json};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// How long it may take until the spans of an invocation are received.
const SOON: Duration = Duration::from_secs(20);
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Returns the id of the span of the invocation that made this reply.
fn span(reply: &Reply) -> String {
    reply.head.invocation_id().replace('-', "").split_off(16)
}

fn call(node: &Node, target: &str, headers: &[(&str, &str)]) -> Reply {
    let mut connection = node.connect();
    connection.send(request("GET", target, headers, b""));
    connection.reply()
}

/// Returns the trace headers that the guest `inspect` has received.
fn seen(reply: &Reply) -> (Value, Value) {
    let headers = &reply.json()["headers"];
    (headers["traceparent"].clone(), headers["tracestate"].clone())
}

#[test]
fn a_function_sees_the_nodes_span_of_its_callers_trace() {
    let node = Node::with(&["inspect", "cmd"]);
    let state = ("tracestate", "vendor=1,other=2");
    let reply = call(&node, "/inspect/", &[("traceparent", PARENT), state]);
    let ours = format!("00-{TRACE}-{}-01", span(&reply));
    assert_eq!(seen(&reply), (json!([ours]), json!(["vendor=1,other=2"])));
    assert_eq!(reply.head.get("traceparent"), None);
    // A malformed trace is replaced by a new one with the invocation's id. Without a trace, there
    // is none.
    for bad in
        [&[("traceparent", "00-nonsense")][..], &[("traceparent", PARENT), ("traceparent", PARENT)]]
    {
        let reply = call(&node, "/inspect/", &[bad, &[state]].concat());
        let id = reply.head.invocation_id().replace('-', "");
        assert_eq!(
            seen(&reply),
            (json!([format!("00-{id}-{}-00", span(&reply))]), Value::Null),
            "{bad:?}"
        );
    }
    assert_eq!(seen(&node.get("/inspect/")), (Value::Null, Value::Null));
    let reply = call(&node, "/cmd/?env", &[("traceparent", PARENT), state]);
    let text = reply.text();
    assert!(
        text.contains(&format!("\nHTTP_TRACEPARENT=00-{TRACE}-{}-01\n", span(&reply))),
        "{text}"
    );
    assert!(text.contains("\nHTTP_TRACESTATE=vendor=1,other=2\n"), "{text}");
    node.stop();
}

#[test]
fn what_a_function_sends_is_part_of_its_invocations_trace() {
    let upstream = Upstream::start();
    let node = Node::start();
    let allowed = upstream.address().to_string();
    node.deploy("fetch", "fetch", &["--allow-outbound", &allowed, "--instances", "reuse=100"]);
    let ask = |query: &str, headers: &[(&str, &str)]| {
        let reply = call(&node, &format!("/fetch/?{}{query}", upstream.query("/seen")), headers);
        let text = reply.text();
        let mut sent: Vec<String> =
            text.lines().filter(|line| line.starts_with("trace")).map(str::to_owned).collect();
        sent.sort();
        (span(&reply), sent)
    };
    let in_trace = [("traceparent", PARENT), ("tracestate", "vendor=1")];
    let (span, sent) = ask("", &in_trace);
    let ours = |span: &str| {
        vec![format!("traceparent: 00-{TRACE}-{span}-01"), "tracestate: vendor=1".to_owned()]
    };
    assert_eq!(sent, ours(&span));
    // A header that the guest sets is kept. Of two headers neither is.
    let (_, sent) = ask("&header=traceparent:own", &in_trace);
    assert_eq!(sent, ["traceparent: own"]);
    let (span, sent) =
        ask("&header=traceparent:a&header=traceparent:b&header=tracestate:c%3D1", &in_trace);
    assert_eq!(sent, ours(&span));
    // The instance is used again, and the trace is not.
    let (_, sent) = ask("", &[]);
    assert_eq!(sent, Vec::<String>::new());
    let (_, sent) = ask("&header=traceparent:a&header=traceparent:b", &[]);
    assert_eq!(sent, Vec::<String>::new());
    node.stop();
}

fn exporting(collector: &Collector, sample: &str) -> NodeBuilder {
    Node::build().option("--otlp-endpoint", collector.url()).option("--otlp-sample", sample)
}

/// Waits for the spans of an invocation, and returns its own and those of its parts.
fn spans(collector: &Collector, reply: &Reply) -> (Span, Vec<Span>) {
    let id = span(reply);
    let own = wait::until("its spans come", SOON, || {
        collector.spans().into_iter().find(|span| span.id == id)
    });
    let mut parts: Vec<Span> =
        collector.spans().into_iter().filter(|part| part.trace == own.trace).collect();
    parts.retain(|part| part.id != own.id && part.start >= own.start && part.end <= own.end);
    (own, parts)
}

fn now_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

fn metric(node: &Node, series: &str) -> u64 {
    let admin = node.status().node.admin.unwrap();
    let mut connection = Connection::open(admin.strip_prefix("http://").unwrap().parse().unwrap());
    connection.send(request("GET", "/metrics", &[("connection", "close")], b""));
    let text = Answer::read("GET", &connection.rest()).text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

#[test]
fn a_sampled_request_is_a_span_with_its_parts() {
    let collector = Collector::start();
    let node = exporting(&collector, "0").option("--admin", "127.0.0.1:0").start();
    node.deploy("sleep", "nap", &[]);
    node.deploy("panic", "panic", &[]);
    let before = now_ns();
    let reply = call(&node, "/nap/50?secret=1", &[("traceparent", PARENT)]);
    let after = now_ns();
    let (own, parts) = spans(&collector, &reply);
    assert_eq!((own.trace.as_str(), own.parent.as_deref()), (TRACE, Some("b7ad6b7169203331")));
    assert_eq!(
        (own.name.as_str(), own.json["kind"].as_u64(), own.json.get("status")),
        ("GET nap", Some(2), None)
    );
    // The client has the reply a moment before the node has noticed that it was sent.
    let slack = 1_000_000_000;
    assert!(
        before / 1000 <= own.start / 1000 && own.end <= after + slack,
        "{before} {own:?} {after}"
    );
    assert!(own.end - own.start >= 50_000_000, "{own:?}");
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/nap/50"),
        ("http.response.status_code", "200"),
        ("faas.name", "nap"),
        ("faas.invocation_id", reply.head.invocation_id()),
        ("sockhop.outcome", "ok"),
    ] {
        assert_eq!(own.attribute(key).as_deref(), Some(value), "{key}");
    }
    assert!(!own.json.to_string().contains("secret"), "{own:?}");
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["accept", "hop", "queue", "instantiate", "run"]);
    let part = |name: &str| parts.iter().find(|part| part.name == name).unwrap();
    for name in ["accept", "queue", "instantiate", "run"] {
        assert_eq!(part(name).parent.as_deref(), Some(own.id.as_str()), "{name}");
    }
    assert_eq!(part("hop").parent.as_deref(), Some(part("accept").id.as_str()));
    assert_eq!((part("accept").start, part("accept").end), (own.start, part("queue").start));
    assert_eq!(
        (part("queue").end, part("instantiate").end),
        (part("instantiate").start, part("run").start)
    );
    assert!(part("run").end - part("run").start >= 49_000_000, "{parts:?}");

    // A failure is one; the second on a connection was not accepted; without a flag, or a trace,
    // there is nothing.
    let mut connection = node.connect();
    connection.get("/nap/1");
    connection.send(request("GET", "/panic/", &[("traceparent", PARENT)], b""));
    let failed = connection.reply();
    assert_eq!(failed.status(), 500);
    call(&node, "/nap/1", &[("traceparent", &format!("{}0", &PARENT[..54]))]);
    let (own, parts) = spans(&collector, &failed);
    assert_eq!(own.json["status"]["code"].as_u64(), Some(2));
    assert_eq!(
        (own.attribute("error.type"), own.attribute("sockhop.outcome")),
        (Some("trap".into()), Some("trap".into()))
    );
    assert_eq!(
        parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>(),
        ["queue", "instantiate", "run"]
    );
    assert_eq!(collector.spans().len(), 6 + 4);
    assert_eq!(metric(&node, "sockhop_spans_exported_total"), 10);
    node.stop();
}

#[test]
fn a_trace_begins_here_for_the_share_that_is_asked_for_and_the_last_spans_leave_with_the_node() {
    let collector = Collector::start();
    let folder = tempfile::tempdir().unwrap();
    let headers = folder.path().join("headers");
    fs::write(&headers, "api-key=hush%2Chush\n").unwrap();
    let node = exporting(&collector, "1").option("--otlp-headers-file", &headers).start();
    node.deploy("inspect", "inspect", &[]);
    let reply = node.get("/inspect/");
    let id = reply.head.invocation_id().replace('-', "");
    assert_eq!(seen(&reply), (json!([format!("00-{id}-{}-01", span(&reply))]), Value::Null));
    // This does not wait: the node does.
    node.stop();
    let (own, _) = spans(&collector, &reply);
    assert_eq!((own.trace, own.parent), (id, None));
    assert!(
        collector.headers().iter().any(|line| line == "api-key: hush,hush"),
        "{:?}",
        collector.headers()
    );
}

/// Takes one request on `listener`, answers it with 204 and returns its head.
fn accept(listener: &TcpListener) -> String {
    let (stream, _) = listener.accept().unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    stream.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
    stream.get_mut().write_all(b"HTTP/1.1 204 X\r\nconnection: close\r\n\r\n").unwrap();
    head
}

#[test]
fn a_job_is_one_trace_from_its_submission_to_its_callback() {
    let collector = Collector::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let node = exporting(&collector, "0").start();
    let options = ["--job-attempts", "2", "--job-pause", "1s", "--allow-outbound", &address];
    node.deploy("status", "shop", &[&options[..], &["--respond-async"]].concat());
    let (url, traced) = (format!("http://{address}/"), format!("traceparent: {PARENT}"));
    let job = ["invoke", "shop", "--async", "--path", "/?code=500", "-H", &traced];
    node.cli(&[&job[..], &["--callback", &url]].concat()).expect_code(0);
    let head = accept(&listener);
    let of = |name: &str, count: usize| -> Vec<Span> {
        let found = || {
            let mut spans = collector.spans();
            spans.retain(|span| span.trace == TRACE && span.name == name);
            spans
        };
        wait::for_value(&format!("{count} spans {name}"), SOON, found, |it| it.len() == count)
    };
    let (enqueue, attempts, callback) =
        (&of("enqueue shop", 1)[0], of("POST shop", 2), &of("call back shop", 1)[0]);
    assert_eq!(enqueue.parent.as_deref(), Some("b7ad6b7169203331"));
    assert_eq!((&enqueue.json["kind"], &callback.json["kind"]), (&json!(4), &json!(3)));
    for part in attempts.iter().chain([callback]) {
        assert_eq!(part.parent.as_ref(), Some(&enqueue.id), "{part:?}");
    }
    let named = format!("traceparent: 00-{TRACE}-{}-01", callback.id);
    assert!(head.contains(&named), "{named}: {head}");
    // Of a client that does not wait, its own request is in between.
    let mut connection = node.connect();
    let headers = [("prefer", "respond-async"), ("traceparent", PARENT)];
    connection.send(request("PUT", "/shop/?code=200", &headers, b""));
    let reply = connection.reply();
    assert_eq!(reply.status(), 202, "{}", reply.text());
    let both = of("PUT shop", 2);
    let enqueue = of("enqueue shop", 2).pop().unwrap();
    assert_eq!(enqueue.parent, Some(span(&reply)));
    assert!(both.iter().any(|attempt| attempt.parent.as_ref() == Some(&enqueue.id)), "{both:?}");
    node.stop();
}

#[test]
fn a_trace_that_begins_with_a_job_has_all_its_attempts() {
    let collector = Collector::start();
    let node = exporting(&collector, "1").start();
    node.deploy("status", "shop", &["--job-attempts", "2", "--job-pause", "1s"]);
    let id = node.cli(&["invoke", "shop", "--async", "--path", "/?code=500"]).expect_code(0).stdout;
    let trace = id.trim().replace('-', "");
    let of = |name: &str| {
        let of = |span: &Span| span.trace == trace && span.name == name;
        collector.spans().iter().filter(|span| of(span)).count()
    };
    let both = || (of("enqueue shop"), of("POST shop"));
    wait::for_value("both attempts are told", SOON, both, |counts| *counts == (1, 2));
    node.stop();
}

#[test]
fn an_endpoint_that_is_away_costs_nothing_but_spans() {
    let collector = Collector::start();
    let node = exporting(&collector, "1").option("--admin", "127.0.0.1:0").start();
    node.deploy("hello", "hello", &[]);
    collector.answer(400);
    node.get("/hello/").expect_hello();
    let refused = "sockhop_spans_dropped_total{reason=\"refused\"}";
    wait::for_value("they are refused", SOON, || metric(&node, refused), |count| *count == 6);
    // The receiver is busy: the batch is sent again until it is accepted.
    collector.answer(503);
    let asked = collector.requests();
    let reply = node.get("/hello/");
    wait::until("it is asked again", SOON, || (collector.requests() >= asked + 2).then_some(()));
    assert!(collector.spans().is_empty());
    collector.answer(200);
    let (own, parts) = spans(&collector, &reply);
    assert_eq!((own.name.as_str(), parts.len()), ("GET hello", 5));
    wait::for_value("it says so", SOON, || node.stderr(), |log| log.contains("takes spans again"));
    node.stop();

    let nobody = harness::unreachable::ClosedPort::start();
    let node = Node::build()
        .option("--otlp-endpoint", format!("http://{}", nobody.address()))
        .option("--otlp-sample", "1");
    let node = node.start();
    node.deploy("hello", "hello", &[]);
    for _ in 0..100 {
        node.get("/hello/").expect_hello();
    }
    node.stop();
}

#[test]
fn settings_of_the_endpoint_that_are_wrong_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (data, headers) = (folder.path().join("data"), folder.path().join("headers"));
    fs::write(&headers, "api-key hush").unwrap();
    let serve = |more: &[&str]| {
        node::run(
            [&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()], more]
                .concat(),
        )
    };
    for url in ["localhost:4318", "ftp://a", "http://a?b", "http://u:p@a"] {
        serve(&["--otlp-endpoint", url]).expect_code(2);
    }
    serve(&["--otlp-endpoint", "http://127.0.0.1:1", "--otlp-sample", "2"]).expect_code(2);
    let with_headers = ["--otlp-endpoint", "http://127.0.0.1:1", "--otlp-headers-file"];
    let said = serve(&[&with_headers[..], &[headers.to_str().unwrap()]].concat());
    let said = said.expect_error(&["--otlp-headers-file", "entry 1", "NAME=VALUE"]);
    assert!(!said.stderr.contains("hush"), "{}", said.stderr);
    serve(&[&with_headers[..], &["/nowhere"]].concat())
        .expect_error(&["/nowhere", "cannot be read"]);
    serve(&["--otlp-endpoint", "http://127.0.0.1:1", "--logs", "off"])
        .expect_error(&["--otlp-endpoint", "--logs on"]);
}
