//! Extensions, as those of Go's and Rust's runtimes register, and external ones.

use lambda::runtime_api::{Config, InitFailure};
use lambda::shutdown::{RegisteredExtensions, ShutdownReason};
use serde_json::{Value, json};

use crate::client::{Client, NEXT, Node, Response, config, invocation, run};

const REGISTER: &str = "/2020-01-01/extension/register";

/// Returns what an API is made with beside whose process an external extension runs.
fn with_outside() -> Config {
    Config { external_extensions: vec!["outside".to_owned()], ..config() }
}

async fn register(client: &mut Client, name: &str, body: &str) -> Response {
    let headers = format!("Lambda-Extension-Name: {name}\r\n");
    client.response_to(REGISTER, &headers, body.as_bytes()).await
}

async fn ask(client: &mut Client, identifier: &str) {
    let path = "/2020-01-01/extension/event/next";
    let header = format!("Lambda-Extension-Identifier: {identifier}\r\n");
    client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n")).await;
}

fn identifier(response: &Response) -> String {
    response.header("lambda-extension-identifier").unwrap().to_owned()
}

#[test]
fn an_internal_extension_registers_for_sigterm_alone() {
    run(async {
        let node = Node::start(config()).await;
        let mut client = node.connect().await;
        let response = register(&mut client, "GoLangEnableSIGTERM", r#"{"events":[]}"#).await;
        assert_eq!(response.status, 200);
        let body: Value = serde_json::from_str(&response.body).unwrap();
        let expected =
            json!({"functionName": "hello", "functionVersion": "7", "handler": "bootstrap"});
        assert_eq!(body, expected);
        let kinds = RegisteredExtensions { internal: true, external: false };
        assert_eq!(node.api.registered_extensions(), kinds);
        // Its request for events waits for ever, and the runtime works beside it.
        ask(&mut client, &identifier(&response)).await;
        let mut runtime = node.connect().await;
        runtime.send(NEXT).await;
        node.api.ready().await.unwrap();
        let _begun = node.begin();
        assert_eq!(runtime.response().await.status, 200);
        let mut late = node.connect().await;
        let response = register(&mut late, "late", r#"{"events":[]}"#).await;
        assert_eq!(response.status, 403);
        assert_eq!(response.error_type(), "Extension.RegistrationClosed");
    });
}

#[test]
fn an_external_extension_gets_its_events() {
    run(async {
        let node = Node::start(with_outside()).await;
        let mut client = node.connect().await;
        let headers = "Lambda-Extension-Name: outside\r\n\
                       Lambda-Extension-Accept-Feature: other, accountId\r\n";
        let body = br#"{"events":["INVOKE","SHUTDOWN"]}"#;
        let response = client.response_to(REGISTER, headers, body).await;
        let function: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(function["accountId"], "012345678901");
        let identifier = identifier(&response);
        ask(&mut client, &identifier).await;
        let mut runtime = node.connect().await;
        runtime.send(NEXT).await;
        node.api.ready().await.unwrap();
        let trace_id = Some("Root=1".to_owned());
        let traced = lambda::runtime_api::Invocation { trace_id, ..invocation("id-0") };
        let _begun = node.api.begin(traced).unwrap();
        let event = client.response().await;
        assert_eq!(event.status, 200);
        assert!(event.header("lambda-extension-event-identifier").is_some());
        let event: Value = serde_json::from_str(&event.body).unwrap();
        let expected = json!({
            "eventType": "INVOKE",
            "deadlineMs": 1_681_837_306_806_u64,
            "requestId": "id-0",
            "invokedFunctionArn": "arn:aws:lambda:us-east-1:012345678901:function:hello",
            "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1"},
        });
        assert_eq!(event, expected);
        // This one is there before it is asked for.
        node.api.shutdown(ShutdownReason::Timeout, 5);
        ask(&mut client, &identifier).await;
        let event: Value = serde_json::from_str(&client.response().await.body).unwrap();
        let expected =
            json!({"eventType": "SHUTDOWN", "deadlineMs": 5, "shutdownReason": "TIMEOUT"});
        assert_eq!(event, expected);
    });
}

#[test]
fn a_process_is_initialized_when_its_external_extensions_are() {
    run(async {
        let node = Node::start(with_outside()).await;
        let mut runtime = node.connect().await;
        runtime.send(NEXT).await;
        node.api.ready().await.unwrap();
        // The runtime was faster, which closes nothing to an external extension.
        assert_eq!(node.api.awaited_extensions(), ["outside"]);
        let mut client = node.connect().await;
        let response = register(&mut client, "outside", r#"{"events":[]}"#).await;
        assert_eq!(response.status, 200);
        assert_eq!(node.api.awaited_extensions(), ["outside"], "it has not asked for an event");
        ask(&mut client, &identifier(&response)).await;
        node.api.initialized().await.unwrap();
        assert!(node.api.awaited_extensions().is_empty());
    });
}

#[test]
fn an_extensions_requests_need_its_identifier() {
    run(async {
        let node = Node::start(config()).await;
        let mut client = node.connect().await;
        for (identifier, error_type) in [
            ("", "Extension.MissingExtensionIdentifier"),
            ("x", "Extension.InvalidExtensionIdentifier"),
            ("0190e7a0-0000-7000-8000-000000000009", "Extension.UnknownExtensionIdentifier"),
        ] {
            ask(&mut client, identifier).await;
            let response = client.response().await;
            assert_eq!((response.status, &*response.error_type()), (403, error_type));
        }
        let response = client.response_to(REGISTER, "", b"{\"events\":[]}").await;
        assert_eq!(response.error_type(), "Extension.InvalidExtensionName");
    });
}

#[test]
fn an_extensions_init_error_is_the_processs() {
    run(async {
        let node = Node::start(config()).await;
        let mut client = node.connect().await;
        let response = register(&mut client, "inside", "{}").await;
        let identifier = identifier(&response);
        let header = format!("Lambda-Extension-Identifier: {identifier}\r\n");
        let path = "/2020-01-01/extension/init/error";
        let response = client.response_to(path, &header, b"{}").await;
        assert_eq!((response.status, &*response.error_type()), (403, "Extension.MissingHeader"));
        let headers = format!("{header}Lambda-Extension-Function-Error-Type: Extension.Mine\r\n");
        assert_eq!(client.response_to(path, &headers, b"{}").await.status, 202);
        let failure = node.api.initialized().await.unwrap_err();
        let (name, error_type) = ("inside".to_owned(), "Extension.Mine".to_owned());
        assert_eq!(failure, InitFailure::Extension { name, error_type, body: "{}".into() });
        let path = "/2020-01-01/extension/exit/error";
        assert_eq!(client.response_to(path, &headers, b"{}").await.status, 202);
    });
}
