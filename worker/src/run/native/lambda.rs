//! A program for AWS Lambda's custom runtime: it asks for events over the Runtime API, which
//! [`lambda`] speaks with it. Requests become events of Function URLs, and results replies; events
//! of the Invoke API go to the program as they are. Owns the listener of each process.

mod answer;
mod ending;
mod request;
mod streamed;

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use abi::sandbox::{BESIDE_MAX, Begin, ExitStatus, Sandbox};
use http::Request;
use lambda::environment::{Environment, LogFormat, Settings, log_stream_name};
use lambda::exit::Exit;
use lambda::failure::Failure as LambdaFailure;
use lambda::runtime_api::{Answer, Config, InitFailure, Invocation, RuntimeApi};
use lambda::shutdown::{ShutdownPlan, ShutdownReason};
use lambda::timestamp::unix_ms;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(super) use self::answer::not_started;
use self::answer::{Caller, Record};
use self::ending::Ending;
use self::streamed::Ended;
use super::lease::{Called, Lease};
use super::output::Output;
use super::process::{Farewell, Process};
use super::{EXTENSIONS_FOLDER, Loaded, millis, port};
use crate::run::failure::{Failure, report};
use crate::run::{Call, Shared, Spec};

/// Where each process finds its Runtime API, if it has a network of its own.
const PORT: u16 = 9001;
/// What functions are told of where they are. There is no region here, and no account.
const REGION: &str = "us-east-1";
const ACCOUNT: &str = "000000000000";
/// What functions are told of their handler if none was chosen.
const HANDLER: &str = "bootstrap";
const MIB: u64 = 1024 * 1024;
/// Why a call of a program that has not ended fails.
const TAKES_NO_EVENTS: &str = "it takes no events";
/// How long a program that has broken off its request for an event may take to ask again.
const ASK_AGAIN_WAIT: Duration = Duration::from_secs(1);
/// How long connections of a process that has ended are still read.
const LAST_READ: Duration = Duration::from_secs(1);

/// Why a process is not ready for events.
pub(super) struct NotStarted {
    /// A sentence for whoever deploys, and for the log.
    pub(super) reason: String,
    /// What callers of the Invoke API are told, if it is the program's failure.
    pub(super) failure: Option<LambdaFailure>,
    /// The end of what it wrote.
    pub(super) log: Vec<u8>,
}

impl From<String> for NotStarted {
    fn from(reason: String) -> Self {
        Self { reason, failure: None, log: Vec::new() }
    }
}

/// The sandbox of a process, and what its program is to find.
pub(super) struct LambdaSandbox {
    pub(super) process: Rc<Process>,
    /// That of its Runtime API.
    listener: oneshot::Receiver<TcpListener>,
    extensions: Vec<String>,
    concurrency: u32,
}

/// The runtime in a process.
pub(super) struct Lambda {
    api: Rc<RuntimeApi>,
    /// How long the process took to start, until an invocation reports it.
    init: Cell<Option<Duration>>,
    concurrency: u32,
}

impl Lambda {
    /// Makes the sandbox of a process.
    ///
    /// # Errors
    /// Why there is none, for whoever deploys or invokes.
    pub(super) async fn sandbox(
        loaded: &Loaded,
        spec: &Rc<Spec>,
        (output, begin): (&Rc<Output>, Begin),
    ) -> Result<LambdaSandbox, NotStarted> {
        let concurrency = spec.limits.process_requests(loaded.kind);
        let extensions = loaded.extensions();
        if extensions.len() > BESIDE_MAX {
            let count = extensions.len();
            return Err(NotStarted::from(format!(
                "its layers have {count} programs in /{EXTENSIONS_FOLDER}; at most {BESIDE_MAX} can run"
            )));
        }
        let (on_listener, listener) = oneshot::channel();
        let mut on_listener = Some(on_listener);
        let (mut number, mut inside) = (PORT, vec![PORT]);
        if !loaded.has_own_network(spec) {
            let (made, free) = port::listen()?;
            let made = TcpListener::from_std(made).map_err(|error| error.to_string())?;
            (number, inside) = (free, Vec::new());
            let _ = on_listener.take().map(|on_listener| on_listener.send(made));
        }
        let sandbox = Sandbox {
            beside: extensions.iter().map(|name| format!("/{EXTENSIONS_FOLDER}/{name}")).collect(),
            begin,
            ..loaded.sandbox(spec, environment(spec, concurrency, number), inside)
        };
        let sandboxed = loaded.runtime.spawner.spawn(sandbox).await?;
        let own = (spec, Rc::clone(output));
        let process = Process::new(sandboxed, begin, own, move |_, listener| {
            if let Some(on_listener) = on_listener.take() {
                let _ = on_listener.send(listener);
            }
        });
        Ok(LambdaSandbox { process, listener, extensions, concurrency })
    }

