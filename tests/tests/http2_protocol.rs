//! What RFC 9113 and RFC 7541 say a server MUST do with a client that breaks their rules, a row
//! each: the error that they name comes, in its scope, and other clients notice nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use h2::Reason;
use harness::Node;
use harness::frames::{Frames, Outcome, block, field, flag, frame, get, headers, kind, request};
use harness::tls::{Site, tls_address};
use rustls::ClientConfig;

const SOON: Duration = Duration::from_secs(20);
/// A function that answers nothing for as long as a test takes.
const SLEEP: &str = "/sleep/?ms=60000";
/// `SETTINGS_MAX_FRAME_SIZE` of the server, which is the initial one.
const FRAME_BYTES_MAX: usize = 16_384;
const WINDOW_BYTES_MAX: u32 = 0x7fff_ffff;
const SERVED: Outcome = Outcome::Status(200);

/// What has to come of a client's mistake.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// The end of the connection, with this code (5.4.1).
    Connection(Reason),
    /// The same, with a code other than the RFC's. What the library says is the second one: codes
    /// are for people, and either ends the connection.
    #[expect(dead_code, reason = "what the RFC has is for readers")]
    ConnectionSaid(Reason, Reason),
    /// A stream error where the RFC asks for a connection error, or the other way round.
    Instead(Outcome),
    /// The end of stream 1, with this code (5.4.2). Others go on.
    Stream(Reason),
    /// Nothing.
    Ignored,
}

use Wanted::{Connection, ConnectionSaid, Ignored, Instead, Stream};

/// A mistake: where the RFC has the rule, what it is, its bytes, and what has to come of it.
type Case = (&'static str, &'static str, Vec<u8>, Wanted);

/// Returns what is wrong with what comes of a mistake, if something is.
fn check(
    address: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
    case: &Case,
    is_answered: bool,
) -> Option<String> {
    let (section, what, sent, wanted) = case;
    let mut frames = Frames::open(address, tls);
    if is_answered {
        frames.send(&get(1, "/hello/"));
        assert_eq!(frames.outcome(1), Outcome::Status(200));
        assert_eq!(frames.body(1), b"Hello, world!");
    }
    frames.send(sent);
    let wanted = match *wanted {
        Ignored => None,
        Connection(reason) | ConnectionSaid(_, reason) => Some(Outcome::GoAway(reason.into())),
        Stream(reason) => Some(Outcome::Reset(reason.into())),
        Instead(outcome) => Some(outcome),
    };
    if let Some(wanted) = wanted {
        let outcome = frames.outcome(1);
        if outcome != wanted {
            return Some(format!("{section}: {what}: {outcome:?} in place of {wanted:?}"));
        }
    }
    if let Some(Outcome::GoAway(_)) = wanted {
        while frames.receive().is_some() {}
        return None;
    }
    frames.send(&get(99, "/hello/"));
    let next = frames.outcome(99);
    (next != SERVED).then(|| format!("{section}: {what}: {next:?} comes of the next stream"))
}

/// Checks every case, without TLS and inside of it, and that the node is as it was.
fn check_all(cases: &[Case], is_answered: bool) {
    let site = Site::default();
    let node = site.node().start();
    ["hello", "sleep", "echo"].iter().for_each(|guest| node.deploy(guest, guest, &[]));
    let config = site.authority.client();
    let mut other = Frames::open(node.addresses()[0], None);
    let pids = node.processes();
    let mut wrong = Vec::new();
    for case in cases {
        wrong.extend(check(node.addresses()[0], None, case, is_answered));
        wrong.extend(check(tls_address(&node), Some(&config), case, is_answered));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    other.send(&get(1, "/hello/"));
    assert_eq!(other.outcome(1), SERVED);
    assert_eq!(node.processes(), pids, "every process is still there");
    drop(other);
    node.until_status("nothing is in flight", SOON, |status| status.in_flight() == 0);
    node.stop();
}

/// A stream that the client has ended and the server has not (half-closed (remote), 5.1).
fn half_closed() -> Vec<u8> {
    get(1, SLEEP)
}

/// A stream that is open on both sides.
fn open() -> Vec<u8> {
    headers(1, 0, &request("POST", SLEEP))
}

fn setting(identifier: u16, value: u32) -> Vec<u8> {
    let setting = [&identifier.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(kind::SETTINGS, 0, 0, &setting)
}

fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn reset(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8])
}

/// Returns the first bytes of a frame, and the rest.
fn after(first: Vec<u8>, rest: &[u8]) -> Vec<u8> {
    [&first, rest].concat()
}

