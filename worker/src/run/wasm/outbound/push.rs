//! Requests to `websocket.internal`: a function's orders to its WebSocket connections. They never
//! leave the node, and need no place in the function's list. Owns no fds.

use std::future::{Future, ready};
use std::sync::Arc;

use abi::limits::WEBSOCKET_PUSHED_BYTES_MAX;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{Error, WasiBody};

use super::Sent;
use crate::push::{ConnectionId, Message, Order, Outcome, WebSockets, remote};

/// The host that the requests are for.
const HOST: &str = "websocket.internal";
/// The header of a DELETE that says which code the connection is closed with.
const CLOSE_CODE: &str = "websocket-close-code";
/// The code if it does not say so: the purpose of the connection is fulfilled (RFC 6455 7.4.1).
const NORMAL: u16 = 1000;

/// The connections of one function, for its guests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pusher {
    websockets: Arc<WebSockets>,
    function: Arc<str>,
    /// Shared with the function's other outgoing requests.
    requests: Arc<Semaphore>,
}

/// Returns whether a request is for the connections of its own function.
pub(crate) fn is_push(uri: &Uri) -> bool {
    uri.host().is_some_and(|host| host.eq_ignore_ascii_case(HOST))
}

impl Pusher {
    pub(crate) fn new(
        websockets: Arc<WebSockets>,
        function: Arc<str>,
        requests: Arc<Semaphore>,
    ) -> Self {
        Self { websockets, function, requests }
    }

    /// Carries out what a guest's request orders.
    pub(crate) fn send(&self, request: Request<WasiBody>) -> Box<dyn Future<Output = Sent> + Send> {
        let Ok(permit) = Arc::clone(&self.requests).try_acquire_owned() else {
            return Box::new(ready(Err(Error::ConnectionLimitReached)));
        };
        let pusher = self.clone();
        Box::new(async move {
            let status = pusher.carry_out(request).await?;
            drop(permit);
            let mut response = Response::new(empty());
            *response.status_mut() = status;
            if status == StatusCode::METHOD_NOT_ALLOWED {
                let allowed = HeaderValue::from_static("GET, POST, DELETE");
                response.headers_mut().insert(ALLOW, allowed);
            }
            let sent: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(ready(Ok(())));
            Ok((response, sent))
        })
    }

    async fn carry_out(&self, request: Request<WasiBody>) -> Result<StatusCode, Error> {
        let (head, body) = request.into_parts();
        let order = match head.method {
            Method::GET => Order::Look,
            Method::DELETE => match close_code(&head.headers) {
                Some(code) => Order::Close(code),
                None => return Ok(StatusCode::BAD_REQUEST),
            },
            Method::POST => match Limited::new(body, WEBSOCKET_PUSHED_BYTES_MAX).collect().await {
                Ok(whole) => {
                    Order::Send(Message::of_body(head.headers.get(CONTENT_TYPE), whole.to_bytes()))
                }
                Err(error) if error.is::<LengthLimitError>() => {
                    return Ok(StatusCode::PAYLOAD_TOO_LARGE);
                }
                // The guest has broken its own body off.
                Err(_) => return Err(Error::HttpProtocolError),
            },
            _ => return Ok(StatusCode::METHOD_NOT_ALLOWED),
        };
        let id = head.uri.path().strip_prefix('/').and_then(ConnectionId::read);
        let status = match id {
            None => Outcome::Gone.status(),
            Some(id) if self.websockets.is_own(id) => {
                self.websockets.order(&self.function, id, order).status()
            }
            Some(id) => remote::send(&self.websockets, &self.function, id, order).await,
        };
        Ok(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

fn empty() -> WasiBody {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync()
}

/// Returns the code that a connection is to be closed with. Returns `None` if it is none that may
/// be sent (RFC 6455 7.4).
fn close_code(headers: &HeaderMap) -> Option<u16> {
    let Some(value) = headers.get(CLOSE_CODE) else { return Some(NORMAL) };
    let code = value.to_str().ok()?.parse().ok()?;
    may_be_sent(code).then_some(code)
}

/// Returns whether a function may close a connection with `code`: those that are the protocol's own
/// are the node's.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000 | 1001 | 1003 | 1008 | 1009 | 1011..=1013 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pusher(websockets: &Arc<WebSockets>, requests: usize) -> Pusher {
        let requests = Arc::new(Semaphore::new(requests));
        Pusher::new(Arc::clone(websockets), "chat".into(), requests)
    }

    async fn status(pusher: &Pusher, method: &str, path: &str, code: &str, body: Bytes) -> u16 {
        let mut request = Request::builder().method(method).uri(format!("http://{HOST}{path}"));
        if !code.is_empty() {
            request = request.header(CLOSE_CODE, code);
        }
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        let sent = Box::into_pin(pusher.send(request.body(body).unwrap())).await;
        sent.map_or(0, |(response, _)| response.status().as_u16())
    }

    #[tokio::test]
    async fn orders_are_answered_with_what_became_of_them() {
        let (websockets, _remote) = WebSockets::new(0);
        let connection = websockets.register(&"chat".into()).unwrap();
        let other = websockets.register(&"other".into()).unwrap();
        let (own, foreign) = (format!("/{}", connection.id), format!("/{}", other.id));
        let pusher = pusher(&websockets, 1);
        let large = || Bytes::from(vec![b'x'; WEBSOCKET_PUSHED_BYTES_MAX]);
        for (method, path, code, body, expected) in [
            ("GET", &own, "", Bytes::new(), 200),
            ("POST", &own, "", Bytes::from_static(b"a"), 200),
            ("POST", &own, "", large(), 429),
            ("POST", &own, "", [large(), large()].concat().into(), 413),
            ("PUT", &own, "", Bytes::new(), 405),
            ("DELETE", &own, "1005", Bytes::new(), 400),
            ("DELETE", &own, "99999", Bytes::new(), 400),
            ("DELETE", &own, "4001", Bytes::new(), 200),
            ("GET", &foreign, "", Bytes::new(), 410),
            ("DELETE", &foreign, "", Bytes::new(), 410),
            ("GET", &"/".to_owned(), "", Bytes::new(), 410),
            ("GET", &format!("{own}/x"), "", Bytes::new(), 410),
        ] {
            let found = status(&pusher, method, path, code, body).await;
            assert_eq!(found, expected, "{method} {path} {code}");
        }
    }

    #[tokio::test]
    async fn they_count_as_outgoing_requests() {
        let (websockets, _remote) = WebSockets::new(0);
        let none = pusher(&websockets, 0);
        assert_eq!(status(&none, "GET", "/x", "", Bytes::new()).await, 0, "an error, and no reply");
    }

    #[test]
    fn which_requests_are_pushes() {
        for (uri, is) in [
            ("http://websocket.internal/a", true),
            ("http://WebSocket.Internal:80/a", true),
            ("http://websocket.internal.example/a", false),
            ("http://a.websocket.internal/a", false),
            ("/a", false),
        ] {
            assert_eq!(is_push(&uri.parse().unwrap()), is, "{uri}");
        }
    }
}
