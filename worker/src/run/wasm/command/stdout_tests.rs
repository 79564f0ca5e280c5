//! When a command's reply begins, and what holds its stdout back. Owns no fds.

use super::*;
use crate::run::GATHERED_BYTES_MAX;
use crate::run::wasm::command::pipe::PIPE_BYTES_MAX;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use crate::run::body::GuestBody;

type Replied = oneshot::Receiver<Result<Response<GuestBody>, String>>;

const HEAD_BYTES_MAX: usize = 100;

fn stdout(output: Output) -> (Stdout, Replied) {
    let (reply, replied) = oneshot::channel();
    (Stdout::new(output, HEAD_BYTES_MAX, reply), replied)
}

fn write(stdout: &mut Stdout, text: &str) {
    OutputStream::write(stdout, Bytes::copy_from_slice(text.as_bytes())).unwrap();
}

async fn body(response: Response<GuestBody>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn error(stdout: &mut Stdout, text: &str) -> HeadError {
    let error = OutputStream::write(stdout, Bytes::copy_from_slice(text.as_bytes())).unwrap_err();
    let StreamError::Trap(error) = error else { panic!("{error}") };
    error.downcast::<HeadError>().unwrap()
}

#[tokio::test]
async fn a_small_raw_reply_begins_when_the_program_has_exited_well() {
    let (mut stdout, mut replied) = stdout(Output::Raw);
    write(&mut stdout, "Hello, ");
    write(&mut stdout, "world!");
    assert!(replied.try_recv().is_err());
    stdout.finish().unwrap();
    drop(stdout.end_on_drop());
    let response = replied.try_recv().unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(body(response).await, "Hello, world!");
}

async fn poll_held(stdout: &Stdout, deadline: &mut Deadline) {
    poll_fn(|cx| {
        stdout.poll_held(cx, deadline);
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn a_reply_whatever_the_exit_code_begins_with_its_first_byte() {
    let (mut stdout, mut replied) = stdout(Output::Always);
    write(&mut stdout, "H");
    let response = replied.try_recv().unwrap().unwrap();
    stdout.finish().unwrap();
    drop(stdout.end_on_drop());
    assert_eq!(body(response).await, "H");
}

#[tokio::test(start_paused = true)]
async fn a_raw_reply_of_a_program_that_waits_begins_when_it_has_been_held_back_for_long_enough() {
    let (mut stdout, mut replied) = stdout(Output::Raw);
    let mut deadline = Deadline::default();
    tokio::time::advance(2 * RAW_HELD_MAX).await;
    poll_held(&stdout, &mut deadline).await;
    assert!(replied.try_recv().is_err(), "nothing is written yet");
    write(&mut stdout, "first");
    poll_held(&stdout, &mut deadline).await;
    assert!(replied.try_recv().is_err());
    tokio::time::advance(2 * RAW_HELD_MAX).await;
    poll_held(&stdout, &mut deadline).await;
    let mut response = replied.try_recv().unwrap().unwrap();
    assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    poll_held(&stdout, &mut deadline).await;
    write(&mut stdout, "second");
    stdout.finish().unwrap();
    drop(stdout.end_on_drop());
    assert_eq!(body(response).await, "second");
}

#[tokio::test]
async fn a_large_raw_reply_begins_when_more_is_there_than_is_held_back_and_then_waits_for_its_reader()
 {
    let (mut stdout, mut replied) = stdout(Output::Raw);
    write(&mut stdout, &"x".repeat(GATHERED_BYTES_MAX));
    assert!(replied.try_recv().is_err());
    write(&mut stdout, "x");
    let mut response = replied.try_recv().unwrap().unwrap();
    let mut written = GATHERED_BYTES_MAX + 1;
    while let permit @ 1.. = stdout.check_write().unwrap() {
        write(&mut stdout, &"x".repeat(permit));
        written += permit;
    }
    assert_eq!(written, PIPE_BYTES_MAX);
    let mut ready = Box::pin(stdout.ready());
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(ready.as_mut().poll(&mut cx).is_pending());
    let read = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(read.len(), written);
    assert!(ready.as_mut().poll(&mut cx).is_ready());
}

#[tokio::test]
async fn a_cgi_reply_begins_with_the_end_of_its_header() {
    let (mut stdout, mut replied) = stdout(Output::Cgi);
    write(&mut stdout, "Status: 418 I'm a teapot\r\nX: y\r\n\r");
    assert!(replied.try_recv().is_err());
    write(&mut stdout, "\n");
    let mut response = replied.try_recv().unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(response.headers()["x"], "y");
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(Pin::new(response.body_mut()).poll_frame(&mut cx).is_pending());
    write(&mut stdout, "short and stout");
    stdout.finish().unwrap();
    drop(stdout.end_on_drop());
    assert_eq!(body(response).await, "short and stout");
}

#[test]
fn what_is_no_cgi_reply_stops_the_program() {
    assert_eq!(
        error(&mut stdout(Output::Cgi).0, "Hello, world!\n"),
        HeadError::NoField { line: 1 }
    );
    let long = format!("Content-Type: a/b\nX: {}", "y".repeat(HEAD_BYTES_MAX));
    let too_long = HeadError::TooLong { limit: HEAD_BYTES_MAX };
    assert_eq!(error(&mut stdout(Output::Cgi).0, &long), too_long);
    assert_eq!(error(&mut stdout(Output::Cgi).0, &format!("{long}\n\n")), too_long);
    assert_eq!(stdout(Output::Cgi).0.finish(), Err(HeadError::Ended));
}

#[test]
fn a_reply_that_nobody_reads_takes_no_memory_and_stops_nobody() {
    let (mut stdout, mut replied) = stdout(Output::Raw);
    let piece = "x".repeat(GATHERED_BYTES_MAX);
    write(&mut stdout, &piece);
    write(&mut stdout, &piece);
    assert_eq!(stdout.check_write().unwrap(), 0);
    drop(replied.try_recv().unwrap());
    for _ in 0..100 {
        assert_eq!(stdout.check_write().unwrap(), GATHERED_BYTES_MAX);
        write(&mut stdout, &piece);
    }
}

#[test]
fn a_program_that_writes_without_a_permit_is_stopped() {
    let (mut stdout, _replied) = stdout(Output::Raw);
    let piece = Bytes::from("x".repeat(GATHERED_BYTES_MAX));
    for _ in 0..3 {
        OutputStream::write(&mut stdout, piece.clone()).unwrap();
    }
    assert!(matches!(OutputStream::write(&mut stdout, piece), Err(StreamError::Trap(_))));
}
