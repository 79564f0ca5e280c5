//! [`RuntimeApi`]: what the worker and the runtime of one process tell each other. The rules are in
//! `state` and `extensions`; here are those who wait. Owns no fds.

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{Notify, oneshot};

use super::answer::{Answer, Answering, Begun, Completing, Completion, CompletionReason};
use super::endpoint::ExtensionErrorKind;
use super::extensions::{Concurrency, ExtensionRefused, Extensions};
use super::invocation::{Id, Invocation};
use super::state::{Completed, Next, PostKind, Refused, State};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::shutdown::{RegisteredExtensions, ShutdownReason};

/// What a [`RuntimeApi`] has to know about its process.
#[derive(Debug, Clone)]
pub struct Config {
    /// The function's name.
    pub function_name: String,
    /// Its version: `$LATEST` or a number.
    pub function_version: String,
    /// Its handler, such as `bootstrap`.
    pub handler: String,
    /// The region in its ARN.
    pub region: String,
    /// The account in its ARN, 12 digits.
    pub account_id: String,
    /// How many invocations the process may run at a time.
    pub concurrency: NonZeroUsize,
    /// The names of the extensions that are processes of their own, which are the names of their
    /// executables in `/opt/extensions`.
    pub external_extensions: Vec<String>,
    /// What the time is. [`Instant::now`], except in tests.
    pub clock: fn() -> Instant,
}

/// A process that has been initialized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initialized {
    /// From the making of the [`RuntimeApi`] to the first request for an event of the runtime, or
    /// of the last of its external extensions, as a REPORT line has it.
    pub duration: Duration,
}

/// Why a process could not be initialized.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitFailure {
    /// The runtime reported an error.
    #[error("the runtime reported an error while it was initialized: {error_type}")]
    Reported {
        /// Its type.
        error_type: String,
        /// The error as the runtime wrote it.
        body: Bytes,
    },
    /// An extension reported an error.
    #[error("the extension {name} reported an error while it was initialized: {error_type}")]
    Extension {
        /// The extension's name.
        name: String,
        /// The error's type, as the extension named it.
        error_type: String,
        /// The error as the extension wrote it.
        body: Bytes,
    },
    /// The process ended.
    #[error("the process ended before it asked for its first event: {0}")]
    Exited(Exit),
}

/// Why no invocation can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// The runtime is not waiting for an event: it is not initialized yet, or runs as many
    /// invocations as it may. Wait for [`ready`](RuntimeApi::ready), or take another process.
    #[error("the process is not waiting for an event; wait until it is, or use another")]
    NotReady,
    /// The process has ended or could not be initialized. Start another.
    #[error("the process has ended or failed to initialize; start another")]
    Gone,
}

/// The Runtime API of one process. See the [crate's documentation](crate).
#[derive(Debug)]
pub struct RuntimeApi {
    config: Config,
    started: Instant,
    inner: RefCell<Inner>,
    /// An event waits for a `next`.
    queued: Notify,
    /// The outcome of the initialization is known, or it has changed whether an invocation can
    /// begin.
    changed: Notify,
    /// An event waits for an extension.
    extension_event: Notify,
}

#[derive(Debug)]
struct Inner {
    state: State,
    extensions: Extensions,
    calls: HashMap<Id, Call>,
    init: Option<Result<Initialized, InitFailure>>,
    exit: Option<Exit>,
    connections: usize,
}

/// Those who wait for an invocation, which the state has under the same id.
#[derive(Debug)]
struct Call {
    invocation: Rc<Invocation>,
    answer: Option<oneshot::Sender<Answer>>,
    completion: oneshot::Sender<Completion>,
}

impl RuntimeApi {
    /// Returns the Runtime API of a process that is started now.
    #[must_use]
    pub fn new(config: Config) -> Rc<Self> {
        let concurrency = config.concurrency;
        let kind = if concurrency.get() > 1 { Concurrency::Several } else { Concurrency::One };
        let inner = Inner {
            state: State::new(concurrency),
            extensions: Extensions::new(config.external_extensions.clone(), kind),
            calls: HashMap::new(),
            init: None,
            exit: None,
            connections: 0,
        };
        Rc::new(Self {
            started: (config.clock)(),
            config,
            inner: RefCell::new(inner),
            queued: Notify::new(),
            changed: Notify::new(),
            extension_event: Notify::new(),
        })
    }

