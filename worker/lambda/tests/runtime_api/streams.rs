//! Streamed responses: each chunk at its time, and no more than is read.

use std::cell::Cell;
use std::rc::Rc;

use http_body_util::BodyExt as _;
use lambda::failure::Failure;
use lambda::limits::RESPONSE_BYTES_MAX;
use lambda::prelude::{self, PreludeParser};
use lambda::runtime_api::{Answer, Answering, RuntimeApi, StreamBody, StreamError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{NEXT, Node, config, invocation, response_path, run};

const STREAMING: &str = "Lambda-Runtime-Function-Response-Mode: streaming\r\n";

async fn stream(answering: Answering) -> (Option<String>, StreamBody) {
    match answering.await {
        Answer::Stream { content_type, body } => (content_type, body),
        other => panic!("not a stream: {other:?}"),
    }
}

async fn data(body: &mut StreamBody) -> bytes::Bytes {
    body.frame().await.unwrap().unwrap().into_data().unwrap()
}

#[test]
fn each_chunk_passes_before_the_next_is_sent() {
    run(async {
        let (node, mut client, begun) = Node::running().await;
        let headers = format!("{STREAMING}Content-Type: text/event-stream\r\n");
        client.post_chunked(&response_path("id-0"), &headers).await;
        let (content_type, mut body) = stream(begun.answering).await;
        assert_eq!(content_type.as_deref(), Some("text/event-stream"));
        for number in 0..5 {
            let chunk = format!("data: {number}\n\n");
            client.chunk(chunk.as_bytes()).await;
            assert_eq!(data(&mut body).await, chunk);
        }
        client.send("0\r\n\r\n").await;
        assert!(body.frame().await.is_none());
        assert_eq!(client.response().await.status, 202);
        client.send(NEXT).await;
        node.api.ready().await.unwrap();
    });
}

#[test]
fn gos_http_response_is_a_stream_by_its_content_type_alone() {
    run(async {
        let (_node, mut client, begun) = Node::running().await;
        let headers = format!("Content-Type: {}\r\n", prelude::CONTENT_TYPE);
        client.post_chunked(&response_path("id-0"), &headers).await;
        client.chunk(b"{\"statusCode\":201,\"headers\":{\"a\":\"b\"}}\0\0\0").await;
        client.chunk(b"\0\0\0\0\0body").await;
        let (content_type, mut body) = stream(begun.answering).await;
        assert!(prelude::is_http_response(&content_type.unwrap()));
        let mut parser = PreludeParser::new();
        let (head, rest) = loop {
            if let Some(found) = parser.push(&data(&mut body).await).unwrap() {
                break found;
            }
        };
        assert_eq!((head.status.as_u16(), &*rest), (201, &b"body"[..]));
        client.send("0\r\n\r\n").await;
        assert!(body.frame().await.is_none());
        assert_eq!(client.response().await.status, 202);
    });
}

#[test]
fn rusts_error_in_the_middle_of_a_stream_is_data() {
    run(async {
        let (_node, mut client, begun) = Node::running().await;
        client.post_chunked(&response_path("id-0"), STREAMING).await;
        let error = b"Lambda-Runtime-Function-Error-Type: Runtime.StreamError\r\n";
        client.chunk(error).await;
        client.send("0\r\n\r\n").await;
        let (_, body) = stream(begun.answering).await;
        assert_eq!(body.collect_whole().await.unwrap(), &error[..]);
        assert_eq!(client.response().await.status, 202);
    });
}

#[test]
fn an_error_in_trailers_breaks_the_stream_off() {
    run(async {
        let (_node, mut client, begun) = Node::running().await;
        client.post_chunked(&response_path("id-0"), STREAMING).await;
        client.chunk(b"half").await;
        let (_, mut body) = stream(begun.answering).await;
        assert_eq!(data(&mut body).await, "half");
        client
            .send(
                "0\r\nLambda-Runtime-Function-Error-Type: errorString\r\n\
                 Lambda-Runtime-Function-Error-Body: e30=\r\n\r\n",
            )
            .await;
        let error = body.frame().await.unwrap().unwrap_err();
        let error_type = "Runtime.Unknown".to_owned();
        assert_eq!(error, StreamError::Function { error_type, body: "{}".into() });
        assert!(body.frame().await.is_none());
        assert_eq!(client.response().await.status, 202);
    });
}

#[test]
fn a_stream_that_is_broken_off_is_an_error_for_both_sides() {
    run(async {
        let (_node, mut client, begun) = Node::running().await;
        client.post_chunked(&response_path("id-0"), STREAMING).await;
        client.chunk(b"half").await;
        let (_, mut body) = stream(begun.answering).await;
        assert_eq!(data(&mut body).await, "half");
        client.stream.shutdown().await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap_err(), StreamError::Truncated);
        let response = client.response().await;
        assert_eq!((response.status, &*response.error_type()), (400, "TruncatedHTTPRequest"));
    });
}

