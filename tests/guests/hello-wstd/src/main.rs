//! `Hello, world!` again, by way of `wstd`: what most people's first guest looks like.
//!
//! The node must reply 200 with `content-type: text/plain` and the body `Hello, world!`, without
//! a newline, to any method and path. No `content-length` is set: the node frames the body.

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(_request: Request<Body>) -> Result<Response<Body>, Error> {
    Ok(Response::builder().header("content-type", "text/plain").body("Hello, world!".into())?)
}
