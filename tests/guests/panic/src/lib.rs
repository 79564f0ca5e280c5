//! Panics: before any reply, or with the path `/after-head` in the middle of one.
//!
//! Before a reply, the node must answer in the guest's place with a 5xx. In the middle of one, the
//! client has a 200 head and may have the first piece of the body, `begin`; the node must break
//! the reply off in a way the client can tell from its end. Either way the panic message goes to
//! the guest's stderr, and the next request must be served as if nothing had happened.

use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};

struct Panic;

impl Guest for Panic {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        if target.split('?').next() != Some("/after-head") {
            panic!("the guest panics before its reply");
        }

        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("taken once");
        ResponseOutparam::set(response_out, Ok(response));
        let stream = body.write().expect("taken once");
        stream.blocking_write_and_flush(b"begin").expect("the client waits for the body");
        // Waiting lets the head and the first piece leave; a trap right away could still be
        // answered with a 500.
        monotonic_clock::subscribe_duration(100_000_000).block();
        panic!("the guest panics in the middle of its reply");
    }
}

wasip2::http::proxy::export!(Panic);
