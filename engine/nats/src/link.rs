//! A connection to NATS, on a thread and a runtime of its own. Owns the thread, and the sockets.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};

use crate::credentials::Credentials;
use crate::error::{Failure, StartError, with_causes};
use crate::version::{FLOOR, is_new_enough};

/// How long a server has to let a node in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a server has to answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A server that has gone without a word is noticed after two of these.
const PING_INTERVAL: Duration = Duration::from_secs(3);
/// How long a node waits between two attempts to connect.
const RECONNECT_DELAY: Duration = Duration::from_millis(250);

/// Where NATS is, and who asks.
#[derive(Debug, Clone)]
pub struct Options {
    /// Addresses of servers of one cluster, as `nats://HOST:PORT` or `tls://HOST:PORT`.
    pub servers: Vec<String>,
    /// A file with credentials.
    pub credentials: Option<PathBuf>,
    /// A file with root certificates; without it, those that the system trusts.
    pub root: Option<PathBuf>,
    /// What the connection is called in NATS' own lists.
    pub name: String,
}

/// A connection. Cheap to clone; the thread ends with the process.
#[derive(Clone)]
pub struct Link {
    runtime: Handle,
    client: Client,
    context: Context,
    /// How often the connection has ended.
    lost: watch::Receiver<u64>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("state", &self.client.connection_state())
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Starts the thread, and connects. If no server can be reached, that goes on in the
    /// background.
    ///
    /// # Errors
    /// [`StartError`] if a server is there that will not do, or does not let the node in.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (started, start) = oneshot::channel();
        std::thread::Builder::new().name("nats".to_owned()).spawn(move || {
            runtime.block_on(async {
                let link = Self::connect(options).await;
                if started.send(link).is_ok() {
                    std::future::pending::<()>().await;
                }
            });
        })?;
        let ended = |_| StartError::Thread(std::io::Error::other("it has ended"));
        start.await.map_err(ended)?
    }

    async fn connect(options: Options) -> Result<Self, StartError> {
        let (ended, lost) = watch::channel(0);
        let ended = Arc::new(ended);
        let servers: Result<Vec<ServerAddr>, _> =
            options.servers.iter().map(|server| server.parse()).collect();
        let servers = servers
            .map_err(|error: std::io::Error| StartError::Tls { reason: error.to_string() })?;
        let make = || -> Result<ConnectOptions, StartError> {
            let ended = Arc::clone(&ended);
            let mut made = ConnectOptions::new()
                .name(&options.name)
                .connection_timeout(CONNECT_TIMEOUT)
                .request_timeout(Some(ANSWER_TIMEOUT))
                .ping_interval(PING_INTERVAL)
                .reconnect_delay_callback(|_| RECONNECT_DELAY)
                .event_callback(move |event| {
                    told(&event);
                    if event == Event::Disconnected {
                        ended.send_modify(|times| *times += 1);
                    }
                    std::future::ready(())
                });
            if let Some(root) = &options.root {
                made = made.add_root_certificates(root.clone());
            }
            if let Some(path) = &options.credentials {
                made = Credentials::read(path)?.add_to(made, path)?;
            }
            Ok(made)
        };
        let client = match make()?.connect(&servers[..]).await {
            Ok(client) => client,
            Err(error) => {
                let reason = with_causes(&error);
                match error.kind() {
                    ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                        return Err(StartError::Denied { reason });
                    }
                    ConnectErrorKind::Tls => return Err(StartError::Tls { reason }),
                    ConnectErrorKind::Io if is_of_tls(&error) => {
                        return Err(StartError::Tls { reason });
                    }
                    _ => tracing::error!(
                        "NATS cannot be reached ({reason}); until it can, what needs it fails"
                    ),
                }
                let later = make()?.retry_on_initial_connect().connect(&servers[..]).await;
                later.map_err(|error| StartError::Tls { reason: with_causes(&error) })?
            }
        };
        let mut context = async_nats::jetstream::new(client.clone());
        context.set_timeout(ANSWER_TIMEOUT);
        let link = Self { runtime: Handle::current(), client, context, lost };
        if let Some(version) = link.too_old() {
            return Err(StartError::Old { version });
        }
        Ok(link)
    }

    /// Has the thread do this.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Returns whether there is a connection.
    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Returns whether the server is one of several that share what they keep.
    pub(crate) fn is_cluster(&self) -> bool {
        let info = self.client.try_server_info();
        info.is_some_and(|info| info.cluster.is_some_and(|cluster| !cluster.is_empty()))
    }

    /// Returns whether the server itself keeps something.
    pub(crate) fn has_jetstream(&self) -> bool {
        self.client.try_server_info().is_some_and(|info| info.jetstream)
    }

    /// Returns what an older server than will do says it is.
    fn too_old(&self) -> Option<String> {
        let version = self.client.try_server_info()?.version;
        (!is_new_enough(&version)).then_some(version)
    }

    /// Asks NATS for something. Fails at once if there is no connection, and when there is none any
    /// more.
    pub(crate) async fn ask<T>(
        &self,
        timeout: Duration,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut lost = self.lost.clone();
        lost.mark_unchanged();
        if !self.is_connected() {
            return Err(Failure::Away("there is no connection to a server".to_owned()));
        }
        if let Some(version) = self.too_old() {
            return Err(Failure::Away(format!(
                "the server is version {version:?}, and {}.{} or newer is needed",
                FLOOR.0, FLOOR.1
            )));
        }
        tokio::select! {
            answer = tokio::time::timeout(timeout, answer) => answer.unwrap_or_else(|_| {
                Err(Failure::Unanswered(format!("nothing came within {timeout:?}")))
            }),
            _ = lost.changed() => Err(Failure::Unanswered("the connection has ended".to_owned())),
        }
    }
}

/// Logs what happens to the connection.
fn told(event: &Event) {
    match event {
        Event::Connected => tracing::info!("there is a connection to NATS"),
        Event::Disconnected => tracing::warn!(
            "the connection to NATS has ended; until there is one again, what needs it fails"
        ),
        Event::ServerError(error) => tracing::warn!("NATS says: {error}"),
        Event::LameDuckMode => tracing::info!("the NATS server is going to stop"),
        other => tracing::debug!("NATS: {other}"),
    }
}

/// Returns whether a server was reached that speaks no TLS, or shows a certificate that is not
/// trusted.
fn is_of_tls(error: &async_nats::ConnectError) -> bool {
    let mut cause = error.source();
    while let Some(source) = cause {
        let io = source.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == ErrorKind::InvalidData) {
            return true;
        }
        cause = source.source();
    }
    false
}
