//! The way out of a sandbox: a proxy on the program's own loopback, which reaches what the function
//! may reach. The listener was made inside; this owns it, and hyper's tasks own the connections.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use egress::{ConnectError, Limits, Proxy};
use tokio::net::TcpListener;

use super::output::Output;
use crate::run::Spec;
use crate::run::wasm::outbound::connect::Connector;
use crate::run::wasm::outbound::error::ConnectError as NotConnected;

/// Where a program finds the proxy. Each has a network of its own.
pub(super) const PORT: u16 = 9002;
/// The pause after a connection that was not accepted.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Returns the ports that a sandbox of this function needs a listener on for its way out, which are
/// none if it may reach nothing.
pub(super) fn ports(spec: &Spec) -> Vec<u16> {
    spec.allow_outbound.iter().map(|_| PORT).collect()
}

/// Returns the variables by which programs know the proxy.
pub(super) fn environment(spec: &Spec) -> Vec<(String, String)> {
    spec.allow_outbound.as_ref().map(|_| egress::environment(PORT)).unwrap_or_default()
}

/// Serves the proxy to one process. Ends with the task that it is in.
pub(super) async fn serve(spec: Rc<Spec>, output: Rc<Output>, listener: TcpListener) {
    let Some(allow) = spec.allow_outbound.clone() else { return };
    let requests_max = usize::try_from(spec.limits.outbound_requests_max).unwrap_or(usize::MAX);
    let allow = Arc::new(allow);
    let connector = Connector::plain(Arc::clone(&allow), requests_max);
    let connect = move |host: &str, port: u16| {
        let (connector, host) = (connector.clone(), host.to_owned());
        async move {
            let connected = connector.connect_plain(&host, port).await;
            connected.map_err(|error| match error {
                NotConnected::Denied(denied) => ConnectError::Denied(denied.to_string()),
                NotConnected::Limit => ConnectError::Limit,
                NotConnected::TimedOut => ConnectError::TimedOut,
                other => ConnectError::Unreachable(Box::new(other)),
            })
        }
    };
    let proxy = Rc::new(Proxy::new(allow, connect, Limits::new(requests_max)));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (proxy, output) = (Rc::clone(&proxy), Rc::clone(&output));
                    connections.spawn_local(async move {
                        proxy.serve(stream, move |sentence| output.note(sentence)).await;
                    });
                }
                Err(error) => {
                    tracing::warn!("a proxy did not accept a connection: {error}");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
