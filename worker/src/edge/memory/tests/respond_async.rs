//! Requests that are answered before they are run, and questions about them, with a made-up engine
//! at the other end of the state socket.

use std::cell::RefCell;

use abi::job::{JobId, Progress, Refused, State, Submission};
use abi::limits::JOB_BODY_BYTES_MAX;
use abi::state::{Answered, Query, Question, Response as Told};
use http::header::LOCATION;
use serde_json::Value;

use super::*;

/// An engine that keeps jobs in memory, until it has `max` of them.
struct Engine {
    channel: Channel,
    max: usize,
    kept: RefCell<Vec<(JobId, String, Submission)>>,
}

impl Engine {
    /// Answers what the worker asks. Never returns.
    async fn answer(&self) {
        let mut buffer = ReceiveBuffer::default();
        loop {
            if let Ok(received) = self.channel.receive::<Question>(&mut buffer) {
                let Question { id, function, query } = received.message;
                let response = self.response(function, query, received.fd);
                self.channel.send(&Answered { id, response }, None).unwrap();
            }
            tokio::task::yield_now().await;
        }
    }

    fn response(&self, function: String, query: Query, fd: Option<std::os::fd::OwnedFd>) -> Told {
        let mut kept = self.kept.borrow_mut();
        match query {
            Query::Submit if kept.len() == self.max => {
                Told::Submitted(Err(Refused::Full("no more jobs".to_owned())))
            }
            Query::Submit => {
                let id = JobId::new();
                kept.push((id, function, Submission::open(fd.unwrap()).unwrap()));
                Told::Submitted(Ok(id.bytes()))
            }
            Query::Progress { job } => {
                let found = kept.iter().any(|(id, of, _)| id.bytes() == job && *of == function);
                let progress = Progress { state: State::Running, attempts: 2, status: Some(500) };
                Told::Progress(Ok(found.then_some(progress)))
            }
            Query::State { .. } => panic!("{query:?}"),
        }
    }
}

/// What a client has asked for, and whether it is a client.
struct Ask {
    request: http::request::Builder,
    body: Bytes,
    may_wait: bool,
}

fn ask(method: &str, target: &str, prefer: &str) -> Ask {
    let request = Request::builder().method(method).uri(target);
    let request = request.header(HOST, "table.localhost").header("prefer", prefer);
    Ask { request, body: Bytes::new(), may_wait: true }
}

/// Has the worker answer, and the engine too.
async fn answer(worker: &Worker, engine: &Engine, ask: Ask) -> (http::response::Parts, String) {
    let Ask { request, body, may_wait } = ask;
    let request = request.body(()).unwrap();
    let target = request.uri().to_string();
    let (destination, _) =
        worker.pipeline.find(Some("table.localhost"), &target, Awaits::First).unwrap();
    let (prefix, client_places, arrived) = Default::default();
    let client = Client::NODE;
    let exchange =
        Exchange { request, prefix, client, client_places, destination, may_wait, arrived };
    let account = Account::open(&worker.pipeline, &exchange);
    let source = InMemory(body);
    let answered = async {
        let reply = worker.pipeline.answer(Box::new(exchange), &source, &account).await;
        let (head, body) = reply.into_parts();
        let body = body.collect().await.ok().unwrap().to_bytes();
        (head, String::from_utf8(body.to_vec()).unwrap())
    };
    tokio::select! {
        answer = answered => answer,
        () = engine.answer() => unreachable!("it answers for ever"),
        () = worker.send_code() => unreachable!("it sends for ever"),
    }
}

fn start(max: usize) -> (Worker, Engine) {
    let limits = FunctionLimits { request_body_bytes_max: 2 << 20, ..FunctionLimits::default() };
    let worker = Worker::start(limits);
    let (channel, of_worker) = Channel::pair().unwrap();
    worker.pipeline.shared().state.connect(of_worker.into()).unwrap();
    (worker, Engine { channel, max, kept: RefCell::default() })
}

