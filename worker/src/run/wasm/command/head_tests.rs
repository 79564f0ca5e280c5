//! CGI heads: good, malformed, in pieces, any bytes. Owns no fds.

use super::*;
use proptest::prelude::*;

fn head(text: &str) -> (Head, usize) {
    parse(text.as_bytes()).unwrap().unwrap()
}

fn error(text: &str) -> HeadError {
    parse(text.as_bytes()).unwrap_err()
}

#[test]
fn lines_end_with_either_line_end() {
    for text in
        ["Content-Type: text/html\r\nX: y\r\n\r\nbody", "content-type:text/html \nx:\t y\t\n\nbody"]
    {
        let (head, length) = head(text);
        assert_eq!(&text[length..], "body");
        assert_eq!((head.status, head.headers.len()), (StatusCode::OK, 2));
        assert_eq!(head.headers["content-type"], "text/html");
        assert_eq!(head.headers["x"], "y");
    }
}

#[test]
fn a_status_is_what_it_says_and_a_location_alone_is_302() {
    for (text, status) in [
        ("Status: 418 I'm a teapot\n\n", 418),
        ("Status: 204\n\n", 204),
        ("Location: https://example.com/\n\n", 302),
        ("Location: /elsewhere?x\n\n", 302),
        ("Location: /elsewhere\nStatus: 303 See Other\nContent-Type: text/plain\n\n", 303),
    ] {
        let (head, length) = head(text);
        assert_eq!((head.status.as_u16(), length), (status, text.len()), "{text}");
        assert!(!head.headers.contains_key("status"));
    }
}

#[test]
fn a_location_alone_that_is_a_path_is_a_local_redirect() {
    let target = |text: &str| head(text).0.local_redirect.map(|target| target.to_string());
    assert_eq!(target("Location: /elsewhere?x=%20\n\n").as_deref(), Some("/elsewhere?x=%20"));
    for text in [
        "Location: //other.example/x\n\n",
        "Location: https://example.com/\n\n",
        "Location: elsewhere\n\n",
        "Location: /elsewhere#part\n\n",
        "Location: /else where\n\n",
        "Location: /elsewhere\nSet-Cookie: a\n\n",
        "Location: /elsewhere\nStatus: 302\n\n",
        "Status: 200\n\n",
    ] {
        assert_eq!(target(text), None, "{text}");
    }
}

#[test]
fn cookies_are_kept_apart() {
    let (head, _) = head("Content-Type: a/b\nSet-Cookie: a=1\nSet-Cookie: b=2\n\n");
    assert_eq!(head.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
}

#[test]
fn what_is_no_head_is_refused_and_says_where() {
    for text in [
        "Hello, world!\n",
        "HTTP/1.1 200 OK\r\n",
        " Content-Type: a/b\n",
        "Content-Type : a/b\n",
        ": x\n",
    ] {
        assert_eq!(error(text), HeadError::NoField { line: 1 }, "{text}");
    }
    for text in [
        "Content-Type: a/b\n folded\n",
        "Content-Type: a/b\nX: a\rb\n",
        "Content-Type: a/b\nX: a\0b\n",
    ] {
        assert_eq!(error(text), HeadError::NoField { line: 2 }, "{text}");
    }
    assert_eq!(error("Location:\n\n"), HeadError::NoField { line: 1 });
    for text in ["", "20", "OK", "2000", "200OK", "100 Continue", "101", "600", "+20"] {
        assert_eq!(error(&format!("Status: {text}\n")), HeadError::NoStatus { line: 1 }, "{text}");
    }
    assert_eq!(error("Status: 200\nStatus: 200\n"), HeadError::Twice { name: "Status" });
    assert_eq!(
        error("Content-Type: a/b\ncontent-type: a/b\n"),
        HeadError::Twice { name: "Content-Type" }
    );
    assert_eq!(error("X: y\n\n"), HeadError::NoCgi);
    assert_eq!(error("\n"), HeadError::NoCgi);
}

#[test]
fn what_is_the_nodes_to_say_is_refused() {
    for name in [
        "Connection",
        "Transfer-Encoding",
        "Keep-Alive",
        "Upgrade",
        "TE",
        "Trailer",
        "Proxy-Authenticate",
    ] {
        let lower = HeaderName::from_bytes(name.as_bytes()).unwrap();
        assert_eq!(error(&format!("{name}: x\n")), HeadError::Forbidden { name: lower });
    }
}

#[test]
fn more_headers_than_a_map_can_hold_are_refused() {
    let many: String = (0..100_000).map(|n| format!("x{n}:\n")).collect();
    assert_eq!(error(&many), HeadError::TooMany);
}

proptest! {
    #[test]
    fn any_bytes_are_survived_and_pieces_make_no_difference(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), any::<u8>()], 0..200),
        start in prop_oneof![Just("Status: 200\n"), Just("Content-Type: a/b\r\n"), Just("")],
        piece in 1_usize..9,
    ) {
        let whole = [start.as_bytes(), &bytes[..]].concat();
        let at_once = parse(&whole);
        let mut parser = Parser::default();
        let mut in_pieces = Ok(None);
        for end in (0..whole.len()).step_by(piece).skip(1).chain([whole.len()]) {
            in_pieces = parser.advance(&whole[..end]);
            if in_pieces != Ok(None) {
                break;
            }
        }
        prop_assert_eq!(&at_once, &in_pieces);
        if let Ok(Some((head, length))) = at_once {
            prop_assert!(length <= whole.len() && whole[length - 1] == b'\n');
            prop_assert!((200..600).contains(&head.status.as_u16()));
            prop_assert_eq!(parse(&whole[..length]).unwrap(), Some((head, length)));
            prop_assert_eq!(parse(&whole[..length - 1]), Ok(None));
        }
    }
}
