//! Replies with the headers and trailers that the query asks for, good ones and bad ones.
//!
//! | pair                 | what it does                                                                     |
//! |----------------------|----------------------------------------------------------------------------------|
//! | `header=NAME:VALUE`  | appends a header; repeatable, percent-encoded, so that any byte can be asked for |
//! | `trailer=NAME:VALUE` | appends a trailer, likewise                                                      |
//! | `many=N`             | appends N headers `x-many-0`, `x-many-1`, ...                                    |
//! | `size=BYTES`         | how long the value of each of those is; to stand before `many`, default 1        |
//! | `status=CODE`        | the status code, default 200                                                     |
//! | `body=TEXT`          | what the reply's body ends with                                                  |
//!
//! It reads the request to its end first. The body has a line `trailer: NAME: VALUE` for each
//! trailer of the request, and a line `refused: ERROR: WHAT` for all that the host refused, which
//! is then not in the reply; a refused header or trailer leaves `x-refused: ERROR: WHAT` in its
//! place. The node must refuse what `wasmtime serve` refuses, and must never send bytes that a
//! client could take for a second reply. What goes wrong only after the body is written goes to
//! stderr, as `finish: ERROR`.

use std::fmt::Debug;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse,
    ResponseOutparam,
};
use wasip2::io::streams::StreamError;

/// One blocking write takes 4096 bytes at most.
const PIECE: usize = 4096;

struct Headers;

impl Guest for Headers {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let mut text = request_trailers(&request);
        let wanted = Wanted::new(query, &mut text);
        reply(wanted, text, response_out);
    }
}

/// What the query asks for, as far as the host takes it.
struct Wanted {
    status: u16,
    headers: Fields,
    trailers: Option<Fields>,
    body: Vec<u8>,
}

impl Wanted {
    /// Adds to `text` a line for all that is refused.
    fn new(query: &str, text: &mut Vec<u8>) -> Self {
        let mut wanted =
            Self { status: 200, headers: Fields::new(), trailers: None, body: Vec::new() };
        let mut size = 1;
        for (name, value) in query::pairs(query) {
            match name {
                "header" => append(&wanted.headers, &value, text),
                "trailer" => append(wanted.trailers.get_or_insert_with(Fields::new), &value, text),
                "size" => size = number(&value),
                "many" => {
                    for index in 0..number(&value) {
                        let mut field = format!("x-many-{index}:").into_bytes();
                        field.resize(field.len() + size, b'v');
                        append(&wanted.headers, &field, text);
                    }
                }
                "status" => wanted.status = u16::try_from(number(&value)).expect("a status code"),
                "body" => wanted.body = value,
                _ => panic!("the query has {name}, which this guest does not know"),
            }
        }
        wanted
    }
}

fn number(value: &[u8]) -> usize {
    String::from_utf8_lossy(value).parse().expect("a number")
}

/// Appends `NAME:VALUE` to `fields`, or says in `text` that this was refused.
fn append(fields: &Fields, field: &[u8], text: &mut Vec<u8>) {
    let (name, value) = match field.iter().position(|byte| *byte == b':') {
        Some(colon) => (&field[..colon], &field[colon + 1..]),
        None => (field, &[][..]),
    };
    let name = String::from_utf8_lossy(name);
    if let Err(error) = fields.append(&name, value) {
        refused(text, &error, &name);
        // Where a `content-length` lies, the body's end may not arrive.
        let _ =
            fields.append("x-refused", format!("{error:?}: {}", name.escape_debug()).as_bytes());
    }
}

fn refused(text: &mut Vec<u8>, error: &dyn Debug, what: &str) {
    text.extend_from_slice(format!("refused: {error:?}: {}\n", what.escape_debug()).as_bytes());
}

/// Reads the request to its end and gives its trailers back as lines.
fn request_trailers(request: &IncomingRequest) -> Vec<u8> {
    let body = request.consume().expect("taken once");
    let stream = body.stream().expect("taken once");
    loop {
        match stream.blocking_read(1 << 16) {
            Ok(_) => {}
            Err(StreamError::Closed) => break,
            Err(error) => return format!("body: {}\n", describe(&error)).into_bytes(),
        }
    }
    drop(stream);

    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    let mut text = Vec::new();
    match trailers.get().expect("is ready").expect("asked once") {
        Ok(None) => {}
        Ok(Some(trailers)) => {
            for (name, value) in trailers.entries() {
                text.extend_from_slice(format!("trailer: {name}: ").as_bytes());
                text.extend_from_slice(&value);
                text.push(b'\n');
            }
        }
        Err(error) => text.extend_from_slice(format!("trailers: {error:?}\n").as_bytes()),
    }
    text
}

fn reply(wanted: Wanted, mut text: Vec<u8>, response_out: ResponseOutparam) {
    let mut response = OutgoingResponse::new(wanted.headers);
    if response.set_status_code(wanted.status).is_err() {
        refused(&mut text, &(), "status");
    }
    // The host refuses a body here when it cannot make sense of `content-length`.
    let body = response.body().unwrap_or_else(|error| {
        refused(&mut text, &error, "body");
        response = OutgoingResponse::new(Fields::new());
        response.body().expect("there is no header any more")
    });
    text.extend_from_slice(&wanted.body);
    ResponseOutparam::set(response_out, Ok(response));
    if let Err(error) = send(body, &text, wanted.trailers) {
        eprintln!("finish: {error}");
    }
}

fn send(body: OutgoingBody, text: &[u8], trailers: Option<Fields>) -> Result<(), String> {
    let stream = body.write().expect("taken once");
    for piece in text.chunks(PIECE) {
        stream.blocking_write_and_flush(piece).map_err(|error| describe(&error))?;
    }
    drop(stream);
    OutgoingBody::finish(body, trailers).map_err(|error: ErrorCode| format!("{error:?}"))
}

fn describe(error: &StreamError) -> String {
    match error {
        StreamError::Closed => "closed".to_owned(),
        // The host may add a backtrace.
        StreamError::LastOperationFailed(error) => {
            error.to_debug_string().lines().next().unwrap_or_default().to_owned()
        }
    }
}

wasip2::http::proxy::export!(Headers);
