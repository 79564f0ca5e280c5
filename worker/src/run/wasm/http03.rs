//! One call of a component of WASI 0.3: `wasi:http/handler@0.3`.
//!
//! The guest's task goes on after it has returned its reply's head: it produces the body while the
//! request's body still arrives, and may have work to do after both. So the call ends when the body
//! has been taken and no task of the guest is left. A guest that computes right after it has
//! returned the head, without waiting for anything, delays the head: wasmtime delivers what was
//! returned only when the guest next waits (wasmtime#11869). Owns no fds.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Request, Response, Uri};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};
use wasmtime_wasi_http::{Error as HttpError, FieldMap, WasiBody, WasiHttpView as _, p3};

use super::host::Host;
use super::instances::{Exports, Instance};
use crate::origin::Client;
use crate::run::body::{GuestBody, RequestBody};
use crate::run::{Call, ReplySender};

/// The most tasks, streams and the like that an instance may hold between two requests; more is a
/// leak of the guest's.
const CONCURRENT_KEPT_MAX: usize = 64;

/// The guest's reply cannot be sent, or not to its end.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadReply(String);

/// Calls the handler, and returns when the guest has done all its work. Its reply is sent earlier.
pub(super) async fn handle(
    instance: &mut Instance,
    pre: &ServicePre<Host>,
    call: Box<Call>,
) -> wasmtime::Result<()> {
    let Call { request, origin, reply, facts, .. } = *call;
    let Instance { store, exports, .. } = instance;
    let service = match exports.take() {
        Some(Exports::Http03(service)) => service,
        _ => pre.instantiate_async(&mut *store).await?,
    };
    facts.ready();
    let held = Arc::new(());
    let request = incoming(store.data_mut(), request, origin.client, Arc::clone(&held));
    store.run_concurrent(async |guest| respond(guest, &service, request, reply).await).await??;
    *exports = Some(Exports::Http03(service));
    // A stream that the guest neither read to its end nor dropped would keep the client's
    // connection from going on.
    instance.leaks =
        Arc::strong_count(&held) > 1 || store.concurrent_state_table_size() > CONCURRENT_KEPT_MAX;
    Ok(())
}

/// Returns the request for the guest. `held` is cloned into its body, and dropped with it.
fn incoming(
    host: &mut Host,
    request: Request<RequestBody>,
    client: Client,
    held: Arc<()>,
) -> p3::Request {
    let (head, body) = request.into_parts();
    let authority = authority(&head.uri, &head.headers);
    let scheme = if client.https { Scheme::HTTPS } else { Scheme::HTTP };
    let headers = FieldMap::new_immutable(host.http().hooks, head.headers);
    let body = body.map_err(move |error| {
        let _ = &held;
        HttpError::from(error)
    });
    let path = head.uri.into_parts().path_and_query;
    // The second value is how the guest fared with the body. HTTP/1.1 cannot report that to the
    // client.
    let (request, _fared) =
        p3::Request::new(head.method, Some(scheme), authority, path, headers, None, body);
    request
}

/// Returns the authority that the request is for. The guest does not see the Host header itself,
/// which is forbidden to it.
fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let host = || Authority::try_from(headers.get(HOST)?.as_bytes()).ok();
    uri.authority().cloned().or_else(host)
}

async fn respond(
    guest: &Accessor<Host>,
    service: &Service,
    request: p3::Request,
    reply: ReplySender,
) -> wasmtime::Result<()> {
    // The result of `send` is ignored: the end of the reply's body shows whether anybody still
    // waits for it.
    match service.handle(guest, request).await? {
        Err(code) => drop(reply.send(Err(code.to_string()))),
        Ok(response) => {
            let (taken, was_taken) = oneshot::channel();
            let response = guest.with(|store| {
                response.into_http(store, async {
                    let _ = was_taken.await;
                    Ok(())
                })
            });
            let response = response.map_err(|error| BadReply(format!("{error:#}")))?;
            let (response, body_ended) = watched(response);
            drop(reply.send(Ok(response)));
            // If the body was dropped before its end, nobody wanted it, or it had no more bytes.
            if let Ok(Err(error)) = body_ended.await {
                return Err(BadReply(format!("its body ended in an error: {error}")).into());
            }
            let _ = taken.send(());
        }
    }
    poll_fn(|context| guest.poll_no_interesting_tasks(context)).await;
    Ok(())
}

/// How a body ended, its error as text.
type Ended = Result<(), String>;

/// Returns the same response, and a receiver of how its body ends.
fn watched(response: Response<WasiBody>) -> (Response<GuestBody>, oneshot::Receiver<Ended>) {
    let (ended, body_ended) = oneshot::channel();
    let response = response.map(|body| GuestBody::new(Watched(Some((body, ended)))));
    (response, body_ended)
}

/// A body that reports how it ends. At its end it drops the guest's body, which may hold the
/// request's body.
struct Watched(Option<(WasiBody, oneshot::Sender<Ended>)>);

impl Body for Watched {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let Some((body, _)) = &mut self.0 else { return Poll::Ready(None) };
        let polled = ready!(Pin::new(body).poll_frame(cx))
            .map(|polled| polled.map_err(|error| error.to_string()));
        let how = match &polled {
            Some(Ok(frame)) if frame.is_data() => return Poll::Ready(polled),
            Some(Ok(_)) | None => Ok(()),
            Some(Err(error)) => Err(error.clone()),
        };
        if let Some((body, ended)) = self.0.take() {
            drop(body);
            let _ = ended.send(how);
        }
        Poll::Ready(polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_authority_is_that_of_the_target_and_else_the_host_header() {
        let of = |uri: &str, host: &'static str| {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            authority(&uri.parse().unwrap(), &headers).map(|authority| authority.to_string())
        };
        assert_eq!(of("/path", "a.test:80").as_deref(), Some("a.test:80"));
        assert_eq!(of("http://b.test/path", "a.test").as_deref(), Some("b.test"));
        assert_eq!(of("/path", "no authority").as_deref(), None);
        assert_eq!(authority(&"/path".parse().unwrap(), &HeaderMap::new()), None);
    }
}
