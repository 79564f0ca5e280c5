//! Which certificate a client gets, how sessions resume, and how long a handshake may take.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::{Read as _, Write as _};
use std::time::Duration;

use abi::certificates::Certificates;
use abi::limits::HANDSHAKES_MAX;
use common::{Authority, Edge, Nobody, TIMEOUTS, run, ticket_key};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};
use tls::{Configs, Timeouts};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Returns what went wrong for a client that speaks to `name`, or its certificate.
async fn certificate(edge: &Edge, client: ClientConfig, name: &str) -> Result<Vec<u8>, String> {
    let mut stream = edge.connect(client, name).await.map_err(|error| error.to_string())?;
    // The alert of a refusal comes behind the client's own end of the handshake.
    stream.write_all(b"x").await.map_err(|error| error.to_string())?;
    Ok(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec())
}

#[test]
fn a_client_gets_the_certificate_of_its_name_or_the_default_or_an_alert() {
    run(async {
        let authority = Authority::new();
        let mut certificates = Certificates {
            by_name: vec![
                authority.certificate("shop.example"),
                authority.certificate("*.shop.example"),
            ],
            ..Certificates::default()
        };
        let edge = Edge::start(&certificates, TIMEOUTS).await;
        let chains: Vec<Vec<u8>> =
            certificates.by_name.iter().map(|it| it.chain[0].clone()).collect();
        let of = |name: &'static str| certificate(&edge, authority.client(), name);
        assert_eq!(of("Shop.Example").await.unwrap(), chains[0]);
        assert_eq!(of("a.shop.example").await.unwrap(), chains[1]);
        let refused = of("a.b.shop.example").await.unwrap_err();
        assert!(refused.to_lowercase().contains("unrecognis"), "{refused}");
        // An address is no name (RFC 6066 3).
        assert!(of("127.0.0.1").await.is_err());

        certificates.default = Some(authority.certificate("127.0.0.1"));
        edge.connections.set_configs(Configs::new(&certificates).0);
        let default = certificates.default.as_ref().unwrap().chain[0].clone();
        assert_eq!(of("127.0.0.1").await.unwrap(), default);
        // It is sent, though this client does not like it.
        assert!(of("b.example").await.unwrap_err().contains("not valid for name"));
    });
}

#[test]
fn a_challenge_is_answered_to_those_who_ask_for_it_alone() {
    run(async {
        let authority = Authority::new();
        let certificates = Certificates {
            by_name: vec![authority.certificate("shop.example")],
            challenges: vec![authority.certificate("shop.example")],
            ..Certificates::default()
        };
        let edge = Edge::start(&certificates, TIMEOUTS).await;
        let offering = |protocols: &[&str]| {
            let mut client = authority.client();
            client.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
            client
        };
        let mut asked = edge.connect(offering(&["acme-tls/1"]), "shop.example").await.unwrap();
        assert_eq!(asked.get_ref().1.alpn_protocol(), Some(&b"acme-tls/1"[..]));
        let answer = asked.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        assert_eq!(answer, certificates.challenges[0].chain[0]);
        assert_eq!(asked.read(&mut [0]).await.unwrap(), 0, "and closed in order");
        assert!(edge.connect(offering(&["acme-tls/1"]), "other.example").await.is_err());

        for protocols in [&["acme-tls/1", "http/1.1"][..], &["http/1.1"], &[]] {
            let got = certificate(&edge, offering(protocols), "shop.example").await.unwrap();
            assert_eq!(got, certificates.by_name[0].chain[0], "{protocols:?}");
        }
        let other = certificate(&edge, offering(&["spdy/3"]), "shop.example").await.unwrap_err();
        assert!(other.contains("ApplicationProtocol"), "{other}");
    });
}

