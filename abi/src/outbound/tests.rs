//! What patterns allow, which addresses are public, and that no input panics. Owns no fds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::limits::OUTBOUND_PATTERN_BYTES_MAX;

fn list(patterns: &[&str]) -> AllowList {
    AllowList::new(patterns.iter().copied()).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn nothing_is_allowed_by_default() {
    let none = AllowList::default();
    assert!(
        none.is_empty()
            && !none.allows_host("example.com", 443)
            && !none.allows_host("8.8.8.8", 443)
    );
    assert!(!none.allows_address("example.com", ip("8.8.8.8"), 443));
}

#[test]
fn a_name_is_that_name_on_that_port() {
    let list = list(&["API.Example.com.:443", "other.example:*"]);
    for host in ["api.example.com", "API.EXAMPLE.COM", "api.example.com."] {
        assert!(list.allows_host(host, 443), "{host}");
        assert!(!list.allows_host(host, 80), "{host}");
    }
    for host in [
        "example.com",
        "x.api.example.com",
        "api.example.com.evil.net",
        "xapi.example.com",
        "",
        ".",
    ] {
        assert!(!list.allows_host(host, 443), "{host}");
    }
    assert!(list.allows_host("other.example", 1) && list.allows_host("other.example", 65535));
}

#[test]
fn a_star_in_front_is_everything_below() {
    let list = list(&["*.example.com:443"]);
    assert!(list.allows_host("a.example.com", 443) && list.allows_host("a.b.EXAMPLE.com.", 443));
    for host in [
        "example.com",
        ".example.com",
        "aexample.com",
        "a.example.com.evil.net",
        "com",
        "\u{fc}example.com",
    ] {
        assert!(!list.allows_host(host, 443), "{host}");
    }
}

#[test]
fn a_star_alone_is_every_public_host() {
    let list = list(&["*:443"]);
    assert!(list.allows_host("anything.example", 443) && list.allows_host("8.8.8.8", 443));
    assert!(list.allows_host("[2606:4700::1]", 443));
    for host in [
        "10.0.0.1",
        "127.0.0.1",
        "[::1]",
        "::1",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "168.63.129.16",
    ] {
        assert!(!list.allows_host(host, 443), "{host}");
    }
    assert!(!list.allows_address("anything.example", ip("10.0.0.1"), 443));
    assert!(!list.allows_address("localhost", ip("127.0.0.1"), 443));
}

#[test]
fn an_address_that_is_not_public_has_to_be_named() {
    let list = list(&["db.internal:5432", "10.0.0.0/8:5432", "[fd00::/8]:5432"]);
    for address in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "8.8.8.8"] {
        assert!(list.allows_address("db.internal", ip(address), 5432), "{address}");
    }
    for address in ["192.168.0.1", "127.0.0.1", "fe80::1", "::1", "169.254.169.254"] {
        assert!(!list.allows_address("db.internal", ip(address), 5432), "{address}");
    }
    assert!(!list.allows_address("db.internal", ip("10.1.2.3"), 80), "another port");
    assert!(
        !list.allows_address("other.internal", ip("10.1.2.3"), 5432),
        "naming an address allows no name"
    );
    assert!(list.allows_host("10.9.9.9", 5432) && list.allows_host("[::ffff:10.9.9.9]", 5432));
    assert!(!list.allows_host("11.0.0.1", 5432));
}

#[test]
fn localhost_named_is_loopback_and_nothing_else() {
    let list = list(&["localhost:8080", "*:*"]);
    assert!(list.allows_address("localhost", ip("127.0.0.1"), 8080));
    assert!(list.allows_address("LOCALHOST.", ip("::1"), 8080));
    assert!(!list.allows_address("localhost", ip("127.0.0.1"), 8081), "that port only by the star");
    assert!(!list.allows_address("localhost", ip("10.0.0.1"), 8080));
    assert!(!list.allows_address("a.localhost", ip("127.0.0.1"), 8080));
    assert!(!list.allows_host("127.0.0.1", 8080));
}

#[test]
fn refusals_say_what_was_expected() {
    let longest = format!("*.{}:65535", ["x".repeat(63).as_str(); 4].join(".").split_at(253).0);
    assert_eq!(longest.len(), OUTBOUND_PATTERN_BYTES_MAX);
    assert!(Pattern::parse(&longest).is_ok());
    let too_long = format!("{longest}0");
    for (text, expected) in [
        ("", "not HOST:PORT"),
        ("example.com", "not HOST:PORT"),
        (":443", "not HOST:PORT"),
        ("[::1]", "not HOST:PORT"),
        ("https://example.com:443", "is a URL"),
        ("example.com:0", "port"),
        ("example.com:65536", "port"),
        ("example.com:+80", "port"),
        ("example.com:443/path", "port"),
        ("::1:80", "in brackets"),
        ("[10.0.0.1]:80", "IPv6"),
        ("[fe80::1%eth0]:80", "IPv6"),
        ("[::1/129]:80", "IPv6"),
        ("10.0.0.0/33:80", "IPv4"),
        ("10.0.0:80", "IPv4"),
        ("256.0.0.1:80", "IPv4"),
        ("0x7f.0x1:80", "IPv4"),
        ("10.0.0.5/8:80", "10.0.0.0/8:443"),
        ("[fd00::1/8]:80", "[fd00::/8]:443"),
        ("a*.example.com:80", "out of place"),
        ("*.*.example.com:80", "out of place"),
        ("exa mple.com:80", "DNS name"),
        ("user@example.com:80", "DNS name"),
        ("-a.example.com:80", "DNS name"),
        ("a..example.com:80", "DNS name"),
        ("*.:80", "DNS name"),
        ("b\u{fc}cher.example:80", "DNS name"),
        (&too_long, "too long"),
    ] {
        let error = Pattern::parse(text).expect_err(text).to_string();
        assert!(error.contains(expected) && error.contains("e.g. "), "{text}: {error}");
    }
}

