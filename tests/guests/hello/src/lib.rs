//! The smallest guest: `Hello, world!` on the raw bindings.
//!
//! The node must reply 200 with `content-type: text/plain`, `content-length: 13` and the body
//! `Hello, world!`, without a newline, to any method and path.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Hello;

impl Guest for Hello {
    fn handle(_request: IncomingRequest, response_out: ResponseOutparam) {
        // The only error that can come is that the client left, and then nobody is to be told.
        let _ = reply(response_out);
    }
}

fn reply(response_out: ResponseOutparam) -> Result<(), ()> {
    let headers = Fields::from_list(&[
        ("content-type".to_owned(), b"text/plain".to_vec()),
        ("content-length".to_owned(), b"13".to_vec()),
    ]);
    let response = OutgoingResponse::new(headers.map_err(drop)?);
    let body = response.body()?;
    ResponseOutparam::set(response_out, Ok(response));

    let stream = body.write()?;
    stream.blocking_write_and_flush(b"Hello, world!").map_err(drop)?;
    drop(stream);
    OutgoingBody::finish(body, None).map_err(drop)
}

wasip2::http::proxy::export!(Hello);
