//! A stream that changes to WebSocket (RFC 8441), as its function sees it: a request that asks for
//! the change as over HTTP/1.1 (RFC 6455 4.1), and a reply that agrees. Pure; owns no fds.

use abi::problem::Problem;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use h2::ext::Protocol;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, response};

use crate::edge::websocket::accept;

/// The key of a handshake, which the client of HTTP/2 has no part in.
pub(super) struct Key(String);

impl Key {
    /// Returns the key for a request that asks to change the protocol. Returns `None` for any
    /// other.
    pub(super) fn of(request: &Parts) -> Option<Self> {
        // An edge has seen to it that the protocol is WebSocket.
        let changes = request.method == Method::CONNECT;
        // It proves that the other side knows the protocol, and nothing else.
        let key = || Self(STANDARD.encode(fastrand::u128(..).to_ne_bytes()));
        (changes && request.extensions.get::<Protocol>().is_some()).then(key)
    }

    /// Adds to a request's headers what it asks by.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(key) = HeaderValue::from_str(&self.0) {
            headers.insert(SEC_WEBSOCKET_KEY, key);
        }
    }

    /// Turns the head of a reply into what the client of HTTP/2 expects: 200 where the protocol
    /// changes. Returns whether it does.
    ///
    /// # Errors
    /// If the client would take a reply of another kind for an agreement.
    pub(super) fn answer(&self, head: &mut response::Parts) -> Result<bool, Problem> {
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            return match head.status.is_success() {
                true => Err(Problem::new(
                    501,
                    "the function does not speak WebSocket: it has answered the request as any \
                     other",
                )),
                false => Ok(false),
            };
        }
        if head.headers.remove(SEC_WEBSOCKET_ACCEPT) != Some(accept(&self.0)?) {
            return Err(Problem::new(
                502,
                "the function has changed the protocol without accepting the key of the \
                 WebSocket's handshake",
            ));
        }
        head.status = StatusCode::OK;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};

    fn key() -> Key {
        // That of RFC 6455, 1.3.
        Key("dGhlIHNhbXBsZSBub25jZQ==".to_owned())
    }

    fn answered(status: u16, accept: Option<&str>) -> Result<u16, u16> {
        let mut reply = Response::builder().status(status);
        if let Some(accept) = accept {
            reply = reply.header(SEC_WEBSOCKET_ACCEPT, accept);
        }
        let (mut head, ()) = reply.body(()).unwrap().into_parts();
        let answered = key().answer(&mut head);
        let answered = answered.map_err(|problem| problem.status)?;
        assert_eq!(answered, status == 101);
        Ok(head.status.as_u16())
    }

    #[test]
    fn only_a_connect_with_a_protocol_asks() {
        let of = |method: Method, protocol: Option<Protocol>| {
            let (mut parts, ()) = Request::new(()).into_parts();
            parts.method = method;
            if let Some(protocol) = protocol {
                parts.extensions.insert(protocol);
            }
            Key::of(&parts).is_some()
        };
        let websocket = Protocol::from_static("websocket");
        assert!(of(Method::CONNECT, Some(websocket.clone())));
        assert!(!of(Method::CONNECT, None));
        assert!(!of(Method::GET, Some(websocket)));
        let mut headers = HeaderMap::new();
        key().ask(&mut headers);
        assert_eq!(headers[SEC_WEBSOCKET_KEY].as_bytes(), b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn only_an_agreement_is_200() {
        let accept = Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answered(101, accept), Ok(200));
        for wrong in [None, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOp=")] {
            assert_eq!(answered(101, wrong), Err(502));
        }
        for success in [200, 204] {
            assert_eq!(answered(success, accept), Err(501));
        }
        for other in [302, 426, 500] {
            assert_eq!(answered(other, None), Ok(other));
        }
    }
}
