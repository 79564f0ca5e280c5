//! AWS's own runtime for Rust, `lambda_runtime` and `lambda_http`, unchanged: it runs in this
//! process, connects over TCP, and is given what this crate makes.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::channel::Channel;
use lambda::environment::{Environment, LogFormat, Settings};
use lambda::event::{Request, event};
use lambda::failure::Failure;
use lambda::limits::RESPONSE_BYTES_MAX;
use lambda::prelude::{self, PreludeParser};
use lambda::reply::{Reply, reply};
use lambda::runtime_api::{Answer, CompletionReason, Config, Invocation, RuntimeApi};
use lambda_http::{Body, RequestExt as _};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Barrier, Mutex, mpsc};
use tokio::task::{JoinHandle, LocalSet};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// One test, and not several: the runtime takes its settings from the environment, which a process
/// has once.
#[test]
fn rusts_runtime_runs_unchanged() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tests = async {
        results_and_errors().await;
        several_at_a_time().await;
        http().await;
        http_streams().await;
    };
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), tests).await.unwrap();
    });
}

/// Starts an API, and sets the environment by which a runtime of this process finds it.
async fn start(concurrency: usize) -> Rc<RuntimeApi> {
    let concurrency = NonZeroUsize::new(concurrency).unwrap();
    let api = RuntimeApi::new(Config {
        function_name: "hello".to_owned(),
        function_version: "7".to_owned(),
        handler: "bootstrap".to_owned(),
        region: "us-east-1".to_owned(),
        account_id: "012345678901".to_owned(),
        concurrency,
        external_extensions: Vec::new(),
        clock: Instant::now,
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let environment = Environment::new(&Settings {
        runtime_api: &listener.local_addr().unwrap().to_string(),
        function_name: "hello",
        function_version: "7",
        handler: "bootstrap",
        memory_size_mb: 128,
        region: "us-east-1",
        log_stream_name: "stream",
        log_format: LogFormat::Text,
        log_level: None,
        concurrency,
        credentials: None,
        user_variables: &[],
    });
    // SAFETY: this is the only test of the process, and runs on one thread. The thread that waits
    // for it reads no environment.
    unsafe {
        std::env::remove_var("AWS_LAMBDA_MAX_CONCURRENCY");
        for (name, value) in environment.variables {
            if name.starts_with("AWS_") {
                std::env::set_var(name, value);
            }
        }
    }
    let accepting = api.clone();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(accepting.clone().serve(stream));
        }
    });
    api
}

/// Runs a runtime, which is not to end by itself.
fn spawn(runtime: impl Future<Output = Result<(), Error>> + 'static) -> JoinHandle<()> {
    tokio::task::spawn_local(async {
        let outcome = runtime.await;
        eprintln!("the runtime ended: {outcome:?}");
    })
}

fn invocation(id: &str, event: Bytes) -> Invocation {
    Invocation {
        id: id.to_owned(),
        event,
        content_type: None,
        deadline_unix_ms: 4_000_000_000_000,
        qualifier: Some("live".to_owned()),
        trace_id: Some("Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700".to_owned()),
        // The runtime ends if any of these is missing.
        client_context: Some(
            json!({
                "client": {
                    "installationId": "", "appTitle": "", "appVersionName": "",
                    "appVersionCode": "", "appPackageName": "",
                },
                "custom": {"ü": "ö"},
                "environment": {},
            })
            .to_string(),
        ),
        cognito: None,
        tenant_id: None,
    }
}

/// Runs one invocation to its completion.
async fn invoke(api: &RuntimeApi, id: &str, event: Value) -> Answer {
    api.ready().await.unwrap();
    let begun = api.begin(invocation(id, event.to_string().into())).unwrap();
    let answer = begun.answering.await;
    if !matches!(answer, Answer::Stream { .. }) {
        assert_eq!(begun.completing.await.reason, CompletionReason::Next);
    }
    answer
}

async fn function(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let LambdaEvent { payload, context } = event;
    match payload["do"].as_str() {
        Some("fail") => Err("it failed".into()),
        Some("panic") => panic!("it panicked"),
        Some("long") => Ok("x".repeat(RESPONSE_BYTES_MAX).into()),
        _ => Ok(json!({
            "payload": payload,
            "id": context.request_id,
            "arn": context.invoked_function_arn,
            "deadline": context.deadline,
            "custom": context.client_context.unwrap().custom,
            "memory": context.env_config.memory,
        })),
    }
}

async fn results_and_errors() {
    let api = start(1).await;
    let runtime = spawn(lambda_runtime::run(service_fn(function)));
    api.initialized().await.unwrap();
    let Answer::Buffered { body, .. } = invoke(&api, "a", json!({"x": 1})).await else {
        panic!("not buffered");
    };
    let expected = json!({
        "payload": {"x": 1},
        "id": "a",
        "arn": "arn:aws:lambda:us-east-1:012345678901:function:hello:live",
        "deadline": 4_000_000_000_000_u64,
        "custom": {"ü": "ö"},
        "memory": 128,
    });
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    for (what, message) in [("fail", "it failed"), ("panic", "it panicked")] {
        let Answer::Failed(failure) = invoke(&api, what, json!({"do": what})).await else {
            panic!("no failure");
        };
        assert_eq!(failure.error_type(), "Runtime.Unknown");
        let body: Value = serde_json::from_slice(&failure.body(what)).unwrap();
        assert!(body["errorMessage"].as_str().unwrap().contains(message), "{body}");
    }
    let Answer::Failed(failure) = invoke(&api, "long", json!({"do": "long"})).await else {
        panic!("no failure");
    };
    assert_eq!(failure, Failure::TooLarge { size_bytes: RESPONSE_BYTES_MAX as u64 + 2 });
    // And after all that, the same process goes on.
    assert!(matches!(invoke(&api, "b", json!(null)).await, Answer::Buffered { .. }));
    runtime.abort();
}

