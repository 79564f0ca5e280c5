//! Waits in a host call for as many milliseconds as the query's `ms` says (default 1000).
//!
//! The node must reply 200 with `slept N ms` after that time, not before, and the guest must not
//! take any processor time while it waits: many of them can wait at once.

use wstd::http::{Body, Error, Request, Response};
use wstd::time::Duration;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let ms = query::value(request.uri().query(), "ms", 1000)?;
    wstd::task::sleep(Duration::from_millis(ms)).await;
    Ok(Response::builder()
        .header("content-type", "text/plain")
        .body(format!("slept {ms} ms").into())?)
}
