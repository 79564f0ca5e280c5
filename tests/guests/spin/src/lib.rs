//! Computes for ever, without ever calling the host.
//!
//! The node must stop it from outside when its time is up, answer in its place, and serve others
//! in the meantime.

use std::hint::black_box;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Spin;

impl Guest for Spin {
    fn handle(_request: IncomingRequest, _response_out: ResponseOutparam) {
        let mut turns = 0_u64;
        loop {
            turns = black_box(turns.wrapping_add(1));
        }
    }
}

wasip2::http::proxy::export!(Spin);
