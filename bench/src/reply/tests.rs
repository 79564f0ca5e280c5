//! Tests of the reply parser: examples, and properties over where the bytes are cut.
//! No file descriptor.

use super::*;
use proptest::prelude::*;

type Parsed = Result<(usize, Option<Head>), Error>;

fn feed_all(parser: &mut ReplyParser, bytes: &[u8]) -> (Parsed, Vec<u8>) {
    let mut body = Vec::new();
    let parsed = parser.feed(bytes, &mut |part| body.extend_from_slice(part));
    (parsed, body)
}

/// Feeds `bytes` cut at `cuts`; the head if the last piece completed the reply.
fn feed_cut(bytes: &[u8], cuts: &[usize]) -> (Option<Head>, Vec<u8>) {
    let mut parser = ReplyParser::default();
    let (mut body, mut start, mut head) = (Vec::new(), 0, None);
    for end in cuts.iter().copied().chain([bytes.len()]) {
        let piece = &bytes[start..end.max(start)];
        let (used, done) = parser.feed(piece, &mut |part| body.extend_from_slice(part)).unwrap();
        assert_eq!(used, piece.len());
        head = head.or(done);
        start = end.max(start);
    }
    (head, body)
}

#[test]
fn the_usual_reply() {
    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1";
    let (parsed, body) = feed_all(&mut ReplyParser::default(), text);
    assert_eq!(parsed.unwrap(), (text.len() - 8, Some(Head { status: 200, keep_alive: true })));
    assert_eq!(body, b"hello");
}

#[test]
fn an_interim_reply_is_passed_over() {
    let text = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    let (parsed, body) = feed_all(&mut ReplyParser::default(), text);
    assert_eq!(parsed.unwrap(), (text.len(), Some(Head { status: 204, keep_alive: true })));
    assert!(body.is_empty());
}

#[test]
fn a_body_may_run_until_the_connection_ends() {
    let mut parser = ReplyParser::default();
    let (parsed, body) = feed_all(&mut parser, b"HTTP/1.0 200 OK\r\n\r\nabc");
    assert_eq!((parsed.unwrap().1, &*body), (None, &b"abc"[..]));
    assert_eq!(parser.end().unwrap(), Head { status: 200, keep_alive: false });
}

#[test]
fn the_reply_to_a_head_has_no_body() {
    let mut parser = ReplyParser::default();
    parser.expect(true);
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        let (parsed, body) = feed_all(&mut parser, text.as_bytes());
        assert_eq!(parsed.unwrap(), (text.len(), Some(Head { status: 200, keep_alive: true })));
        assert!(body.is_empty());
    }
}

#[test]
fn keep_alive_follows_version_and_header() {
    for (start, header, expected) in [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "connection: close\r\n", false),
        ("HTTP/1.1", "Connection: upgrade, Close\r\n", false),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "connection: keep-alive\r\n", true),
    ] {
        let text = format!("{start} 200 OK\r\n{header}content-length: 0\r\n\r\n");
        let (parsed, _) = feed_all(&mut ReplyParser::default(), text.as_bytes());
        assert_eq!(parsed.unwrap().1.unwrap().keep_alive, expected, "{text}");
    }
}

#[test]
fn an_end_in_the_wrong_place_is_told_apart() {
    assert!(matches!(ReplyParser::default().end(), Err(Error::NoReply)));
    for text in ["HTTP/1.1 2", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"] {
        let mut parser = ReplyParser::default();
        feed_all(&mut parser, text.as_bytes()).0.unwrap();
        assert!(matches!(parser.end(), Err(Error::Truncated)), "{text}");
    }
}

#[test]
fn what_does_not_add_up_is_refused() {
    for rest in [
        "content-length: -1\r\n\r\n",
        "content-length: +1\r\n\r\n",
        "content-length: 1\r\ncontent-length: 2\r\n\r\n",
        "content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "transfer-encoding: gzip, chunked\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nx\r\n",
        "transfer-encoding: chunked\r\n\r\n1\nab",
        "transfer-encoding: chunked\r\n\r\n1\r\nab",
        "transfer-encoding: chunked\r\n\r\n00000000000000001\r\n",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{rest}");
        let (parsed, _) = feed_all(&mut ReplyParser::default(), text.as_bytes());
        assert!(parsed.is_err(), "{text}");
    }
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_BYTES_MAX));
    let (parsed, _) = feed_all(&mut ReplyParser::default(), endless.as_bytes());
    assert!(matches!(parsed, Err(Error::HeadTooLong)));
}

proptest! {
    #[test]
    fn cuts_do_not_matter_to_a_sized_body(body in prop::collection::vec(any::<u8>(), 0..200), mut cuts in prop::collection::vec(0_usize..240, 0..6)) {
        let mut bytes = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(&body);
        cuts.retain(|&cut| cut < bytes.len());
        cuts.sort_unstable();
        prop_assert_eq!(feed_cut(&bytes, &cuts), (Some(Head { status: 200, keep_alive: true }), body));
    }

    #[test]
    fn cuts_do_not_matter_to_a_chunked_body(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6), trailer in any::<bool>(), mut cuts in prop::collection::vec(0_usize..300, 0..8)) {
        let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for chunk in &chunks {
            bytes.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(if trailer { b"0\r\nx: y\r\n\r\n" } else { b"0\r\n\r\n" });
        cuts.retain(|&cut| cut < bytes.len());
        cuts.sort_unstable();
        prop_assert_eq!(feed_cut(&bytes, &cuts), (Some(Head { status: 200, keep_alive: true }), chunks.concat()));
    }

    #[test]
    fn any_bytes_are_survived(start in any::<bool>(), pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..5)) {
        let mut parser = ReplyParser::default();
        if start {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            prop_assert!(feed_all(&mut parser, head).0.is_ok());
        }
        for piece in pieces {
            match feed_all(&mut parser, &piece).0 {
                Ok((used, _)) => prop_assert!(used <= piece.len()),
                Err(_) => break,
            }
        }
        let _ = parser.end();
    }
}
