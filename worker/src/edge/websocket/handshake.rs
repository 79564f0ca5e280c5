//! The opening handshake (RFC 6455 4.2), apart from the connection that it comes on. Pure; owns no
//! fds.

use abi::problem::Problem;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, SET_COOKIE, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// What a server adds to a client's key (RFC 6455 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;
const VERSION: &str = "13";

/// The headers of the handshake itself, which the function does not see. An extension would be the
/// node's to speak, and it speaks none.
const OWN: [HeaderName; 5] =
    [CONNECTION, UPGRADE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_EXTENSIONS];

/// A client's half of a handshake that is well formed.
#[derive(Debug)]
pub(in crate::edge) struct Handshake {
    /// What the node proves with that it has read the key.
    accept: HeaderValue,
    /// The lists of protocols that the client offers.
    protocols: Vec<HeaderValue>,
}

impl Handshake {
    /// Returns the handshake of a request that asks to change the protocol, and removes its headers
    /// but for the protocols that it offers. Returns `None` if the request does not ask for
    /// WebSocket.
    ///
    /// # Errors
    /// What is wrong with it, for the client.
    pub(in crate::edge) fn take(request: &mut Request<()>) -> Option<Result<Self, Problem>> {
        let headers = request.headers();
        let mut upgrades = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
        let mut upgrades = upgrades.by_ref().flat_map(|value| value.split(','));
        let is_asked = upgrades.any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"));
        if request.method() != Method::GET || !is_asked {
            return None;
        }
        let read = read(headers);
        OWN.iter().for_each(|name| drop(request.headers_mut().remove(name)));
        Some(read)
    }

    /// Returns the headers by which the node accepts it: its own, and of the function's those that
    /// may stand there. Returns as well whether the function has chosen a protocol that the client
    /// did not offer, which is left out.
    pub(in crate::edge) fn accepted(self, reply: &HeaderMap) -> (HeaderMap, bool) {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        for cookie in reply.get_all(SET_COOKIE) {
            headers.append(SET_COOKIE, cookie.clone());
        }
        let mut chosen = reply.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let (first, more) = (chosen.next(), chosen.next());
        let Some(first) = first else { return (headers, false) };
        let offered = || {
            let lists = self.protocols.iter().filter_map(|list| list.to_str().ok());
            lists.flat_map(|list| list.split(',')).map(str::trim)
        };
        let is_offered = more.is_none()
            && first
                .to_str()
                .is_ok_and(|chosen| !chosen.is_empty() && offered().any(|one| one == chosen));
        if is_offered {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, first.clone());
        }
        (headers, !is_offered)
    }
}

fn read(headers: &HeaderMap) -> Result<Handshake, Problem> {
    let only = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let first = values.next().and_then(|value| value.to_str().ok());
        first.filter(|_| values.next().is_none()).map(str::trim)
    };
    if only(SEC_WEBSOCKET_VERSION) != Some(VERSION) {
        let why =
            "this version of WebSocket is not spoken here; expected Sec-WebSocket-Version: 13";
        return Err(Problem::new(426, why));
    }
    let key = only(SEC_WEBSOCKET_KEY)
        .filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES));
    let Some(key) = key else {
        return Err(Problem::new(400, "Sec-WebSocket-Key is not one value of 16 bytes in base64"));
    };
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().cloned().collect();
    Ok(Handshake { accept: accept(key)?, protocols })
}

/// Returns the value by which a server accepts a client's `key` (RFC 6455 4.2.2).
///
/// # Errors
/// None that is known of.
pub(in crate::edge) fn accept(key: &str) -> Result<HeaderValue, Problem> {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(GUID);
    HeaderValue::try_from(STANDARD.encode(digest.finish()))
        .map_err(|_| Problem::new(500, "the handshake cannot be answered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 5] = [
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-extensions", "permessage-deflate"),
    ];

    fn request(change: (&str, Option<&str>)) -> Request<()> {
        let mut request = Request::new(());
        let given = GOOD.into_iter().filter(|(name, _)| *name != change.0);
        for (name, value) in given.chain(change.1.map(|value| (change.0, value))) {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn the_example_of_the_standard() {
        let mut request = request(("cookie", Some("a=b")));
        let handshake = Handshake::take(&mut request).unwrap().unwrap();
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(request.headers().len(), 1, "{:?}", request.headers());
    }

    #[test]
    fn what_is_wrong_is_told_and_what_does_not_ask_is_left_alone() {
        for (change, status) in [
            (("sec-websocket-version", Some("8")), Some(426)),
            (("sec-websocket-version", None), Some(426)),
            (("sec-websocket-key", None), Some(400)),
            (("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25j")), Some(400)),
            (("sec-websocket-key", Some("not base64")), Some(400)),
            (("upgrade", Some("h2c")), None),
            (("upgrade", None), None),
        ] {
            let taken = Handshake::take(&mut request(change));
            let found = taken.map(|taken| taken.unwrap_err().status);
            assert_eq!(found, status, "{change:?}");
        }
        let mut twice = request(("a", None));
        twice.headers_mut().append(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        assert_eq!(Handshake::take(&mut twice).unwrap().unwrap_err().status, 426);
        let mut post = request(("upgrade", Some("h2c, WebSocket")));
        assert!(Handshake::take(&mut post).unwrap().is_ok());
        let mut post = request(("a", None));
        *post.method_mut() = Method::POST;
        assert!(Handshake::take(&mut post).is_none());
    }

    #[test]
    fn only_a_protocol_that_was_offered_is_accepted() {
        for (offered, chosen, accepted) in [
            ("chat, superchat", &["superchat"][..], Some("superchat")),
            ("chat", &[], None),
            ("chat", &["other"], None),
            ("chat, other", &["chat, other"], None),
            ("chat, other", &["chat", "other"], None),
            (",", &[""], None),
        ] {
            let mut request = request(("sec-websocket-protocol", Some(offered)));
            let handshake = Handshake::take(&mut request).unwrap().unwrap();
            assert_eq!(request.headers()[SEC_WEBSOCKET_PROTOCOL], offered);
            let mut reply = HeaderMap::new();
            reply.insert("x-other", HeaderValue::from_static("y"));
            reply.append(SET_COOKIE, HeaderValue::from_static("a=1"));
            reply.append(SET_COOKIE, HeaderValue::from_static("b=2"));
            for chosen in chosen {
                reply.append(SEC_WEBSOCKET_PROTOCOL, chosen.parse().unwrap());
            }
            let (headers, is_wrong) = handshake.accepted(&reply);
            let found = headers.get(SEC_WEBSOCKET_PROTOCOL).map(|value| value.to_str().unwrap());
            assert_eq!((found, is_wrong), (accepted, !chosen.is_empty() && accepted.is_none()));
            assert_eq!(headers.get_all(SET_COOKIE).iter().count(), 2);
            assert!(!headers.contains_key("x-other"));
        }
    }
}
