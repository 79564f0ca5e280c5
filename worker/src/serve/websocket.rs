//! Requests that are events of a WebSocket connection, and finding their function again. Pure; owns
//! no fds.
//!
//! What a connection is about stands in headers, which a function can trust: a client's own of the
//! same names are removed from every request to a function that has WebSocket connections.

use std::rc::Rc;
use std::sync::Arc;

use abi::choice::Selector;
use abi::function::{ArchivedWebSocketMode, WebSocketMode};
use http::{HeaderName, HeaderValue, Request};

use super::{Destination, Pipeline, is_ours};
use crate::push::ConnectionId;

/// Says what has happened to the connection.
static EVENT: HeaderName = HeaderName::from_static("websocket-event");
/// Says which connection it is.
static ID: HeaderName = HeaderName::from_static("websocket-id");
/// Says how it was closed.
static CLOSE_CODE: HeaderName = HeaderName::from_static("websocket-close-code");

/// An extension of a request: it is an event of a WebSocket connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WebSocketEvent {
    pub(crate) id: ConnectionId,
    pub(crate) kind: EventKind,
}

/// What has happened to a WebSocket connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// A client asks for it.
    Open,
    /// A message has arrived.
    Message,
    /// It has ended, with this code.
    Close(u16),
}

/// Removes what a client says of WebSocket connections, and adds what the node knows.
pub(super) fn mark(request: &mut Request<()>) {
    let event = request.extensions().get::<WebSocketEvent>().copied();
    let headers = request.headers_mut();
    [&EVENT, &ID, &CLOSE_CODE].into_iter().for_each(|name| drop(headers.remove(name)));
    let Some(WebSocketEvent { id, kind }) = event else { return };
    let name = match kind {
        EventKind::Open => "open",
        EventKind::Message => "message",
        EventKind::Close(code) => {
            headers.insert(&CLOSE_CODE, code.into());
            "close"
        }
    };
    headers.insert(&EVENT, HeaderValue::from_static(name));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(&ID, id);
    }
}

/// What a connection has asked for, by names that last beyond one catalogue.
#[derive(Debug, Clone)]
pub(crate) struct Callee {
    pub(crate) function: Arc<str>,
    selected: Selected,
}

#[derive(Debug, Clone)]
enum Selected {
    Alias(Box<str>),
    Version([u8; 16]),
}

/// Where the events of a connection go now.
pub(crate) enum Found {
    /// There. A message may have so many bytes.
    Here { destination: Destination, bytes_max: u64 },
    /// To another worker.
    Elsewhere,
    /// Nowhere: the function, its alias or its version is not there any more, or has no WebSocket
    /// connections.
    Nowhere,
}

impl Destination {
    /// Returns whether WebSocket connections can be made there.
    pub(crate) fn takes_messages(&self) -> bool {
        let Self::Function { catalogue, choice, .. } = self else { return false };
        catalogue
            .chosen(*choice)
            .is_some_and(|(_, _, spec)| spec.websocket == ArchivedWebSocketMode::Messages)
    }

    /// Returns what is found there, so that it can be found again. Returns `None` if there is no
    /// function.
    pub(crate) fn callee(&self) -> Option<Callee> {
        let Self::Function { catalogue, choice, selector } = self else { return None };
        let function = catalogue.function(choice.function)?;
        let selected = match *selector {
            Selector::Alias(at) => Selected::Alias(function.aliases.get(at)?.name.as_str().into()),
            Selector::Version(at) => Selected::Version(function.versions.get(at)?.id),
        };
        Some(Callee { function: function.name.as_str().into(), selected })
    }
}

impl Pipeline {
    /// Finds what a connection has asked for in the newest catalogue.
    pub(crate) fn find_again(&self, callee: &Callee) -> Found {
        let catalogue = self.functions.catalogue();
        let found = catalogue.find(&callee.function);
        let Some((at, function)) = found.and_then(|at| Some((at, catalogue.function(at)?))) else {
            return Found::Nowhere;
        };
        if !is_ours(&self.settings(), function) {
            return Found::Elsewhere;
        }
        let selector = match &callee.selected {
            Selected::Alias(name) => {
                function.aliases.iter().position(|alias| *alias.name == **name).map(Selector::Alias)
            }
            Selected::Version(id) => function
                .versions
                .iter()
                .position(|version| version.id == *id)
                .map(Selector::Version),
        };
        let choice = selector.and_then(|selector| {
            Some((selector, catalogue.choose(at, selector, fastrand::u32(..))?))
        });
        let Some((selector, choice)) = choice else { return Found::Nowhere };
        let mode = catalogue.chosen(choice).map(|(_, _, spec)| {
            (WebSocketMode::from(&spec.websocket), spec.limits.request_body_bytes_max.to_native())
        });
        match mode {
            Some((WebSocketMode::Messages, bytes_max)) => {
                let catalogue = Rc::clone(&catalogue);
                let destination = Destination::Function { catalogue, choice, selector };
                Found::Here { destination, bytes_max }
            }
            _ => Found::Nowhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_say_what_the_node_says() {
        let (websockets, _remote) = crate::push::WebSockets::new(7);
        let id = websockets.register(&"chat".into()).unwrap().id;
        for (kind, event, code) in [
            (None, None, None),
            (Some(EventKind::Open), Some("open"), None),
            (Some(EventKind::Message), Some("message"), None),
            (Some(EventKind::Close(1006)), Some("close"), Some("1006")),
        ] {
            let mut request = Request::new(());
            for name in [&EVENT, &ID, &CLOSE_CODE] {
                request.headers_mut().append(name, HeaderValue::from_static("forged"));
                request.headers_mut().append(name, HeaderValue::from_static("twice"));
            }
            if let Some(kind) = kind {
                request.extensions_mut().insert(WebSocketEvent { id, kind });
            }
            mark(&mut request);
            let all = |name| {
                let values = request.headers().get_all(name).iter();
                values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            let expected = |value: Option<&str>| value.map(str::to_owned).into_iter().collect();
            let expected: [Vec<String>; 3] = [
                expected(event),
                expected(kind.map(|_| id.to_string()).as_deref()),
                expected(code),
            ];
            assert_eq!([all(&EVENT), all(&ID), all(&CLOSE_CODE)], expected, "{kind:?}");
        }
    }
}
