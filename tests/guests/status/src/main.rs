//! Reads the whole request body, then replies with the status code in the query's `code`
//! (default 204) and no body.
//!
//! The node must reply with that code, `x-guest: status`, and the number of body bytes that
//! reached the guest in `x-body-bytes`.

use wstd::http::body::Bytes;
use wstd::http::body::util::BodyExt;
use wstd::http::{Body, Error, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let code = query::value(request.uri().query(), "code", 204)?;
    let mut body = request.into_body().into_boxed_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(Response::builder()
        .status(StatusCode::from_u16(code)?)
        .header("x-guest", "status")
        .header("x-body-bytes", bytes)
        .body(Body::empty())?)
}
