//! Streams the request body back while it is still arriving.
//!
//! The node must reply 200 with the request's `content-type`, if it had one, and pass every piece
//! of the body on without waiting for the next. An empty body gets an empty reply.

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    // An incoming body that is sent on as it is gets spliced by the host, piece by piece.
    let mut response = Response::new(body);
    if let Some(kind) = head.headers.get("content-type") {
        response.headers_mut().insert("content-type", kind.clone());
    }
    Ok(response)
}
