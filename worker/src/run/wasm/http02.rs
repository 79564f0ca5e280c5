//! One call of a component of WASI 0.2: `wasi:http/incoming-handler@0.2`. Owns no fds.

use http::Response;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::types::HostResponseOutparam;
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _};

use super::host::Host;
use super::instances::{Exports, Instance};
use crate::run::Call;
use crate::run::body::GuestBody;

/// Calls the handler, and returns when it has returned. Its reply is sent earlier.
pub(super) async fn handle(
    instance: &mut Instance,
    pre: &ProxyPre<Host>,
    call: Box<Call>,
) -> wasmtime::Result<()> {
    let Call { request, origin, reply, facts, .. } = *call;
    let Instance { store, exports, .. } = instance;
    let mut http = store.data_mut().http();
    let scheme = if origin.client.https { Scheme::Https } else { Scheme::Http };
    let request = http.new_incoming_request(scheme, request)?;
    let send = Box::new(move |answer: Result<Response<WasiBody>, ErrorCode>| {
        let answer =
            answer.map(|response| response.map(GuestBody::Wasi)).map_err(|code| code.to_string());
        // If the client has gone, nobody waits for the reply any more.
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
