//! Headers of the PROXY protocol: those that proxies send, and everything else.

use proptest::prelude::*;

use super::*;

fn whole(bytes: &[u8]) -> (usize, Option<Named>) {
    match read(bytes) {
        Ok(Read::Whole { length, named }) => (length, named),
        other => panic!("{other:?}"),
    }
}

fn named(client: &str, local: &str) -> Named {
    Named { client: client.parse().unwrap(), local: local.parse().unwrap() }
}

/// A header of the second version as a proxy makes it.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

#[test]
fn text() {
    for (line, ends) in [
        ("TCP4 192.0.2.1 10.0.0.1 40000 443", Some(("192.0.2.1:40000", "10.0.0.1:443"))),
        ("TCP6 2001:db8::7 ::1 1 65535", Some(("[2001:db8::7]:1", "[::1]:65535"))),
        ("UNKNOWN", None),
        ("UNKNOWN ffff::1 ffff::2 1 2", None),
    ] {
        let header = format!("PROXY {line}\r\n");
        let found = whole(format!("{header}GET / HTTP/1.1\r\n").as_bytes());
        let expected = ends.map(|(client, local)| named(client, local));
        assert_eq!(found, (header.len(), expected), "{line}");
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(TEXT_BYTES_MAX - 16));
    assert_eq!(whole(longest.as_bytes()), (TEXT_BYTES_MAX, None));
    let longer = longest.replace('\r', "x\r");
    assert_eq!(read(longer.as_bytes()), Err(ProxyHeaderError::TooLong));
    for line in [
        "TCP4 192.0.2.1 10.0.0.1 40000",
        "TCP4 192.0.2.1  10.0.0.1 40000 443",
        "TCP4 192.0.2.1 10.0.0.1 40000 443 ",
        "TCP4 192.0.2.1 10.0.0.1 +1 443",
        "TCP4 192.0.2.1 10.0.0.1 65536 443",
        "TCP4 ::1 ::1 1 2",
        "TCP6 192.0.2.1 10.0.0.1 1 2",
        "UDP4 192.0.2.1 10.0.0.1 1 2",
        "UNKNOWNS",
        "tcp4 192.0.2.1 10.0.0.1 1 2",
        "",
    ] {
        let said = read(format!("PROXY {line}\r\n").as_bytes());
        assert!(matches!(said, Err(Malformed(_))), "{line:?}: {said:?}");
    }
    assert!(matches!(read(b"PROXY UNKNOWN\n"), Err(Malformed(_))));
}

#[test]
fn bytes() {
    let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0x9c, 0x40, 1, 0xbb];
    let expected = Some(named("192.0.2.1:40000", "10.0.0.1:443"));
    let more = [&v4[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat();
    for rest in [&v4[..], &more] {
        let header = binary(0x21, 0x11, rest);
        assert_eq!(whole(&[&header[..], b"\x16\x03\x01"].concat()), (header.len(), expected));
    }
    let mut v6 = [0; 36];
    (v6[0], v6[15], v6[31], v6[33], v6[35]) = (0x20, 7, 1, 1, 2);
    let expected = Some(named("[2000::7]:1", "[::1]:2"));
    assert_eq!(whole(&binary(0x21, 0x21, &v6)), (52, expected));
    // The proxy's own, not said, and of a Unix socket.
    for (command, family, rest) in
        [(0x20, 0x11, &v4[..]), (0x20, 0, &[]), (0x21, 0, &[1, 2]), (0x21, 0x31, &[b'/'; 216])]
    {
        let header = binary(command, family, rest);
        assert_eq!(whole(&header), (header.len(), None));
    }
    for (command, family, rest) in [
        (0x11, 0x11, &v4[..]),
        (0x22, 0x11, &v4),
        (0x21, 0x12, &v4),
        (0x21, 0x41, &v4),
        (0x21, 0x11, &v4[..11]),
        (0x21, 0x21, &v4),
        (0x21, 0x31, &v4),
    ] {
        let said = read(&binary(command, family, rest));
        assert!(matches!(said, Err(Malformed(_))), "{command} {family}: {said:?}");
    }
    // As soon as its length is known.
    let huge = binary(0x21, 0x11, &vec![0; PROXY_HEADER_BYTES_MAX]);
    assert_eq!(read(&huge[..FIXED_BYTES]), Err(ProxyHeaderError::TooLong));
    let largest = binary(0x21, 0x11, &vec![0; PROXY_HEADER_BYTES_MAX - FIXED_BYTES]);
    assert_eq!(whole(&largest).0, PROXY_HEADER_BYTES_MAX);
}

#[test]
fn what_is_no_header_is_known_at_its_first_byte_that_differs() {
    for other in [&b"GET / HTTP/1.1\r\n"[..], b"PROXZ", b"PROXYT", b"\x16", b"\r\n\r\nG", b"\n"] {
        assert_eq!(read(other), Err(ProxyHeaderError::Other), "{other:?}");
    }
    assert_eq!(read(b""), Ok(Read::Partial));
}

proptest! {
    /// However a header is cut, its pieces are parts of one until the last byte has come, and what
    /// follows it does not matter.
    #[test]
    fn pieces_wait_for_the_rest(
        client in any::<SocketAddr>(),
        is_text in any::<bool>(),
        tlvs in proptest::collection::vec(any::<u8>(), 0..300),
        behind in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let local = SocketAddr::new(client.ip(), 8080);
        let header = match (client.ip(), is_text) {
            (ip, true) => {
                let family = if ip.is_ipv4() { "TCP4" } else { "TCP6" };
                format!("PROXY {family} {ip} {ip} {} 8080\r\n", client.port()).into_bytes()
            }
            (IpAddr::V4(ip), false) => {
                let ports = [client.port().to_be_bytes(), 8080_u16.to_be_bytes()].concat();
                binary(0x21, 0x11, &[&ip.octets(), &ip.octets(), &ports[..], &tlvs].concat())
            }
            (IpAddr::V6(ip), false) => {
                let ports = [client.port().to_be_bytes(), 8080_u16.to_be_bytes()].concat();
                binary(0x21, 0x21, &[&ip.octets()[..], &ip.octets(), &ports, &tlvs].concat())
            }
        };
        for cut in 0..header.len() {
            prop_assert_eq!(read(&header[..cut]), Ok(Read::Partial), "cut at {}", cut);
        }
        let client = SocketAddr::new(client.ip(), client.port());
        let expected = Read::Whole { length: header.len(), named: Some(Named { client, local }) };
        prop_assert_eq!(read(&[header, behind].concat()), Ok(expected));
    }

    #[test]
    fn any_bytes_are_survived(
        start in prop_oneof![Just(&b""[..]), Just(TEXT), Just(SIGNATURE), Just(&b"PROXY TCP4 1."[..])],
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let bytes = [start, &bytes].concat();
        match read(&bytes) {
            Ok(Read::Whole { length, .. }) => {
                prop_assert!((15..=PROXY_HEADER_BYTES_MAX).contains(&length));
                prop_assert!(length <= bytes.len());
            }
            Ok(Read::Partial) => prop_assert!(bytes.len() < PROXY_HEADER_BYTES_MAX),
            Err(_) => prop_assert!(read(&[&bytes[..], b"\r\n"].concat()).is_err()),
        }
    }
}