/// Connects once, and returns whether the session was resumed.
async fn resumed(edge: &mut Edge, client: &ClientConfig) -> bool {
    let mut stream = edge.connect(client.clone(), "localhost").await.unwrap();
    stream.write_all(b"GET").await.unwrap();
    let mut end = edge.end().await;
    end.write_all(b"reply").await.unwrap();
    // With the reply comes what the edge has sent before it: the ticket.
    stream.read_exact(&mut [0; 5]).await.unwrap();
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

#[test]
fn a_session_is_resumed_by_every_edge_that_has_the_key() {
    run(async {
        let authority = Authority::new();
        let localhost = authority.certificate("localhost");
        let with = |keys: &[u8]| Certificates {
            default: Some(localhost.clone()),
            ticket_keys: keys.iter().map(|of| ticket_key(*of)).collect(),
            ..Certificates::default()
        };
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let mut one = Edge::start(&with(&[1]), TIMEOUTS).await;
            let mut another = Edge::start(&with(&[1]), TIMEOUTS).await;
            let mut rotated = Edge::start(&with(&[2, 1]), TIMEOUTS).await;
            let mut stranger = Edge::start(&with(&[3]), TIMEOUTS).await;
            let mut without = Edge::start(&with(&[]), TIMEOUTS).await;
            let fresh = || {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(authority.certificate.clone()).unwrap();
                let provider = rustls::crypto::ring::default_provider();
                ClientConfig::builder_with_provider(provider.into())
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .with_root_certificates(roots)
                    .with_no_client_auth()
            };
            let client = fresh();
            assert!(!resumed(&mut one, &client).await, "there was nothing to resume");
            assert!(resumed(&mut another, &client).await, "{version:?}");
            assert!(resumed(&mut rotated, &client).await, "the old key still opens");
            // The ticket of the last one was sealed by the new key.
            if version.version == ProtocolVersion::TLSv1_3 {
                assert!(!resumed(&mut one, &client).await, "which others do not know yet");
            }
            let client = fresh();
            assert!(!resumed(&mut one, &client).await);
            assert!(!resumed(&mut stranger, &client).await, "another key opens nothing");
            assert!(!resumed(&mut without, &client).await);
            assert!(!resumed(&mut without, &fresh()).await);
        }
    });
}

/// Sends a ClientHello as `cut` makes segments of it, and checks that it is answered.
async fn answered_when(edge: &Edge, client: ClientConfig, cut: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
    let name = "localhost".try_into().unwrap();
    let mut tls = rustls::ClientConnection::new(client.into(), name).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    let mut tcp = TcpStream::connect(edge.address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    for segment in cut(&hello) {
        tcp.write_all(&segment).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut reply = vec![0; 16 * 1024];
    while tls.is_handshaking() {
        let length = tcp.read(&mut reply).await.unwrap();
        assert!(length > 0, "the connection was closed");
        tls.read_tls(&mut &reply[..length]).unwrap();
        tls.process_new_packets().unwrap();
    }
}

#[test]
fn a_hello_may_come_byte_by_byte_and_in_records_of_one() {
    run(async {
        let (edge, client) = Edge::simple(TIMEOUTS).await;
        answered_when(&edge, client.clone(), |hello| hello.chunks(1).map(<[u8]>::to_vec).collect())
            .await;
        answered_when(&edge, client, |hello| {
            let (header, body) = hello.split_at(5);
            let record = |byte: &u8| [&header[..3], &[0, 1, *byte]].concat();
            body.iter().map(record).collect()
        })
        .await;
    });
}

#[test]
fn a_hello_may_have_been_read_in_part_before() {
    run(async {
        let (edge, client) = Edge::simple(TIMEOUTS).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = "localhost".try_into().unwrap();
        let mut tls = rustls::ClientConnection::new(client.into(), name).unwrap();
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).unwrap();
        for before in [3, hello.len()] {
            let address = listener.local_addr().unwrap();
            let mut tcp = TcpStream::connect(address).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            let (read, rest) = hello.split_at(before);
            let accepted = accepted.into_std().unwrap();
            edge.connections.take(accepted, read.to_vec(), Nobody, ()).unwrap();
            tcp.write_all(rest).await.unwrap();
            let mut reply = [0; 6];
            tcp.read_exact(&mut reply).await.unwrap();
            assert_eq!((reply[0], reply[5]), (22, 2), "a ServerHello");
        }
    });
}

#[test]
fn what_is_no_tls_is_told_so_and_closed() {
    run(async {
        let (edge, _) = Edge::simple(TIMEOUTS).await;
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100]] {
            let mut tcp = TcpStream::connect(edge.address).await.unwrap();
            tcp.write_all(garbage).await.unwrap();
            let mut told = Vec::new();
            tcp.read_to_end(&mut told).await.unwrap();
            assert_eq!(told.first().copied(), Some(21), "an alert: {told:?}");
        }
        edge.connections.none_open().await;
    });
}

