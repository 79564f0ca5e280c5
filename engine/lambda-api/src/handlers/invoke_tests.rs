//! Tests of the Invoke API's handler.

use http_body_util::BodyExt as _;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;

#[test]
fn an_event_is_json_or_nothing() {
    for (body, event) in
        [("", "{}"), (" \n", "{}"), ("1", "1"), ("{\"a\": [\"é\"]}", "{\"a\": [\"é\"]}")]
    {
        assert_eq!(read_payload(Bytes::from(body)).unwrap(), event, "{body}");
    }
    for body in ["{", "a", "{} {}", "'a'", "\u{0}"] {
        assert!(read_payload(Bytes::from(body)).is_err(), "{body}");
    }
    assert!(read_payload(Bytes::from_static(b"\"\xff\"")).is_err());
}

#[test]
fn a_deep_event_does_not_end_the_process() {
    let depth = 1_000_000;
    let deep = "[".repeat(depth) + &"]".repeat(depth);
    assert!(read_payload(Bytes::from(deep)).is_ok());
}

#[test]
fn a_client_context_is_an_object_in_base64() {
    let encode = |text: &str| STANDARD.encode(text);
    let context = r#"{"custom":{"a":"b"}}"#;
    assert_eq!(read_client_context(&encode(context)).unwrap(), context);
    for encoded in ["", "{}", &encode("[]"), &encode("a"), &encode(&" ".repeat(4000))] {
        assert!(read_client_context(encoded).is_err(), "{encoded}");
    }
}

#[tokio::test]
async fn a_piece_is_sent_on_before_the_next_one_is_there() {
    let (sender, receiver) = mpsc::unbounded_channel();
    let events = stream::unfold(receiver, |mut receiver: mpsc::UnboundedReceiver<_>| async {
        Some((receiver.recv().await?, receiver))
    });
    let invocation =
        Invocation { version: VersionName::Latest, request_id: None, events: events.boxed() };
    let mut body = frames(invocation);
    for piece in ["first", "", "second"] {
        sender.send(InvocationEvent::Payload(piece.into())).unwrap();
        if !piece.is_empty() {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(frame.windows(piece.len()).any(|part| part == piece.as_bytes()), "{piece}");
        }
    }
    drop(body);
    // The client has left, and whoever runs the function can see it.
    assert!(sender.send(InvocationEvent::Payload("third".into())).is_err());
}

proptest! {
    #[test]
    fn any_headers_are_survived(
        name in "x-amz-(invocation-type|log-type|client-context|tenant-id)",
        value in proptest::collection::vec(any::<u8>(), 0..64),
        body in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.insert(HeaderName::try_from(name).unwrap(), value);
        }
        let function = FunctionReference::parse("a").unwrap();
        let id = RequestId(uuid::Uuid::nil());
        let _ = read_request(function, id, ResponseMode::Buffered, &headers, body.into());
        let _ = invocation_type(&headers);
    }
}
