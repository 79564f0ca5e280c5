//! Computes: hashes a block again and again, without ever calling the host, and replies with the
//! last digest.
//!
//! The node must reply 200 with 64 hexadecimal digits and a newline. `turns=N` says how often,
//! 10,000 times by default, which takes a few milliseconds; with `turns=0` there is nothing to
//! compute.

use sha2::{Digest, Sha256};
use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let turns = query::value(request.uri().query(), "turns", 10_000)?;
    let mut digest = [0_u8; 32];
    for _ in 0..turns {
        digest = Sha256::digest(digest).into();
    }
    let mut text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push('\n');
    Ok(Response::builder().header("content-type", "text/plain").body(text.into())?)
}
