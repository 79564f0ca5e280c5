//! Exchanges that end early: dropped by the guest, cut by the server. Sockets are the test
//! servers'.

use std::net::Ipv4Addr;

use super::*;

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_refused() {
    let (listener, address, outbound) = server().await;
    drop(listener);
    let error = outcome(get(&outbound, address)).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionRefused), "{error:?}");
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_is_a_dns_error() {
    // No resolver asks anyone for a label this long (RFC 1035 2.3.4).
    let name = "x".repeat(64);
    let error =
        outcome(send(&outbound(&["*:80"]), request(&format!("http://{name}.example/")), None))
            .await;
    let Err(Error::DnsError { rcode: Some(rcode), info_code: None }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(rcode, "address not available");
}

#[tokio::test]
async fn a_reply_that_was_cut_is_an_error() {
    for half in ["content-length: 9\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
    {
        let (listener, address, outbound) = server().await;
        let cut = async {
            drop(answer(&listener, format!("HTTP/1.1 200 OK\r\n{half}").as_bytes()).await)
        };
        let (body, ()) = tokio::join!(outcome(get(&outbound, address)), cut);
        assert!(matches!(body, Err(Error::HttpResponseIncomplete)), "{half:?}: {body:?}");
    }
}

#[tokio::test]
async fn a_server_that_goes_away_or_speaks_no_http_is_an_error() {
    let (listener, address, outbound) = server().await;
    let leaves = async { drop(accept(&listener).await) };
    let (body, ()) = tokio::join!(outcome(get(&outbound, address)), leaves);
    assert!(matches!(body, Err(Error::ConnectionTerminated)), "{body:?}");
    let (body, _tcp) =
        tokio::join!(outcome(get(&outbound, address)), answer(&listener, b"SSH-2.0-hello\r\n\r\n"));
    assert!(matches!(body, Err(Error::HttpProtocolError)), "{body:?}");
}

#[tokio::test]
async fn what_may_be_done_twice_is_sent_again_when_a_kept_connection_ends() {
    let (listener, address, outbound) = server().await;
    let (body, mut tcp) = tokio::join!(outcome(get(&outbound, address)), answer(&listener, OK));
    assert_eq!(body.unwrap(), "ok");
    settle().await;
    let server = async {
        read_head(&mut tcp).await;
        drop(tcp);
        answer(&listener, OK).await
    };
    let (body, _tcp) = tokio::join!(outcome(get(&outbound, address)), server);
    assert_eq!(body.unwrap(), "ok");
}

#[tokio::test]
async fn it_is_sent_again_once() {
    let (listener, address, outbound) = server().await;
    let (body, mut tcp) = tokio::join!(outcome(get(&outbound, address)), answer(&listener, OK));
    assert_eq!(body.unwrap(), "ok");
    settle().await;
    let leaves_twice = async {
        read_head(&mut tcp).await;
        drop(tcp);
        drop(accept(&listener).await);
    };
    let (body, ()) = tokio::join!(outcome(get(&outbound, address)), leaves_twice);
    assert!(matches!(body, Err(Error::ConnectionTerminated)), "{body:?}");
    assert!(tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await.is_err());
}

#[tokio::test]
async fn a_request_with_an_effect_that_may_have_been_read_is_not_sent_again() {
    let (listener, address, outbound) = server().await;
    let (body, mut tcp) = tokio::join!(outcome(get(&outbound, address)), answer(&listener, OK));
    assert_eq!(body.unwrap(), "ok");
    settle().await;
    let leaves = async {
        read_head(&mut tcp).await;
        drop(tcp);
    };
    let made = Request::post(format!("http://{address}/")).body(empty()).unwrap();
    let (body, ()) = tokio::join!(outcome(send(&outbound, made, None)), leaves);
    assert!(matches!(body, Err(Error::ConnectionTerminated)), "{body:?}");
    assert!(tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await.is_err());
}

#[tokio::test]
async fn a_server_that_answers_early_and_reads_nothing_does_not_keep_the_connection() {
    const BYTES: usize = 64 * 1024 * 1024;
    let (listener, address, outbound) = server().await;
    let made = Request::post(format!("http://{address}/"));
    let made = made
        .body(Full::from(vec![0; BYTES]).map_err(|never| match never {}).boxed_unsync())
        .unwrap();
    let (body, mut tcp) = tokio::join!(outcome(send(&outbound, made, None)), answer(&listener, OK));
    assert_eq!(body.unwrap(), "ok");
    settle().await;
    tokio::time::pause();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let mut rest = Vec::new();
    // Reading now would have the client go on, if it was still there.
    let _ = tcp.read_to_end(&mut rest).await;
    assert!(rest.len() < BYTES, "{} of {BYTES}", rest.len());
}

#[tokio::test]
async fn dropping_a_request_ends_its_connection() {
    let (listener, address, outbound) = server().await;
    let client = tokio::spawn(get(&outbound, address));
    let (mut tcp, _) = accept(&listener).await;
    client.abort();
    closed(&mut tcp).await;
}

#[tokio::test]
async fn dropping_a_response_ends_its_connection() {
    let (listener, address, outbound) = server().await;
    let (sent, mut tcp) = tokio::join!(
        get(&outbound, address),
        answer(&listener, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    );
    let mut response = sent.unwrap().0;
    assert!(response.body_mut().frame().await.unwrap().is_ok());
    drop(response);
    closed(&mut tcp).await;
}

#[tokio::test]
async fn a_request_whose_body_fails_gets_that_error() {
    let (listener, address, outbound) = server().await;
    let (made, parts) = post(address);
    parts.send(Err(Error::HttpRequestBodySize(Some(7)))).unwrap();
    let server = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        closed(&mut tcp).await;
    };
    let (body, ()) = tokio::join!(outcome(send(&outbound, made, None)), server);
    assert!(matches!(body, Err(Error::HttpRequestBodySize(Some(7)))), "{body:?}");
}

#[tokio::test]
async fn a_body_that_fails_after_the_response_is_told_beside_it() {
    let (listener, address, outbound) = server().await;
    let (made, parts) = post(address);
    let early = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (sent, mut tcp) = tokio::join!(send(&outbound, made, None), answer(&listener, early));
    let (response, io) = sent.unwrap();
    parts.send(Err(Error::HttpRequestBodySize(Some(7)))).unwrap();
    assert!(matches!(Box::into_pin(io).await, Err(Error::HttpRequestBodySize(Some(7)))));
    assert!(response.into_body().collect().await.is_err());
    closed(&mut tcp).await;
}

#[tokio::test]
async fn every_allowed_address_of_a_name_is_tried() {
    // `localhost` may be ::1 first, where this server is not.
    let (listener, address, _) = server().await;
    assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
    let outbound = outbound(&["localhost:*"]);
    let sending = send(&outbound, request(&format!("http://localhost:{}/", address.port())), None);
    let (body, _tcp) = tokio::join!(outcome(sending), answer(&listener, OK));
    assert_eq!(body.unwrap(), "ok");
}