#[test]
fn a_list_has_an_end() {
    let patterns = vec!["example.com:443"; OUTBOUND_PATTERNS_MAX + 1];
    assert!(AllowList::new(patterns[1..].iter().copied()).is_ok());
    assert_eq!(AllowList::new(patterns), Err(PatternError::TooMany));
}

#[test]
fn what_is_public() {
    for text in [
        "1.1.1.1",
        "9.255.255.255",
        "100.63.255.255",
        "100.128.0.0",
        "172.32.0.0",
        "168.63.129.15",
        "198.20.0.0",
    ] {
        assert!(is_public(ip(text)), "{text}");
    }
    for text in [
        "2606:4700:4700::1111",
        "2a00::1",
        "2001:4860:4860::8888",
        "2002:808:808::1",
        "64:ff9b::8.8.8.8",
    ] {
        assert!(is_public(ip(text)), "{text}");
    }
    let v4 = "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.255 168.63.129.16 \
              169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 \
              198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255";
    let v6 = ":: ::1 ::8.8.8.8 ::ffff:127.0.0.1 64:ff9b::10.0.0.1 64:ff9b:1::8.8.8.8 100::1 2001:2::1 2001:20::1 \
              2001:db8::1 2002:7f00:1::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1 4000::1 \
              2001:0:a00:1::8.8.8.8 2001:0:808:808::80ff:fffe";
    for text in v4.split_whitespace().chain(v6.split_whitespace()) {
        assert!(!is_public(ip(text)), "{text}");
    }
    assert!(
        is_public(ip("2001:0:808:808::f7f7:f7f7")),
        "Teredo, from one public address to another"
    );
}

proptest! {
    #[test]
    fn any_text_is_survived(text in ".{0,40}", host in ".{0,40}", port: u16, address: IpAddr) {
        if let Ok(list) = AllowList::new([text.as_str()]) {
            let _ = list.allows_address(&host, address, port) || list.allows_host(&text, port);
        }
    }

    #[test]
    fn anything_like_a_pattern_is_survived(text in "[\\[*]{0,1}[a-f0-9.:/*%-]{0,40}[\\]]{0,1}:[0-9*]{0,6}", host in "[a-f0-9.:*]{0,20}") {
        if let Ok(list) = AllowList::new([text.as_str()]) {
            let _ = list.allows_host(&host, 443);
        }
    }

    #[test]
    fn an_ipv4_address_is_the_same_in_any_clothes(address: Ipv4Addr) {
        let [a, b, c, d] = address.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let public = is_public(address.into());
        prop_assert_eq!(is_public(address.to_ipv6_mapped().into()), public);
        prop_assert_eq!(is_public(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into()), public);
        prop_assert_eq!(is_public(Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1).into()), public);
        prop_assert_eq!(is_public(Ipv6Addr::new(0x2001, 0, 0x808, 0x808, 0, 0, !high, !low).into()), public);
        prop_assert!(!is_public(address.to_ipv6_compatible().into()), "IPv4-compatible");
    }

    #[test]
    fn what_is_not_public_is_reached_by_no_name(host in "[a-z]{1,9}(\\.[a-z]{1,9}){0,2}", address: IpAddr, port: u16) {
        let any = AllowList::new(["*:*"]).unwrap();
        prop_assert_eq!(any.allows_address(&host, address, port), is_public(address));
        prop_assert_eq!(any.allows_host(&address.to_string(), port), is_public(address));
    }

    #[test]
    fn a_named_network_is_its_addresses(address: Ipv4Addr, prefix in 0_u32..=32, other: Ipv4Addr) {
        let base = Ipv4Addr::from(address.to_bits() & !u32::MAX.checked_shr(prefix).unwrap_or(0));
        let list = AllowList::new([format!("{base}/{prefix}:1").as_str()]).unwrap();
        prop_assert!(list.allows_host(&address.to_string(), 1));
        let shared = (address.to_bits() ^ other.to_bits()).leading_zeros() >= prefix;
        prop_assert_eq!(list.allows_host(&other.to_string(), 1), shared);
    }
}
