//! Counts: replies how many requests this instance has served, this one included.
//!
//! With fresh instances the node must make it answer `1` every time; with `reuse=N`, `1` to `N` and
//! then `1` again. At `/panic` it traps, at `/grow` it keeps 52 MiB, at `/leak` it keeps its
//! request: after each the node must not use the instance again.

use std::cell::{Cell, RefCell};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

thread_local! {
    static SERVED: Cell<u32> = const { Cell::new(0) };
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

struct Counter;

impl Guest for Counter {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        SERVED.set(SERVED.get() + 1);
        match request.path_with_query().as_deref() {
            Some("/panic") => panic!("asked to"),
            Some("/grow") => KEPT.with_borrow_mut(|kept| kept.push(vec![1; 52 << 20])),
            Some("/leak") => std::mem::forget(request),
            _ => {}
        }
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("taken once");
        ResponseOutparam::set(response_out, Ok(response));
        let stream = body.write().expect("taken once");
        let text = SERVED.get().to_string();
        // The only error that can come is that the client left, and then nobody is to be told.
        let _ = stream.blocking_write_and_flush(text.as_bytes());
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

wasip2::http::proxy::export!(Counter);
