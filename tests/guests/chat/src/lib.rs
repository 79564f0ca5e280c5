//! Answers the messages of WebSocket connections (`--websocket messages`), and pushes to them.
//!
//! The query says what becomes of a connection that is asked for: `refuse=STATUS` refuses it,
//! `say=TEXT` greets, `protocol=NAME` chooses a protocol. A message that is text does what its
//! first word says:
//!
//! | message              | reply                                                                |
//! |----------------------|----------------------------------------------------------------------|
//! | `id`                 | the connection's id                                                  |
//! | `headers`            | the names and values of all headers, a line each                     |
//! | `method`             | the method, the path and the query                                   |
//! | `version`            | the variable `VERSION`                                               |
//! | `push ID TEXT`       | the status of pushing the text to that connection                    |
//! | `pushes N ID TEXT`   | the statuses of doing that N times, without repetitions              |
//! | `fill N ID`          | the status of pushing N bytes                                        |
//! | `look ID`            | the status of asking whether it is open                              |
//! | `close ID CODE`      | the status of closing it                                             |
//! | `large N`            | N bytes of text                                                      |
//! | `status N`           | none, with that status                                               |
//! | `nothing`            | none                                                                 |
//! | `trap`               | none: it panics                                                      |
//! | `spin`               | none: it computes for ever                                           |
//!
//! Any other is echoed. The node must call it for each message, in order, and once more with the
//! event `close`: then it prints `closed ID CODE`.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse,
    ResponseOutparam, Scheme,
};
use wasip2::io::streams::StreamError;

/// One blocking write takes 4096 bytes at most.
const PIECE: usize = 4096;

#[derive(Default)]
struct Reply {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Reply {
    fn text(text: impl Into<String>) -> Self {
        let headers = vec![("content-type".to_owned(), b"text/plain".to_vec())];
        Self { status: 200, headers, body: text.into().into_bytes() }
    }

    fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    fn send(self, out: ResponseOutparam) {
        let headers = Fields::from_list(&self.headers).expect("good headers");
        let response = OutgoingResponse::new(headers);
        response.set_status_code(self.status).expect("a status");
        let body = response.body().expect("taken once");
        ResponseOutparam::set(out, Ok(response));
        write(body, &self.body);
    }
}

fn write(body: OutgoingBody, bytes: &[u8]) {
    let stream = body.write().expect("taken once");
    // Who does not take all of it says so by its own reply.
    let _ = bytes.chunks(PIECE).try_for_each(|piece| stream.blocking_write_and_flush(piece));
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn header(request: &IncomingRequest, name: &str) -> String {
    let values = request.headers().get(name);
    values.first().map_or("-".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
}

fn read(request: &IncomingRequest) -> Vec<u8> {
    let body = request.consume().expect("taken once");
    let stream = body.stream().expect("taken once");
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(1 << 16) {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(StreamError::Closed) => return bytes,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Orders something of a connection. Returns the status.
fn order(method: &Method, id: &str, code: Option<&str>, bytes: &[u8]) -> String {
    let headers: Vec<_> = code
        .map(|code| ("websocket-close-code".to_owned(), code.as_bytes().to_vec()))
        .into_iter()
        .collect();
    let request = OutgoingRequest::new(Fields::from_list(&headers).expect("good headers"));
    request.set_method(method).expect("a method");
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_authority(Some("websocket.internal")).expect("a host");
    request.set_path_with_query(Some(&format!("/{id}"))).expect("a path");
    let body = request.body().expect("taken once");
    match outgoing_handler::handle(request, None) {
        Ok(pending) => {
            write(body, bytes);
            pending.subscribe().block();
            match pending.get().expect("is ready").expect("asked once") {
                Ok(response) => response.status().to_string(),
                Err(error) => format!("{error:?}"),
            }
        }
        Err(error) => format!("{error:?}"),
    }
}

fn answer(request: &IncomingRequest) -> Reply {
    let bytes = read(request);
    let content_type = header(request, "content-type");
    let target = request.path_with_query().unwrap_or_default();
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) if content_type.starts_with("text/plain") => text,
        _ => "",
    };
    let words: Vec<&str> = text.splitn(4, ' ').collect();
    match words[..] {
        ["id"] => Reply::text(header(request, "websocket-id")),
        ["headers"] => {
            let entries = request.headers().entries().into_iter();
            let lines = entries
                .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(&value)));
            Reply::text(lines.collect::<String>())
        }
        ["method"] => Reply::text(format!("{:?} {target}", request.method())),
        ["version"] => Reply::text(std::env::var("VERSION").unwrap_or_default()),
        ["push", id, ref rest @ ..] => {
            Reply::text(order(&Method::Post, id, None, rest.join(" ").as_bytes()))
        }
        ["pushes", count, id, text] => {
            let count = count.parse().expect("a number");
            let mut found: Vec<String> =
                (0..count).map(|_| order(&Method::Post, id, None, text.as_bytes())).collect();
            found.dedup();
            Reply::text(found.join(" "))
        }
        ["fill", count, id] => {
            let bytes = vec![b'x'; count.parse().expect("a number")];
            Reply::text(order(&Method::Post, id, None, &bytes))
        }
        ["look", id] => Reply::text(order(&Method::Get, id, None, b"")),
        ["close", id] => Reply::text(order(&Method::Delete, id, None, b"")),
        ["close", id, code] => Reply::text(order(&Method::Delete, id, Some(code), b"")),
        ["large", count] => Reply::text("x".repeat(count.parse().expect("a number"))),
        ["status", status] => Reply::status(status.parse().expect("a number")),
        ["nothing"] => Reply::status(204),
        ["trap"] => panic!("asked to"),
        ["spin"] => loop {
            std::hint::black_box(());
        },
        _ => {
            let headers = vec![("content-type".to_owned(), content_type.into_bytes())];
            Reply { status: 200, headers, body: bytes }
        }
    }
}

fn open(request: &IncomingRequest) -> Reply {
    let target = request.path_with_query().unwrap_or_default();
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let mut reply = Reply::status(200);
    reply.headers.push(("set-cookie".to_owned(), b"seen=1".to_vec()));
    for (name, value) in query::pairs(query) {
        match name {
            "refuse" => {
                let status = String::from_utf8_lossy(&value).parse().expect("a number");
                return Reply { body: b"no".to_vec(), ..Reply::status(status) };
            }
            "say" => reply.body = value,
            "trap" => panic!("asked to"),
            "protocol" => reply.headers.push(("sec-websocket-protocol".to_owned(), value)),
            "closed" => {
                let id = header(request, "websocket-id");
                order(&Method::Delete, &id, Some("4000"), b"");
            }
            _ => {}
        }
    }
    reply
}

struct Chat;

impl Guest for Chat {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let (event, id) = (header(&request, "websocket-event"), header(&request, "websocket-id"));
        let reply = match event.as_str() {
            "open" => {
                println!("opened {id}");
                open(&request)
            }
            "message" => answer(&request),
            "close" => {
                println!("closed {id} {}", header(&request, "websocket-close-code"));
                Reply::status(204)
            }
            // No connection: says what it was told of one.
            _ => Reply::text(format!("{event} {id} {}", header(&request, "websocket-close-code"))),
        };
        reply.send(out);
    }
}

wasip2::http::proxy::export!(Chat);
