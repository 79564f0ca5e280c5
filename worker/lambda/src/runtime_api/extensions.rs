//! The extensions that a process has registered, and the events that wait for them (AWS: "Lambda
//! Extensions API"). Pure. Owns no fds.
//!
//! An extension that does its work after an event delays nothing here: Lambda freezes a process
//! when all its extensions have asked for their next event, and a node freezes none.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::Deserialize;

use crate::limits::{EXTENSION_EVENTS_MAX, EXTENSIONS_MAX};
use crate::shutdown::RegisteredExtensions;

/// Why a request about an extension is refused, always with status 403.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExtensionRefused {
    #[error("Empty extension name: the header Lambda-Extension-Name is missing")]
    NoName,
    #[error("expected a JSON object with a list of events: {0}")]
    Body(String),
    #[error("{0}: an extension {1}")]
    Event(String, &'static str),
    #[error("Extension registration closed already: the runtime has asked for its first event")]
    Closed,
    #[error("Extension with the name {0} already registered")]
    NameTaken(String),
    #[error("Extension limit ({EXTENSIONS_MAX}) reached")]
    TooMany,
    #[error("Missing Lambda-Extension-Identifier header")]
    NoIdentifier,
    #[error("Invalid Lambda-Extension-Identifier: {0} is not a UUID")]
    Identifier(String),
    #[error("Unknown extension {0}")]
    Unknown(String),
    #[error("Lambda-Extension-Function-Error-Type not found")]
    NoErrorType,
}

impl ExtensionRefused {
    /// Returns the error's type, as the API names it.
    pub(crate) fn error_type(&self) -> &'static str {
        match self {
            Self::NoName => "Extension.InvalidExtensionName",
            Self::Body(_) => "InvalidRequestFormat",
            Self::Event(..) => "Extension.InvalidEventType",
            Self::Closed => "Extension.RegistrationClosed",
            Self::NameTaken(_) => "Extension.InvalidExtensionState",
            Self::TooMany => "Extension.TooManyExtensions",
            Self::NoIdentifier => "Extension.MissingExtensionIdentifier",
            Self::Identifier(_) => "Extension.InvalidExtensionIdentifier",
            Self::Unknown(_) => "Extension.UnknownExtensionIdentifier",
            Self::NoErrorType => "Extension.MissingHeader",
        }
    }
}

#[derive(Debug)]
struct Extension {
    identifier: String,
    name: String,
    is_external: bool,
    /// Whether it has asked for its first event, which is when it has been initialized.
    has_asked: bool,
    wants_invoke: bool,
    wants_shutdown: bool,
    events: VecDeque<Bytes>,
}

/// Whether a process runs one invocation at a time. Extensions of one that runs several may not ask
/// for INVOKE events (AWS: "Lambda Managed Instances").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concurrency {
    One,
    Several,
}

/// The extensions of one process.
#[derive(Debug)]
pub(crate) struct Extensions {
    external_names: Vec<String>,
    concurrency: Concurrency,
    registered: Vec<Extension>,
}

impl Extensions {
    /// Returns no extensions. Those that register with one of `external_names` are external.
    pub(crate) fn new(external_names: Vec<String>, concurrency: Concurrency) -> Self {
        Self { external_names, concurrency, registered: Vec::new() }
    }

    /// Returns the external extensions that have not asked for their first event. The process is
    /// initialized when there are none. Internal ones are the runtime's own affair.
    pub(crate) fn awaited(&self) -> Vec<&str> {
        let asked = |name: &str| {
            let named = self.registered.iter().find(|extension| extension.name == name);
            named.is_some_and(|extension| extension.has_asked)
        };
        self.external_names.iter().map(String::as_str).filter(|name| !asked(name)).collect()
    }

    /// Returns whether an extension of this name would be external.
    pub(crate) fn is_external(&self, name: &str) -> bool {
        self.external_names.iter().any(|external| external == name)
    }