#[test]
fn frames_of_a_wrong_form_end_the_connection() {
    let size = Connection(Reason::FRAME_SIZE_ERROR);
    // The library tells a wrong size of a frame of known size as any other mistake.
    let small = ConnectionSaid(Reason::FRAME_SIZE_ERROR, Reason::PROTOCOL_ERROR);
    let protocol = Connection(Reason::PROTOCOL_ERROR);
    let long = vec![0; FRAME_BYTES_MAX + 1];
    let settings = vec![0; FRAME_BYTES_MAX + 2];
    let unfinished = frame(kind::HEADERS, flag::END_STREAM, 1, &request("GET", SLEEP));
    let cases: Vec<Case> = vec![
        ("4.1", "a frame of an unknown type", frame(0x42, 0xff, 0, b"x"), Ignored),
        ("4.1", "one on a stream", frame(0x42, 0, 1, b"x"), Ignored),
        ("4.1", "flags without a meaning", frame(kind::PING, 0xfe, 0, b"12345678"), Ignored),
        ("4.2", "a long DATA", after(open(), &frame(kind::DATA, 0, 1, &long)), size),
        ("4.2", "a long HEADERS", headers(1, 0, &long), size),
        ("4.2", "a long SETTINGS", frame(kind::SETTINGS, 0, 0, &settings), size),
        ("4.2", "a long unknown frame", frame(0x42, 0, 0, &long), size),
        (
            "4.2",
            "a long CONTINUATION",
            after(unfinished.clone(), &frame(kind::CONTINUATION, 4, 1, &long)),
            size,
        ),
        ("6.1", "DATA on stream 0", frame(kind::DATA, 0, 0, b"x"), protocol),
        (
            "6.1",
            "more padding than DATA",
            after(open(), &frame(kind::DATA, flag::PADDED, 1, &[2, 0])),
            protocol,
        ),
        (
            "6.1",
            "padding without its length",
            after(open(), &frame(kind::DATA, flag::PADDED, 1, b"")),
            // RFC 9113 4.2 has it as a frame size error.
            small,
        ),
        ("6.2", "HEADERS on stream 0", get(0, "/hello/"), protocol),
        ("6.2", "more padding than HEADERS", headers(1, flag::PADDED, &[9, 0]), protocol),
        ("6.2", "a priority that is cut", headers(1, flag::PRIORITY, &[0, 0, 0]), small),
        (
            "6.2",
            "HEADERS, and a frame of another type",
            after(unfinished.clone(), &frame(kind::PING, 0, 0, b"12345678")),
            protocol,
        ),
        (
            "6.2",
            "HEADERS, and those of another stream",
            after(unfinished.clone(), &get(3, "/hello/")),
            protocol,
        ),
        (
            "6.2",
            "HEADERS, and CONTINUATION of another stream",
            after(unfinished.clone(), &frame(kind::CONTINUATION, 4, 3, b"")),
            protocol,
        ),
        (
            "5.5",
            "HEADERS, and a frame of an unknown type",
            after(unfinished.clone(), &frame(0x42, 0, 0, b"")),
            protocol,
        ),
        ("6.3", "PRIORITY on stream 0", frame(kind::PRIORITY, 0, 0, &[0, 0, 0, 1, 0]), protocol),
        (
            "6.3",
            "PRIORITY of four bytes",
            frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 3]),
            // A stream error there, and the library ends the connection.
            small,
        ),
        (
            "6.3",
            "PRIORITY of a stream that is idle",
            frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 1, 0]),
            Ignored,
        ),
        (
            "RFC 7540 5.3.1",
            "a stream that depends on itself",
            after(half_closed(), &frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 0])),
            Stream(Reason::PROTOCOL_ERROR),
        ),
        ("6.4", "RST_STREAM on stream 0", reset(0), protocol),
        ("6.4", "RST_STREAM on an idle stream", reset(1), protocol),
        ("6.4", "RST_STREAM of three bytes", frame(kind::RST_STREAM, 0, 1, &[0; 3]), small),
        ("6.5", "SETTINGS on a stream", frame(kind::SETTINGS, 0, 1, b""), protocol),
        ("6.5", "SETTINGS of five bytes", frame(kind::SETTINGS, 0, 0, &[0; 5]), small),
        (
            "6.5",
            "an acknowledgement with settings",
            frame(kind::SETTINGS, flag::ACK, 0, &[0, 3, 0, 0, 0, 1]),
            small,
        ),
        ("6.5.2", "a push of 2", setting(2, 2), protocol),
        (
            "6.5.2",
            "a window of 2 GiB",
            setting(4, WINDOW_BYTES_MAX + 1),
            ConnectionSaid(Reason::FLOW_CONTROL_ERROR, Reason::PROTOCOL_ERROR),
        ),
        ("6.5.2", "a frame size that is too small", setting(5, 16_383), protocol),
        ("6.5.2", "one that is too large", setting(5, 16_777_216), protocol),
        ("6.5.2", "a setting that nobody knows", setting(0x4242, 1), Ignored),
        (
            "6.6",
            "PUSH_PROMISE of a client",
            after(
                open(),
                &frame(
                    kind::PUSH_PROMISE,
                    flag::END_HEADERS,
                    1,
                    &[&[0, 0, 0, 2][..], &request("GET", "/hello/")].concat(),
                ),
            ),
            protocol,
        ),
        ("6.7", "PING on a stream", frame(kind::PING, 0, 1, b"12345678"), protocol),
        ("6.7", "PING of seven bytes", frame(kind::PING, 0, 0, b"1234567"), small),
        ("6.7", "an answer to no PING", frame(kind::PING, flag::ACK, 0, b"12345678"), Ignored),
        ("6.8", "GOAWAY on a stream", frame(kind::GOAWAY, 0, 1, &[0; 8]), protocol),
        ("6.8", "GOAWAY of four bytes", frame(kind::GOAWAY, 0, 0, &[0; 4]), small),
        ("6.9", "WINDOW_UPDATE of three bytes", frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]), small),
        ("6.9", "WINDOW_UPDATE by 0", window_update(0, 0), protocol),
        (
            "6.9",
            "the same of a stream",
            after(half_closed(), &window_update(1, 0)),
            // A stream error there: the library ends the connection.
            Connection(Reason::PROTOCOL_ERROR),
        ),
        (
            "6.9.1",
            "a window beyond its limit",
            window_update(0, WINDOW_BYTES_MAX),
            Connection(Reason::FLOW_CONTROL_ERROR),
        ),
        (
            "6.9.1",
            "the same of a stream",
            after(half_closed(), &window_update(1, WINDOW_BYTES_MAX)),
            Stream(Reason::FLOW_CONTROL_ERROR),
        ),
        (
            "6.9.2",
            "a stream's window beyond its limit by a setting",
            [half_closed(), window_update(1, WINDOW_BYTES_MAX - 65_535), setting(4, 65_536)]
                .concat(),
            Connection(Reason::FLOW_CONTROL_ERROR),
        ),
        ("6.9", "WINDOW_UPDATE of an idle stream", window_update(1, 1), protocol),
        ("6.10", "CONTINUATION of nothing", frame(kind::CONTINUATION, 4, 1, b""), protocol),
        ("6.10", "CONTINUATION on stream 0", frame(kind::CONTINUATION, 4, 0, b""), protocol),
        (
            "6.10",
            "CONTINUATION of what is whole",
            after(half_closed(), &frame(kind::CONTINUATION, 4, 1, b"")),
            protocol,
        ),
    ];
    check_all(&cases, false);
}