#[test]
fn a_function_goes_on_when_the_reader_of_its_stream_has_left() {
    run(async {
        let (node, mut client, begun) = Node::running().await;
        client.post_chunked(&response_path("id-0"), STREAMING).await;
        client.chunk(b"read").await;
        let (_, mut body) = stream(begun.answering).await;
        assert_eq!(data(&mut body).await, "read");
        drop(body);
        for _ in 0..100 {
            client.chunk(&[b'x'; 100_000]).await;
        }
        client.send("0\r\n\r\n").await;
        assert_eq!(client.response().await.status, 202);
        client.send(NEXT).await;
        node.api.ready().await.unwrap();
    });
}

#[test]
fn a_reader_that_never_was_is_no_matter_either() {
    run(async {
        let (node, mut client, begun) = Node::running().await;
        drop(begun.answering);
        let path = response_path("id-0");
        assert_eq!(client.response_to(&path, STREAMING, b"x").await.status, 202);
        client.send(NEXT).await;
        node.api.ready().await.unwrap();
    });
}

#[test]
fn streams_longer_than_a_caller_may_get_are_not_kept() {
    run(async {
        let (_node, mut client, begun) = Node::running().await;
        let body = vec![b'x'; RESPONSE_BYTES_MAX + 1];
        let path = response_path("id-0");
        let (response, whole) = tokio::join!(client.response_to(&path, STREAMING, &body), async {
            stream(begun.answering).await.1.collect_whole().await
        });
        assert_eq!(response.status, 202);
        let size_bytes = body.len() as u64;
        assert_eq!(whole, Err(Failure::TooLarge { size_bytes }));
    });
}

/// A pipe of a kilobyte instead of a connection, so that only what this crate holds is counted.
#[test]
fn a_slow_reader_slows_the_function_down() {
    run(async {
        let api = RuntimeApi::new(config());
        let (mut process, connection) = tokio::io::duplex(1024);
        tokio::task::spawn_local(api.clone().serve(connection));
        process.write_all(NEXT.as_bytes()).await.unwrap();
        api.initialized().await.unwrap();
        let begun = api.begin(invocation("id-0")).unwrap();
        assert!(process.read(&mut [0; 4096]).await.unwrap() > 0);
        let sent = Rc::new(Cell::new(0_usize));
        let counter = sent.clone();
        tokio::task::spawn_local(async move {
            let path = response_path("id-0");
            let head =
                format!("POST {path} HTTP/1.1\r\n{STREAMING}Content-Length: 1000000000\r\n\r\n");
            process.write_all(head.as_bytes()).await.unwrap();
            while process.write_all(&[b'x'; 1000]).await.is_ok() {
                counter.set(counter.get() + 1000);
            }
        });
        let (_, mut body) = stream(begun.answering).await;
        data(&mut body).await;
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        let unread = sent.get();
        assert!(unread < 3 * 1024 * 1024, "{unread} bytes were taken that nobody read");
        let mut read = 0;
        while read < unread + 5_000_000 {
            read += data(&mut body).await.len();
        }
        assert!(sent.get() > unread);
    });
}
