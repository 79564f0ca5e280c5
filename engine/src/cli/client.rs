//! The command line's end of the control API: HTTP over the node's Unix socket. Owns one connection a request.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::Target;

/// For how long a node that is being taken over is asked again: longer than workers take to start.
const RETRY_FOR: Duration = Duration::from_secs(10);
/// How often.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Runs one command's requests.
pub(super) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// Why no node answers.
#[derive(Debug, thiserror::Error)]
#[error("no node answers at {socket:?} ({source}); start one with: sockhop serve --data {}", data.display())]
struct NoNode {
    socket: PathBuf,
    data: PathBuf,
    source: io::Error,
}

/// A node to talk to.
pub(super) struct Node {
    socket: PathBuf,
    data: PathBuf,
}

impl Node {
    pub(super) fn new(target: &Target) -> Self {
        let socket = target.node.clone().unwrap_or_else(|| target.data.join("control.sock"));
        Self { socket, data: target.data.clone() }
    }

    /// One request, whatever its status.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let connected = UnixStream::connect(&self.socket).await;
        let stream = connected.map_err(|source| {
            let (socket, data) = (self.socket.clone(), self.data.clone());
            NoNode { socket, data, source }
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).with_context(|| format!("{path:?} is no path"))?;
        sender.send_request(request).await.context("the node ended the connection; its log may say why")
    }

    /// A request whose answer is JSON; the node's own error becomes ours. One that passes by itself is waited for: another
    /// engine is taking over, and answers at the same place.
    pub(super) async fn json(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> anyhow::Result<Value> {
        let give_up = Instant::now() + RETRY_FOR;
        let response = loop {
            let response = self.request(method.clone(), path, headers, body.clone()).await?;
            if !response.headers().contains_key(RETRY_AFTER) || Instant::now() >= give_up {
                break response;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        };
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let value: Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("the node answered {status} with something else than JSON"))?;
        match value.get("error").and_then(Value::as_str) {
            Some(error) => bail!("{error}"),
            None if status.is_success() => Ok(value),
            None => bail!("the node answered {status}"),
        }
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.json(Method::GET, path, &[], Bytes::new()).await
    }

    pub(super) async fn remove(&self, name: &str) -> anyhow::Result<()> {
        abi::name::check(name)?;
        self.json(Method::DELETE, &format!("/v1/functions/{name}"), &[], Bytes::new()).await?;
        println!("removed {name}");
        Ok(())
    }

    pub(super) async fn put_form(&self, path: &str, boundary: &str, form: Bytes) -> anyhow::Result<Value> {
        let content_type = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"))?;
        self.json(Method::PUT, path, &[(CONTENT_TYPE, content_type)], form).await
    }
}
