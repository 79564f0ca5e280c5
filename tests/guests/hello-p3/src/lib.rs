//! `Hello, world!` on WASI 0.3: exports `wasi:http/handler@0.3.0`.
//!
//! The node must reply as it does with `hello`: 200 with `content-type: text/plain`,
//! `content-length: 13` and the body `Hello, world!`, without a newline, to any method and path.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{spawn_local, wit_future, wit_stream};

struct Hello;

impl Guest for Hello {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        let headers = Fields::from_list(&[
            ("content-type".to_owned(), b"text/plain".to_vec()),
            ("content-length".to_owned(), b"13".to_vec()),
        ])
        .expect("the headers are well formed");
        let (mut body, contents) = wit_stream::new();
        // Dropping the writing end later is what says `Ok(None)`: no trailers.
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(contents), trailers);
        // The body can be written only once the node has the response, so after this function has
        // returned it.
        spawn_local(async move {
            // What is left over is what a client that went away did not take.
            body.write_all(b"Hello, world!".to_vec()).await;
        });
        Ok(response)
    }
}

wasip3::http::service::export!(Hello);
