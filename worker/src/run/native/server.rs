//! A program that is an HTTP server: Cloud Run's contract, and Azure's custom handlers. Owns
//! nothing but its share of the process.

use std::rc::Rc;
use std::time::Duration;

use ::azure::app::App;
use abi::function::Kind;
use abi::sandbox::{Begin, Sandbox};
use http::StatusCode;
use tokio::time::timeout;

use super::http::{Http, NotSent, Replied};
use super::lease::{Called, Lease};
use super::output::Output;
use super::port::Port;
use super::process::Process;
use super::{Loaded, azure, millis};
use crate::run::failure::Failure;
use crate::run::{Call, ChangesProtocol, Spec};

/// The port that a server is told to listen on, if it has a network of its own.
const PORT: u16 = 8080;

/// The most ports that a message names.
const NAMED_PORTS_MAX: usize = 64;

/// How long it may take until it is known that a process has ended whose connection has.
const EXIT_WAIT: Duration = Duration::from_millis(250);

/// The sandbox of a process, and what its program is to find.
pub(super) struct ServerSandbox {
    pub(super) process: Rc<Process>,
    port: Port,
    app: Option<App>,
}

/// A server in a process.
pub(super) struct Server {
    http: Rc<Http>,
    /// What routes its requests, if it is an Azure handler.
    app: Option<App>,
}

impl Server {
    /// Makes the sandbox of a process.
    ///
    /// # Errors
    /// A sentence for whoever deploys, and for the log.
    pub(super) async fn sandbox(
        loaded: &Loaded,
        spec: &Rc<Spec>,
        (output, begin): (&Rc<Output>, Begin),
    ) -> Result<ServerSandbox, String> {
        let port = loaded.port(spec, PORT)?;
        let (sandbox, app) = if loaded.kind == Kind::Azure {
            let started = azure::read(&loaded.task_folder(), spec, port.number)?;
            let azure::Started { app, program, args, working_directory, env } = started;
            let env = with_own(environment(spec, port.number), env);
            let sandbox = loaded.sandbox(spec, env, Vec::new());
            let args = [args, spec.args.clone()].concat();
            (Sandbox { program, args, working_directory, ..sandbox }, Some(app))
        } else {
            let own = spec.env.iter().filter(|(name, _)| !is_reserved(name)).cloned();
            let env = with_own(environment(spec, port.number), own.collect());
            (loaded.sandbox(spec, env, Vec::new()), None)
        };
        let sandbox = Sandbox { begin, ..sandbox };
        // A program that is executed at once needs its port now.
        let port = if begin == Begin::AtOnce { port.given_up() } else { port };
        let sandboxed = loaded.runtime.spawner.spawn(sandbox).await?;
        let process = Process::new(sandboxed, begin, (spec, Rc::clone(output)), |_, _| {});
        Ok(ServerSandbox { process, port, app })
    }

    /// Has the program executed, and waits until it accepts connections.
    ///
    /// # Errors
    /// A sentence for whoever deploys, and for the log.
    pub(super) async fn start(
        sandbox: ServerSandbox,
        loaded: &Loaded,
        spec: &Rc<Spec>,
    ) -> Result<(Rc<Process>, Self), String> {
        let ServerSandbox { process, port, app } = sandbox;
        let port = port.given_up().number;
        process.execute();
        let http = Rc::new(Http::new(Rc::clone(&process), port));
        let limit = millis(spec.limits.init_timeout_ms);
        let ready = async {
            if !loaded.has_own_network(spec) {
                http.accepts_on_host().await;
            }
            match loaded.kind {
                Kind::Azure => http.answers().await,
                _ if loaded.has_own_network(spec) => http.accepts().await,
                _ => {}
            }
        };
        let started = tokio::select! {
            biased;
            exit = process.exited() => Err(format!("it ended before it was ready: {}", exit.how)),
            ready = timeout(limit, ready) => match ready {
                Ok(()) => Ok(()),
                Err(_) => Err(not_listening((loaded.kind, port), &process, limit).await),
            },
        };
        match started {
            Ok(()) => Ok((process, Self { http, app })),
            Err(reason) => {
                process.kill();
                Err(process.output.with_last_words(&reason))
            }
        }
    }

    /// Has the program answer one request.
    pub(super) async fn call(&self, spec: &Spec, call: Call, lease: Lease) -> Called {
        let (limit, process) = (spec.timeout, &lease.process);
        let Call { id, request, origin, trace, reply, facts } = call;
        let answered = timeout(limit, async {
            let sent = match &self.app {
                Some(app) => {
                    azure::send(&self.http, app, (request, &origin, id), &process.output).await
                }
                None => self.http.send(request).await,
            };
            let Replied { mut response, ended } = match sent {
                Ok(replied) => replied,
                Err(not_sent) => return Err((reply, not_sent)),
            };
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                response.extensions_mut().insert(ChangesProtocol);
            }
            // If the client has left, the body is dropped with the response.
            let _ = reply.send(Ok(response));
            ended.await;
            Ok(())
        });
        let function = || spec.name.to_string();
        let ended = match answered.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err((reply, NotSent { reason, request }))) => {
                let exit = timeout(EXIT_WAIT, process.exited()).await.ok();
                if let (Some(_), Some(request)) = (&exit, request) {
                    let call = Call { id, request, origin, trace, reply, facts };
                    return Called::NotBegun(Box::new(call));
                }
                Err(match exit {
                    Some(exit) if exit.out_of_memory => Failure::ProcessOutOfMemory {
                        function: function(),
                        limit_bytes: spec.limits.memory_bytes_max,
                    },
                    Some(exit) => Failure::ProcessEnded { function: function(), how: exit.how },
                    None => Failure::NoAnswer { function: function(), reason },
                })
            }
            Err(_) => Err(Failure::TimedOut { function: function(), limit }),
        };
        facts.ended();
        Called::Ended(ended)
    }
}

/// The variables that Cloud Run sets.
fn environment(spec: &Spec, port: u16) -> Vec<(String, String)> {
    let revision = format!("{}-{:05}-v{}", spec.name, spec.version, spec.version);
    let port = port.to_string();
    [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LD_LIBRARY_PATH", "/var/task:/var/task/lib:/opt/lib"),
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("PORT", &port),
        ("K_SERVICE", &spec.name),
        ("K_REVISION", &revision),
        ("K_CONFIGURATION", &spec.name),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// Returns variables, with `own` in place of those of the same names.
fn with_own(mut env: Vec<(String, String)>, own: Vec<(String, String)>) -> Vec<(String, String)> {
    env.retain(|(name, _)| !own.iter().any(|(other, _)| other == name));
    env.extend(own);
    env
}

/// Returns whether a variable is the node's to set.
fn is_reserved(name: &str) -> bool {
    matches!(name, "PORT" | "K_SERVICE" | "K_REVISION" | "K_CONFIGURATION")
}

async fn not_listening((kind, port): (Kind, u16), process: &Process, limit: Duration) -> String {
    let ports = timeout(Duration::from_secs(1), process.ports()).await.unwrap_or_default();
    let found = match ports[..] {
        [] => "it listens on no port".to_owned(),
        _ => {
            let ports = ports.iter().take(NAMED_PORTS_MAX);
            let ports: Vec<String> = ports.map(u16::to_string).collect();
            format!("it listens on {}", ports.join(", "))
        }
    };
    let variable = if kind == Kind::Azure { "FUNCTIONS_CUSTOMHANDLER_PORT" } else { "PORT" };
    format!(
        "it did not accept connections on the port of ${variable}, {port}, within its \
         --init-timeout of {limit:?}; {found}"
    )
}
