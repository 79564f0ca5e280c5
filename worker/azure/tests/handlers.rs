//! The two Python handlers of `tests/guests/native` are started by what this crate says, and
//! answer what it sends them. The connections are as plain as can be: one request each.
#![expect(clippy::unwrap_used, reason = "a test whose handler does not answer fails")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Instant, SystemTime};

use abi::invocation_id::InvocationId;
use azure::app::{App, ReadOptions};
use azure::envelope::{self, InvocationResult, ReplyError};
use azure::environment::{Process, environment};
use azure::forward;
use azure::function::Mode;
use azure::readiness::{self, Readiness, after_attempt};
use azure::route::Found;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde_json::{Value, json};

/// An app whose handler runs.
struct Running {
    app: App,
    port: u16,
    process: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Running {
    fn start(guest: &str, variables: &[(String, String)]) -> Self {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/native").join(guest);
        let root: PathBuf = root.canonicalize().unwrap();
        let app = App::read(&root, ReadOptions { variables, ..Default::default() }).unwrap();
        assert!(app.notes.is_empty(), "{:?}", app.notes);
        // As Azure's host does it: a port that is free now.
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let told = Process { port, worker_id: "worker-1", app_root: &root };
        let environment = environment(told, variables).variables;
        let command = app.command(&root, &environment);
        let process = Command::new(command.program)
            .args(command.arguments)
            .current_dir(command.working_directory)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut running = Self { app, port, process };
        let started = Instant::now();
        loop {
            let began = Instant::now();
            let request = readiness::request(port).map(|()| Bytes::new());
            let answered = running.exchange(&request).is_some();
            match after_attempt(started, began, Instant::now(), answered) {
                Readiness::Ready => return running,
                Readiness::AttemptAt(next) => {
                    assert_eq!(running.process.try_wait().unwrap(), None, "the handler has exited");
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                Readiness::TimedOut => panic!("the handler is not ready"),
            }
        }
    }

    /// Sends a request, and returns the response. Returns `None` if the connection fails.
    fn exchange(&self, request: &Request<Bytes>) -> Option<Response<Bytes>> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri()).into_bytes();
        for (name, value) in request.headers() {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"connection: close\r\n\r\n");
        bytes.extend_from_slice(request.body());
        stream.write_all(&bytes).ok()?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).ok()?;
        let mut room = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut room);
        let httparse::Status::Complete(length) = head.parse(&reply).ok()? else { return None };
        let mut response = Response::builder().status(head.code?);
        for header in &*head.headers {
            response = response.header(header.name, header.value);
        }
        response.body(Bytes::copy_from_slice(&reply[length..])).ok()
    }

    /// Serves a client's request as the node will, and returns the lines for the log too.
    fn serve(&self, request: Request<Bytes>) -> (Result<Response<Bytes>, ReplyError>, Vec<String>) {
        let (mut head, body) = request.into_parts();
        let (function, parameters) = match self.app.find(&head.method, head.uri.path()) {
            Found::Function { function, parameters } => (function, parameters),
            Found::MethodNotAllowed { .. } => {
                return (plain(StatusCode::METHOD_NOT_ALLOWED), vec![]);
            }
            Found::NotFound => return (plain(StatusCode::NOT_FOUND), vec![]),
        };
        let invocation = InvocationId::new();
        if function.mode != Mode::Envelope {
            forward::request(&mut head, function, invocation);
            let reply = self.exchange(&Request::from_parts(head, body)).unwrap();
            let (mut head, body) = reply.into_parts();
            forward::response(&mut head);
            return (Ok(Response::from_parts(head, body)), vec![]);
        }
        let mut made = envelope::request(envelope::Request {
            function,
            parameters: &parameters,
            method: &head.method,
            uri: &head.uri,
            headers: &head.headers,
            body: &body,
            scheme: "http",
            authority: "shop.example",
            invocation,
            now: SystemTime::now(),
        });
        let host = HeaderValue::try_from(format!("127.0.0.1:{}", self.port)).unwrap();
        made.headers_mut().insert(header::HOST, host);
        let reply = self.exchange(&made).unwrap();
        match InvocationResult::parse(reply.status(), reply.body()) {
            Ok(result) => (result.response(function), result.logs),
            Err(error) => (Err(error), vec![]),
        }
    }

    fn ok(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.serve(request).0.unwrap()
    }
}

fn plain(status: StatusCode) -> Result<Response<Bytes>, ReplyError> {
    Ok(Response::builder().status(status).body(Bytes::new()).unwrap())
}

fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Request<Bytes> {
    let mut request = Request::builder().method(method).uri(target);
    request = request.header("host", "shop.example");
    if !body.is_empty() {
        request = request.header("content-length", body.len());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Bytes::copy_from_slice(body)).unwrap()
}

