//! Who a request is from, by what proxies say, good ones and others. Owns no fds.

use super::*;
use proptest::prelude::*;

fn networks(list: &[&str]) -> Vec<Network> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

/// The client, whether it spoke TLS, and the headers that its function sees: as text.
fn settled(peer: &str, trusted: &[&str], lines: &[(&str, &str)]) -> (String, bool, Vec<String>) {
    let address = peer.parse::<IpAddr>().unwrap().to_canonical();
    settled_of(Peer::new(Client { address, port: Some(99), https: false }, None), trusted, lines)
}

fn settled_of(peer: Peer, trusted: &[&str], lines: &[(&str, &str)]) -> (String, bool, Vec<String>) {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    let origin = resolve_client(&mut headers, true, &peer, &networks(trusted));
    let mut seen: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    seen.sort();
    (origin.to_string(), origin.https, seen)
}

#[test]
fn what_anybody_says_is_not_believed() {
    let lines = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "a.example"),
        ("forwarded", "for=192.0.2.1;proto=https;host=a.example"),
    ];
    let seen =
        vec!["x-forwarded-for: 203.0.113.7".to_owned(), "x-forwarded-proto: http".to_owned()];
    for trusted in [&[][..], &["10.0.0.0/8"]] {
        assert_eq!(
            settled("203.0.113.7", trusted, &lines),
            ("203.0.113.7:99".into(), false, seen.clone())
        );
    }
    assert_eq!(settled("::ffff:203.0.113.7", &[], &lines).2, seen);
}

#[test]
fn the_peer_of_a_unix_socket_is_believed_and_nobody_before_it() {
    let peer = || Peer { is_trusted: true, ..Peer::new(Client::NODE, None) };
    let client = |list| settled_of(peer(), &[], &[("x-forwarded-for", list)]).0;
    assert_eq!(client("192.0.2.1"), "192.0.2.1");
    assert_eq!(client("198.51.100.66, 192.0.2.1"), "192.0.2.1");
    // One on the same machine is a client like others.
    assert_eq!(client("198.51.100.66, 127.0.0.1"), "127.0.0.1");
    assert_eq!(settled_of(peer(), &[], &[]).0, "127.0.0.1");
    assert_eq!(
        settled_of(peer(), &["10.0.0.0/8"], &[("forwarded", "for=192.0.2.1, for=10.0.0.2")]).0,
        "192.0.2.1"
    );
}

#[test]
fn a_trusted_proxy_names_the_last_that_is_not_trusted() {
    let client = |lists: &[&str]| {
        let lines: Vec<_> = lists.iter().map(|list| ("x-forwarded-for", *list)).collect();
        settled("10.0.0.1", &["10.0.0.0/8", "2001:db8::/32"], &lines).0
    };
    assert_eq!(client(&[]), "10.0.0.1:99");
    assert_eq!(client(&["192.0.2.1"]), "192.0.2.1");
    assert_eq!(client(&["198.51.100.66, 192.0.2.1"]), "192.0.2.1", "a client can write the first");
    assert_eq!(client(&["198.51.100.66, 192.0.2.1, 10.0.0.2,10.0.0.3"]), "192.0.2.1");
    assert_eq!(client(&["198.51.100.66", "192.0.2.1, 10.0.0.2"]), "192.0.2.1");
    assert_eq!(client(&["192.0.2.1:4711"]), "192.0.2.1:4711");
    assert_eq!(client(&["[2001:db9::1]:4711, [2001:db8::2]"]), "[2001:db9::1]:4711");
    assert_eq!(client(&["2001:db9::1"]), "2001:db9::1");
    assert_eq!(client(&["10.0.0.9, 10.0.0.2"]), "10.0.0.9", "all of them are trusted");
    assert_eq!(client(&["\u{e9}, 192.0.2.1"]), "192.0.2.1", "what is no ASCII hides nobody");
    let lines = [("forwarded", "for=\""), ("forwarded", "for=192.0.2.1")];
    assert_eq!(
        settled("10.0.0.1", &["10.0.0.0/8"], &lines).0,
        "192.0.2.1",
        "nor does a header of the client's own"
    );
    for hidden in ["unknown", "_hidden", "", "192.0.2.1.example", "192.0.2.1:x", "-"] {
        assert_eq!(client(&[&format!("192.0.2.1, {hidden}, 10.0.0.2")]), "10.0.0.2", "{hidden:?}");
    }
}

#[test]
fn scheme_and_host_are_what_the_trusted_proxy_says_last() {
    let lines = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http, HTTPS"),
        ("x-forwarded-host", "evil.example, a.example:81"),
        ("forwarded", "for=198.51.100.66;proto=http"),
    ];
    let (client, https, seen) = settled("10.0.0.1", &["10.0.0.1"], &lines);
    assert_eq!((client.as_str(), https), ("192.0.2.1", true));
    assert_eq!(
        seen,
        [
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: a.example:81",
            "x-forwarded-proto: https"
        ]
    );
    let seen = settled(
        "10.0.0.1",
        &["10.0.0.1"],
        &[("x-forwarded-host", "a:b:c"), ("x-forwarded-proto", "wss")],
    )
    .2;
    assert_eq!(seen, ["x-forwarded-for: 10.0.0.1", "x-forwarded-proto: http"]);
}

#[test]
fn forwarded_is_read_where_there_is_no_x_forwarded_for() {
    let of = |value: &str| settled("10.0.0.1", &["10.0.0.0/8"], &[("forwarded", value)]);
    let (client, https, seen) = of(
        "for=198.51.100.66;proto=http, For=\"[2001:db8::1]:47\";Proto=https;by=_x;host=\"a.example\", for=10.0.0.2",
    );
    assert_eq!((client.as_str(), https), ("[2001:db8::1]:47", true));
    assert_eq!(
        seen,
        ["x-forwarded-for: 2001:db8::1", "x-forwarded-host: a.example", "x-forwarded-proto: https"]
    );
    assert_eq!(
        of("for=\"192.0.2.1, 10.0.0.9\"").0,
        "10.0.0.1:99",
        "a comma in quotes parts nothing"
    );
    assert_eq!(of("for=\"\\192.0.2.1\"").0, "192.0.2.1");
    for hidden in [
        "for=unknown",
        "for=_a",
        "proto=https",
        "for",
        "for=\"192.0.2.1",
        "for=192.0.2.1 x\"",
        "",
        ";;",
    ] {
        assert_eq!(of(hidden).0, "10.0.0.1:99", "{hidden:?}");
        assert!(!of(hidden).1, "{hidden:?}");
    }
}

proptest! {
    /// Whatever the headers say, the client is the peer or one that a chain of trusted proxies
    /// leads to.
    #[test]
    fn nobody_passes_for_another(lists in proptest::collection::vec("[0-9a-f.:, _\"=;\\[\\]]{0,40}", 0..3), last in 1u8..) {
        let mut lines: Vec<_> = lists.iter().map(|list| ("x-forwarded-for", list.as_str())).collect();
        lines.extend(lists.iter().map(|list| ("forwarded", list.as_str())));
        let client = format!("192.0.2.{last}");
        lines.push(("x-forwarded-for", &client));
        let (found, _, seen) = settled("10.0.0.1", &["10.0.0.1"], &lines);
        prop_assert_eq!(&found, &client);
        prop_assert_eq!(seen, [format!("x-forwarded-for: {client}"), "x-forwarded-proto: http".to_owned()]);
        prop_assert_eq!(settled("10.0.0.2", &["10.0.0.1"], &lines).0, "10.0.0.2:99");
    }
}