#[test]
fn stalled_handshakes_end_at_the_deadline_and_delay_nobody() {
    run(async {
        let timeouts = Timeouts { first_byte: Duration::from_secs(10), ..TIMEOUTS };
        let (mut edge, client) = Edge::simple(timeouts).await;
        let fds = common::open_fds();
        let mut stalled = Vec::new();
        for number in 0..500 {
            let mut tcp = TcpStream::connect(edge.address).await.unwrap();
            // Some say nothing, some stop in the middle of a record.
            if number % 2 == 0 {
                tcp.write_all(&[22, 3, 1, 1]).await.unwrap();
            }
            stalled.push(tcp);
        }
        assert!(!resumed(&mut edge, &client).await, "one that means well is served at once");
        assert_eq!(edge.connections.handshakes(), 500);
        edge.connections.no_handshakes().await;
        edge.connections.none_open().await;
        drop(stalled);
        assert_eq!(common::open_fds(), fds);
    });
}

#[test]
fn a_handshake_without_a_request_ends_at_the_same_deadline() {
    run(async {
        let timeouts = Timeouts { first_byte: Duration::from_secs(2), ..TIMEOUTS };
        let (edge, client) = Edge::simple(timeouts).await;
        let mut stream = edge.connect(client, "localhost").await.unwrap();
        assert!(stream.read(&mut [0]).await.is_err(), "closed without close_notify");
        edge.connections.none_open().await;
    });
}

#[test]
fn beyond_the_limit_the_oldest_handshake_is_closed() {
    run(async {
        let (edge, client) = Edge::simple(TIMEOUTS).await;
        let mut first = TcpStream::connect(edge.address).await.unwrap();
        let mut others = Vec::new();
        for _ in 0..HANDSHAKES_MAX {
            others.push(TcpStream::connect(edge.address).await.unwrap());
        }
        assert_eq!(first.read(&mut [0]).await.unwrap(), 0, "closed");
        assert!(edge.connections.handshakes() <= HANDSHAKES_MAX);
        edge.connect(client, "localhost").await.unwrap();
        edge.connections.abort_handshakes();
        edge.connections.none_open().await;
    });
}

/// Runs a program against the edge, and returns what it said.
fn spoken(mut command: std::process::Command, input: &[u8]) -> String {
    use std::process::Stdio;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    said
}

#[test]
fn curl_and_openssl_are_served_where_they_are_installed() {
    run(async {
        let authority = Authority::new();
        let by_name = vec![authority.certificate("*.shop.example")];
        let certificates = Certificates { by_name, ..Certificates::default() };
        let mut edge = Edge::start(&certificates, TIMEOUTS).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("authority.pem");
        std::fs::write(&file, &authority.pem).unwrap();
        let port = edge.address.port();
        let installed = |name, asked| std::process::Command::new(name).arg(asked).output().is_ok();
        if installed("curl", "--version") {
            let mut curl = std::process::Command::new("curl");
            curl.args(["-sS", "--http1.1", "--resolve"]);
            curl.arg(format!("a.shop.example:{port}:127.0.0.1")).arg("--cacert").arg(&file);
            curl.arg(format!("https://a.shop.example:{port}/"));
            let mut said = tokio::task::spawn_blocking(move || spoken(curl, b""));
            let mut end = tokio::select! {
                end = edge.end() => end,
                said = &mut said => panic!("{}", said.unwrap()),
            };
            let mut head = vec![0; 4096];
            let length = end.read(&mut head).await.unwrap();
            assert!(head[..length].starts_with(b"GET / HTTP/1.1\r\n"));
            end.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello").await.unwrap();
            drop(end);
            assert_eq!(said.await.unwrap(), "hello");
        }
        if installed("openssl", "version") {
            for version in ["-tls1_2", "-tls1_3"] {
                let mut openssl = std::process::Command::new("openssl");
                openssl.args(["s_client", "-quiet", version, "-servername", "a.shop.example"]);
                openssl.arg("-CAfile").arg(&file).arg("-connect").arg(edge.address.to_string());
                let mut said = tokio::task::spawn_blocking(move || spoken(openssl, b"question"));
                let mut end = tokio::select! {
                    end = edge.end() => end,
                    said = &mut said => panic!("{}", said.unwrap()),
                };
                end.read_exact(&mut [0; 8]).await.unwrap();
                end.write_all(b"answer").await.unwrap();
                drop(end);
                assert!(said.await.unwrap().contains("answer"), "{version}");
            }
        }
    });
}
