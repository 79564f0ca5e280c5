//! Replies with a large body: 64 MiB, or as many bytes as the query's `bytes` says.
//!
//! The node must reply 200 with exactly that many bytes, of which byte `i` is `i % 251`, and must
//! let the client's pace slow the guest down: neither of them may hold the whole body.

use futures_lite::stream;
use wstd::http::body::Bytes;
use wstd::http::{Body, Error, Request, Response};

const PERIOD: usize = 251;
const CHUNK: usize = 64 * 1024;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let bytes = query::value(request.uri().query(), "bytes", 64 * 1024 * 1024)?;
    Ok(Response::builder()
        .header("content-type", "application/octet-stream")
        .body(Body::from_stream(stream::iter(chunks(bytes))))?)
}

/// The body in pieces, each of them a view into one pattern that is a period longer than a piece.
fn chunks(bytes: u64) -> impl Iterator<Item = Bytes> + Send {
    let pattern: Bytes = (0..=250).cycle().take(CHUNK + PERIOD).collect();
    let mut left = bytes;
    let mut phase = 0;
    std::iter::from_fn(move || {
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        if length == 0 {
            return None;
        }
        let chunk = pattern.slice(phase..phase + length);
        left -= length as u64;
        phase = (phase + length) % PERIOD;
        Some(chunk)
    })
}