    /// Registers the extension `name` under `identifier`, for the events in `body`.
    pub(crate) fn register(
        &mut self,
        name: Option<&str>,
        body: &[u8],
        is_closed: bool,
        identifier: String,
    ) -> Result<(), ExtensionRefused> {
        #[derive(Deserialize)]
        struct Registration {
            events: Option<Vec<String>>,
        }
        let name = name.filter(|name| !name.is_empty()).ok_or(ExtensionRefused::NoName)?;
        let registration: Registration = serde_json::from_slice(body)
            .map_err(|error| ExtensionRefused::Body(error.to_string()))?;
        let is_external = self.is_external(name);
        let events = registration.events.unwrap_or_default();
        for event in &events {
            let reason = match event.as_str() {
                "INVOKE" if self.concurrency == Concurrency::One => continue,
                "SHUTDOWN" if is_external => continue,
                "INVOKE" => "of a process that runs several invocations gets no INVOKE events",
                "SHUTDOWN" => "inside of the runtime's process gets no SHUTDOWN events",
                _ => "gets only INVOKE and SHUTDOWN events",
            };
            return Err(ExtensionRefused::Event(event.clone(), reason));
        }
        if is_closed {
            return Err(ExtensionRefused::Closed);
        }
        if self.registered.iter().any(|extension| extension.name == name) {
            return Err(ExtensionRefused::NameTaken(name.to_owned()));
        }
        if self.registered.len() >= EXTENSIONS_MAX {
            return Err(ExtensionRefused::TooMany);
        }
        let wants = |wanted: &str| events.iter().any(|event| event == wanted);
        self.registered.push(Extension {
            identifier,
            name: name.to_owned(),
            is_external,
            has_asked: false,
            wants_invoke: wants("INVOKE"),
            wants_shutdown: wants("SHUTDOWN"),
            events: VecDeque::new(),
        });
        Ok(())
    }

    /// Returns the name of the extension that a request's identifier belongs to.
    pub(crate) fn name_of(&self, identifier: Option<&str>) -> Result<&str, ExtensionRefused> {
        self.find(identifier).map(|at| self.registered.get(at).map_or("", |found| &*found.name))
    }

    fn find(&self, identifier: Option<&str>) -> Result<usize, ExtensionRefused> {
        let identifier = identifier.filter(|identifier| !identifier.is_empty());
        let identifier = identifier.ok_or(ExtensionRefused::NoIdentifier)?;
        if uuid::Uuid::try_parse(identifier).is_err() {
            return Err(ExtensionRefused::Identifier(identifier.to_owned()));
        }
        let mut registered = self.registered.iter();
        registered
            .position(|extension| extension.identifier.eq_ignore_ascii_case(identifier))
            .ok_or_else(|| ExtensionRefused::Unknown(identifier.to_owned()))
    }

    /// Returns the next event for an extension. Returns `None` if there is none yet.
    pub(crate) fn next(
        &mut self,
        identifier: Option<&str>,
    ) -> Result<Option<Bytes>, ExtensionRefused> {
        let at = self.find(identifier)?;
        Ok(self.registered.get_mut(at).and_then(|extension| {
            extension.has_asked = true;
            extension.events.pop_front()
        }))
    }

    /// Queues an INVOKE event for those that asked for it. Returns whether there are any.
    pub(crate) fn invoke(&mut self, event: impl FnOnce() -> Bytes) -> bool {
        self.queue(event, |extension| extension.wants_invoke)
    }

    /// Queues a SHUTDOWN event for those that asked for it. Returns whether there are any.
    pub(crate) fn shutdown(&mut self, event: impl FnOnce() -> Bytes) -> bool {
        self.queue(event, |extension| extension.wants_shutdown)
    }

    fn queue(&mut self, event: impl FnOnce() -> Bytes, wants: fn(&Extension) -> bool) -> bool {
        if !self.registered.iter().any(wants) {
            return false;
        }
        let event = event();
        for extension in self.registered.iter_mut().filter(|extension| wants(extension)) {
            if extension.events.len() >= EXTENSION_EVENTS_MAX {
                extension.events.pop_front();
            }
            extension.events.push_back(event.clone());
        }
        true
    }

    /// Returns which kinds of extensions there are.
    pub(crate) fn kinds(&self) -> RegisteredExtensions {
        RegisteredExtensions {
            internal: self.registered.iter().any(|extension| !extension.is_external),
            external: self.registered.iter().any(|extension| extension.is_external),
        }
    }
}

#[cfg(test)]
mod tests;