    /// Has the program executed, and waits until it asks for its first event.
    ///
    /// # Errors
    /// Why it does not, for whoever deploys or invokes.
    pub(super) async fn start(
        sandbox: LambdaSandbox,
        spec: &Rc<Spec>,
    ) -> Result<(Rc<Process>, Self), NotStarted> {
        let LambdaSandbox { process, listener, extensions, concurrency } = sandbox;
        process.execute();
        let output = Rc::clone(&process.output);
        let api = RuntimeApi::new(Config {
            function_name: spec.name.to_string(),
            function_version: spec.version.to_string(),
            handler: handler(spec).to_owned(),
            region: REGION.to_owned(),
            account_id: ACCOUNT.to_owned(),
            concurrency: at_least_one(concurrency),
            external_extensions: extensions,
            clock: Instant::now,
        });
        tokio::task::spawn_local(serve(Rc::clone(&api), Rc::clone(&process), listener));
        let limit = millis(spec.limits.init_timeout_ms);
        let started = match timeout(limit, api.initialized()).await {
            Ok(Ok(initialized)) => Ok(initialized.duration),
            Ok(Err(failure)) => {
                let reason = match &failure {
                    InitFailure::Exited(_) => {
                        let exit = process.exited().await;
                        format!("it ended before it asked for its first event: {}", exit.how)
                    }
                    InitFailure::Reported { body, .. } | InitFailure::Extension { body, .. } => {
                        format!("{failure}: {}", String::from_utf8_lossy(body))
                    }
                };
                Err((reason, init_failure(failure)))
            }
            Err(_) => {
                let reason = match api.awaited_extensions().join(", ") {
                    none if none.is_empty() => format!(
                        "it did not ask for its first event within its --init-timeout of {limit:?}"
                    ),
                    awaited => format!(
                        "these of its extensions did not register and ask for their first event \
                         within its --init-timeout of {limit:?}: {awaited}"
                    ),
                };
                Err((reason, LambdaFailure::TimedOut { limit }))
            }
        };
        match started {
            Ok(duration) => {
                let init = Cell::new(Some(duration));
                if concurrency <= 1 {
                    tokio::task::spawn_local(watch(Rc::clone(&api), Rc::clone(&process)));
                }
                Ok((process, Self { api, init, concurrency }))
            }
            Err((reason, failure)) => {
                process.kill();
                let reason = output.with_last_words(&reason);
                Err(NotStarted { reason, failure: Some(failure), log: output.tail() })
            }
        }
    }

    /// Returns how the process is asked to end: by SIGKILL at once if nothing in it has asked for
    /// more (Lambda, "Shutdown phase").
    pub(super) fn farewell(&self) -> Farewell {
        farewell(&self.api, ShutdownReason::Spindown)
    }

    /// Has the program answer one request or event.
    pub(super) async fn call(
        &self,
        (shared, spec): (&Shared, &Rc<Spec>),
        call: Call,
        lease: Lease,
    ) -> Called {
        // A program that runs several at a time asks for an event after each, in its own time.
        let wait = if self.concurrency > 1 { spec.timeout } else { ASK_AGAIN_WAIT };
        match timeout(wait, self.api.ready()).await {
            Ok(Ok(())) => {}
            Err(_) if self.concurrency > 1 => {
                let (function, how) = (spec.name.to_string(), TAKES_NO_EVENTS.to_owned());
                return Called::Ended(Err(Failure::ProcessEnded { function, how }));
            }
            // It has ended, or will never ask again: another process gets the call.
            Ok(Err(_)) | Err(_) => {
                lease.kill();
                return Called::NotBegun(Box::new(call));
            }
        }
        let process = Rc::clone(&lease.process);
        let ended = match self.answered((shared, spec), call, lease).await {
            Called::Ended(ended) => ended,
            not_begun => return not_begun,
        };
        Called::Ended(match ended {
            // The kernel says of which of its limits a process has died, not the contract.
            Err(Failure::ProcessEnded { function, .. })
                if timeout(LAST_READ, process.exited()).await.is_ok_and(|it| it.out_of_memory) =>
            {
                let limit_bytes = spec.limits.memory_bytes_max;
                Err(Failure::ProcessOutOfMemory { function, limit_bytes })
            }
            ended => ended,
        })
    }

