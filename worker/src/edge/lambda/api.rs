//! A connection to Lambda's Runtime API (version 2018-06-01), which is opened again when it ends.
//! Owns the socket.

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use lambda::handler::next::Next;
use tokio::net::TcpStream;

/// The header of a request that has the event's trace.
pub(super) static TRACE_HEADER: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const ERROR_TYPE_HEADER: &str = "lambda-runtime-function-error-type";
const PATH: &str = "/2018-06-01/runtime";

/// An event, and what the Runtime API says about it.
pub(super) struct Event {
    pub(super) about: Next,
    pub(super) body: Bytes,
}

/// The Runtime API of this process.
pub(super) struct RuntimeApi {
    address: String,
    host: HeaderValue,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl RuntimeApi {
    /// # Errors
    /// If `address` is not `HOST:PORT`.
    pub(super) fn new(address: &str) -> anyhow::Result<Self> {
        let host = HeaderValue::from_str(address).context("AWS_LAMBDA_RUNTIME_API")?;
        Ok(Self { address: address.to_owned(), host, connection: None })
    }

    /// Waits for the next event.
    pub(super) async fn next(&mut self) -> anyhow::Result<Event> {
        let reply = self.send(Method::GET, "/invocation/next", None, Bytes::new()).await?;
        ensure!(reply.status().is_success(), "the Runtime API answered {}", reply.status());
        Ok(Event { about: Next::read(reply.headers())?, body: reply.into_body() })
    }

    /// Sends the result of an event.
    pub(super) async fn response(&mut self, id: &str, result: Bytes) -> anyhow::Result<()> {
        self.post(&format!("/invocation/{id}/response"), None, result).await
    }

    /// Sends the reason why an event has no result.
    pub(super) async fn error(&mut self, id: &str, kind: &str, body: Bytes) -> anyhow::Result<()> {
        self.post(&format!("/invocation/{id}/error"), Some(kind), body).await
    }

    /// Sends the reason why there will be no results at all.
    pub(super) async fn init_error(&mut self, kind: &str, body: Bytes) -> anyhow::Result<()> {
        self.post("/init/error", Some(kind), body).await
    }

    async fn post(&mut self, path: &str, kind: Option<&str>, body: Bytes) -> anyhow::Result<()> {
        let reply = self.send(Method::POST, path, kind, body).await?;
        // A result that Lambda refuses, for example because it is too long or too late, is that
        // invocation's failure. The next one is not concerned.
        if !reply.status().is_success() {
            let reason = String::from_utf8_lossy(reply.body()).into_owned();
            tracing::error!("Lambda refused {path}: {}: {reason}", reply.status());
        }
        Ok(())
    }

    /// Sends a request, on a new connection if the one there was has ended. A request that may have
    /// arrived is not sent again.
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Bytes,
    ) -> anyhow::Result<Response<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{PATH}{path}"))
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, "application/json");
        if let Some(kind) = kind {
            request = request.header(ERROR_TYPE_HEADER, kind);
        }
        let request = request.body(Full::new(body))?;
        let mut kept = self.connection.take();
        let usable = match &mut kept {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        let mut connection = match kept.filter(|_| usable) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let reply = match connection.send_request(request).await {
            Ok(reply) => reply,
            Err(error) => bail!("the Runtime API at {} has gone: {error}", self.address),
        };
        let (head, body) = reply.into_parts();
        let body = body.collect().await.context("an answer of the Runtime API was cut off")?;
        self.connection = Some(connection);
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let socket = TcpStream::connect(&self.address).await;
        let socket = socket.with_context(|| format!("no Runtime API at {}", self.address))?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        // It ends with the connection, whose error the next request has.
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}
