//! Which connections are kept and used again. Sockets are the test servers'.

use std::io::ErrorKind;
use std::sync::Arc;

use abi::limits::OUTBOUND_IDLE_PER_HOST_MAX;
use tower_service::Service;

use super::super::connect::Connector;
use super::super::error::ConnectError;
use super::super::tls::Tls;
use super::*;

/// Has `count` requests answered at once, so that each has a connection of its own; returns the
/// server's ends.
async fn at_once(outbound: &Outbound, listener: &TcpListener, count: usize) -> Vec<TcpStream> {
    let address = listener.local_addr().unwrap();
    let flying: Vec<_> =
        (0..count).map(|_| tokio::spawn(outcome(get(outbound, address)))).collect();
    let mut accepted = Vec::new();
    for _ in 0..count {
        accepted.push(accept(listener).await.0);
    }
    for tcp in &mut accepted {
        tcp.write_all(OK).await.unwrap();
    }
    for flying in flying {
        assert_eq!(flying.await.unwrap().unwrap(), "ok");
    }
    settle().await;
    accepted
}

/// How many of them the client has kept.
fn open(connections: &[TcpStream]) -> usize {
    let open = |tcp: &TcpStream| {
        tcp.try_read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    connections.iter().filter(|tcp| open(tcp)).count()
}

#[tokio::test]
async fn a_few_connections_are_kept_for_each_host() {
    let (listener, _, outbound) = server().await;
    let connections = at_once(&outbound, &listener, OUTBOUND_IDLE_PER_HOST_MAX + 2).await;
    assert_eq!(open(&connections), OUTBOUND_IDLE_PER_HOST_MAX);
}

#[tokio::test]
async fn a_kept_connection_is_closed_when_nobody_wants_it() {
    let (listener, _, outbound) = server().await;
    let mut connections = at_once(&outbound, &listener, 1).await;
    assert_eq!(open(&connections), 1);
    // With nothing to do, the runtime's clock now goes to the next timer, which is the pool's.
    tokio::time::pause();
    closed(&mut connections[0]).await;
}

#[tokio::test]
async fn kept_connections_leave_room_for_every_request() {
    let any = outbound(&["127.0.0.1:*"]);
    let mut kept = Vec::new();
    for _ in 0..REQUESTS_MAX as usize / OUTBOUND_IDLE_PER_HOST_MAX {
        let (listener, _, _) = server().await;
        kept.extend(at_once(&any, &listener, OUTBOUND_IDLE_PER_HOST_MAX).await);
    }
    // There is no place for one more to be kept: it serves its request and goes.
    let (listener, _, _) = server().await;
    let mut one_more = at_once(&any, &listener, 1).await;
    closed(&mut one_more[0]).await;
    assert_eq!(open(&kept), REQUESTS_MAX as usize);
}

#[tokio::test]
async fn there_are_no_more_connections_than_allowed() {
    let (_listener, address, _) = server().await;
    let allow = Arc::new(AllowList::new(["127.0.0.1:*"]).unwrap());
    let mut connector = Connector::new(allow, REQUESTS_MAX as usize, Tls::system());
    let uri: http::Uri = format!("http://{address}").parse().unwrap();
    let mut connections = Vec::new();
    for _ in 0..2 * REQUESTS_MAX {
        connections
            .push(connector.call(uri.clone()).await.map_err(|error| error.to_string()).unwrap());
    }
    assert!(matches!(connector.call(uri.clone()).await, Err(ConnectError::Limit)));
    connections.pop();
    assert!(connector.call(uri).await.is_ok());
}
