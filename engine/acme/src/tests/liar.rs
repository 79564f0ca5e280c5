//! A CA that lies, or is none: answers as they stand here, over TLS.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

/// Returns the URL of a server that answers each request with what `answer` makes of its method
/// and path, as it stands, and ends the connection.
async fn serve(
    bed: &Bed,
    answer: impl Fn(&str, &str) -> Vec<u8> + Send + Sync + 'static,
) -> String {
    let certificate = CertificateDer::from(bed.identity.certificate_der.clone());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(bed.identity.key_der.clone()));
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certificate], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let (answer, base) = (Arc::new(answer), url.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, answer) = (TlsAcceptor::from(Arc::clone(&config)), Arc::clone(&answer));
            let base = base.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.ok()?;
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.ok()?);
                }
                let head = String::from_utf8(head).ok()?;
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse::<usize>()
                        .ok()
                });
                stream.read_exact(&mut vec![0; length.unwrap_or(0)]).await.ok()?;
                let mut words = head.split(' ');
                let (method, path) = (words.next()?, words.next()?);
                let reply = answer(method, path);
                let reply = match std::str::from_utf8(&reply) {
                    Ok(text) => text.replace("BASE", &base).into_bytes(),
                    Err(_) => reply,
                };
                stream.write_all(&reply).await.ok()?;
                stream.shutdown().await.ok()
            });
        }
    });
    url
}

fn reply(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n{body}").into_bytes()
}

const DIRECTORY: &str =
    r#"{"newNonce":"BASE/nonce","newAccount":"BASE/account","newOrder":"BASE/order"}"#;

/// What is told of a CA that answers so.
async fn told(
    part: &str,
    answer: impl Fn(&str, &str) -> Vec<u8> + Send + Sync + 'static,
) -> String {
    let bed = Bed::new().await;
    let url = serve(&bed, answer).await;
    let node = bed.node("one", &format!("{url}/dir"), HTTP);
    node.error(part).await
}

#[tokio::test]
async fn a_directory_that_is_none_is_told() {
    let html = told("no ACME server", |_, _| reply("200 OK", "", "<html>hello</html>")).await;
    assert!(html.contains("--acme-directory"), "{html}");
    told("\"newNonce\" of its directory is no URL", |_, _| {
        reply("200 OK", "", &DIRECTORY.replace("BASE/nonce", "https://[bad"))
    })
    .await;
    told("cannot be reached", |_, _| reply("404 Not Found", "", "nothing here")).await;
    told("cannot be reached", |_, _| b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()).await;
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let endless = |_: &str, _: &str| {
        let mut answer = reply("200 OK", "", "");
        answer.resize(answer.len() + 4 * 1024 * 1024, 0xff);
        answer
    };
    told("more than 524288 bytes", endless).await;
}

/// A CA that gives an account and then answers orders so.
fn orders_with(
    status: &'static str,
    headers: &'static str,
    body: &'static str,
) -> impl Fn(&str, &str) -> Vec<u8> {
    const NONCE: &str = "Replay-Nonce: n\r\n";
    const AUTHORIZATION: &str = r#"{"identifier":{"type":"dns","value":"shop.example.com"},
        "status":"pending","challenges":[{"type":"http-01","url":"BASE/challenge",
        "token":"../../../etc","status":"pending"}]}"#;
    let account = format!("{NONCE}Location: BASE/account/1\r\n");
    move |method, path| match (method, path) {
        ("GET", "/dir") => reply("200 OK", "", DIRECTORY),
        ("HEAD", _) => reply("200 OK", NONCE, ""),
        (_, "/account") => reply("201 Created", &account, r#"{"status":"valid"}"#),
        (_, "/account/1") => reply("200 OK", NONCE, r#"{"status":"valid"}"#),
        (_, "/authorization") => reply("200 OK", NONCE, AUTHORIZATION),
        _ => reply(status, headers, body),
    }
}

const LIMITED: &str = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many"}"#;

#[tokio::test]
async fn a_rate_limit_is_kept_to_for_as_long_as_the_ca_says() {
    let bed = Bed::new().await;
    let refuse = orders_with("429 Too Many Requests", "Retry-After: 7200\r\n", LIMITED);
    let url = serve(&bed, refuse).await;
    let node = bed.node("one", &format!("{url}/dir"), HTTP);
    let limited = |status: &NameStatus| {
        let told = status.error.as_ref().is_some_and(|told| told.contains("too many"));
        let wait_ms = status.next_order_ms.unwrap_or(0).saturating_sub(host::clock::unix_ms());
        told && wait_ms > 7_000_000 && wait_ms <= 7_200_000
    };
    node.until_status(limited).await;
    // As long as a limit is, it is not believed for ever; and no sum of times overflows.
    let bed = Bed::new().await;
    let refuse =
        orders_with("429 Too Many Requests", "Retry-After: 18446744073709551615\r\n", LIMITED);
    let url = serve(&bed, refuse).await;
    let node = bed.node("one", &format!("{url}/dir"), HTTP);
    node.error("takes no more for now").await;
    let waits = |status: &NameStatus| {
        let wait_ms = status.next_order_ms.unwrap_or(0).saturating_sub(host::clock::unix_ms());
        wait_ms > 7 * 86_400_000 && wait_ms <= 8 * 86_400_000
    };
    node.until_status(waits).await;
}

#[tokio::test]
async fn a_token_that_would_lead_elsewhere_is_refused() {
    let order =
        r#"{"status":"pending","authorizations":["BASE/authorization"],"finalize":"BASE/f"}"#;
    let headers = "Replay-Nonce: n\r\nLocation: BASE/order/1\r\n";
    let answer = orders_with("201 Created", headers, order);
    told("the token of a challenge is none", answer).await;
}