#[test]
fn a_request_that_prefers_it_becomes_a_job_whose_client_can_ask_about_it() {
    run(async {
        let (worker, engine) = start(1);
        let mut post = ask("PUT", "/hello?x=1", "wait=5, respond-async");
        post.body = Bytes::from_static(b"you");
        post.request = post.request.header("x-a", "1").header("content-length", "3");
        let (head, body) = answer(&worker, &engine, post).await;
        assert_eq!(head.status, 202, "{body}");
        let said = |name: &str| head.headers[name].to_str().unwrap();
        assert_eq!((said("preference-applied"), said("vary")), ("respond-async", "prefer"));
        let (id, function, submission) = engine.kept.borrow()[0].clone();
        let id = id.to_string();
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["id"], *id);
        let location = head.headers[LOCATION].to_str().unwrap().to_owned();
        assert_eq!(location, format!("/.well-known/sockhop/jobs/{id}"));
        assert_eq!((&*function, submission.alias_or_version), ("table", None));
        assert_eq!((&*submission.method, &*submission.path_and_query), ("PUT", "/hello?x=1"));
        assert_eq!(submission.body, b"you");
        let mut kept: Vec<_> =
            submission.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        kept.sort_unstable();
        assert_eq!(kept, [("prefer", &b"wait=5"[..]), ("x-a", b"1")]);

        let (head, body) = answer(&worker, &engine, ask("GET", &location, "")).await;
        assert_eq!(
            (head.status.as_u16(), &head.headers["retry-after"]),
            (200, &"1".parse().unwrap())
        );
        let told: Value = serde_json::from_str(&body).unwrap();
        let expected =
            serde_json::json!({ "id": id, "state": "running", "attempts": 2, "status": 500 });
        assert_eq!(told, expected);
        // The queue is full.
        let (head, body) = answer(&worker, &engine, ask("GET", "/hello", "respond-async")).await;
        assert_eq!(head.status, 503);
        assert!(
            head.headers.contains_key("retry-after") && body.contains("no more jobs"),
            "{body}"
        );
        assert_eq!(worker.pipeline.in_flight(), 0);
    });
}

#[test]
fn whatever_is_no_job_is_run_at_once() {
    run(async {
        let (worker, engine) = start(9);
        let post = |prefer| ask("POST", "/hello", prefer);
        let mut nodes_own = post("respond-async");
        nodes_own.may_wait = false;
        let job = format!("/.well-known/sockhop/jobs/{}", JobId::new());
        for (ask, status) in [
            (post(""), 200),
            (post("respond-async=no"), 200),
            (nodes_own, 200),
            // Of the table's function these paths are unknown, and it fails.
            (ask("POST", &job, ""), 500),
            (ask("GET", "/.well-known/sockhop/jobs/", ""), 500),
            (ask("GET", &format!("/x{job}"), ""), 500),
        ] {
            let (head, body) = answer(&worker, &engine, ask).await;
            assert_eq!(head.status.as_u16(), status, "{body}");
        }
        assert!(engine.kept.borrow().is_empty());
        for id in [JobId::new().to_string(), "x".repeat(36)] {
            let asked = ask("GET", &format!("/.well-known/sockhop/jobs/{id}"), "");
            let (head, body) = answer(&worker, &engine, asked).await;
            assert_eq!(head.status, 404, "{body}");
        }
    });
}

#[test]
fn a_request_that_is_too_large_for_a_job_is_refused() {
    run(async {
        let (worker, engine) = start(9);
        let with_body =
            |bytes| Ask { body: vec![7; bytes].into(), ..ask("POST", "/hello", "respond-async") };
        let largest = answer(&worker, &engine, with_body(JOB_BODY_BYTES_MAX)).await;
        assert_eq!(largest.0.status, 202);
        let larger = answer(&worker, &engine, with_body(JOB_BODY_BYTES_MAX + 1)).await;
        assert_eq!(larger.0.status, 413);
        let mut headers = ask("POST", "/hello", "respond-async");
        headers.request = headers.request.header("x", "y".repeat(63 * 1024));
        assert_eq!(answer(&worker, &engine, headers).await.0.status, 431);
        assert_eq!(engine.kept.borrow().len(), 1);
    });
}

#[test]
fn without_an_engine_that_answers_there_is_no_job() {
    run(async {
        let (worker, engine) = start(9);
        let gone = Worker::start(FunctionLimits::default());
        let (_, of_worker) = Channel::pair().unwrap();
        gone.pipeline.shared().state.connect(of_worker.into()).unwrap();
        let asked = || ask("POST", "/hello", "respond-async");
        let (head, _) = answer(&gone, &engine, asked()).await;
        assert_eq!(head.status, 503);
        assert!(head.headers.contains_key("retry-after"));
        // In a bundle there is no engine, and the request is run.
        let bundled = Worker::start_routed(FunctionLimits::default(), Routing::Only);
        assert_eq!(answer(&bundled, &engine, asked()).await.0.status, 200);
        drop(worker);
    });
}