    /// Waits until the runtime asks for its first event, and each external extension for its own.
    ///
    /// # Errors
    ///
    /// Returns an [`InitFailure`] if the runtime or an extension reports an error instead, or the
    /// process ends.
    pub async fn initialized(&self) -> Result<Initialized, InitFailure> {
        loop {
            let changed = self.changed.notified();
            if let Some(outcome) = &self.inner.borrow().init {
                return outcome.clone();
            }
            changed.await;
        }
    }

    /// Returns whether [`begin`](Self::begin) would begin an invocation.
    #[must_use]
    pub fn can_begin(&self) -> bool {
        self.inner.borrow().can_begin().is_ok()
    }

    /// Waits until an invocation can begin.
    ///
    /// # Errors
    ///
    /// Returns [`BeginError::Gone`] if none ever can.
    pub async fn ready(&self) -> Result<(), BeginError> {
        loop {
            let changed = self.changed.notified();
            match self.inner.borrow().can_begin() {
                Err(BeginError::NotReady) => {}
                outcome => return outcome,
            }
            changed.await;
        }
    }

    /// Waits until a runtime that has been initialized, and runs no invocation, has broken off its
    /// request for an event. It may make another, for which [`ready`](Self::ready) waits.
    pub async fn stopped_asking(&self) {
        loop {
            let changed = self.changed.notified();
            if self.inner.borrow().has_stopped_asking() {
                return;
            }
            changed.await;
        }
    }

    /// Gives the runtime an invocation. It has no time limit of its own: after a timeout, call
    /// [`invocation_failed`](Self::invocation_failed).
    ///
    /// # Errors
    ///
    /// Returns a [`BeginError`] if the runtime cannot take it.
    pub fn begin(&self, invocation: Invocation) -> Result<Begun, BeginError> {
        let id: Id = invocation.id.as_str().into();
        let (answer, answering) = oneshot::channel();
        let (completion, completing) = oneshot::channel();
        let mut guard = self.inner.borrow_mut();
        let inner = &mut *guard;
        inner.can_begin()?;
        if !inner.state.begin(&id, self.now()) {
            return Err(BeginError::NotReady);
        }
        if inner.extensions.invoke(|| self.invoke_event(&invocation)) {
            self.extension_event.notify_waiters();
        }
        let invocation = Rc::new(invocation);
        inner.calls.insert(id, Call { invocation, answer: Some(answer), completion });
        self.queued.notify_one();
        Ok(Begun { answering: Answering(answering), completing: Completing(completing) })
    }

    /// Gives an invocation up, after a timeout for instance. What the runtime posts about it later
    /// is refused with status 400. The process has to be ended, unless it runs several invocations
    /// and the others are to go on.
    pub fn invocation_failed(&self, id: &str) {
        let mut inner = self.inner.borrow_mut();
        if let Some(completed) = inner.state.remove(id, self.now()) {
            inner.complete(completed, CompletionReason::Cancelled);
        }
    }

    /// The process has ended. Invocations that it has not answered fail, once all of its
    /// connections have come to their end: what it wrote before it ended still counts. If they do
    /// not, because a process that it left behind holds one, drop what
    /// [`serve`](Self::serve) returned.
    pub fn process_exited(&self, exit: Exit) {
        let mut inner = self.inner.borrow_mut();
        inner.exit.get_or_insert(exit);
        self.settle(&mut inner);
    }

    /// Tells those extensions that asked for it that the process is going to end, by
    /// `deadline_unix_ms` in milliseconds since 1970.
    pub fn shutdown(&self, reason: ShutdownReason, deadline_unix_ms: u64) {
        let event = || {
            let reason = reason.as_str();
            json!({
                "eventType": "SHUTDOWN", "deadlineMs": deadline_unix_ms, "shutdownReason": reason,
            })
            .to_string()
            .into()
        };
        if self.inner.borrow_mut().extensions.shutdown(event) {
            self.extension_event.notify_waiters();
        }
    }

