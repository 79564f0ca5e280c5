//! Harms its neighbours in one way or another, by path, if the node lets it. Any other path is
//! answered `Hello, world!`.
//!
//! | path          | what it does                                                                                |
//! |---------------|---------------------------------------------------------------------------------------------|
//! | `/write`      | computes for about a millisecond and writes two bytes, again and again, for ever            |
//! | `/unfinished` | replies `begin end`, and ends without finishing or dropping the body                        |
//! | `/fields`     | keeps 5,000 `fields` of 120 kB each                                                         |
//! | `/bodies`     | keeps 300 responses that nobody is sent, each body with as much as it takes                 |
//! | `/paths`      | keeps 5,000 outgoing requests, each with a path of 60 kB                                    |
//! | `/handles`    | keeps timers until there are no more                                                        |
//!
//! With a number N in the environment as `SPIN_AT_START`, one in N of its instances computes for
//! ever when it is made. The node must serve others meanwhile, end the guest at a limit of its, and
//! have its memory back.

use std::hint::black_box;
use std::mem::forget;

use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam,
};

const MANY: usize = 5_000;
/// Of what holds up to 2 MiB each.
const BODIES: usize = 300;

/// Run when an instance is made.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    let one_in = std::env::var("SPIN_AT_START").ok().and_then(|number| number.parse::<u64>().ok());
    if one_in.is_some_and(|one_in| wasip2::random::random::get_random_u64().is_multiple_of(one_in))
    {
        spin(u64::MAX);
    }
}

fn spin(turns: u64) {
    (0..turns).for_each(|turn| _ = black_box(turn));
}

struct Hostile;

impl Guest for Hostile {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        match request.path_with_query().as_deref() {
            Some("/write") => write(response_out),
            Some("/unfinished") => unfinished(response_out),
            Some("/fields") => fields(),
            Some("/bodies") => bodies(),
            Some("/paths") => paths(),
            Some("/handles") => handles(),
            _ => {
                let (body, stream) = begin(response_out);
                let _ = stream.blocking_write_and_flush(b"Hello, world!\n");
                drop(stream);
                let _ = OutgoingBody::finish(body, None);
            }
        }
    }
}

fn begin(response_out: ResponseOutparam) -> (OutgoingBody, wasip2::io::streams::OutputStream) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("taken once");
    ResponseOutparam::set(response_out, Ok(response));
    let stream = body.write().expect("taken once");
    (body, stream)
}

fn write(response_out: ResponseOutparam) {
    let (_body, stream) = begin(response_out);
    loop {
        spin(1_000_000);
        stream.blocking_write_and_flush(b"x\n").expect("a client that reads");
    }
}

fn unfinished(response_out: ResponseOutparam) {
    let (body, stream) = begin(response_out);
    stream.blocking_write_and_flush(b"begin ").expect("a client that reads");
    stream.blocking_write_and_flush(b"end").expect("a client that reads");
    drop(stream);
    forget(body);
}

fn fields() {
    let value = vec![b'x'; 120_000];
    for _ in 0..MANY {
        let fields = Fields::new();
        fields.append("a", &value).expect("is well formed");
        forget(fields);
    }
}

fn bodies() {
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..BODIES {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("taken once");
        let stream = body.write().expect("taken once");
        loop {
            let permit = stream.check_write().expect("is open");
            let length = piece.len().min(usize::try_from(permit).unwrap_or(usize::MAX));
            if length == 0 {
                break;
            }
            stream.write(&piece[..length]).expect("is permitted");
        }
        forget((response, body, stream));
    }
}

fn paths() {
    let path = format!("/{}", "x".repeat(60_000));
    for _ in 0..MANY {
        let request = OutgoingRequest::new(Fields::new());
        request.set_path_with_query(Some(&path)).expect("is well formed");
        forget(request);
    }
}

fn handles() {
    loop {
        forget(monotonic_clock::subscribe_duration(u64::MAX));
    }
}

wasip2::http::proxy::export!(Hostile);
