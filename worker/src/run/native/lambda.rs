//! A program for AWS Lambda's custom runtime: it asks for events over the Runtime API, which
//! [`lambda`] speaks with it. Requests become events of Function URLs, and results replies; events
//! of the Invoke API go to the program as they are. Owns the listener of each process.

mod answer;
mod request;
mod streamed;

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use abi::sandbox::ExitStatus;
use http::Request;
use lambda::environment::{Environment, LogFormat, RejectedVariable, Settings, log_stream_name};
use lambda::exit::Exit;
use lambda::failure::Failure as LambdaFailure;
use lambda::runtime_api::{Answer, Completion, Config, InitFailure, Invocation, RuntimeApi};
use lambda::shutdown::ShutdownPlan;
use lambda::timestamp::unix_ms;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

pub(super) use self::answer::not_started;
use self::answer::{Caller, Record};
use self::streamed::Ended;
use super::lease::{Called, Lease};
use super::output::Output;
use super::process::Process;
use super::{Loaded, free_port, millis, process_requests};
use crate::run::failure::{Failure, report};
use crate::run::{Call, Shared, Spec};

/// Where each process finds its Runtime API, if it has a network of its own.
const PORT: u16 = 9001;
/// What functions are told of where they are. There is no region here, and no account.
const REGION: &str = "us-east-1";
const ACCOUNT: &str = "000000000000";
const HANDLER: &str = "bootstrap";
/// The variable that says which other handler the program is to run.
const HANDLER_VARIABLE: &str = "_HANDLER";
const MIB: u64 = 1024 * 1024;
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

/// The runtime in a process.
pub(super) struct Lambda {
    api: Rc<RuntimeApi>,
    /// How long the process took to start, until an invocation reports it.
    init: Cell<Option<Duration>>,
    concurrency: u32,
}

impl Lambda {
    /// Starts a process, and waits until it asks for its first event.
    ///
    /// # Errors
    /// Why it does not, for whoever deploys or invokes.
    pub(super) async fn start(
        loaded: &Rc<Loaded>,
        spec: &Rc<Spec>,
        output: &Rc<Output>,
    ) -> Result<(Rc<Process>, Self), NotStarted> {
        let concurrency = process_requests(loaded.kind, &spec.limits);
        let api = RuntimeApi::new(Config {
            function_name: spec.name.to_string(),
            function_version: spec.version.to_string(),
            handler: handler(spec).to_owned(),
            region: REGION.to_owned(),
            account_id: ACCOUNT.to_owned(),
            concurrency: at_least_one(concurrency),
            external_extensions: Vec::new(),
            clock: Instant::now,
        });
        let (on_listener, listener) = oneshot::channel();
        let mut on_listener = Some(on_listener);
        let (mut port, mut inside) = (PORT, vec![PORT]);
        if !loaded.has_own_network() {
            let (made, free) = free_port()?;
            let made = TcpListener::from_std(made).map_err(|error| error.to_string())?;
            (port, inside) = (free, Vec::new());
            let _ = on_listener.take().map(|on_listener| on_listener.send(made));
        }
        let sandbox = loaded.sandbox(spec, environment(spec, concurrency, port), inside);
        let sandboxed = loaded.runtime.spawner.spawn(sandbox).await?;
        let process = Process::new(sandboxed, (spec, Rc::clone(output)), move |_, listener| {
            if let Some(on_listener) = on_listener.take() {
                let _ = on_listener.send(listener);
            }
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
            Err(_) => Err((
                format!(
                    "it did not ask for its first event within its --init-timeout of {limit:?}"
                ),
                LambdaFailure::TimedOut { limit },
            )),
        };
        match started {
            Ok(duration) => {
                let init = Cell::new(Some(duration));
                Ok((process, Self { api, init, concurrency }))
            }
            Err((reason, failure)) => {
                process.kill();
                let reason = output.with_last_words(&reason);
                Err(NotStarted { reason, failure: Some(failure), log: output.tail() })
            }
        }
    }

    /// Returns how long the process gets to end after SIGTERM: none if nothing in it has asked for
    /// any (Lambda, "Shutdown phase").
    pub(super) fn grace(&self) -> Duration {
        ShutdownPlan::new(self.api.registered_extensions()).sigkill_after
    }

    /// Has the program answer one request or event.
    pub(super) async fn call(
        &self,
        (shared, spec): (&Shared, &Rc<Spec>),
        call: Call,
        lease: Lease,
    ) -> Called {
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
        let caller = Caller::of(&parts, spec, &id_text);
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
            id: id_text.clone(),
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
        // With several at a time, the one before may be complete before the next is asked for.
        let ready = timeout(limit, self.api.ready()).await;
        let begun = match ready {
            Ok(Ok(())) => self.api.begin(invocation),
            _ => self.api.begin(invocation),
        };
        let Ok(begun) = begun else {
            if timeout(LAST_READ, process.exited()).await.is_ok() {
                let request = Request::from_parts(parts, request::again(body));
                let call = Call { id, request, origin, trace, reply, facts };
                return Called::NotBegun(Box::new(call));
            }
            let how = "it takes no events".to_owned();
            return Called::Ended(Err(Failure::ProcessEnded {
                function: spec.name.to_string(),
                how,
            }));
        };
        if caller.wants_log {
            output.remember_line(&lambda::log_lines::start(&id_text, &caller.executed_version));
        }
        let (ended, end) = oneshot::channel();
        tokio::task::spawn_local(complete(
            Rc::clone(&self.api),
            (begun.completing, deadline),
            (lease, id_text.clone(), self.concurrency),
            ended,
        ));
        let answer = begun.answering.await;
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
            let duration = end.await.map_or(limit, |completion| completion.duration);
            caller.report(&output, spec, duration, self.init.take());
        }
        let record = Record { shared, facts: &facts, id };
        let log = output.tail();
        let (ending, stream_end) = streamed::end_of_stream();
        let spec_and_record = (spec.as_ref(), record);
        let answered =
            answer::send(answer, &caller, (&log, stream_end), spec_and_record, reply).await;
        if let Some(end) = end {
            let completion = end.await.ok();
            if caller.wants_log {
                let duration = completion.as_ref().map_or(limit, |completion| completion.duration);
                caller.report(&output, spec, duration, self.init.take());
            }
            let log = caller.wants_log.then(|| output.tail());
            let _ = ending.tell.send(Ended { log, timed_out: completion.is_none() });
            if let Ok(failure) = ending.failed.await {
                report(shared, spec, id, &answer::failed(spec, failure), &facts);
            }
        }
        facts.ended();
        Called::Ended(answered)
    }
}

