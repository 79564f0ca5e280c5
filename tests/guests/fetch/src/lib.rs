//! Makes the outgoing requests that the query asks for, and reports what came of each.
//!
//! | pair                                        | what it does                                                     |
//! |---------------------------------------------|------------------------------------------------------------------|
//! | `url=URL`                                   | where to, percent-encoded                                        |
//! | `method=NAME`                               | default GET                                                      |
//! | `header=NAME:VALUE`                         | adds a header; repeatable                                        |
//! | `body=TEXT`                                 | sends this; without it there is no body                          |
//! | `connect-ms`, `first-byte-ms`, `between-ms` | the three timeouts                                               |
//! | `parallel=N`                                | N requests at a time, default 1: all are sent before any is read |
//! | `count=N`                                   | this N times, one after the other, default 1                     |
//! | `stream=1`                                  | passes status, `content-type` and body on, as they come          |
//!
//! The node must reply 200 with lines `status: 200`, `header: NAME: VALUE`, `trailer: NAME: VALUE`,
//! `body-bytes: N` and `body: TEXT`, or `error: CODE`. With `count` or `parallel`, a line `request:
//! 1` and so on stands before each report. With `stream=1`, the reply is the upstream's, or a 502
//! with the line `error: CODE`. Redirects are left alone.

mod reply;
mod upstream;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use upstream::Wanted;

struct Fetch;

impl Guest for Fetch {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let mut wanted = Wanted::default();
        let (mut count, mut parallel, mut numbered, mut stream) = (1, 1, false, false);
        for (name, value) in query::pairs(query) {
            let value = String::from_utf8(value).expect("text");
            match name {
                "count" => (count, numbered) = (value.parse().expect("a number"), true),
                "parallel" => (parallel, numbered) = (value.parse().expect("a number"), true),
                "stream" => stream = value == "1",
                _ => wanted.take(name, value),
            }
        }
        if stream {
            return reply::stream(
                upstream::send(&wanted).and_then(|sent| sent.response()),
                response_out,
            );
        }

        let mut text = Vec::new();
        let mut number = 0;
        for _ in 0..count {
            let sent: Vec<_> = (0..parallel).map(|_| upstream::send(&wanted)).collect();
            for sent in sent {
                number += 1;
                if numbered {
                    text.extend_from_slice(format!("request: {number}\n").as_bytes());
                }
                if let Err(error) = sent.and_then(|sent| reply::report(sent.response()?, &mut text))
                {
                    text.extend_from_slice(format!("error: {error}\n").as_bytes());
                }
            }
        }
        reply::text(200, &text, response_out);
    }
}

wasip2::http::proxy::export!(Fetch);
