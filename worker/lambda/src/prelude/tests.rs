//! Tests of [`super`]: wherever chunks end, the outcome is the same.

use proptest::prelude::*;

use super::*;

/// Gives `stream` to a parser in chunks of these lengths (and the rest in one), and returns the
/// head and the whole body.
fn parse(stream: &[u8], lengths: &[usize]) -> Result<(ResponseHead, Vec<u8>), PreludeError> {
    let mut parser = PreludeParser::new();
    let mut rest = stream;
    let mut lengths = lengths.iter();
    while !rest.is_empty() {
        let length = lengths.next().copied().unwrap_or(rest.len()).min(rest.len());
        let (chunk, after) = rest.split_at(length);
        rest = after;
        if let Some((head, first)) = parser.push(chunk)? {
            return Ok((head, [&first, rest].concat()));
        }
    }
    let (head, body) = parser.finish();
    Ok((head, body.to_vec()))
}

fn with_prelude(json: &str, body: &[u8]) -> Vec<u8> {
    [json.as_bytes(), &[0; 8], body].concat()
}

#[test]
fn a_prelude_gives_the_head() {
    let json =
        r#"{"statusCode":201,"headers":{"a":"}\"{","content-length":"5"},"cookies":["b=c"]}"#;
    let (head, body) = parse(&with_prelude(json, b"\0body"), &[]).unwrap();
    assert_eq!(head.status, 201);
    assert_eq!(head.headers["a"], "}\"{");
    assert_eq!(head.headers["set-cookie"], "b=c");
    assert_eq!(head.headers["content-type"], OCTET_STREAM);
    assert!(!head.headers.contains_key("content-length"));
    assert_eq!(body, b"\0body");
}

#[test]
fn a_stream_without_a_prelude_is_all_body() {
    let long = [b"{\"a\":\"".as_slice(), &[b'x'; PRELUDE_BYTES_MAX], b"\"}"].concat();
    for stream in [
        &b"hello"[..],
        b"",
        b"{\"a\":1}\n{\"a\":2}\n",
        b"{\"a\":1}",
        b"{\"a\":1}\0\0\0\0\0\0\0",
        b"{\"a\":1}\0\0\0x",
        b"\0\0\0\0\0\0\0\0",
        b"  ",
        &long,
    ] {
        let (head, body) = parse(stream, &[1, 1, 1, 1]).unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers["content-type"], OCTET_STREAM);
        assert_eq!(body, stream);
    }
}

#[test]
fn what_cannot_be_a_prelude_is_not_held() {
    assert!(PreludeParser::new().push(b"data: 1\n\n").unwrap().is_some());
    let mut parser = PreludeParser::new();
    assert!(parser.push(b"{\"a\":1}").unwrap().is_none());
    assert!(parser.push(b"\n{").unwrap().is_some());
}

#[test]
fn a_prelude_that_is_wrong_is_an_error() {
    for json in ["{", "{\"statusCode\":200", "{a}", r#"{"headers":5}"#, r#"{"cookies":{}}"#] {
        let result = parse(&with_prelude(json, b""), &[]);
        assert!(matches!(result, Err(PreludeError::Shape(_))), "{json}: {result:?}");
    }
    for json in [r#"{"statusCode":99}"#, r#"{"headers":{"a b":"c"}}"#] {
        let result = parse(&with_prelude(json, b""), &[]);
        assert!(matches!(result, Err(PreludeError::Head(_))), "{json}: {result:?}");
    }
}

#[test]
fn content_types_are_compared_without_case_and_parameters() {
    assert!(is_http_response("Application/VND.awslambda.http-integration-response; a=b"));
    assert!(!is_http_response("application/json"));
}

proptest! {
    #[test]
    fn chunks_do_not_matter(
        json in r#"\{("statusCode":20[0-9])?\}"#,
        body in proptest::collection::vec(any::<u8>(), 0..40),
        lengths in proptest::collection::vec(1_usize..12, 0..60),
    ) {
        let stream = with_prelude(&json, &body);
        let (head, parsed) = parse(&stream, &lengths).unwrap();
        let (whole_head, whole) = parse(&stream, &[]).unwrap();
        prop_assert_eq!(head, whole_head);
        prop_assert_eq!(&parsed, &body);
        prop_assert_eq!(whole, body);
    }

    #[test]
    fn any_stream_has_one_outcome_however_it_is_cut(
        stream in proptest::collection::vec(
            prop_oneof![Just(0_u8), Just(b'{'), Just(b'}'), Just(b'"'), Just(b'\\'), any::<u8>()],
            0..60,
        ),
        lengths in proptest::collection::vec(1_usize..12, 0..60),
    ) {
        prop_assert_eq!(parse(&stream, &lengths), parse(&stream, &[]));
    }
}
