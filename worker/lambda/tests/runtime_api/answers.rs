//! Whole responses and errors.

use lambda::failure::Failure;
use lambda::limits::RESPONSE_BYTES_MAX;
use lambda::runtime_api::{Answer, CognitoIdentity, CompletionReason, Invocation};

use crate::client::{NEXT, Node, config, error_path, invocation, response_path, run};

#[test]
fn a_shell_script_with_curl_gets_an_event_and_responds() {
    run(async {
        let node = Node::start(config()).await;
        let mut client = node.connect().await;
        client.send(NEXT).await;
        node.api.initialized().await.unwrap();
        let begun = node
            .api
            .begin(Invocation {
                qualifier: Some("live".into()),
                trace_id: Some("Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700".into()),
                client_context: Some("{\"client\": {}}".into()),
                cognito: Some(CognitoIdentity {
                    identity_id: "i".into(),
                    identity_pool_id: "p".into(),
                }),
                tenant_id: Some("tenant".into()),
                ..invocation("id-0")
            })
            .unwrap();
        let event = client.response().await;
        assert_eq!(event.status, 200);
        assert_eq!(event.body, r#"{"id":"id-0"}"#);
        for (name, value) in [
            ("lambda-runtime-aws-request-id", "id-0"),
            ("lambda-runtime-deadline-ms", "1681837306806"),
            (
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:us-east-1:012345678901:function:hello:live",
            ),
            ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700"),
            ("lambda-runtime-client-context", r#"{"client":{}}"#),
            (
                "lambda-runtime-cognito-identity",
                r#"{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}"#,
            ),
            ("lambda-runtime-aws-tenant-id", "tenant"),
            ("content-type", "application/json"),
            ("content-length", "13"),
        ] {
            assert_eq!(event.header(name), Some(value), "{name}");
        }
        // curl asks before it sends a body of more than a megabyte.
        let body = vec![b'x'; 2_000_000];
        let path = response_path("id-0");
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n\r\n"
            ))
            .await;
        assert_eq!(client.response().await.status, 100);
        client.send(&body).await;
        let response = client.response().await;
        assert_eq!((response.status, response.body.trim()), (202, r#"{"status":"OK"}"#));
        let Answer::Buffered { content_type, body: answer } = begun.answering.await else {
            panic!("not buffered");
        };
        assert_eq!(content_type.as_deref(), Some("application/x-www-form-urlencoded"));
        assert_eq!(answer, body);
        client.send(NEXT).await;
        assert_eq!(begun.completing.await.reason, CompletionReason::Next);
        node.api.ready().await.unwrap();
    });
}

#[test]
fn gos_runtime_sends_chunks_and_declares_trailers_that_it_does_not_send() {
    run(async {
        let (_node, mut client, begun) = Node::running().await;
        let headers = "Trailer: Lambda-Runtime-Function-Error-Body,\
                       Lambda-Runtime-Function-Error-Type\r\n\
                       Content-Type: application/octet-stream\r\n";
        client.post_chunked(&response_path("id-0"), headers).await;
        client.chunk(b"{\"a\"").await;
        client.chunk(b":1}").await;
        client.send("0\r\n\r\n").await;
        assert_eq!(client.response().await.status, 202);
        let Answer::Buffered { body, .. } = begun.answering.await else { panic!("not buffered") };
        assert_eq!(body, "{\"a\":1}");
    });
}

#[test]
fn an_error_in_trailers_is_the_answer_also_of_a_whole_response() {
    run(async {
        let (_node, mut client, begun) = Node::running().await;
        let headers = "Trailer: Lambda-Runtime-Function-Error-Body\r\n";
        client.post_chunked(&response_path("id-0"), headers).await;
        client.chunk(b"half").await;
        // More than the 16 KiB that hyper allows trailers unless told otherwise.
        let error = format!("{{\"errorMessage\":\"{}\"}}", "x".repeat(100_000));
        let encoded = base64(error.as_bytes());
        client
            .send(format!(
                "0\r\nLambda-Runtime-Function-Error-Type: Function.Mine\r\n\
                 Lambda-Runtime-Function-Error-Body: {encoded}\r\n\r\n"
            ))
            .await;
        assert_eq!(client.response().await.status, 202);
        let Answer::Failed(failure) = begun.answering.await else { panic!("no failure") };
        let error_type = "Function.Mine".to_owned();
        assert_eq!(failure, Failure::Function { error_type, body: error.into() });
    });
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

#[test]
fn errors_are_passed_on_as_they_are_written() {
    run(async {
        let (node, mut client, mut begun) = Node::running().await;
        let cause = "application/vnd.aws.lambda.error.cause+json";
        let with_cause = r#"{"errorMessage":"m","errorType":"t","errorCause":{"a":1}}"#;
        for (headers, body, error_type, passed_on) in [
            (
                "Lambda-Runtime-Function-Error-Type: unhandled\r\n".to_owned(),
                r#"{"errorType":"panic","stackTrace":[{"path":"p","line":1,"label":"l"}]}"#,
                "Runtime.Unknown",
                r#"{"errorType":"panic","stackTrace":[{"path":"p","line":1,"label":"l"}]}"#,
            ),
            (
                "Lambda-Runtime-Function-Error-Type: Function.Mine\r\n".to_owned(),
                "not json",
                "Function.Mine",
                "not json",
            ),
            (
                format!("Content-Type: {cause}\r\n"),
                with_cause,
                "Runtime.Unknown",
                r#"{"errorMessage":"m","errorType":"t"}"#,
            ),
            (
                // Go's cause for X-Ray, just below the length at which Go leaves it out.
                format!(
                    "Lambda-Runtime-Function-XRay-Error-Cause: {}\r\n",
                    "x".repeat(1024 * 1024 - 1)
                ),
                "{}",
                "Runtime.Unknown",
                "{}",
            ),
        ]
        .into_iter()
        {
            let id = node_id(&begun_event(&mut client).await);
            let response = client.response_to(&error_path(&id), &headers, body.as_bytes()).await;
            assert_eq!((response.status, response.body.trim()), (202, r#"{"status":"OK"}"#));
            let Answer::Failed(failure) = begun.answering.await else { panic!("no failure") };
            let error_type = error_type.to_owned();
            assert_eq!(failure, Failure::Function { error_type, body: passed_on.into() });
            client.send(NEXT).await;
            node.api.ready().await.unwrap();
            begun = node.begin();
            client.response().await;
        }
    });
}

/// Asks for the event again that the runtime is running.
async fn begun_event(client: &mut crate::client::Client) -> String {
    client.next().await.body
}

fn node_id(event: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(event).unwrap();
    json["id"].as_str().unwrap().to_owned()
}

#[test]
fn the_longest_response_is_taken_and_one_byte_more_is_not() {
    run(async {
        let (node, mut client, begun) = Node::running().await;
        let mut body = vec![b'x'; RESPONSE_BYTES_MAX];
        assert_eq!(client.response_to(&response_path("id-0"), "", &body).await.status, 202);
        let Answer::Buffered { body: answer, .. } = begun.answering.await else {
            panic!("not buffered");
        };
        assert_eq!(answer, body);
        client.send(NEXT).await;
        node.api.ready().await.unwrap();
        let begun = node.begin();
        client.response().await;
        body.push(b'x');
        let response = client.response_to(&response_path("id-1"), "", &body).await;
        assert_eq!((response.status, &*response.error_type()), (413, "RequestEntityTooLarge"));
        let size_bytes = body.len() as u64;
        let Answer::Failed(failure) = begun.answering.await else { panic!("no failure") };
        assert_eq!(failure, Failure::TooLarge { size_bytes });
        // The invocation counts as answered, and the runtime goes on.
        client.send(NEXT).await;
        node.api.ready().await.unwrap();
    });
}