/// Waits for the end of an invocation, whether or not its client does. A process that runs into the
/// time limit is killed.
async fn complete(
    api: Rc<RuntimeApi>,
    (completing, deadline): (lambda::runtime_api::Completing, tokio::time::Instant),
    (lease, id, concurrency): (Lease, String, u32),
    ended: oneshot::Sender<Completion>,
) {
    tokio::select! {
        biased;
        completion = completing => drop(ended.send(completion)),
        () = sleep_until(deadline) => {
            // One of several may be given up without the others.
            if concurrency <= 1 {
                lease.kill();
            }
            api.invocation_failed(&id);
        }
    }
    drop(lease);
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

/// Returns the name of the entry that a program is told.
fn handler(spec: &Spec) -> &str {
    let given = spec.env.iter().find(|(name, _)| name == HANDLER_VARIABLE);
    given.map_or(HANDLER, |(_, handler)| handler)
}

fn at_least_one(number: u32) -> NonZeroUsize {
    usize::try_from(number).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN)
}

fn memory_mb(spec: &Spec) -> u64 {
    (spec.limits.memory_bytes_max / MIB).max(1)
}

fn environment(spec: &Spec, concurrency: u32, port: u16) -> Vec<(String, String)> {
    let version = spec.version.to_string();
    let stream = log_stream_name(SystemTime::now(), &version, fastrand::u128(..));
    let own = spec.env.iter().filter(|(name, _)| name != HANDLER_VARIABLE);
    let own: Vec<(String, String)> = own.cloned().collect();
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
        user_variables: &own,
    });
    let mut variables = made.variables;
    for (name, reason) in &made.rejected {
        if *reason == RejectedVariable::TooLarge {
            // Lambda's own limit of 4 KB is none here.
            variables.extend(own.iter().filter(|(other, _)| other == name).cloned());
        } else {
            tracing::warn!("function {:?} does not get its variable {name}: {reason}", spec.name);
        }
    }
    variables
}
