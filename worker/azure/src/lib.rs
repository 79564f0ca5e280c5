//! The contract of Azure Functions custom handlers, on the side of the host: what an app's folder
//! says, which function a request is for, what its handler is sent, and what the reply means. Pure
//! code, but for the reading of an app's folder; sockets, processes and time are the caller's. Owns
//! no fds.
//!
//! A handler is a program that serves HTTP on 127.0.0.1, at the port in the variable
//! `FUNCTIONS_CUSTOMHANDLER_PORT`. It gets an invocation in one of two ways ([`function::Mode`]):
//! as JSON, which it answers by JSON, or, with `enableForwardingHttpRequest`, as the request
//! itself.
//!
//! | step | module |
//! |---|---|
//! | read `host.json` and each `function.json` | [`app`], with the types of [`function`] |
//! | start the handler | [`environment`], [`App::command`](app::App::command) |
//! | wait until it answers | [`readiness`] |
//! | find the function | [`App::find`](app::App::find), [`route`] |
//! | send the request, and make the response of the reply | [`envelope`] or [`forward`] |
//!
//! The rules are those of Azure/azure-functions-host, whose files the modules name; where this
//! differs, the module says so and why. Limits of time and size are the node's own:
//! [`App::function_timeout`](app::App::function_timeout) is what the app asks for.
//!
//! # What is served
//!
//! Functions with an HTTP trigger and no other binding than an HTTP output. Others need Azure's
//! queues, stores and timers. They are left out with a note, or, if nothing else is left, the app
//! is refused.
//!
//! # Authorization levels
//!
//! In Azure a trigger's `authLevel` is `function` unless the file says otherwise, and callers then
//! need a key that Azure keeps. This node has no such keys. To serve the function all the same
//! would open to everybody what its author had closed, without a word at a place where anybody
//! looks; to note it at deploy is not enough, as deploys are mostly run by machines. So an app with
//! such a function is refused, and the error names the key to change. Who deploys can say that
//! levels are not to be enforced ([`AuthLevels::NotEnforced`](app::AuthLevels::NotEnforced)), for
//! a node behind a gateway that checks callers itself, or for a trial, as Azure's own tools do it
//! on a developer's machine; a note then names each function that everybody can call.
//!
//! # Example
//!
//! ```
//! use std::path::Path;
//! use std::time::SystemTime;
//!
//! use azure::app::{App, ReadOptions};
//! use azure::envelope::{self, InvocationResult};
//! use azure::environment::{Process, environment};
//! use azure::route::Found;
//! use http::{Method, Request, StatusCode};
//!
//! # let folder = tempfile::tempdir()?;
//! # std::fs::create_dir(folder.path().join("hello"))?;
//! # std::fs::write(folder.path().join("handler"), "")?;
//! # std::fs::write(folder.path().join("host.json"), r#"{"customHandler":
//! #     {"description":{"defaultExecutablePath":"handler"}}}"#)?;
//! # std::fs::write(folder.path().join("hello/function.json"), r#"{"bindings":[
//! #     {"type":"httpTrigger","name":"req","authLevel":"anonymous","route":"hello/{name}"},
//! #     {"type":"http","direction":"out","name":"res"}]}"#)?;
//! # let folder = folder.path();
//! // When it is deployed.
//! let app = App::read(folder, ReadOptions::default())?;
//!
//! // When a process is started.
//! let process = Process { port: 8081, worker_id: "1", app_root: Path::new("/app") };
//! let variables = environment(process, &[]).variables;
//! let command = app.command(Path::new("/app"), &variables);
//! assert_eq!(command.program, Path::new("/app/handler"));
//!
//! // At each request.
//! let (head, _) = Request::get("/api/hello/you").body(())?.into_parts();
//! let Found::Function { function, parameters } = app.find(&head.method, head.uri.path()) else {
//!     panic!("404, or 405 with Allow");
//! };
//! let request = envelope::request(envelope::Request {
//!     function,
//!     parameters: &parameters,
//!     method: &head.method,
//!     uri: &head.uri,
//!     headers: &head.headers,
//!     body: b"",
//!     scheme: "http",
//!     authority: "localhost:8080",
//!     invocation: abi::invocation_id::InvocationId::new(),
//!     now: SystemTime::now(),
//! });
//! assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/hello"));
//!
//! // At its reply.
//! let reply = br#"{"Outputs":{"res":{"body":"Hello, you!"}},"Logs":["greeted"]}"#;
//! let result = InvocationResult::parse(StatusCode::OK, reply)?;
//! assert_eq!(result.logs, ["greeted"]);
//! assert_eq!(result.response(function)?.body(), "Hello, you!");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod command;
mod document;
mod headers;

pub mod app;
pub mod envelope;
pub mod environment;
pub mod forward;
pub mod function;
pub mod readiness;
pub mod route;

pub use self::command::Command;
pub use self::document::{DocumentError, FILE_BYTES_MAX};
pub use self::headers::{HOST_VERSION, USER_AGENT_VALUE};
