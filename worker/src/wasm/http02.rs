//! One call of a component of WASI 0.2: `wasi:http/incoming-handler@0.2`. Owns no fds.

use http::Request;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::types::HostResponseOutparam;

use super::host::Host;
use super::instances::{Exports, Instance};
use super::invocation::Reply;
use crate::connection::origin::is_https;
use crate::connection::request_body::RequestBody;
use crate::facts::Facts;

/// Calls the handler and returns when it has returned; its reply goes its own way before that.
pub(super) async fn handle(
    instance: &mut Instance,
    pre: &ProxyPre<Host>,
    request: Request<RequestBody>,
    reply: Reply,
    facts: &Facts,
) -> wasmtime::Result<()> {
    let Instance { store, exports, .. } = instance;
    let mut http = store.data_mut().http();
    let scheme = if is_https(request.headers()) { Scheme::Https } else { Scheme::Http };
    let request = http.new_incoming_request(scheme, request)?;
    let send = Box::new(move |answer: Result<_, _>| {
        let answer = answer.map_err(|code: wasmtime_wasi_http::p2::bindings::http::types::ErrorCode| code.to_string());
        // Nobody waits for it any more when the client has gone.
        let _ = reply.send(answer);
    });
    let outparam = http.table.push(HostResponseOutparam { send })?;
    let proxy = match exports.take() {
        Some(Exports::Http02(proxy)) => proxy,
        _ => pre.instantiate_async(&mut *store).await?,
    };
    facts.ready();
    let ended = proxy.wasi_http_incoming_handler().call_handle(store, request, outparam).await;
    *exports = Some(Exports::Http02(proxy));
    ended
}
