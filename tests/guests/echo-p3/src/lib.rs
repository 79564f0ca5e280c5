//! What an asynchronous function of WASI 0.3 can do, by path. Exports `wasi:http/handler@0.3.0`.
//!
//! | path            | what the node must pass on                                                              |
//! |-----------------|-----------------------------------------------------------------------------------------|
//! | any other       | the request's body as it comes, its `content-type`, and its trailers as trailers        |
//! | `/copy`         | the same, but each piece goes through the guest's memory                                |
//! | `/wait?ms=N`    | `waited N ms`, after that time (default 1000); others are served in the meantime        |
//! | `/sse?n=N&ms=M` | N server-sent events `data: 1`, ..., M ms before each (default 3, 50)                   |
//! | `/count`        | how many requests this instance has taken, this one included; `x-in-flight`: those open |
//! | `/after?ms=N`   | `replied`, at once; N ms later the line `echo-p3 after` stands where stdout goes        |
//! | `/trap`         | a head and `begin`, then the guest traps                                                |
//! | `/trap-at-once` | nothing: the guest traps before it has replied                                          |
//! | `/break`        | a head and `begin`, then the body ends in an error                                      |
//! | `/error`        | nothing: the guest returns the error `internal-error`                                   |
//! | `/spin`         | nothing: the guest computes for ever                                                    |
//! | `/write`        | two bytes after about a millisecond of computing, again and again, for ever             |
//! | `/fields`       | nothing: the guest keeps 5,000 `fields` of 120 kB each                                  |
//! | `/waits`        | nothing: the guest begins to wait again and again, for ever                             |
//! | `/streams`      | nothing: the guest makes streams until there are no more                                |
//!
//! The header `trailer` names the reply's trailers where the request had it: without it hosts may
//! leave them out.

mod reply;

use std::cell::Cell;
use std::future::Future as _;
use std::hint::black_box;
use std::mem::forget;
use std::task::{Context, Waker};

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::rt::async_support::{StreamResult, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

use reply::Reply;

const NS_PER_MS: u64 = 1_000_000;
const PIECE: usize = 64 * 1024;

thread_local! {
    static TAKEN: Cell<u32> = const { Cell::new(0) };
    static IN_FLIGHT: Cell<u32> = const { Cell::new(0) };
}

/// One request that has no response yet.
struct InFlight;

impl InFlight {
    fn new() -> Self {
        TAKEN.set(TAKEN.get() + 1);
        IN_FLIGHT.set(IN_FLIGHT.get() + 1);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        IN_FLIGHT.set(IN_FLIGHT.get() - 1);
    }
}

struct Echo;

impl Guest for Echo {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let _in_flight = InFlight::new();
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target
            .split_once('?')
            .map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
        let number = |name, default| {
            query::value::<u64>(query, name, default)
                .map_err(|_| internal_error("the query has no such number"))
        };

        match path {
            "/wait" => {
                let ms = number("ms", 1000)?;
                wait_for(ms * NS_PER_MS).await;
                Ok(reply::text(&[], format!("waited {ms} ms")))
            }
            "/sse" => Ok(events(number("n", 3)?, number("ms", 50)?)),
            "/count" => Ok(reply::text(
                &[("x-in-flight", &IN_FLIGHT.get().to_string())],
                TAKEN.get().to_string(),
            )),
            "/after" => {
                let ms = number("ms", 1000)?;
                spawn_local(async move {
                    wait_for(ms * NS_PER_MS).await;
                    println!("echo-p3 after");
                });
                Ok(reply::text(&[], "replied".to_owned()))
            }
            "/trap" => Ok(trap()),
            "/trap-at-once" => panic!("the guest panics before its reply"),
            "/break" => Ok(break_off()),
            "/error" => Err(internal_error("asked to")),
            "/spin" => {
                let mut turns = 0_u64;
                loop {
                    turns = black_box(turns.wrapping_add(1));
                }
            }
            "/write" => Ok(write()),
            "/fields" => {
                let value = vec![b'x'; 120_000];
                for _ in 0..5_000 {
                    let fields = Fields::new();
                    fields.append("a", &value).expect("is well formed");
                    forget(fields);
                }
                Ok(reply::text(&[], "kept".to_owned()))
            }
            "/waits" => loop {
                let mut wait = Box::pin(wait_for(u64::MAX));
                // Polled once, it has begun.
                let _ = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                forget(wait);
            },
            "/streams" => loop {
                forget(wit_stream::new::<u8>());
            },
            "/copy" => Ok(copy(request)),
            _ => Ok(pass_on(request)),
        }
    }
}

fn internal_error(why: &str) -> ErrorCode {
    ErrorCode::InternalError(Some(why.to_owned()))
}

/// The host connects the one stream with the other; nothing goes through the guest's memory.
fn pass_on(request: Request) -> Response {
    let headers = reply::like(&request);
    let (_, done) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(request, done);
    let (response, _sent) = Response::new(headers, Some(body), trailers);
    response
}

fn copy(request: Request) -> Response {
    let mut reply = Reply::new(reply::like(&request));
    let (_, done) = wit_future::new(|| Ok(()));
    let (mut from, trailers) = Request::consume_body(request, done);
    spawn_local(async move {
        loop {
            let (result, piece) = from.read(Vec::with_capacity(PIECE)).await;
            let left_over = reply.body.write_all(piece).await;
            // Left over is what a client that went away did not take.
            if matches!(result, StreamResult::Dropped) || !left_over.is_empty() {
                break;
            }
        }
        drop((from, reply.body));
        // The only error that can come is that nobody waits for them.
        let _ = reply.trailers.write(trailers.await).await;
    });
    reply.response
}

fn events(n: u64, ms: u64) -> Response {
    let mut reply = Reply::new(reply::headers(&[("content-type", "text/event-stream")]));
    spawn_local(async move {
        for number in 1..=n {
            wait_for(ms * NS_PER_MS).await;
            if !reply.body.write_all(format!("data: {number}\n\n").into_bytes()).await.is_empty() {
                break;
            }
        }
    });
    reply.response
}

fn write() -> Response {
    let mut reply = Reply::new(reply::headers(&[]));
    spawn_local(async move {
        loop {
            (0..1_000_000_u64).for_each(|turn| _ = black_box(turn));
            if !reply.body.write_all(b"x\n".to_vec()).await.is_empty() {
                break;
            }
        }
    });
    reply.response
}

fn trap() -> Response {
    let mut reply = Reply::new(reply::headers(&[]));
    spawn_local(async move {
        begin(&mut reply.body).await;
        panic!("the guest panics in the middle of its reply");
    });
    reply.response
}

fn break_off() -> Response {
    let mut reply = Reply::new(reply::headers(&[]));
    spawn_local(async move {
        begin(&mut reply.body).await;
        drop(reply.body);
        let _ = reply.trailers.write(Err(internal_error("asked to break off"))).await;
    });
    reply.response
}

/// Lets the head and a first piece leave; an error right away could still be answered with a 500.
async fn begin(body: &mut StreamWriter<u8>) {
    body.write_all(b"begin".to_vec()).await;
    wait_for(100 * NS_PER_MS).await;
}

wasip3::http::service::export!(Echo);
