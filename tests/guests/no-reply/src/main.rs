//! Returns at once, without ever setting a response.
//!
//! The node must answer in its place with a 5xx, and must not leave the client waiting.

#![no_main]

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct NoReply;

impl Guest for NoReply {
    fn handle(_request: IncomingRequest, _response_out: ResponseOutparam) {}
}

wasip2::http::proxy::export!(NoReply);
