//! The command line's end of the control API: HTTP over the node's Unix socket, or over TCP with its token. Owns one
//! connection a request.

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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Target;
use crate::control::token;

/// What a client of the admin listener has its token in, instead of the node's data folder.
const TOKEN_VARIABLE: &str = "SOCKHOP_TOKEN";

/// Where a node's control API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Socket(PathBuf),
    /// HOST:PORT of an admin listener.
    Tcp(String),
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err("a node speaks no TLS; reach it through a tunnel, or http:// through a proxy".into());
        }
        match text.strip_prefix("http://") {
            Some(address) => crate::settings::address(address.trim_end_matches('/')).map(Self::Tcp),
            None => Ok(Self::Socket(text.into())),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{path:?}"),
            Self::Tcp(address) => write!(f, "http://{address}"),
        }
    }
}

/// Both kinds of connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

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
enum NoNode {
    #[error("no node answers at {place} ({source}); start one with: sockhop serve --data {}", data.display())]
    Here { place: Place, data: PathBuf, source: io::Error },
    #[error("no node answers at {place} ({source}); start it with --admin, and see that no firewall is in the way")]
    There { place: Place, source: io::Error },
}

/// A node to talk to.
pub(super) struct Node {
    place: Place,
    data: PathBuf,
}

impl Node {
    pub(super) fn new(target: &Target) -> Self {
        let place = target.node.clone().unwrap_or_else(|| Place::Socket(target.data.join("control.sock")));
        Self { place, data: target.data.clone() }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, NoNode> {
        let place = self.place.clone();
        match &self.place {
            Place::Socket(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(source) => Err(NoNode::Here { place, data: self.data.clone(), source }),
            },
            Place::Tcp(address) => match TcpStream::connect(address).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(source) => Err(NoNode::There { place, source }),
            },
        }
    }

    /// What a node asks of those who come over TCP.
    fn authorization(&self) -> anyhow::Result<Option<HeaderValue>> {
        if matches!(self.place, Place::Socket(_)) {
            return Ok(None);
        }
        let token = match std::env::var(TOKEN_VARIABLE) {
            Ok(token) => token,
            Err(_) => {
                let path = token::path(&self.data);
                std::fs::read_to_string(&path).with_context(|| {
                    format!("no token for {}: set {TOKEN_VARIABLE}, or --data to the node's folder ({path:?} cannot be read)", self.place)
                })?
            }
        };
        let mut header = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .with_context(|| format!("the token for {} is not well formed", self.place))?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    /// One request, whatever its status.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let authorization = self.authorization()?;
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let host = if let Place::Tcp(address) = &self.place { address.as_str() } else { "localhost" };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(authorization) = authorization {
            request = request.header(token::HEADER, authorization);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_a_socket_or_a_url() {
        assert_eq!("a/control.sock".parse(), Ok(Place::Socket("a/control.sock".into())));
        assert_eq!("http://[::1]:9000/".parse(), Ok(Place::Tcp("[::1]:9000".into())));
        assert!("http://host".parse::<Place>().is_err_and(|error| error.contains("HOST:PORT")));
        assert!("https://host:1".parse::<Place>().is_err_and(|error| error.contains("TLS")));
    }
}