#[test]
fn frames_that_a_streams_state_does_not_allow_are_errors() {
    let protocol = Connection(Reason::PROTOCOL_ERROR);
    let data = |stream| frame(kind::DATA, 0, stream, b"x");
    let cases: Vec<Case> = vec![
        ("5.1", "DATA on an idle stream", data(1), protocol),
        (
            "5.1",
            "DATA on a stream that its client has ended",
            after(half_closed(), &data(1)),
            ConnectionSaid(Reason::STREAM_CLOSED, Reason::PROTOCOL_ERROR),
        ),
        (
            "5.1",
            "HEADERS on such a stream",
            after(half_closed(), &get(1, "/hello/")),
            ConnectionSaid(Reason::STREAM_CLOSED, Reason::PROTOCOL_ERROR),
        ),
        (
            "5.1",
            "DATA on a stream that its client has reset",
            [open(), reset(1), data(1)].concat(),
            Stream(Reason::STREAM_CLOSED),
        ),
        (
            "5.1",
            "HEADERS on such a stream",
            [open(), reset(1), get(1, "/hello/")].concat(),
            ConnectionSaid(Reason::STREAM_CLOSED, Reason::PROTOCOL_ERROR),
        ),
        ("5.1", "a reset of such a stream", [open(), reset(1), reset(1)].concat(), Ignored),
        (
            "5.1",
            "WINDOW_UPDATE of such a stream",
            [open(), reset(1), window_update(1, 1)].concat(),
            Ignored,
        ),
        ("5.1.1", "a stream of the server's", get(2, "/hello/"), protocol),
        (
            "5.1.1",
            "a stream before the last one",
            [get(5, SLEEP), get(3, "/hello/")].concat(),
            protocol,
        ),
        (
            "8.1",
            "trailers that end nothing",
            after(open(), &headers(1, 0, &field("x-sum", "1"))),
            Stream(Reason::PROTOCOL_ERROR),
        ),
    ];
    check_all(&cases, false);
    let cases: Vec<Case> = vec![
        ("5.1", "DATA", data(1), Stream(Reason::STREAM_CLOSED)),
        ("5.1", "HEADERS", get(1, "/hello/"), protocol),
        ("5.1", "a reset", reset(1), Ignored),
        ("6.9", "WINDOW_UPDATE", window_update(1, 1), Ignored),
        ("5.1", "PRIORITY", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 0]), Ignored),
    ];
    println!("of a stream that is answered and closed:");
    check_all(&cases, true);
}