#[test]
fn a_handler_answers_envelopes() {
    let greeting = [("GREETING".to_owned(), "Good morning".to_owned())];
    // One argument with a space is two for a handler, as in Azure, unless it is quoted.
    let setting = "AzureFunctionsJobHost__customHandler__description__arguments__1".to_owned();
    let variables = [greeting.as_slice(), &[(setting, "\"%GREETING%\"".to_owned())]].concat();
    let running = Running::start("azure-envelope", &variables);

    let (reply, logs) = running.serve(request("GET", "/api/hello?name=you", &[], b""));
    let reply = reply.unwrap();
    assert_eq!((reply.status().as_u16(), &reply.body()[..]), (200, &b"Good morning, you!"[..]));
    assert_eq!(reply.headers()["x-handler"], "envelope");
    assert_eq!(logs, ["greeted you"]);
    let reply = running.ok(request("POST", "/api/hello", &[], "Zoé".as_bytes()));
    assert_eq!(reply.body(), "Good morning, Zoé!".as_bytes());

    let told = running.ok(request("GET", "/api/items/a%20b?x=1&x=2", &[("user-agent", "t")], b""));
    assert_eq!(told.headers()["content-type"], "application/json");
    let told: Value = serde_json::from_slice(told.body()).unwrap();
    assert_eq!(told["id"], "a b");
    assert_eq!(told["url"], "http://shop.example/api/items/a%20b?x=1&x=2");
    assert_eq!(told["query"], json!({ "x": "1,2" }));
    assert_eq!(told["agent"], json!(["t"]));
    assert_eq!(told["function"], "items");
    assert_eq!(told["runtime"], "custom");
    assert!(told["root"].as_str().unwrap().ends_with("azure-envelope"));

    let all: Vec<u8> = (0..=255).collect();
    let binary = [("content-type", "application/octet-stream")];
    let reply = running.ok(request("PUT", "/api/items/1", &binary, &all));
    assert_eq!((reply.status().as_u16(), &reply.body()[..]), (200, &all[..]));
    let reply = running.ok(request("DELETE", "/api/items/1", &[], b""));
    assert_eq!((reply.status().as_u16(), reply.body().len()), (204, 0));
    assert_eq!(running.ok(request("POST", "/api/items/1", &[], b"")).status(), 405);
    assert_eq!(running.ok(request("GET", "/hello", &[], b"")).status(), 404);

    let (error, _) = running.serve(request("GET", "/api/hello?then=error", &[], b""));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("500") && error.ends_with("something went wrong"), "{error}");
    let (error, _) = running.serve(request("GET", "/api/hello?then=text", &[], b""));
    assert!(matches!(error, Err(ReplyError::Json { .. })));
}

#[test]
fn a_handler_answers_requests_as_they_are() {
    let running = Running::start("azure-forwarding", &[]);

    let reply = running.ok(request("GET", "/v1/hello?name=you", &[], b""));
    assert_eq!(reply.body(), "Hello, you!".as_bytes());
    assert_eq!(reply.headers()["x-handler"], "forwarding");

    let headers = [("user-agent", "t"), ("x-own", "1"), ("te", "trailers")];
    let got = running.ok(request("GET", "/v1/items/7?x=1&x=2", &headers, b""));
    let got: Value = serde_json::from_slice(got.body()).unwrap();
    assert_eq!((&got["method"], &got["path"]), (&json!("GET"), &json!("/v1/items/7")));
    assert_eq!(got["query"], json!([["x", "1"], ["x", "2"]]));
    let headers = &got["headers"];
    assert_eq!(headers["host"], "shop.example");
    assert_eq!(headers["x-own"], "1");
    assert_eq!(headers["user-agent"], format!("t {}", azure::USER_AGENT_VALUE));
    assert_eq!(headers["x-azure-functions-hostversion"], azure::HOST_VERSION);
    assert!(
        headers["x-azure-functions-invocationid"].as_str().unwrap().parse::<InvocationId>().is_ok()
    );
    assert!(headers.get("te").is_none());

    let reply = running.ok(request("PUT", "/v1/items/7", &[], b"\0\xff"));
    assert_eq!((reply.status().as_u16(), &reply.body()[..]), (201, &b"\0\xff"[..]));
    assert_eq!(reply.headers()["location"], "/v1/items/7");
    assert_eq!(running.ok(request("GET", "/v1/items/x", &[], b"")).status(), 404);
    let lines = running.ok(request("GET", "/v1/hello?lines=2", &[], b""));
    assert!(!lines.headers().contains_key("transfer-encoding"));
    assert_eq!(lines.body(), "7\r\nline 0\n\r\n7\r\nline 1\n\r\n0\r\n\r\n".as_bytes());
}
