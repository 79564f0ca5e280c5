//! Tests of invocations as clients send them.

use super::*;

async fn collect(events: Vec<InvocationEvent>) -> Result<Collected, LambdaError> {
    let events = stream::iter(events).boxed();
    Invocation { version: VersionName::Latest, request_id: None, events }.collect().await
}

fn piece(bytes: usize) -> InvocationEvent {
    InvocationEvent::Payload(vec![b'x'; bytes].into())
}

fn end() -> InvocationEvent {
    InvocationEvent::Complete(Completion::default())
}

#[tokio::test]
async fn pieces_are_joined_in_order() {
    let events = ["a", "", "b", "c"].map(|text| InvocationEvent::Payload(text.into()));
    let collected = collect(events.into_iter().chain([end()]).collect()).await.unwrap();
    assert_eq!(collected.payload, "abc");
    assert_eq!(collect(vec![end()]).await.unwrap().payload, "");
}

#[tokio::test]
async fn an_answer_of_the_limit_is_passed_on_and_one_byte_more_is_an_error() {
    let collected = collect(vec![piece(RESPONSE_BYTES_MAX), end()]).await.unwrap();
    assert_eq!(collected.payload.len(), RESPONSE_BYTES_MAX);
    assert_eq!(collected.completion.function_error, None);
    for events in [
        vec![piece(RESPONSE_BYTES_MAX + 1), end()],
        vec![piece(RESPONSE_BYTES_MAX), piece(1), end()],
        vec![piece(1), piece(RESPONSE_BYTES_MAX), piece(100), end()],
    ] {
        let error = collect(events).await.unwrap().completion.function_error.unwrap();
        let document = String::from_utf8_lossy(&error.document).into_owned();
        assert!(document.contains("Function.ResponseSizeTooLarge"), "{document}");
        assert_eq!(error.kind, "Unhandled");
    }
}

#[tokio::test]
async fn a_stream_without_an_end_is_the_nodes_failure() {
    assert!(matches!(collect(vec![piece(1)]).await, Err(LambdaError::Service(_))));
}
