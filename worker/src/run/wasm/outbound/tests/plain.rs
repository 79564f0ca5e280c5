//! Requests that work: what is sent, what comes back, streamed both ways. Sockets are the test
//! servers'.

use http::{Method, header};

use super::*;

#[tokio::test]
async fn a_request_leaves_as_it_was_made() {
    let (listener, address, outbound) = server().await;
    let mut made = request(&format!("http://{address}/path?query=1"));
    made.headers_mut().insert("x-own", "kept".parse().unwrap());
    made.headers_mut().insert(header::HOST, "elsewhere.example".parse().unwrap());
    made.headers_mut().insert(header::TRANSFER_ENCODING, "chunked".parse().unwrap());
    made.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
    let client = send(&outbound, made, None);
    let server = async {
        let (mut tcp, head) = accept(&listener).await;
        tcp.write_all(b"HTTP/1.1 404 Not Found\r\nx-reply: 1\r\ncontent-length: 2\r\n\r\nno")
            .await
            .unwrap();
        (tcp, head)
    };
    let (sent, (_tcp, head)) = tokio::join!(client, server);
    assert_eq!(
        head,
        format!("GET /path?query=1 HTTP/1.1\r\nx-own: kept\r\nhost: {address}\r\n\r\n")
    );
    let (response, io) = sent.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-reply"]),
        (404, &"1".parse().unwrap())
    );
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no");
    Box::into_pin(io).await.unwrap();
}

/// The framing of a request with such a method, whose body is of these parts.
async fn framing(method: &str, parts: &[&'static str]) -> String {
    let (listener, address, outbound) = server().await;
    let (made, sender) = post(address);
    let (mut head, body) = made.into_parts();
    head.method = method.parse().unwrap();
    parts.iter().for_each(|part| sender.send(Ok(Bytes::from_static(part.as_bytes()))).unwrap());
    drop(sender);
    let (body, (mut tcp, head)) = tokio::join!(
        tokio::spawn(outcome(send(&outbound, Request::from_parts(head, body), None))),
        async {
            let (mut tcp, head) = accept(&listener).await;
            tcp.write_all(OK).await.unwrap();
            (tcp, head)
        }
    );
    assert_eq!(body.unwrap().unwrap(), "ok");
    drop(outbound);
    let mut rest = String::new();
    tcp.read_to_string(&mut rest).await.unwrap();
    let framed = head.lines().filter(|line| line.contains("-length") || line.contains("-encoding"));
    framed.chain([rest.as_str()]).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_body_is_framed_whatever_the_method() {
    for method in ["GET", "DELETE", "POST"] {
        let framed = framing(method, &["one", "two"]).await;
        assert_eq!(
            framed, "transfer-encoding: chunked\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
            "{method}"
        );
    }
    for method in ["POST", "PUT", "PATCH"] {
        assert_eq!(framing(method, &[]).await, "content-length: 0\n", "{method}");
    }
    assert_eq!(framing("GET", &[]).await, "");
}

#[tokio::test]
async fn a_gets_body_that_begins_too_late_is_an_error_and_one_that_stays_open_is_none() {
    for (late, header) in [(true, None), (false, None), (true, Some("8"))] {
        let (listener, address, outbound) = server().await;
        let (made, parts) = post(address);
        let (mut head, body) = made.into_parts();
        head.method = Method::GET;
        header.into_iter().for_each(|length| {
            drop(head.headers.insert(header::CONTENT_LENGTH, length.parse().unwrap()))
        });
        let client = tokio::spawn(outcome(send(&outbound, Request::from_parts(head, body), None)));
        // The request is there, so its body is too late, or its length was given.
        let (mut tcp, _) = accept(&listener).await;
        if late {
            parts.send(Ok("the body".into())).unwrap();
        }
        if late && header.is_none() {
            let error = client.await.unwrap().unwrap_err();
            assert!(
                matches!(&error, Error::InternalError(Some(why)) if why.contains("too late")),
                "{error:?}"
            );
        } else {
            if late {
                let mut body = [0; 8];
                tcp.read_exact(&mut body).await.unwrap();
                assert_eq!(&body, b"the body");
            }
            tcp.write_all(OK).await.unwrap();
            assert_eq!(client.await.unwrap().unwrap(), "ok");
        }
    }
}

#[tokio::test]
async fn redirects_are_the_guests_to_follow() {
    let (listener, address, outbound) = server().await;
    let reply = b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    let (sent, mut tcp) = tokio::join!(get(&outbound, address), answer(&listener, reply));
    let (response, _) = sent.unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()[header::LOCATION], "/elsewhere");
    drop((response, outbound));
    let mut more = Vec::new();
    tcp.read_to_end(&mut more).await.unwrap();
    assert!(more.is_empty(), "nothing else was asked: {more:?}");
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let (listener, address, outbound) = server().await;
    let server = async {
        let mut tcp = answer(&listener, OK).await;
        for _ in 1..10 {
            read_head(&mut tcp).await;
            tcp.write_all(OK).await.unwrap();
        }
        tcp
    };
    let client = async {
        for _ in 0..10 {
            assert_eq!(outcome(get(&outbound, address)).await.unwrap(), "ok");
            settle().await;
        }
    };
    // The server takes one connection, so a second would wait for ever.
    let ((), mut tcp) = tokio::join!(client, server);
    drop(outbound);
    closed(&mut tcp).await;
}

#[tokio::test]
async fn functions_share_no_connections() {
    let (listener, address, one) = server().await;
    let other = outbound(&[&address.to_string()]);
    for outbound in [&one, &other] {
        let (body, _tcp) = tokio::join!(outcome(get(outbound, address)), answer(&listener, OK));
        assert_eq!(body.unwrap(), "ok");
        settle().await;
    }
}

#[tokio::test]
async fn a_kept_connection_that_has_closed_is_not_used() {
    let (listener, address, outbound) = server().await;
    for _ in 0..3 {
        let (body, tcp) = tokio::join!(outcome(get(&outbound, address)), answer(&listener, OK));
        assert_eq!(body.unwrap(), "ok");
        drop(tcp);
        settle().await;
    }
}

#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    let (listener, address, outbound) = server().await;
    let (made, parts) = post(address);
    let client = tokio::spawn(send(&outbound, made, None));
    let (mut tcp, head) = accept(&listener).await;
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    tcp.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let (response, io) = client.await.unwrap().unwrap();
    let mut reply = response.into_body();
    for part in ["one", "two", "six"] {
        parts.send(Ok(part.into())).unwrap();
        let mut chunk = [0; 8];
        tcp.read_exact(&mut chunk).await.unwrap();
        assert_eq!(chunk, *format!("3\r\n{part}\r\n").as_bytes());
        tcp.write_all(&chunk).await.unwrap();
        assert_eq!(reply.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
    drop(parts);
    Box::into_pin(io).await.unwrap();
    let mut end = [0; 5];
    tcp.read_exact(&mut end).await.unwrap();
    tcp.write_all(&end).await.unwrap();
    assert!(reply.frame().await.is_none() && end == *b"0\r\n\r\n");
}
