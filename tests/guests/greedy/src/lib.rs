//! Allocates memory, and writes to all of it, until an allocation fails.
//!
//! The node must refuse to grow the guest's memory past its limit. The failed allocation aborts
//! the guest, which is a trap: the node must answer in its place and take all the memory back.

use std::hint::black_box;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

const STEP: usize = 1024 * 1024;

struct Greedy;

impl Guest for Greedy {
    fn handle(_request: IncomingRequest, _response_out: ResponseOutparam) {
        let mut hoard = Vec::new();
        loop {
            // Not zero, or the allocator could hand out pages that nobody has touched yet.
            hoard.push(black_box(vec![0xa5_u8; STEP]));
        }
    }
}

wasip2::http::proxy::export!(Greedy);
