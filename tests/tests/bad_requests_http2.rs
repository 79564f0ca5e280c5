//! Requests over HTTP/2 that no client should send, and those that its two versions could take
//! differently: what is refused in one is refused in the other, and what is served is seen the
//! same, by components and by programs that are spoken to in HTTP/1.1.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use harness::bad_requests::{BAD_HOSTS, BothWays, LENGTHS, NO_HTTP, as_http2, with_length};
use harness::frames::{Frames, Outcome, block, field, flag, frame, get, headers, kind};
use harness::native;
use harness::tls::tls_address;
use serde_json::Value;

/// Returns connections of HTTP/2 inside of TLS and without.
fn connections(ways: &BothWays) -> [Frames; 2] {
    let config = ways.site.authority.client();
    [
        Frames::open(ways.node.addresses()[0], None),
        Frames::open(tls_address(&ways.node), Some(&config)),
    ]
}

/// Checks that stream 3 gets no reply but a refusal, and that nobody else suffers.
#[track_caller]
fn refused(ways: &BothWays, what: &str, request: &[u8]) {
    for mut frames in connections(ways) {
        frames.send(&get(1, "/hello/"));
        assert_eq!(frames.outcome(1), Outcome::Status(200));
        frames.send(request);
        let outcome = frames.outcome(3);
        println!("{what}: {outcome:?}");
        match outcome {
            Outcome::Status(400 | 431) | Outcome::Reset(1) => {
                frames.send(&get(5, "/hello/"));
                assert_eq!(frames.outcome(5), Outcome::Status(200), "{what}");
            }
            Outcome::GoAway(1) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn what_is_refused_over_http1_is_refused_over_http2() {
    let ways = BothWays::with(&["hello", "echo"]);
    let mut sent = 0;
    for (what, bytes) in NO_HTTP {
        // Lines are no part of HTTP/2, nor are a version and colons.
        let concerns = !["another version", "a header without a colon"].contains(&what);
        let Some(frames) = as_http2(bytes, 3).filter(|_| concerns) else { continue };
        refused(&ways, what, &frames);
        sent += 1;
    }
    assert!(sent >= 3, "only {sent} of them are anything in HTTP/2");
    for (what, headers, body) in LENGTHS {
        refused(&ways, what, &as_http2(with_length(headers, body).as_bytes(), 3).unwrap());
    }
    for host in BAD_HOSTS.into_iter().chain([""]) {
        let request = format!("GET /hello/ HTTP/1.1\r\nhost: {host}\r\n\r\n");
        refused(&ways, host, &as_http2(request.as_bytes(), 3).unwrap());
        let (method, scheme, path) =
            ((":method", "GET"), (":scheme", "http"), (":path", "/hello/"));
        let by_field = block(&[method, scheme, path, ("host", host)]);
        refused(&ways, host, &headers(3, flag::END_STREAM, &by_field));
    }
    let two = b"GET /hello/ HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n";
    refused(&ways, "two Hosts", &as_http2(two, 3).unwrap());
    let long = format!("GET /hello/{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(16_000));
    let mut frames = Frames::open(ways.node.addresses()[0], None);
    frames.send(&as_http2(long.as_bytes(), 3).unwrap());
    assert_eq!(frames.outcome(3), Outcome::Status(200), "a long path is a path");
    drop(frames);
    ways.node.stop();
}

/// What a request is served as: its parts as the function sees them.
type Seen = BTreeMap<&'static str, Value>;

/// A place in a request that a byte is put at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Query,
    Name,
    Value,
    Host,
}

impl Place {
    const ALL: [Self; 5] = [Self::Path, Self::Query, Self::Name, Self::Value, Self::Host];

    /// Returns the path, the host and the further field of a request with `byte` there.
    fn request(self, function: &str, byte: u8) -> [Vec<u8>; 4] {
        let text = |place, before: &str, after: &str| {
            let mut text = before.as_bytes().to_vec();
            if place == self {
                text.push(byte);
                text.extend_from_slice(after.as_bytes());
            }
            text
        };
        let mut path = text(Self::Path, &format!("/{function}/a"), "b");
        path.extend(text(Self::Query, "?c", "d"));
        [
            path,
            text(Self::Host, "a", "b"),
            text(Self::Name, "x-a", "b"),
            text(Self::Value, "a", "b"),
        ]
    }
}

/// Returns what a component or a program has reported, as far as it is what the client sent.
fn parts(report: &Value) -> Seen {
    let keys = ["path", "query", "target", "method", "authority"];
    let mut seen: Seen =
        keys.into_iter().filter_map(|key| Some((key, report.get(key)?.clone()))).collect();
    let is_ours = |name: &str| name.starts_with("x-a") || name == "host";
    let mut headers = match &report["headers"] {
        Value::Object(by_name) => by_name
            .iter()
            .filter(|(name, _)| is_ours(name))
            .map(|(name, values)| serde_json::json!([name, values]))
            .collect(),
        pairs => pairs
            .as_array()
            .unwrap()
            .iter()
            .filter(|pair| is_ours(pair[0].as_str().unwrap()))
            .cloned()
            .collect::<Vec<_>>(),
    };
    headers.sort_by_key(Value::to_string);
    seen.insert("headers", headers.into());
    seen
}

/// Returns what `function` sees of a request in HTTP/1.1. Returns `None` if it is refused.
fn over_http1(ways: &BothWays, function: &str, place: Place, byte: u8) -> Option<Seen> {
    let [path, host, name, value] = place.request(function, byte);
    let mut connection = ways.node.connect();
    let request = [
        &b"GET "[..],
        &path,
        b" HTTP/1.1\r\nhost: ",
        &host,
        b"\r\n",
        &name,
        b": ",
        &value,
        b"\r\n\r\n",
    ];
    connection.send(request.concat());
    // One that is not at its end waits for the rest of its head.
    connection.end_sending_if_open();
    let reply = connection.try_reply().ok().filter(|reply| reply.status() == 200)?;
    Some(parts(&reply.json()))
}

/// The same over HTTP/2.
fn over_http2(
    frames: &mut Frames,
    stream: u32,
    function: &str,
    place: Place,
    byte: u8,
) -> Result<Option<Seen>, Outcome> {
    let [path, host, name, value] = place.request(function, byte);
    let fields: [(&[u8], &[u8]); 5] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", &host),
        (b":path", &path),
        (&name, &value),
    ];
    frames.send(&headers(stream, flag::END_STREAM, &block(&fields)));
    match frames.outcome(stream) {
        Outcome::Status(200) => {
            Ok(Some(parts(&serde_json::from_slice(&frames.body(stream)).unwrap())))
        }
        Outcome::Status(400 | 404) | Outcome::Reset(1) => Ok(None),
        other => Err(other),
    }
}

#[test]
fn each_byte_is_taken_alike_in_both_versions() {
    let ways = BothWays::with(&["inspect"]);
    native::deploy(&ways.node, "server", "server", "server", &[]);
    let open = || Frames::open(ways.node.addresses()[0], None);
    let mut differ = Vec::new();
    for function in ["inspect", "server"] {
        for place in Place::ALL {
            let (mut frames, mut stream) = (open(), 1);
            for byte in 0..=255 {
                let mut first = over_http1(&ways, function, place, byte);
                let second = over_http2(&mut frames, stream, function, place, byte);
                stream += 2;
                let second = second.unwrap_or_else(|outcome| {
                    // Whatever cannot be a field ends the connection.
                    assert_eq!(outcome, Outcome::GoAway(1), "{place:?} {byte:#x}");
                    (frames, stream) = (open(), 1);
                    None
                });
                match place {
                    // Names are small in HTTP/2, and a colon ends one in HTTP/1.
                    Place::Name if byte.is_ascii_uppercase() || byte == b':' => first = None,
                    // A host is written in small letters (RFC 9110 4.2.3).
                    Place::Host if byte.is_ascii_uppercase() => {
                        first = over_http1(&ways, function, place, byte.to_ascii_lowercase());
                    }
                    _ => {}
                }
                if first != second {
                    differ.push(format!("{function}: {place:?}, {byte:#x}: {first:?}, {second:?}"));
                }
            }
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
    ways.node.stop();
}

/// Returns the requests that a program sees, of one in HTTP/2 with these fields, body and trailers.
fn at_program(
    frames: &mut Frames,
    stream: u32,
    path: &str,
    fields: &[(&str, &str)],
    body: &[u8],
    trailers: &[(&str, &str)],
) -> Result<Value, Outcome> {
    let pseudo =
        [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", path)];
    let mut sent = headers(stream, 0, &[block(&pseudo), block(fields)].concat());
    sent.extend(frame(
        kind::DATA,
        if trailers.is_empty() { flag::END_STREAM } else { 0 },
        stream,
        body,
    ));
    if !trailers.is_empty() {
        sent.extend(headers(stream, flag::END_STREAM, &block(trailers)));
    }
    frames.send(&sent);
    match frames.outcome(stream) {
        Outcome::Status(200) => Ok(serde_json::from_slice(&frames.body(stream)).unwrap()),
        other => Err(other),
    }
}

fn all<'a>(seen: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = seen["headers"].as_array().unwrap().iter();
    let named = headers.filter(|pair| pair[0] == name);
    named.map(|pair| pair[1].as_str().unwrap()).collect()
}

#[test]
fn a_program_sees_one_request_and_one_length() {
    let ways = BothWays::with(&["hello"]);
    native::deploy(&ways.node, "server", "server", "server", &[]);
    let smuggled = "0\r\n\r\nGET /abort HTTP/1.1\r\nhost: a\r\n\r\n";
    for mut frames in connections(&ways) {
        let mut stream = 1;
        let mut next = || {
            stream += 2;
            stream
        };
        let seen =
            at_program(&mut frames, next(), "/server/", &[], smuggled.as_bytes(), &[]).unwrap();
        assert_eq!(seen["body"], smuggled);
        assert_eq!(all(&seen, "transfer-encoding"), ["chunked"]);
        assert!(all(&seen, "content-length").is_empty());
        let length = smuggled.len().to_string();
        let fields = [("content-length", &*length)];
        let seen =
            at_program(&mut frames, next(), "/server/", &fields, smuggled.as_bytes(), &[]).unwrap();
        assert_eq!(
            (all(&seen, "content-length"), all(&seen, "transfer-encoding")),
            (vec![&*length], vec![])
        );
        assert_eq!(seen["body"], smuggled);
        // The same length twice is one.
        let fields = [fields[0], fields[0]];
        let seen =
            at_program(&mut frames, next(), "/server/", &fields, smuggled.as_bytes(), &[]).unwrap();
        assert_eq!(all(&seen, "content-length"), [&*length], "{seen}");
        // What trailers say is of no request.
        let trailers = [
            ("content-length", "0"),
            ("host", "evil.test"),
            ("x-forwarded-for", "9.9.9.9"),
            ("authorization", "evil"),
            ("x-sum", "1"),
        ];
        for fields in
            [&[("trailer", "content-length, host, x-sum, authorization")][..], &fields[..1]]
        {
            let seen =
                at_program(&mut frames, next(), "/server/", fields, smuggled.as_bytes(), &trailers)
                    .unwrap();
            assert_eq!(seen["body"], smuggled);
            assert_eq!(all(&seen, "host"), ["localhost"]);
            assert_eq!(all(&seen, "x-forwarded-for"), ["127.0.0.1"]);
            assert!(all(&seen, "authorization").is_empty());
            assert!(all(&seen, "content-length").iter().all(|said| *said == length), "{seen}");
        }
        // Pseudo-headers there are no part of a request either.
        let pseudo = [(":path", "/abort"), ("x-sum", "1")];
        match at_program(&mut frames, next(), "/server/", &[], b"body", &pseudo) {
            Ok(seen) => assert_eq!((&seen["target"], &seen["body"]), (&"/".into(), &"body".into())),
            Err(outcome) => assert_eq!(outcome, Outcome::Reset(1)),
        }
        // The next request on the connection is what it is.
        let seen = at_program(&mut frames, next(), "/server/a", &[], b"b", &[]).unwrap();
        assert_eq!((&seen["target"], &seen["body"]), (&"/a".into(), &"b".into()));
    }
    ways.node.stop();
}

#[test]
fn what_a_request_says_of_its_scheme_and_host_is_checked_or_nothing() {
    let ways = BothWays::with(&["inspect"]);
    let pseudo = |scheme: &str| {
        block(&[
            (":method", "GET"),
            (":scheme", scheme),
            (":authority", "a.test"),
            (":path", "/inspect/"),
        ])
    };
    for (mut frames, is) in connections(&ways).into_iter().zip(["http", "https"]) {
        for (stream, said) in (1..).step_by(2).zip(["http", "https", "ftp", "HTTPS", "a+b"]) {
            frames.send(&headers(stream, flag::END_STREAM, &pseudo(said)));
            assert_eq!(frames.outcome(stream), Outcome::Status(200), "{said}");
            let seen: Value = serde_json::from_slice(&frames.body(stream)).unwrap();
            assert_eq!(
                (&seen["scheme"], &seen["authority"]),
                (&is.into(), &"a.test".into()),
                "{said}"
            );
            assert_eq!(seen["headers"]["x-forwarded-proto"][0], is);
        }
    }
    for (what, more) in [
        ("another host", field("host", "b.test")),
        ("the same host twice", [field("host", "a.test"), field("host", "a.test")].concat()),
        ("an empty host", field("host", "")),
        ("a host that is no text", field("host", [0xff])),
    ] {
        let request = [pseudo("http"), more].concat();
        for mut frames in connections(&ways) {
            frames.send(&headers(1, flag::END_STREAM, &request));
            assert_eq!(frames.outcome(1), Outcome::Status(400), "{what}");
        }
    }
    ways.node.stop();
}
