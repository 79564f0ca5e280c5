//! Traces (W3C Trace Context): a function sees its request as the node's own span of its caller's trace, and so do those whom
//! it calls.

use harness::client::request;
use harness::upstream::Upstream;
use harness::{Node, Reply};
use serde_json::{Value, json};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The span's id of the invocation that made this reply.
fn span(reply: &Reply) -> String {
    reply.head.invocation_id().replace('-', "").split_off(16)
}

fn call(node: &Node, target: &str, headers: &[(&str, &str)]) -> Reply {
    let mut connection = node.connect();
    connection.send(request("GET", target, headers, b""));
    connection.reply()
}

/// The trace headers that the guest `inspect` was given.
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
    // A trace that is none is begun anew, under the invocation's id; none at all is none.
    for bad in [&[("traceparent", "00-nonsense")][..], &[("traceparent", PARENT), ("traceparent", PARENT)]] {
        let reply = call(&node, "/inspect/", &[bad, &[state]].concat());
        let id = reply.head.invocation_id().replace('-', "");
        assert_eq!(seen(&reply), (json!([format!("00-{id}-{}-00", span(&reply))]), Value::Null), "{bad:?}");
    }
    assert_eq!(seen(&node.get("/inspect/")), (Value::Null, Value::Null));
    let reply = call(&node, "/cmd/?env", &[("traceparent", PARENT), state]);
    let text = reply.text();
    assert!(text.contains(&format!("\nHTTP_TRACEPARENT=00-{TRACE}-{}-01\n", span(&reply))), "{text}");
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
        let mut sent: Vec<String> = text.lines().filter(|line| line.starts_with("trace")).map(str::to_owned).collect();
        sent.sort();
        (span(&reply), sent)
    };
    let in_trace = [("traceparent", PARENT), ("tracestate", "vendor=1")];
    let (span, sent) = ask("", &in_trace);
    let ours = |span: &str| vec![format!("traceparent: 00-{TRACE}-{span}-01"), "tracestate: vendor=1".to_owned()];
    assert_eq!(sent, ours(&span));
    // What it says itself stands; of two spans neither does.
    let (_, sent) = ask("&header=traceparent:own", &in_trace);
    assert_eq!(sent, ["traceparent: own"]);
    let (span, sent) = ask("&header=traceparent:a&header=traceparent:b&header=tracestate:c%3D1", &in_trace);
    assert_eq!(sent, ours(&span));
    // The instance is used again, and the trace is not.
    let (_, sent) = ask("", &[]);
    assert_eq!(sent, Vec::<String>::new());
    let (_, sent) = ask("&header=traceparent:a&header=traceparent:b", &[]);
    assert_eq!(sent, Vec::<String>::new());
    node.stop();
}