/// None of four invocations ends before all four run.
async fn several_at_a_time() {
    let api = start(4).await;
    let all_run = std::sync::Arc::new(Barrier::new(4));
    let function = service_fn(move |event: LambdaEvent<Value>| {
        let all_run = all_run.clone();
        async move {
            all_run.wait().await;
            Ok::<_, Error>(event.payload)
        }
    });
    let runtime = spawn(lambda_runtime::run_concurrent(function));
    api.initialized().await.unwrap();
    for round in 0..5 {
        let mut answering = Vec::new();
        for number in 0..4 {
            api.ready().await.unwrap();
            let id = format!("{round}-{number}");
            let begun = api.begin(invocation(&id, json!(id).to_string().into())).unwrap();
            answering.push((id, begun.answering));
        }
        for (id, answering) in answering {
            let Answer::Buffered { body, .. } = answering.await else { panic!("not buffered") };
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!(id));
        }
    }
    runtime.abort();
}

/// Returns the event of a request, for an invocation `id`.
fn http_event(id: &str, uri: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Value {
    let mut fields = http::HeaderMap::new();
    for (name, value) in headers {
        fields.append(*name, value.parse().unwrap());
    }
    let event = event(&Request {
        method: &http::Method::POST,
        uri: &uri.parse().unwrap(),
        version: http::Version::HTTP_11,
        headers: &fields,
        body,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        host: "hello.localhost:8080",
        scheme: "http",
        port: 8080,
        invocation_id: id,
        trace_id: "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
        now: SystemTime::now(),
    });
    serde_json::from_slice(&event.unwrap()).unwrap()
}

async fn http() {
    let api = start(1).await;
    let function = service_fn(|request: lambda_http::Request| async move {
        let described = json!({
            "method": request.method().as_str(),
            "path": request.raw_http_path(),
            "uri": request.uri().to_string(),
            "cookie": request.headers()["cookie"].to_str().unwrap(),
            "parameter": request.query_string_parameters().first("a"),
        });
        let binary = matches!(request.body(), Body::Binary(_));
        let mut response = lambda_http::Response::builder()
            .status(201)
            .header("x-described", described.to_string())
            .header("x-binary", binary.to_string())
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2");
        if binary {
            response = response.header("content-type", "application/octet-stream");
        }
        Ok::<_, Infallible>(response.body(request.into_body()).unwrap())
    });
    let runtime = spawn(lambda_http::run(function));
    for (id, content_type, body) in
        [("a", "text/plain", &b"text"[..]), ("b", "application/octet-stream", b"\x00\xff\x80\x0a")]
    {
        let headers = [("content-type", content_type), ("cookie", "c=d; e=f")];
        let event = http_event(id, "/some%20where?a=b%20c&d", &headers, body);
        let Answer::Buffered { body: result, .. } = invoke(&api, id, event).await else {
            panic!("not buffered");
        };
        let Reply { head, body: replied } = reply(result).unwrap();
        assert_eq!(head.status, 201);
        assert_eq!(replied, body);
        assert_eq!(head.headers["x-binary"], (content_type != "text/plain").to_string());
        let cookies: Vec<_> = head.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        let described: Value =
            serde_json::from_slice(head.headers["x-described"].as_bytes()).unwrap();
        let expected = json!({
            "method": "POST",
            "path": "/some%20where",
            "uri": "http://hello.localhost:8080/some%20where?a=b%20c&d",
            "cookie": "c=d; e=f",
            "parameter": "b c",
        });
        assert_eq!(described, expected);
    }
    runtime.abort();
}

/// Each chunk arrives before the function is told to send the next.
async fn http_streams() {
    let api = start(1).await;
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let receiver = std::sync::Arc::new(Mutex::new(receiver));
    let function = service_fn(move |_: lambda_http::Request| {
        let receiver = receiver.clone();
        async move {
            let (mut body_sender, body) = Channel::<Bytes, Error>::new(1);
            tokio::spawn(async move {
                while let Some(chunk) = receiver.lock().await.recv().await {
                    body_sender.send_data(chunk).await.unwrap();
                }
            });
            let response = lambda_http::Response::builder().status(202).header("x-a", "b");
            Ok::<_, Error>(response.body(body).unwrap())
        }
    });
    let runtime = spawn(lambda_http::run_with_streaming_response(function));
    let event = http_event("a", "/", &[("cookie", "a=b")], b"");
    let Answer::Stream { content_type, mut body } = invoke(&api, "a", event).await else {
        panic!("not a stream");
    };
    assert!(prelude::is_http_response(&content_type.unwrap()));
    sender.send("first".into()).await.unwrap();
    let mut parser = PreludeParser::new();
    let (head, rest) = loop {
        let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
        if let Some(found) = parser.push(&chunk).unwrap() {
            break found;
        }
    };
    assert_eq!((head.status.as_u16(), &head.headers["x-a"]), (202, &"b".parse().unwrap()));
    let mut received = rest.to_vec();
    for chunk in ["first", "second", "third"] {
        if chunk != "first" {
            sender.send(chunk.into()).await.unwrap();
        }
        while received != chunk.as_bytes() {
            received.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        received.clear();
    }
    drop(sender);
    assert!(body.frame().await.is_none());
    api.ready().await.unwrap();
    runtime.abort();
}