/// Returns a GET of stream 1 with `more` behind its pseudo-headers.
fn get_with(more: &[u8]) -> Vec<u8> {
    headers(1, flag::END_STREAM, &after(request("GET", "/hello/"), more))
}

/// Returns a request of stream 1 that has these fields and no others.
fn only(fields: &[(&str, &str)]) -> Vec<u8> {
    headers(1, flag::END_STREAM, &block(fields))
}

#[test]
fn header_blocks_that_cannot_be_read_end_the_connection() {
    // The library says of all of them that it is the protocol.
    let compression = ConnectionSaid(Reason::COMPRESSION_ERROR, Reason::PROTOCOL_ERROR);
    let literal = |text: &[u8]| after(vec![0, 1, b'x'], text);
    let update = |bytes: &[u8]| after(bytes.to_vec(), &request("GET", "/hello/"));
    let cases: Vec<Case> = vec![
        ("7541 2.3.3", "an index of 0", get_with(&[0x80]), compression),
        ("7541 2.3.3", "an index of nothing", get_with(&[0xff, 0x20]), compression),
        ("7541 2.3.3", "a name of nothing", get_with(&[0x7f, 0x20, 1, b'a']), compression),
        (
            "7541 4.2",
            "a table that is too large",
            headers(1, flag::END_STREAM, &update(&[0x3f, 0xe2, 0x1f])),
            compression,
        ),
        ("7541 4.2", "a table's size behind a field", get_with(&[0x20]), compression),
        ("7541 4.2", "a table of 0", headers(1, 1, &update(&[0x20])), Instead(SERVED)),
        (
            "7541 4.2",
            "a table of 0, and of 4,096",
            headers(1, 1, &update(&[0x20, 0x3f, 0xe1, 0x1f])),
            Instead(SERVED),
        ),
        ("7541 5.1", "a number without end", get_with(&[0xff; 12]), compression),
        (
            "7541 5.2",
            "padding of more than seven bits",
            get_with(&literal(&[0x82, 0x1f, 0xff])),
            compression,
        ),
        ("7541 5.2", "padding of zeros", get_with(&literal(&[0x81, 0x18])), compression),
        (
            "7541 5.2",
            "the end of the string in it",
            get_with(&literal(&[0x84, 0xff, 0xff, 0xff, 0xff])),
            compression,
        ),
        (
            "7541 5.2",
            "a string that is longer than its block",
            get_with(&literal(&[9, b'a'])),
            compression,
        ),
        ("4.3", "a field that is cut", get_with(&[0]), compression),
    ];
    check_all(&cases, false);
}