    async fn answered(
        &self,
        (shared, spec): (&Shared, &Rc<Spec>),
        call: Call,
        lease: Lease,
    ) -> Called {
        let Call { id, request, origin, trace, reply, facts } = call;
        let id_text = id.to_string();
        let (parts, body) = request.into_parts();
        let caller = Rc::new(Caller::of(&parts, spec, &id_text));
        let read = match request::whole(body).await {
            Ok(body) => request::event(&parts, &body, &origin, &caller).map(|event| (body, event)),
            Err(error) => Err(error),
        };
        let (body, event) = match read {
            Ok(read) => read,
            Err(error) => return Called::Ended(Err(error.failure(&spec.name))),
        };
        let limit = spec.timeout;
        let deadline = tokio::time::Instant::now() + limit;
        let invocation = Invocation {
            id: caller.id.clone(),
            event,
            content_type: None,
            deadline_unix_ms: unix_ms(SystemTime::now() + limit),
            qualifier: caller.qualifier.clone(),
            trace_id: Some(caller.trace_id.clone()),
            client_context: caller.client_context.clone(),
            cognito: None,
            tenant_id: caller.tenant_id.clone(),
        };
        let process = Rc::clone(&lease.process);
        let output = Rc::clone(&process.output);
        let Ok(begun) = self.api.begin(invocation) else {
            // It has ended while the event was made: another process gets the call.
            if timeout(LAST_READ, process.exited()).await.is_ok() {
                let request = Request::from_parts(parts, request::again(body));
                let call = Call { id, request, origin, trace, reply, facts };
                return Called::NotBegun(Box::new(call));
            }
            let (function, how) = (spec.name.to_string(), TAKES_NO_EVENTS.to_owned());
            return Called::Ended(Err(Failure::ProcessEnded { function, how }));
        };
        let on_answer = lease.on_answer();
        let ending = Ending {
            lease,
            caller: Rc::clone(&caller),
            spec: Rc::clone(spec),
            id,
            init: self.init.take(),
            concurrency: self.concurrency,
        };
        ending.begin();
        let (ended, end) = oneshot::channel();
        let api = Rc::clone(&self.api);
        tokio::task::spawn_local(ending.complete(api, (begun.completing, deadline), ended));
        let answer = begun.answering.await;
        on_answer();
        let timed_out = || LambdaFailure::TimedOut { limit };
        let answer = match answer {
            Answer::Cancelled => Answer::Failed(timed_out()),
            Answer::Stream { body, .. } if caller.takes_whole_answers() => {
                match body.collect_whole().await {
                    Ok(body) => Answer::Buffered { content_type: None, body },
                    Err(failure) => Answer::Failed(failure),
                }
            }
            answer => answer,
        };
        // The call of a caller who wants the log ends with its last line, which names the duration.
        let mut end = Some(end);
        if caller.wants_log
            && !matches!(answer, Answer::Stream { .. })
            && let Some(end) = end.take()
        {
            let _ = end.await;
        }
        let record = Record { shared, facts: &facts, id };
        let log = output.tail();
        let (stream, stream_end) = streamed::end_of_stream();
        let spec_and_record = (spec.as_ref(), record);
        let answered =
            answer::send(answer, &caller, (&log, stream_end), spec_and_record, reply).await;
        if let Some(end) = end {
            let timed_out = end.await.unwrap_or(true);
            let log = caller.wants_log.then(|| output.tail());
            let _ = stream.tell.send(Ended { log, timed_out });
            if let Ok(failure) = stream.failed.await {
                report(shared, spec, id, &answer::failed(spec, failure), &facts);
            }
        }
        facts.ended();
        Called::Ended(answered)
    }
}

