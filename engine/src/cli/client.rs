//! The command line's end of the control API: HTTP over the node's Unix socket, or over TCP or TLS
//! with its token. Owns one connection a request.

use std::convert::Infallible;
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use abi::problem::INVOCATION_ID_HEADER;
use anyhow::{Context as _, anyhow, bail};
use api::deploys::{DeployedVersion, ID_HEADER};
use api::endpoint::{self, Call, Endpoint};
use api::endpoints::Deploy;
use api::errors::ErrorAnswer;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use uuid::Uuid;

use super::address::{Address, Attempt, NoNode, Target, existing, socket};
use super::choice::{Choice, Reason, TOKEN_VARIABLE, Variables, choose};
use super::contexts::{Contexts, Token};
use super::tls;
use control::token;

/// Why an answer is not understood.
pub(super) const OTHER_BUILD: &str = "the node is of another build than this command, and its answer is not understood; install both from one";

/// Every kind of connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How long a connection over TCP may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long a node that is being taken over is asked again: longer than workers take to start.
const RETRY_FOR: Duration = Duration::from_secs(10);
/// A body leaves in pieces of this size at most, so that it can be told how much of it has left.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// How often.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Runs one command's requests.
pub(super) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// A node to talk to.
pub(super) struct Node {
    choice: Choice,
}

/// A body, and how much of it has been taken by the connection.
pub(super) struct Upload {
    rest: Bytes,
    sent: Arc<AtomicUsize>,
}

impl Upload {
    /// A body of `bytes`; what of it has left is counted in `sent`.
    fn new(bytes: Bytes, sent: Arc<AtomicUsize>) -> Self {
        sent.store(0, Relaxed);
        Self { rest: bytes, sent }
    }
}

