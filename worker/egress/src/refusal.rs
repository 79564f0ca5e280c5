//! Why a request is not carried out, and the reply that says so. Owns no fds.
//!
//! Many clients show nothing of a refused CONNECT but its status line, so the sentence stands there
//! too, as the reason phrase (RFC 9112 4).

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::ext::ReasonPhrase;

use crate::connect::ConnectError;
use crate::destination::Destination;

/// A request that the proxy refuses or fails to carry out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "this is the proxy for outgoing requests and has no pages of its own; \
         send CONNECT HOST:PORT, or a request for a whole http:// URL"
    )]
    NoProxyRequest,
    #[error("the proxy forwards http:// URLs only; for others send CONNECT HOST:PORT")]
    Scheme,
    #[error(
        "the request names no valid host and port; it may not have a user or port 0 in it, \
         and CONNECT needs a port"
    )]
    Destination,
    #[error("a CONNECT request may have no body; send what is for the server after the reply")]
    TunnelBody,
    #[error(
        "[outgoing request to {0} denied: it is not among the function's allowed destinations; \
         deploy with --allow-outbound {0} to allow it]"
    )]
    Host(Destination),
    #[error("{0}")]
    Address(String),
    #[error(
        "the function has {0} outgoing requests, the most at a time; \
         wait for one to end, or deploy with more --outbound-requests"
    )]
    Busy(usize),
    #[error("no connection to {0}: {1}")]
    Connect(Destination, ConnectError),
    #[error("{0} did not answer in time")]
    Slow(Destination),
    #[error("no valid reply from {0}: {1}")]
    Reply(Destination, Box<dyn std::error::Error + Send + Sync>),
}

impl Refusal {
    /// Returns the refusal that stands for a failed connection.
    pub(crate) fn connect(destination: &Destination, error: ConnectError) -> Self {
        match error {
            ConnectError::Denied(sentence) => Self::Address(sentence),
            error => Self::Connect(destination.clone(), error),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoProxyRequest | Self::Scheme | Self::Destination | Self::TunnelBody => {
                StatusCode::BAD_REQUEST
            }
            Self::Host(_) | Self::Address(_) => StatusCode::FORBIDDEN,
            Self::Busy(_) | Self::Connect(_, ConnectError::Limit) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Slow(_) | Self::Connect(_, ConnectError::TimedOut) => StatusCode::GATEWAY_TIMEOUT,
            Self::Connect(..) | Self::Reply(..) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Returns whether the destination is not allowed, which the function's log says too.
    pub(crate) fn is_denial(&self) -> bool {
        self.status() == StatusCode::FORBIDDEN
    }

    /// Returns the reply. The connection is kept for the client's next request, unless the client
    /// may already have sent what was meant for a tunnel.
    pub(crate) fn reply(&self, afterwards: Afterwards) -> Response<Full<Bytes>> {
        let sentence = self.to_string();
        let mut reply = Response::new(Full::new(Bytes::from(format!("{sentence}\n"))));
        *reply.status_mut() = self.status();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        reply.headers_mut().insert(CONTENT_TYPE, plain);
        if let Some(phrase) = reason_phrase(&sentence) {
            reply.extensions_mut().insert(phrase);
        }
        if afterwards == Afterwards::Close {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

/// What happens to the client's connection after a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Afterwards {
    Keep,
    Close,
}

/// Returns the sentence as a reason phrase. A sentence of others' making may have line breaks or
/// be in any script, which a phrase may not.
fn reason_phrase(sentence: &str) -> Option<ReasonPhrase> {
    let printable = |character: char| if character.is_ascii_graphic() { character } else { ' ' };
    let phrase: String = sentence.chars().map(printable).collect();
    ReasonPhrase::try_from(phrase.into_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination() -> Destination {
        Destination { host: "a.example".into(), port: 443 }
    }

    #[test]
    fn each_refusal_has_its_status() {
        let unreachable = || ConnectError::Unreachable("connection refused".into());
        for (error, status) in [
            (ConnectError::Denied("[denied]".into()), 403),
            (unreachable(), 502),
            (ConnectError::Limit, 503),
            (ConnectError::TimedOut, 504),
        ] {
            assert_eq!(Refusal::connect(&destination(), error).status().as_u16(), status);
        }
        assert!(Refusal::Host(destination()).is_denial());
        assert!(!Refusal::connect(&destination(), unreachable()).is_denial());
    }

    #[test]
    fn the_sentence_is_the_reason_phrase_whatever_is_in_it() {
        let refusal = Refusal::Address("né\r\nx: y".into());
        let reply = refusal.reply(Afterwards::Close);
        let phrase = reply.extensions().get::<ReasonPhrase>().unwrap();
        assert_eq!(phrase.as_bytes(), b"n   x: y");
        assert_eq!(reply.headers()[CONNECTION], "close");
    }

    #[test]
    fn a_denied_host_is_told_what_would_allow_it() {
        let text = Refusal::Host(destination()).to_string();
        assert!(text.contains("--allow-outbound a.example:443"), "{text}");
    }
}
