//! The smallest guest that logs: `Hello, world!` as `hello` has it, and a line on stdout.
//!
//! The node must reply as to `hello`, and `a line of the log` must stand in the invocation's log,
//! once.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Line;

impl Guest for Line {
    fn handle(_request: IncomingRequest, response_out: ResponseOutparam) {
        println!("a line of the log");
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

wasip2::http::proxy::export!(Line);
