//! Returns at once, without ever setting a response, or with `?error=TEXT` after setting an error
//! of that text.
//!
//! The node must answer in its place with a 5xx, and must not leave the client waiting.

#![no_main]

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{ErrorCode, IncomingRequest, ResponseOutparam};

struct NoReply;

impl Guest for NoReply {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        if let Some((_, text)) = target.split_once("?error=") {
            ResponseOutparam::set(
                response_out,
                Err(ErrorCode::InternalError(Some(text.to_owned()))),
            );
        }
    }
}

wasip2::http::proxy::export!(NoReply);