/// Returns how a process is asked to end for this reason. A program that took too long has had its
/// time.
fn farewell(api: &Rc<RuntimeApi>, reason: ShutdownReason) -> Farewell {
    let extensions = api.registered_extensions();
    let plan = ShutdownPlan::new(extensions);
    let api = Rc::clone(api);
    let tell = move |left| api.shutdown(reason, unix_ms(SystemTime::now() + left));
    Farewell {
        program: match reason {
            ShutdownReason::Spindown => plan.runtime_sigkill_after,
            ShutdownReason::Timeout | ShutdownReason::Failure => Duration::ZERO,
        },
        all: plan.sigkill_after,
        tell: extensions.external.then(|| Rc::new(tell) as Rc<dyn Fn(Duration)>),
    }
}

/// Ends a program that has broken off its request for an event and does not ask again: it would
/// get none, and the calls that wait for it no answer.
async fn watch(api: Rc<RuntimeApi>, process: Rc<Process>) {
    let deaf = async {
        loop {
            api.stopped_asking().await;
            if timeout(ASK_AGAIN_WAIT, api.ready()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = process.gone() => {}
        () = deaf => {
            process.output.note("it closed the connection on which it waited for an event");
            process.kill();
        }
    }
}

/// Serves the Runtime API to a process, until that has ended.
async fn serve(
    api: Rc<RuntimeApi>,
    process: Rc<Process>,
    listener: oneshot::Receiver<TcpListener>,
) {
    let mut connections = JoinSet::new();
    let accepts = async {
        let Ok(listener) = listener.await else { return std::future::pending().await };
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let _ = stream.set_nodelay(true);
                        let api = Rc::clone(&api);
                        // An error is the program's: it broke off, or does not speak HTTP.
                        connections.spawn_local(async move { drop(api.serve(stream).await) });
                    }
                    Err(error) => {
                        tracing::warn!("a Runtime API did not accept a connection: {error}");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    };
    let exit = tokio::select! {
        exit = process.exited() => exit,
        () = accepts => return,
    };
    api.process_exited(match exit.status {
        Some(ExitStatus::Code(code)) => Exit::Status(code.into()),
        Some(ExitStatus::Signal(signal)) => Exit::Signal(signal.into()),
        None => Exit::Signal(libc::SIGKILL),
    });
    // What it wrote last still counts; what it has left behind does not hold a connection for long.
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(LAST_READ, drained).await;
}

/// Returns the failure of an init as callers of the Invoke API are told of it.
fn init_failure(failure: InitFailure) -> LambdaFailure {
    match failure {
        InitFailure::Exited(exit) => LambdaFailure::Exited(exit),
        InitFailure::Reported { error_type, body }
        | InitFailure::Extension { error_type, body, .. } => {
            LambdaFailure::Function { error_type, body }
        }
    }
}

fn at_least_one(number: u32) -> NonZeroUsize {
    usize::try_from(number).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN)
}

fn handler(spec: &Spec) -> &str {
    spec.handler.as_deref().unwrap_or(HANDLER)
}

fn memory_mb(spec: &Spec) -> u64 {
    (spec.limits.memory_bytes_max / MIB).max(1)
}

fn environment(spec: &Spec, concurrency: u32, port: u16) -> Vec<(String, String)> {
    let version = spec.version.to_string();
    let stream = log_stream_name(SystemTime::now(), &version, fastrand::u128(..));
    let made = Environment::new(&Settings {
        runtime_api: &format!("127.0.0.1:{port}"),
        function_name: &spec.name,
        function_version: &version,
        handler: handler(spec),
        memory_size_mb: memory_mb(spec),
        region: REGION,
        log_stream_name: &stream,
        log_format: LogFormat::Text,
        log_level: None,
        concurrency: at_least_one(concurrency),
        credentials: None,
        user_variables: &spec.env,
    });
    for (name, reason) in &made.rejected {
        tracing::warn!("function {:?} does not get its variable {name}: {reason}", spec.name);
    }
    made.variables
}
