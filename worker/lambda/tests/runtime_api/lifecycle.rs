//! Processes from their first request to their end.

use std::num::NonZeroUsize;

use lambda::exit::Exit;
use lambda::failure::Failure;
use lambda::runtime_api::{Answer, BeginError, CompletionReason, Config, InitFailure};
use tokio::io::AsyncWriteExt as _;

use crate::client::{NEXT, Node, config, error_path, invocation, response_path, run};

#[test]
fn a_process_takes_invocations_one_after_another_over_one_connection() {
    run(async {
        let node = Node::start(config()).await;
        assert!(!node.api.can_begin());
        let refused = node.api.begin(invocation("early")).unwrap_err();
        assert_eq!(refused, BeginError::NotReady);
        let mut client = node.connect().await;
        client.send(NEXT).await;
        for number in 0..20 {
            node.api.ready().await.unwrap();
            let begun = node.begin();
            assert!(!node.api.can_begin());
            let event = client.response().await;
            let id = event.header("lambda-runtime-aws-request-id").unwrap().to_owned();
            assert_eq!(id, format!("id-{number}"));
            assert_eq!(client.response_to(&response_path(&id), "", b"1").await.status, 202);
            assert!(matches!(begun.answering.await, Answer::Buffered { .. }));
            client.send(NEXT).await;
            assert_eq!(begun.completing.await.reason, CompletionReason::Next);
        }
    });
}

#[test]
fn clients_may_use_a_path_before_the_apis() {
    run(async {
        let node = Node::start(config()).await;
        let mut client = node.connect().await;
        client.send("GET /hello/2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n").await;
        node.api.initialized().await.unwrap();
        let begun = node.begin();
        assert_eq!(client.response().await.status, 200);
        let path = format!("/hello{}", response_path("id-0"));
        assert_eq!(client.response_to(&path, "", b"1").await.status, 202);
        assert!(matches!(begun.answering.await, Answer::Buffered { .. }));
    });
}

#[test]
fn an_init_error_is_what_the_process_failed_of() {
    run(async {
        let node = Node::start(config()).await;
        let mut client = node.connect().await;
        let path = "/2018-06-01/runtime/init/error";
        let headers = "Lambda-Runtime-Function-Error-Type: Runtime.NoSuchHandler\r\n";
        let response = client.response_to(path, headers, b"{\"errorMessage\":\"m\"}").await;
        assert_eq!((response.status, response.body.trim()), (202, r#"{"status":"OK"}"#));
        let response = client.next().await;
        assert_eq!((response.status, &*response.error_type()), (403, "InvalidStateTransition"));
        node.api.process_exited(Exit::Status(1));
        let failure = node.api.initialized().await.unwrap_err();
        let error_type = "Runtime.NoSuchHandler".to_owned();
        let body = "{\"errorMessage\":\"m\"}".into();
        assert_eq!(failure, InitFailure::Reported { error_type, body });
        assert_eq!(node.api.ready().await, Err(BeginError::Gone));
    });
}

#[test]
fn a_process_that_ends_before_its_first_request_failed_to_initialize() {
    run(async {
        let node = Node::start(config()).await;
        node.api.process_exited(Exit::Signal(11));
        let failure = node.api.initialized().await.unwrap_err();
        assert_eq!(failure, InitFailure::Exited(Exit::Signal(11)));
    });
}

#[test]
fn a_process_that_ends_in_an_invocation_fails_it() {
    run(async {
        let (node, client, begun) = Node::running().await;
        node.api.process_exited(Exit::Status(1));
        assert_eq!(node.api.ready().await, Err(BeginError::Gone));
        drop(client);
        let Answer::Failed(failure) = begun.answering.await else { panic!("no failure") };
        assert_eq!(failure, Failure::Exited(Exit::Status(1)));
        let reason = begun.completing.await.reason;
        assert_eq!(reason, CompletionReason::Exited(Exit::Status(1)));
    });
}

/// As Go's runtime does after a panic, except that it waits for the response.
#[test]
fn what_a_process_posts_before_it_ends_still_counts() {
    run(async {
        let (node, mut client, begun) = Node::running().await;
        client.post(&error_path("id-0"), "", b"{\"errorType\":\"panic\"}").await;
        drop(client);
        node.api.process_exited(Exit::Status(1));
        let Answer::Failed(failure) = begun.answering.await else { panic!("no failure") };
        let error_type = "Runtime.Unknown".to_owned();
        let body = "{\"errorType\":\"panic\"}".into();
        assert_eq!(failure, Failure::Function { error_type, body });
    });
}

#[test]
fn a_process_that_closes_its_connection_is_not_ready_until_it_asks_again() {
    run(async {
        let node = Node::start(config()).await;
        let mut client = node.connect().await;
        client.send(NEXT).await;
        node.api.ready().await.unwrap();
        client.stream.shutdown().await.unwrap();
        // The API closes its side when it has noticed.
        assert!(!client.read_more().await);
        assert_eq!(node.api.begin(invocation("x")).unwrap_err(), BeginError::NotReady);
        node.api.stopped_asking().await;
        let mut client = node.connect().await;
        client.send(NEXT).await;
        node.api.ready().await.unwrap();
        let _begun = node.begin();
        assert_eq!(client.response().await.status, 200);
    });
}

#[test]
fn several_invocations_are_answered_in_any_order() {
    run(async {
        let concurrency = NonZeroUsize::new(4).unwrap();
        let node = Node::start(Config { concurrency, ..config() }).await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut client = node.connect().await;
            client.send(NEXT).await;
            clients.push(client);
        }
        let mut running = Vec::new();
        for _ in 0..4 {
            node.api.ready().await.unwrap();
            running.push(Some(node.begin()));
        }
        assert!(!node.api.can_begin());
        let mut ids = Vec::new();
        for client in &mut clients {
            let event = client.response().await;
            ids.push(event.header("lambda-runtime-aws-request-id").unwrap().to_owned());
        }
        for (client, id) in clients.iter_mut().zip(&ids).rev() {
            let response = client.response_to(&response_path(id), "", id.as_bytes()).await;
            assert_eq!(response.status, 202);
            let number: usize = id.trim_start_matches("id-").parse().unwrap();
            let begun = running[number].take().unwrap();
            let Answer::Buffered { body, .. } = begun.answering.await else {
                panic!("not buffered");
            };
            assert_eq!(body, id);
            assert_eq!(begun.completing.await.reason, CompletionReason::Next);
        }
        ids.sort();
        assert_eq!(ids, ["id-0", "id-1", "id-2", "id-3"]);
    });
}
