//! Computes for ever, without ever calling the host. With the path `/after` it has replied before.
//!
//! The node must stop it from outside when its time is up, answer in its place, and serve others
//! in the meantime.

use std::hint::black_box;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Spin;

impl Guest for Spin {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        if request.path_with_query().is_some_and(|target| target.starts_with("/after")) {
            // The only error that can come is that the client left.
            let _ = reply(response_out);
        }
        let mut turns = 0_u64;
        loop {
            turns = black_box(turns.wrapping_add(1));
        }
    }
}

fn reply(response_out: ResponseOutparam) -> Result<(), ()> {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body()?;
    ResponseOutparam::set(response_out, Ok(response));
    let stream = body.write()?;
    stream.blocking_write_and_flush(b"replied").map_err(drop)?;
    drop(stream);
    OutgoingBody::finish(body, None).map_err(drop)
}

wasip2::http::proxy::export!(Spin);