    /// Returns which kinds of extensions have registered, by which
    /// [`ShutdownPlan`](crate::shutdown::ShutdownPlan) is chosen.
    #[must_use]
    pub fn registered_extensions(&self) -> RegisteredExtensions {
        self.inner.borrow().extensions.kinds()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    fn now(&self) -> Instant {
        (self.config.clock)()
    }

    /// Returns the ARN of the function, as the caller of `invocation` named it.
    pub(crate) fn function_arn(&self, invocation: &Invocation) -> String {
        let Config { region, account_id, function_name, .. } = &self.config;
        let arn = format!("arn:aws:lambda:{region}:{account_id}:function:{function_name}");
        match &invocation.qualifier {
            Some(qualifier) => format!("{arn}:{qualifier}"),
            None => arn,
        }
    }

    fn invoke_event(&self, invocation: &Invocation) -> Bytes {
        let mut event = json!({
            "eventType": "INVOKE",
            "deadlineMs": invocation.deadline_unix_ms,
            "requestId": invocation.id,
            "invokedFunctionArn": self.function_arn(invocation),
        });
        if let (Some(trace_id), Some(event)) = (&invocation.trace_id, event.as_object_mut()) {
            let tracing = json!({ "type": "X-Amzn-Trace-Id", "value": trace_id });
            event.insert("tracing".to_owned(), tracing);
        }
        event.to_string().into()
    }

    /// The runtime asks for its next event. Returns `None` if it has to wait; the request then
    /// counts as waiting, see [`State::next`].
    pub(super) fn next(&self) -> Result<Option<Rc<Invocation>>, Refused> {
        let mut inner = self.inner.borrow_mut();
        let now = self.now();
        let (next, completed) = inner.state.next(now)?;
        if let Some(completed) = completed {
            inner.complete(completed, CompletionReason::Next);
        }
        self.settle_init(&mut inner);
        self.changed.notify_waiters();
        Ok(match next {
            Next::Deliver(id) | Next::Repeat(id) => inner.invocation(&id),
            Next::Wait => None,
        })
    }

    /// If the runtime and all external extensions have asked for their first events, the process is
    /// initialized.
    fn settle_init(&self, inner: &mut Inner) {
        let has_begun = inner.state.is_initialized() && inner.extensions.awaited().is_empty();
        if has_begun && inner.init.is_none() {
            let duration = self.now().saturating_duration_since(self.started);
            inner.init = Some(Ok(Initialized { duration }));
            self.changed.notify_waiters();
        }
    }

    /// Returns the names of the external extensions that have not asked for their first event.
    #[must_use]
    pub fn awaited_extensions(&self) -> Vec<String> {
        let inner = self.inner.borrow();
        inner.extensions.awaited().into_iter().map(str::to_owned).collect()
    }

    /// Waits until an event may be there for a waiting `next`.
    pub(super) async fn event_queued(&self) {
        self.queued.notified().await;
    }

    /// A waiting `next` takes an event, if there is one.
    pub(super) fn deliver_to_waiting(&self) -> Option<Rc<Invocation>> {
        let mut inner = self.inner.borrow_mut();
        let id = inner.state.deliver_to_waiting(self.now())?;
        inner.invocation(&id)
    }

    /// A waiting `next` is not there any more.
    pub(super) fn waiting_ended(&self) {
        self.inner.borrow_mut().state.waiting_ended();
        self.changed.notify_waiters();
    }

    /// The runtime begins to post about an invocation.
    pub(super) fn post(&self, id: &str, kind: PostKind) -> Result<(), Refused> {
        self.inner.borrow_mut().state.post(id, kind)
    }

    /// Answers an invocation, if nothing has yet.
    pub(super) fn answer(&self, id: &str, answer: Answer) {
        let mut inner = self.inner.borrow_mut();
        let sender = inner.calls.get_mut(id).and_then(|call| call.answer.take());
        // Dropping an answer may run code of its receiver's, which is not to find this borrowed.
        drop(inner);
        if let Some(sender) = sender {
            let _ = sender.send(answer);
        }
    }

    /// What the runtime posted about an invocation has come to its end.
    pub(super) fn posted(&self, id: &str) -> Result<(), Refused> {
        let mut inner = self.inner.borrow_mut();
        if let Some(completed) = inner.state.posted(id, self.now())? {
            inner.complete(completed, CompletionReason::Next);
            self.changed.notify_waiters();
        }
        Ok(())
    }

    /// The runtime reports that it cannot be initialized. The report's body follows by
    /// [`init_failed`](Self::init_failed).
    pub(super) fn init_error(&self) -> Result<(), Refused> {
        self.inner.borrow_mut().state.init_error()
    }

    /// The process cannot be initialized. The first reason stays.
    pub(super) fn init_failed(&self, failure: InitFailure) {
        self.inner.borrow_mut().init.get_or_insert(Err(failure));
        self.changed.notify_waiters();
    }

    /// Registers an extension. Returns its identifier.
    pub(super) fn register(
        &self,
        name: Option<&str>,
        body: &[u8],
    ) -> Result<String, ExtensionRefused> {
        let identifier = uuid::Uuid::now_v7().to_string();
        let inner = &mut *self.inner.borrow_mut();
        // An external one starts beside the runtime, which may be there first.
        let is_external = name.is_some_and(|name| inner.extensions.is_external(name));
        let is_closed = match is_external {
            true => inner.init.is_some(),
            false => inner.state.is_initialized(),
        };
        inner.extensions.register(name, body, is_closed, identifier.clone())?;
        Ok(identifier)
    }

    /// Waits for an extension's next event.
    pub(super) async fn extension_next(
        &self,
        identifier: Option<&str>,
    ) -> Result<Bytes, ExtensionRefused> {
        loop {
            let notified = self.extension_event.notified();
            let event = {
                let inner = &mut *self.inner.borrow_mut();
                let event = inner.extensions.next(identifier)?;
                self.settle_init(inner);
                event
            };
            match event {
                Some(event) => return Ok(event),
                None => notified.await,
            }
        }
    }

    /// An extension reports an error. One that it has while it is initialized is the process's.
    pub(super) fn extension_failed(
        &self,
        kind: ExtensionErrorKind,
        identifier: Option<&str>,
        error_type: Option<&str>,
        body: Bytes,
    ) -> Result<(), ExtensionRefused> {
        let name = self.inner.borrow().extensions.name_of(identifier)?.to_owned();
        let error_type = error_type.filter(|error_type| !error_type.is_empty());
        let error_type = error_type.ok_or(ExtensionRefused::NoErrorType)?.to_owned();
        match kind {
            ExtensionErrorKind::Init => {
                self.init_failed(InitFailure::Extension { name, error_type, body });
            }
            ExtensionErrorKind::Exit => {}
        }
        Ok(())
    }

    /// A connection of the process is served from now on.
    pub(super) fn connected(&self) {
        self.inner.borrow_mut().connections += 1;
    }

    /// A connection of the process is not served any more.
    pub(super) fn disconnected(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.connections = inner.connections.saturating_sub(1);
        self.settle(&mut inner);
    }

    /// If the process has ended and so have its connections, nothing can come from it any more.
    fn settle(&self, inner: &mut Inner) {
        self.changed.notify_waiters();
        let Some(exit) = inner.exit else { return };
        if inner.connections > 0 {
            return;
        }
        inner.init.get_or_insert(Err(InitFailure::Exited(exit)));
        let ids: Vec<Id> = inner.calls.keys().cloned().collect();
        for id in ids {
            let Some(completed) = inner.state.remove(&id, self.now()) else { continue };
            if let Some(answer) = inner.calls.get_mut(&id).and_then(|call| call.answer.take()) {
                let _ = answer.send(Answer::Failed(Failure::Exited(exit)));
            }
            inner.complete(completed, CompletionReason::Exited(exit));
        }
    }
}

impl Inner {
    fn can_begin(&self) -> Result<(), BeginError> {
        if self.exit.is_some() || matches!(self.init, Some(Err(_))) {
            return Err(BeginError::Gone);
        }
        if self.state.can_begin() { Ok(()) } else { Err(BeginError::NotReady) }
    }

    fn has_stopped_asking(&self) -> bool {
        self.exit.is_none() && self.state.has_stopped_asking()
    }

    fn invocation(&self, id: &str) -> Option<Rc<Invocation>> {
        self.calls.get(id).map(|call| call.invocation.clone())
    }

    fn complete(&mut self, completed: Completed, reason: CompletionReason) {
        if let Some(call) = self.calls.remove(&completed.id) {
            let _ = call.completion.send(Completion { reason, duration: completed.duration });
        }
    }
}