#[test]
fn requests_that_are_malformed_are_errors_of_their_stream() {
    let malformed = Stream(Reason::PROTOCOL_ERROR);
    // The library cannot read such a field, so it cannot read the block.
    let unreadable = Instead(Outcome::GoAway(1));
    let (method, scheme, host, path) = (
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", "/hello/"),
    );
    let posted = |fields: &[(&str, &str)], data: &[u8]| {
        let head = after(request("POST", "/echo/"), &block(fields));
        after(headers(1, 0, &head), data)
    };
    let data = |flags, text: &[u8]| frame(kind::DATA, flags, 1, text);
    let trailers = |fields: &[u8]| headers(1, flag::END_STREAM, fields);
    let mut cases: Vec<Case> = vec![
        ("8.3", "an unknown pseudo-header", get_with(&field(":other", "a")), unreadable),
        ("8.3", "one of a reply", get_with(&field(":status", "200")), malformed),
        (
            "8.3",
            "a pseudo-header behind a field",
            only(&[method, scheme, host, ("x-a", "b"), path]),
            malformed,
        ),
        ("8.3.1", "two methods", only(&[method, method, scheme, host, path]), malformed),
        ("8.3.1", "two schemes", only(&[method, scheme, scheme, host, path]), malformed),
        ("8.3.1", "two paths", only(&[method, scheme, host, path, path]), malformed),
        ("8.3.1", "two authorities", only(&[method, scheme, host, host, path]), malformed),
        ("8.3.1", "no method", only(&[scheme, host, path]), malformed),
        ("8.3.1", "no scheme", only(&[method, host, path]), malformed),
        ("8.3.1", "no path", only(&[method, scheme, host]), malformed),
        (
            "8.3.1",
            "neither a path nor an authority",
            only(&[method, scheme, ("host", "localhost")]),
            Instead(Outcome::Status(400)),
        ),
        ("8.3.1", "no pseudo-headers", only(&[("host", "localhost")]), malformed),
        ("8.3.1", "an empty path", only(&[method, scheme, host, (":path", "")]), malformed),
        ("8.3.1", "an empty method", only(&[(":method", ""), scheme, host, path]), unreadable),
        (
            "8.3.1",
            "an empty authority",
            only(&[method, scheme, (":authority", ""), path]),
            malformed,
        ),
        (
            "8.3.1",
            "an empty scheme",
            only(&[method, (":scheme", ""), host, path]),
            Instead(Outcome::Status(400)),
        ),
        ("8.5", "CONNECT with a path", only(&[(":method", "CONNECT"), host, path]), malformed),
        ("8.5", "CONNECT with a scheme", only(&[(":method", "CONNECT"), host, scheme]), malformed),
        (
            "8.5",
            "CONNECT without an authority",
            only(&[(":method", "CONNECT")]),
            Instead(Outcome::Status(400)),
        ),
        ("8.1.1", "a length and no body", get_with(&field("content-length", "1")), malformed),
        (
            "8.1.1",
            "a body that is shorter",
            posted(&[("content-length", "5")], &data(1, b"four")),
            malformed,
        ),
        (
            "8.1.1",
            "a body that is longer",
            posted(&[("content-length", "3")], &data(1, b"four")),
            malformed,
        ),
        (
            "8.1.1",
            "one that is shorter, with trailers",
            posted(
                &[("content-length", "5")],
                &after(data(0, b"four"), &trailers(&field("x", "y"))),
            ),
            malformed,
        ),
        (
            "8.1.1",
            "two lengths",
            posted(&[("content-length", "4"), ("content-length", "5")], &data(1, b"four")),
            malformed,
        ),
        (
            "8.2.1",
            "a trailer in capitals",
            posted(&[], &after(data(0, b"a"), &trailers(&field("X-A", "b")))),
            unreadable,
        ),
        (
            "8.2.2",
            "a trailer of the connection's",
            posted(&[], &after(data(0, b"a"), &trailers(&field("transfer-encoding", "chunked")))),
            malformed,
        ),
    ];
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x-a"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, deflate"),
    ] {
        cases.push(("8.2.2", name, get_with(&field(name, value)), malformed));
    }
    for name in ["X-A", "x a", "x:a", "x\0a", "x\r\nhost", "x\u{e9}", ""] {
        cases.push(("8.2.1", "a field's name", get_with(&field(name, "b")), unreadable));
    }
    for value in ["a\rb", "a\nb", "a\0b", "a\r\nhost: evil", "a\r\n\r\nGET /echo/ HTTP/1.1\r\n"] {
        cases.push(("8.2.1", "a field's value", get_with(&field("x-a", value)), unreadable));
        for pseudo in [":path", ":method", ":authority", ":scheme"] {
            let mut fields = [method, scheme, host, path];
            for field in &mut fields {
                if field.0 == pseudo {
                    field.1 = value;
                }
            }
            let wanted = if pseudo == ":method" { unreadable } else { malformed };
            cases.push(("8.3.1", pseudo, only(&fields), wanted));
        }
    }
    check_all(&cases, false);
}

#[test]
fn a_preface_that_is_another_is_served_nothing() {
    let node = Node::with(&["hello"]);
    for preface in [
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut socket = TcpStream::connect(node.addresses()[0]).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.write_all(&[preface, &get(1, "/hello/")].concat()).unwrap();
        let mut reply = Vec::new();
        // A reset is an end, too.
        let _ = socket.read_to_end(&mut reply);
        assert!(!String::from_utf8_lossy(&reply).contains("Hello"), "{reply:?}");
    }
    node.stop();
}
