//! Every limit of an outgoing request, reached. Sockets are the test servers'.

use std::task::{Waker, ready};
use std::time::Duration;

use abi::limits::{OUTBOUND_REPLY_HEAD_BYTES_MAX, OUTBOUND_REPLY_HEADERS_MAX};

use super::*;

/// Long enough for a step that is to succeed is the default; this is for one that is to fail.
const SHORT: Option<Duration> = Some(Duration::from_millis(50));

fn to(address: SocketAddr) -> Request<WasiBody> {
    request(&format!("http://{address}/"))
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_takes_the_connect_timeout() {
    let (_listener, address, outbound) = server().await;
    let options = RequestOptions { connect_timeout: SHORT, ..Default::default() };
    let error = outcome(send(&outbound, request(&format!("https://{address}/")), Some(options)))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::ConnectionTimeout), "{error:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_takes_the_first_byte_timeout() {
    let (listener, address, outbound) = server().await;
    let options = RequestOptions { first_byte_timeout: SHORT, ..Default::default() };
    let silent = async {
        let (mut tcp, _) = accept(&listener).await;
        closed(&mut tcp).await;
    };
    let (body, ()) = tokio::join!(outcome(send(&outbound, to(address), Some(options))), silent);
    assert!(matches!(body, Err(Error::ConnectionReadTimeout)), "{body:?}");
}

#[tokio::test]
async fn a_server_that_stops_within_a_body_takes_the_between_bytes_timeout() {
    let (listener, address, outbound) = server().await;
    let options = RequestOptions { between_bytes_timeout: SHORT, ..Default::default() };
    let stops = async {
        let mut tcp = answer(&listener, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        closed(&mut tcp).await;
    };
    let (body, ()) = tokio::join!(outcome(send(&outbound, to(address), Some(options))), stops);
    assert!(matches!(body, Err(Error::ConnectionReadTimeout)), "{body:?}");
}

#[tokio::test]
async fn more_requests_in_flight_than_allowed_fail_at_once() {
    let (listener, address, outbound) = server().await;
    let mut flying: Vec<Sending> = (0..REQUESTS_MAX).map(|_| get(&outbound, address)).collect();
    let error = outcome(get(&outbound, address)).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLimitReached), "{error:?}");
    drop(flying.pop());
    // A response whose body has not ended still counts, one that has does not, although the guest
    // may hold it.
    let reply = async {
        let (mut tcp, _) = accept(&listener).await;
        tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await.unwrap();
        tcp
    };
    let (sent, mut tcp) = tokio::join!(get(&outbound, address), reply);
    let mut response = sent.unwrap().0;
    let error = outcome(get(&outbound, address)).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLimitReached), "{error:?}");
    tcp.write_all(b"ok").await.unwrap();
    assert!(response.body_mut().collect().await.is_ok());
    let mut another = get(&outbound, address);
    assert!(another.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[tokio::test]
async fn a_reply_with_too_much_of_a_head_is_refused() {
    let (listener, address, outbound) = server().await;
    let large = format!("x-large: {}\r\n", "x".repeat(OUTBOUND_REPLY_HEAD_BYTES_MAX));
    for headers in
        [large.clone(), large.repeat(10), "x-many: 1\r\n".repeat(OUTBOUND_REPLY_HEADERS_MAX + 1)]
    {
        let reply = async {
            let (mut tcp, _) = accept(&listener).await;
            // The client may go before it has taken all of it.
            let _ = tcp.write_all(format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes()).await;
            tcp
        };
        let (body, _tcp) = tokio::join!(outcome(get(&outbound, address)), reply);
        assert!(matches!(body, Err(Error::HttpResponseHeaderSectionSize(Some(_)))), "{body:?}");
    }
    let most = "x-many: 1\r\n".repeat(OUTBOUND_REPLY_HEADERS_MAX - 1);
    let reply = format!("HTTP/1.1 200 OK\r\n{most}content-length: 0\r\n\r\n");
    let (body, _tcp) =
        tokio::join!(outcome(get(&outbound, address)), answer(&listener, reply.as_bytes()));
    assert_eq!(body.unwrap(), "");
}

/// A body without end or pause, as fast as it is taken.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 64 * 1024])))))
    }
}

#[tokio::test]
async fn a_server_that_does_not_read_holds_up_nobody_when_its_request_is_dropped() {
    let (listener, address, outbound) = server().await;
    let made = Request::post(format!("http://{address}/")).body(Endless.boxed_unsync()).unwrap();
    let client = tokio::spawn(send(&outbound, made, None));
    let (mut tcp, _) = accept(&listener).await;
    client.abort();
    assert!(client.await.is_err_and(|error| error.is_cancelled()));
    closed(&mut tcp).await;
}
