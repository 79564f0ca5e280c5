//! Requests that the API refuses, and that none of them ends a connection without a response.

use lambda::failure::Failure;
use lambda::runtime_api::{Answer, CompletionReason};
use tokio::io::AsyncWriteExt as _;

use crate::client::{NEXT, Node, config, error_path, response_path, run};

#[test]
fn an_id_is_looked_at_before_the_state() {
    run(async {
        let (_node, mut client, _begun) = Node::running().await;
        let body = vec![b'x'; 1_000_000];
        let response = client.response_to(&response_path("other"), "", &body).await;
        assert_eq!((response.status, &*response.error_type()), (400, "InvalidRequestID"));
        assert_eq!(client.response_to(&response_path("id-0"), "", b"{}").await.status, 202);
        for path in [response_path("id-0"), error_path("id-0")] {
            let response = client.response_to(&path, "", b"{}").await;
            assert_eq!((response.status, &*response.error_type()), (403, "InvalidStateTransition"));
            assert!(response.body.contains("State transition from RuntimeResponseSentState to"));
        }
        let response = client.response_to(&response_path("other"), "", b"{}").await;
        assert_eq!(response.status, 400);
    });
}

#[test]
fn next_while_running_repeats_the_event() {
    run(async {
        let (_node, mut client, begun) = Node::running().await;
        for _ in 0..2 {
            let event = client.next().await;
            assert_eq!((event.status, &*event.body), (200, r#"{"id":"id-0"}"#));
        }
        client.post(&response_path("id-0"), "", b"1").await;
        assert!(matches!(begun.answering.await, Answer::Buffered { .. }));
    });
}

#[test]
fn a_mode_that_does_not_exist_is_refused() {
    run(async {
        let (node, mut client, begun) = Node::running().await;
        let headers = "Lambda-Runtime-Function-Response-Mode: buffered\r\n";
        let response = client.response_to(&response_path("id-0"), headers, b"{}").await;
        assert_eq!(
            (response.status, &*response.error_type()),
            (400, "InvalidFunctionResponseMode")
        );
        let Answer::Failed(failure) = begun.answering.await else { panic!("no failure") };
        assert_eq!(failure, Failure::BadResponseMode);
        client.send(NEXT).await;
        node.api.ready().await.unwrap();
    });
}

#[test]
fn a_body_that_is_broken_off_is_refused() {
    run(async {
        let (_node, mut client, begun) = Node::running().await;
        client.post_chunked(&response_path("id-0"), "").await;
        client.chunk(b"half").await;
        client.stream.shutdown().await.unwrap();
        let response = client.response().await;
        assert_eq!((response.status, &*response.error_type()), (400, "TruncatedHTTPRequest"));
        let Answer::Failed(failure) = begun.answering.await else { panic!("no failure") };
        assert_eq!(failure, Failure::Truncated);
    });
}

#[test]
fn posts_about_an_invocation_that_was_given_up_are_refused() {
    run(async {
        let (node, mut client, begun) = Node::running().await;
        node.api.invocation_failed("id-0");
        assert!(matches!(begun.answering.await, Answer::Cancelled));
        assert_eq!(begun.completing.await.reason, CompletionReason::Cancelled);
        let response = client.response_to(&response_path("id-0"), "", b"{}").await;
        assert_eq!((response.status, &*response.error_type()), (400, "InvalidRequestID"));
    });
}

#[test]
fn a_stream_of_an_invocation_that_is_given_up_meanwhile_is_refused() {
    run(async {
        let (node, mut client, begun) = Node::running().await;
        let headers = "Lambda-Runtime-Function-Response-Mode: streaming\r\n";
        client.post_chunked(&response_path("id-0"), headers).await;
        assert!(matches!(begun.answering.await, Answer::Stream { .. }));
        node.api.invocation_failed("id-0");
        client.send("0\r\n\r\n").await;
        assert_eq!(client.response().await.error_type(), "InvalidRequestID");
    });
}

#[test]
fn an_init_error_after_the_first_next_is_refused() {
    run(async {
        let (_node, mut client, _begun) = Node::running().await;
        let path = "/2018-06-01/runtime/init/error";
        let response = client.response_to(path, "", b"{}").await;
        assert_eq!((response.status, &*response.error_type()), (403, "InvalidStateTransition"));
    });
}

#[test]
fn what_is_no_endpoint_is_not_found() {
    run(async {
        let node = Node::start(config()).await;
        let mut client = node.connect().await;
        for (request, status) in [
            ("GET /", 404),
            ("GET /2018-06-01/runtime/restore/next", 404),
            ("POST /2018-06-01/runtime/restore/error", 404),
            ("GET /2021-04-23/credentials", 404),
            ("DELETE /2018-06-01/runtime/invocation/next", 405),
            ("GET /2018-06-01/runtime/invocation/x/response", 405),
        ] {
            client.send(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert_eq!(client.response().await.status, status, "{request}");
        }
        client.send("GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(client.response().await.body, "pong");
        for (path, error_type) in [
            ("/2020-08-15/logs", "Logs.NotSupported"),
            ("/2022-07-01/telemetry", "Telemetry.NotSupported"),
        ] {
            client
                .send(format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"))
                .await;
            let response = client.response().await;
            assert_eq!((response.status, &*response.error_type()), (202, error_type));
        }
    });
}

#[test]
fn what_is_no_http_harms_nobody_else() {
    run(async {
        let (node, mut client, begun) = Node::running().await;
        for bytes in
            [&b"\x16\x03\x01\0\0"[..], b"\r\n\r\n\0", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n"]
        {
            let mut other = node.connect().await;
            other.send(bytes).await;
            other.stream.shutdown().await.unwrap();
            while other.read_more().await {}
        }
        assert_eq!(client.response_to(&response_path("id-0"), "", b"1").await.status, 202);
        assert!(matches!(begun.answering.await, Answer::Buffered { .. }));
    });
}
