//! A server on `$PORT`, as users of hyper write it.
//!
//! | path             | reply                                                                        |
//! |------------------|------------------------------------------------------------------------------|
//! | `/echo`          | the request's body as it arrives, with its `content-type`                    |
//! | `/trailers`      | the same, and the request's trailers, `x-NAME` as `x-back-NAME`              |
//! | `/count`         | `{"bytes":N,"sum":S}` of the request's body, which it does not keep          |
//! | `/stream?mib=N`  | N MiB (default 16), byte `i` being `i % 251`                                 |
//! | `/drip?n=N&ms=M` | N chunks `I\n` (default 5), M milliseconds apart (default 100)               |
//! | `/cut`           | a reply that ends in the middle of its body                                  |
//! | `/slow?ms=N`     | `slept N ms`, after that time; a line on stdout before it                    |
//! | `/env`           | the environment, the arguments and the working directory, as JSON            |
//! | `/threads?n=N`   | how many of N threads (default 10) could be started; they wait               |
//! | `/pid?ms=N`      | after that time, a name of the process, how many requests it has and has had |
//! | `/exit?code=N`   | none: the process ends with that code (default 1)                            |
//! | `/abort`         | none: the process ends by SIGABRT                                            |
//! | `/hang-up`       | none: the connection is closed                                               |
//! | `/websocket`     | 101, and each message back                                                   |
//! | any other        | method, target, headers and body, as JSON                                    |
//!
//! A HEAD is answered as a GET, without the body. At SIGTERM it writes `told to stop` to stdout and
//! ends with 0, once the requests that it has are answered. Its environment changes that:
//! `IGNORE_SIGTERM` has it stay, `START_MS` has it listen only after that time, `WRONG_PORT` has it
//! listen on another port, `NO_START` ends it with code 3 after a line on stderr.

mod replies;
mod websocket;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use replies::Program;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::var_os("NO_START").is_some() {
        eprintln!("last words of a server that does not start");
        return ExitCode::from(3);
    }
    let mut terminate = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
    if let Some(ms) = number("START_MS") {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    let port = number("WRONG_PORT").or_else(|| number("PORT")).unwrap_or(8080);
    let port = u16::try_from(port).expect("a port");
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.expect("a free port");
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let program = Arc::new(Program::new(started.as_nanos().to_string()));
    // Each connection holds a receiver: when all are gone, all is answered.
    let (stopping, stop) = watch::channel(false);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                tokio::spawn(serve(stream, Arc::clone(&program), stop.clone()));
            }
            _ = terminate.recv() => {
                println!("told to stop");
                if std::env::var_os("IGNORE_SIGTERM").is_none() {
                    break;
                }
            }
        }
    }
    drop((listener, stop));
    // Nobody listens where there is no connection.
    let _ = stopping.send(true);
    stopping.closed().await;
    println!("stopped");
    ExitCode::SUCCESS
}

async fn serve(
    stream: tokio::net::TcpStream,
    program: Arc<Program>,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let program = Arc::clone(&program);
        async move { replies::reply(&program, request).await }
    });
    let connection =
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // A client that goes away is no failure of the server.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