impl From<Bytes> for Upload {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes, Arc::default())
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.rest.len().min(PIECE_BYTES_MAX);
        self.sent.fetch_add(length, Relaxed);
        let piece = self.rest.split_to(length);
        Poll::Ready((length > 0).then_some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// What a node asks of those who come over TCP.
struct Credential {
    header: HeaderValue,
    /// Where the token was found.
    source: String,
}

impl Node {
    /// The node that `target` means.
    pub(super) fn new(target: &Target) -> anyhow::Result<Self> {
        Ok(Self { choice: choose(target, &Variables::read(), Contexts::read)? })
    }

    /// The node at `address`, for who has its token.
    pub(super) fn with_token(address: &Address, token: Token, trust: tls::Trust) -> Self {
        let choice = Choice {
            address: Some(address.clone()),
            folders: Vec::new(),
            trust,
            token: Some((token, "what was given".to_owned())),
            reason: Reason::Own,
        };
        Self { choice }
    }

    /// Where the node is, and why it is the one that is asked.
    pub(super) fn whereabouts(&self) -> String {
        let place = match &self.choice.address {
            Some(address) => address.to_string(),
            None => {
                let folder = existing(&self.choice.folders).or(self.choice.folders.first());
                folder.map(|folder| format!("the node in {}", folder.display())).unwrap_or_default()
            }
        };
        format!("{place}, {}", self.choice.reason)
    }

    /// The host of the node, if it is reached by its address.
    pub(super) fn host(&self) -> Option<&str> {
        match self.choice.address.as_ref()? {
            Address::Socket(_) => None,
            Address::Https(host, _) => Some(host),
            Address::Http(authority) => authority.rsplit_once(':').map(|(host, _)| host),
        }
    }

    /// Adds to an error which node was asked, and why that one.
    pub(super) fn asked(&self, error: anyhow::Error) -> anyhow::Error {
        match self.choice.reason {
            Reason::Own => error,
            // It tells all places itself.
            Reason::OnThisMachine if error.is::<NoNode>() => error,
            _ => anyhow!("{error:#}\nasked: {}", self.whereabouts()),
        }
    }

    async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        Ok(match &self.choice.address {
            None => Box::new(self.connect_to_folder().await?),
            Some(Address::Socket(path)) => {
                let refused = |source| NoNode::Socket { path: path.clone(), source };
                Box::new(UnixStream::connect(path).await.map_err(refused)?)
            }
            Some(address @ Address::Http(authority)) => Box::new(tcp(address, authority).await?),
            Some(address @ Address::Https(host, port)) => {
                let stream = tcp(address, &format!("{host}:{port}")).await?;
                Box::new(tls::connect(host, &self.choice.trust, stream).await?)
            }
        })
    }

    async fn connect_to_folder(&self) -> Result<UnixStream, NoNode> {
        let mut attempts = Vec::new();
        for folder in &self.choice.folders {
            let connected = UnixStream::connect(socket(folder)).await;
            match connected {
                Ok(stream) if existing(&self.choice.folders) == Some(folder) => return Ok(stream),
                connected => {
                    attempts.push(Attempt { folder: folder.clone(), error: connected.err() })
                }
            }
        }
        Err(NoNode::Folders(attempts))
    }

    /// The token for the node at `address`.
    fn credential(&self, address: &Address) -> anyhow::Result<Credential> {
        let (token, source) = match &self.choice.token {
            Some((token, source)) => (token.0.clone(), source.clone()),
            None => {
                let paths: Vec<PathBuf> =
                    self.choice.folders.iter().map(|folder| token::path(folder)).collect();
                let path = existing(&paths).or(paths.first()).cloned().unwrap_or_default();
                let token = std::fs::read_to_string(&path).with_context(|| {
                    format!(
                        "no token for {address}: log in with `sockhop login {address}`, set {TOKEN_VARIABLE}, or --data to \
                         the node's folder ({path:?} cannot be read)"
                    )
                })?;
                (token, format!("{path:?}"))
            }
        };
        let mut header = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .with_context(|| format!("the token for {address} in {source} is not well formed"))?;
        header.set_sensitive(true);
        Ok(Credential { header, source })
    }

    /// One request, whatever its status; but one that the node's door refuses is an error.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: impl Into<Upload>,
    ) -> anyhow::Result<Response<Incoming>> {
        self.pass_on(method, path, headers, body.into()).await
    }

    /// The same with any body, which may be somebody else's.
    pub(super) async fn pass_on<B>(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: B,
    ) -> anyhow::Result<Response<Incoming>>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        B: Send + Unpin + 'static,
    {
        self.pass(method, path, headers, body).await.map_err(|error| self.asked(error))
    }

    async fn pass<B>(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: B,
    ) -> anyhow::Result<Response<Incoming>>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        B: Send + Unpin + 'static,
    {
        let remote =
            self.choice.address.as_ref().filter(|address| !matches!(address, Address::Socket(_)));
        let credential = remote.map(|address| self.credential(address)).transpose()?;
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let host = match remote {
            Some(Address::Https(host, port)) => format!("{host}:{port}"),
            Some(Address::Http(authority)) => authority.clone(),
            _ => "localhost".to_owned(),
        };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(credential) = &credential {
            request = request.header(token::HEADER, &credential.header);
            // Where earlier builds look for it; a function's own caller may say something else
            // there.
            if headers.iter().all(|(name, _)| *name != AUTHORIZATION) {
                request = request.header(AUTHORIZATION, &credential.header);
            }
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(body).with_context(|| format!("{path:?} is no path"))?;
        let sent = sender.send_request(request).await;
        let response = sent.context("the node ended the connection; its log may say why")?;
        // A function has its own say about who may call it.
        let of_function = response.headers().contains_key(INVOCATION_ID_HEADER);
        match (response.status(), remote, credential) {
            (StatusCode::UNAUTHORIZED, Some(address), Some(Credential { source, .. }))
                if !of_function =>
            {
                bail!(
                    "{address} refuses the token from {source}; the right one is in admin.token in the data folder of the \
                 node there: set {TOKEN_VARIABLE} to it, or --data to that folder"
                )
            }
            (StatusCode::FORBIDDEN, Some(address), _) if !of_function => bail!(
                "{address} answered 403 Forbidden, which no node does: what stands in front of it lets this request not \
                 through; see its rules"
            ),
            _ => Ok(response),
        }
    }

    /// Calls an endpoint that takes no body.
    ///
    /// The node's own error becomes ours. One that passes by itself is waited for: another engine
    /// is taking over, and answers at the same place.
    pub(super) async fn call<E: Endpoint<Request = ()>>(
        &self,
        call: Call<E>,
    ) -> anyhow::Result<Answer<E::Answer>> {
        self.send_bytes(call, Bytes::new()).await
    }

    /// Sends JSON to an endpoint.
    pub(super) async fn send<E: Endpoint>(
        &self,
        call: Call<E>,
        request: &E::Request,
    ) -> anyhow::Result<Answer<E::Answer>> {
        self.send_bytes(call, serde_json::to_vec(request)?.into()).await
    }

    /// Sends bytes to an endpoint.
    pub(super) async fn send_bytes<E: Endpoint>(
        &self,
        call: Call<E>,
        body: Bytes,
    ) -> anyhow::Result<Answer<E::Answer>> {
        self.upload(&call, &[], body, &Arc::default()).await
    }

    /// Returns the file that an endpoint answers with.
    pub(super) async fn file<E: Endpoint<Request = ()>>(
        &self,
        call: Call<E>,
    ) -> anyhow::Result<Bytes> {
        let (status, bytes) = self.exchange(&call, &[], Bytes::new(), &Arc::default()).await?;
        if status.is_success() {
            return Ok(bytes);
        }
        match reason(&bytes) {
            Some(error) => Err(self.asked(anyhow!(error))),
            None => Err(self.asked(anyhow!("the node answered {status}"))),
        }
    }

    /// Sends a deploy, which is called `id` while it is under way; what of the form has left is
    /// counted in `sent`.
    pub(super) async fn deploy(
        &self,
        call: Call<Deploy>,
        id: &Uuid,
        (boundary, form): (&str, Bytes),
        sent: &Arc<AtomicUsize>,
    ) -> anyhow::Result<Answer<DeployedVersion>> {
        let content_type =
            HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"))?;
        let id = (HeaderName::from_static(ID_HEADER), HeaderValue::from_str(&id.to_string())?);
        self.upload(&call, &[(CONTENT_TYPE, content_type), id], form, sent).await
    }

    /// Sends a body to an endpoint; what of it has left is counted in `sent`.
    async fn upload<E: Endpoint>(
        &self,
        call: &Call<E>,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        sent: &Arc<AtomicUsize>,
    ) -> anyhow::Result<Answer<E::Answer>> {
        let (status, bytes) = self.exchange(call, headers, body, sent).await?;
        if status == StatusCode::NO_CONTENT {
            return Ok(Answer::new(Value::Null));
        }
        let json: Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("the node answered {status} with something else than JSON"))?;
        if status.is_success() {
            return Ok(Answer::new(json));
        }
        match ErrorAnswer::deserialize(&json) {
            Ok(ErrorAnswer { error }) => Err(self.asked(anyhow!(error))),
            Err(_) => Err(self.asked(anyhow!("the node answered {status}"))),
        }
    }

    /// Sends a body to an endpoint, again for a while if the node says that it may be tried again.
    /// Returns the status and the body of the answer.
    async fn exchange<E: Endpoint>(
        &self,
        call: &Call<E>,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        sent: &Arc<AtomicUsize>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let give_up = Instant::now() + RETRY_FOR;
        let response = loop {
            let upload = Upload::new(body.clone(), Arc::clone(sent));
            let response = self.request(method::<E>(), call.path(), headers, upload).await?;
            if !response.headers().contains_key(RETRY_AFTER) || Instant::now() >= give_up {
                break response;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        };
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

/// The method of an endpoint; GET if it takes any.
fn method<E: Endpoint>() -> Method {
    match E::METHOD {
        endpoint::Method::Get | endpoint::Method::Any => Method::GET,
        endpoint::Method::Put => Method::PUT,
        endpoint::Method::Post => Method::POST,
        endpoint::Method::Delete => Method::DELETE,
    }
}

/// What a node has answered: JSON, and the type that it is read as.
#[derive(Debug)]
pub(super) struct Answer<T> {
    /// As it came, also what a node of a later build says more.
    pub(super) json: Value,
    of: PhantomData<T>,
}

impl<T: DeserializeOwned> Answer<T> {
    fn new(json: Value) -> Self {
        Self { json, of: PhantomData }
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is something else, since the node is of another build.
    pub(super) fn read(&self) -> anyhow::Result<T> {
        T::deserialize(&self.json).context(OTHER_BUILD)
    }
}

/// The node's reason for refusing a request, if its body has one.
pub(super) fn reason(body: &[u8]) -> Option<String> {
    serde_json::from_slice(body).ok().map(|ErrorAnswer { error }| error)
}

async fn tcp(address: &Address, authority: &str) -> Result<TcpStream, NoNode> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(authority)).await;
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    connected.map_err(|source| NoNode::There { address: address.clone(), source })
}
