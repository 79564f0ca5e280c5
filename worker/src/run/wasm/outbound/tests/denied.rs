//! Destinations that are refused, by name and by address. Owns no fds.

use std::sync::{Arc, Mutex};

use http::Method;

use super::*;

/// Sends a GET that must be denied, and returns the line for the log.
async fn denied(outbound: &Outbound, uri: &str) -> String {
    let logged = Arc::new(Mutex::new(String::new()));
    let text = Arc::clone(&logged);
    let sending = outbound
        .send(request(uri), None, move |reason| reason.clone_into(&mut text.lock().unwrap()));
    let error = outcome(Box::into_pin(sending)).await.unwrap_err();
    assert!(matches!(error, Error::HttpRequestDenied), "{uri}: {error:?}");
    logged.lock().unwrap().clone()
}

#[tokio::test]
async fn nothing_may_be_reached_by_default() {
    let (listener, address, _) = server().await;
    let none = outbound(&[]);
    let logged = denied(&none, &format!("http://{address}/")).await;
    assert!(
        logged.contains(&format!("to {address} denied")) && logged.contains("--allow-outbound"),
        "{logged}"
    );
    denied(&none, "https://example.com/").await;
    // No connection was even tried.
    let waiting = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(waiting.is_err());
}

#[tokio::test]
async fn a_star_is_no_way_to_the_nodes_own_network() {
    let (listener, address, _) = server().await;
    let any = outbound(&["*:*"]);
    let port = address.port();
    for host in [
        "127.0.0.1",
        "[::1]",
        "0.0.0.0",
        "169.254.169.254",
        "10.0.0.1",
        "[::ffff:127.0.0.1]",
        "[fd00:ec2::254]",
    ] {
        denied(&any, &format!("http://{host}:{port}/")).await;
    }
    // What resolvers take for an address although no URL parser does.
    for host in ["localhost", "LOCALHOST", "127.1", "2130706433", "0x7f000001", "0"] {
        let logged = denied(&any, &format!("http://{host}:{port}/")).await;
        assert!(
            logged.contains("its name resolves to")
                && logged.contains(&format!(":{port} to allow it")),
            "{logged}"
        );
    }
    let waiting = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(waiting.is_err());
}

#[tokio::test]
async fn localhost_may_be_named() {
    let (listener, address, _) = server().await;
    let port = address.port();
    let named = outbound(&[&format!("localhost:{port}")]);
    let sending = send(&named, request(&format!("http://localhost:{port}/")), None);
    let (body, _tcp) = tokio::join!(outcome(sending), answer(&listener, OK));
    assert_eq!(body.unwrap(), "ok");
    denied(&named, &format!("http://127.0.0.1:{port}/")).await;
    denied(&named, &format!("http://localhost:{}/", port ^ 1)).await;
}

#[tokio::test]
async fn no_tunnels_no_users_no_other_schemes() {
    let any = outbound(&["*:*", "127.0.0.1:*"]);
    let mut tunnel = request("http://127.0.0.1:1/");
    *tunnel.method_mut() = Method::CONNECT;
    let error = outcome(send(&any, tunnel, None)).await.unwrap_err();
    assert!(matches!(error, Error::HttpRequestMethodInvalid), "{error:?}");
    let error = outcome(send(&any, request("http://user@127.0.0.1:1/"), None)).await.unwrap_err();
    assert!(matches!(error, Error::HttpRequestUriInvalid), "{error:?}");
    let error = outcome(send(&any, request("ftp://127.0.0.1:1/"), None)).await.unwrap_err();
    assert!(matches!(error, Error::HttpProtocolError), "{error:?}");
}
