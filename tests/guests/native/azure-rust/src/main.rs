//! An Azure custom handler in forwarding mode, as users of hyper write it: it listens on
//! `127.0.0.1:$FUNCTIONS_CUSTOMHANDLER_PORT` and is given requests as they came.
//!
//! `/api/upload` replies with the request's body and its `content-type`. Any other path replies
//! with method, target, headers, body and the variables of the contract, as JSON, with the status
//! 404 for `/`, which a host asks for to see whether the handler is ready.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() {
    let port =
        std::env::var("FUNCTIONS_CUSTOMHANDLER_PORT").ok().and_then(|port| port.parse().ok());
    let port: u16 = port.expect("the host says which port");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a free port");
    println!("listening on {port}");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // A client that goes away is no failure of the handler.
        tokio::spawn(
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(reply)),
        );
    }
}

async fn reply(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    if head.uri.path() == "/api/upload" {
        let mut response = Response::new(Full::new(body));
        if let Some(kind) = head.headers.get(CONTENT_TYPE) {
            response.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        return Ok(response);
    }
    let headers: BTreeMap<_, _> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    let variables: BTreeMap<_, _> =
        std::env::vars().filter(|(name, _)| name.starts_with("FUNCTIONS_")).collect();
    let seen = json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
        "variables": variables,
    });
    let mut response = Response::new(Full::new(seen.to_string().into()));
    response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a value"));
    if head.uri.path() == "/" {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}
