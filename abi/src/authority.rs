//! A host and its port, as a Host header or a target in absolute form has them (RFC 3986 3.2, RFC
//! 9110 7.2).
//!
//! The grammar is the RFCs', and nothing beside it: a host that two readers could take differently
//! is refused before anything is routed by it. Pure; owns no fds.

use std::net::Ipv6Addr;

/// Returns whether `text` is `uri-host [ ":" port ]`. An empty host is one (RFC 9112 3.2: the
/// target has no authority).
#[must_use]
pub fn is_authority(text: &str) -> bool {
    let (host_is_good, rest) = match text.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, rest)) => (address.parse::<Ipv6Addr>().is_ok(), rest.as_bytes()),
            None => return false,
        },
        None => {
            let rest = behind_registered_name(text.as_bytes());
            (rest.len() < text.len() || rest.is_empty(), rest)
        }
    };
    match rest {
        [] => host_is_good,
        [b':', port @ ..] => host_is_good && is_port(port),
        _ => false,
    }
}

/// A port that a TCP connection can have. The grammar lets it be empty.
fn is_port(digits: &[u8]) -> bool {
    let number = digits.iter().try_fold(0_u16, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.is_some()
}

/// Whether a byte is one of `unreserved / sub-delims`, by the byte: every request asks for each of
/// its host's.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let punctuation = b"-._~!$&'()*+,;=";
    let mut at = 0;
    while at < punctuation.len() {
        plain[punctuation[at] as usize] = true;
        at += 1;
    }
    let mut byte: u8 = 0;
    while byte < 128 {
        plain[byte as usize] |= byte.is_ascii_alphanumeric();
        byte += 1;
    }
    plain
};

/// What follows the longest `*( unreserved / pct-encoded / sub-delims )` that `text` begins with; an
/// IPv4 address is one, too.
fn behind_registered_name(mut text: &[u8]) -> &[u8] {
    loop {
        let plain = text.iter().take_while(|byte| PLAIN[usize::from(**byte)]).count();
        text = match &text[plain..] {
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            behind => return behind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_an_authority() {
        for good in [
            "",
            "a",
            "a.example",
            "A-b_c.example.",
            "a:",
            "a:80",
            "a:65535",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "[::ffff:192.0.2.1]:",
            "xn--bcher-kva.example",
            "a%2Db",
        ] {
            assert!(is_authority(good), "{good:?}");
        }
        for bad in [
            "[::1",
            "::1",
            "a:b:c",
            "a:b",
            "a:80:80",
            ":80",
            ":",
            "[]",
            "[::1]80",
            "[::1]x",
            "[::1]:x",
            "[::1%25eth0]",
            "[a.example]",
            "a]",
            "a[",
            "a@b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a b",
            "a%",
            "a%2",
            "a%zz",
            "a:+80",
            "a:65536",
            "a:-1",
            "b\u{fc}cher.example",
            "a\"b",
            "a<b",
            "a^b",
            "a|b",
            "a\0b",
            "user:pass@a:80",
        ] {
            assert!(!is_authority(bad), "{bad:?}");
        }
    }

    proptest! {
        /// What another reader of URIs takes for host and port is what was taken here.
        #[test]
        fn another_reader_agrees(text in "[a-c0-9.:@%\\[\\]_-]{1,12}") {
            if is_authority(&text) {
                let other = text.parse::<http::uri::Authority>();
                // That reader knows of no empty port's end, nor of percent-encoding; it never finds
                // another host.
                if let Ok(other) = other {
                    prop_assert_eq!(other.as_str(), &text);
                    prop_assert!(text.starts_with(other.host()));
                    let rest = &text[other.host().len()..];
                    prop_assert!(rest.is_empty() || rest.starts_with(':'), "{rest:?}");
                }
            }
        }

        /// Every address and port is an authority, and so is every name of letters, digits, hyphens
        /// and dots.
        #[test]
        fn what_clients_send_is_one(v4: std::net::SocketAddrV4, v6: [u16; 8], port: u16, name in "[a-zA-Z0-9._-]{1,40}") {
            let v6 = format!("[{}]:{port}", Ipv6Addr::from(v6));
            for text in [v4.to_string(), v6, format!("{name}:{port}"), name] {
                prop_assert!(is_authority(&text), "{}", text);
            }
        }

        #[test]
        fn any_text_is_survived(text in ".{0,40}") {
            let _ = is_authority(&text);
        }
    }
}
