//! What goes through the relay, and how either side's end reaches the other.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use common::{Edge, TIMEOUTS, run};
use tls::Timeouts;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

type Client = TlsStream<TcpStream>;

/// A client that has sent `GET`, and the plaintext end, from which it was read.
async fn connected(timeouts: Timeouts) -> (Edge, Client, UnixStream) {
    let (mut edge, config) = Edge::simple(timeouts).await;
    let mut client = edge.connect(config, "localhost").await.unwrap();
    client.write_all(b"GET").await.unwrap();
    let mut end = edge.end().await;
    let mut read = [0; 3];
    end.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"GET");
    (edge, client, end)
}

/// Bytes that no two places have the same of.
fn pattern(length: usize) -> Vec<u8> {
    (0..length / 8).flat_map(|number| (number as u64).to_le_bytes()).collect()
}

#[test]
fn eight_mebibytes_go_each_way_at_once_and_readers_may_be_slow() {
    run(async {
        let (edge, client, end) = connected(TIMEOUTS).await;
        let (up, down) = (pattern(8 << 20), pattern(8 << 20));
        let (mut client_reads, mut client_writes) = tokio::io::split(client);
        let (mut end_reads, mut end_writes) = end.into_split();
        let slowly = async |mut reader: Box<dyn tokio::io::AsyncRead + Unpin>| {
            let (mut all, mut piece) = (Vec::new(), vec![0; 200_000]);
            loop {
                let length = reader.read(&mut piece).await.unwrap();
                if length == 0 {
                    return all;
                }
                all.extend_from_slice(&piece[..length]);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let (_, _, client_read, end_read) = tokio::join!(
            async {
                client_writes.write_all(&up).await.unwrap();
                client_writes.shutdown().await.unwrap();
            },
            async {
                end_writes.write_all(&down).await.unwrap();
                end_writes.shutdown().await.unwrap();
            },
            async {
                let mut read = vec![0; down.len()];
                client_reads.read_exact(&mut read).await.unwrap();
                assert_eq!(client_reads.read(&mut [0]).await.unwrap(), 0);
                read
            },
            slowly(Box::new(&mut end_reads)),
        );
        assert_eq!((client_read.len(), end_read.len()), (down.len(), up.len()));
        assert!(client_read == down && end_read == up);
        drop((client_reads, client_writes));
        edge.connections.none_open().await;
    });
}

#[test]
fn a_flood_of_small_records_is_joined() {
    run(async {
        let (_edge, mut client, mut end) = connected(TIMEOUTS).await;
        // One record a byte, in one write to the socket. An end without room for so many writes
        // gets them all: they are joined before it.
        let (tcp, tls) = client.get_mut();
        for byte in pattern(2000) {
            tls.writer().write_all(&[byte]).unwrap();
        }
        let mut sealed = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut sealed).unwrap();
        }
        tcp.write_all(&sealed).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut read = vec![0; 4000];
        let mut length = 0;
        let mut reads = 0;
        while length < 2000 {
            length += end.read(&mut read[length..]).await.unwrap();
            reads += 1;
        }
        assert!(read[..2000] == pattern(2000) && reads <= 3, "{reads} reads");
    });
}

#[test]
fn the_clients_end_of_tls_is_an_end_of_the_stream_and_the_reply_still_comes() {
    run(async {
        let (edge, mut client, mut end) = connected(TIMEOUTS).await;
        client.write_all(b" rest").await.unwrap();
        client.shutdown().await.unwrap();
        let mut rest = Vec::new();
        end.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b" rest");
        end.write_all(b"reply").await.unwrap();
        drop(end);
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).await.unwrap();
        assert_eq!(reply, b"reply");
        edge.connections.none_open().await;
    });
}

#[test]
fn the_workers_end_of_the_stream_is_close_notify_and_the_client_is_read_on() {
    run(async {
        let (edge, mut client, mut end) = connected(TIMEOUTS).await;
        end.write_all(b"reply").await.unwrap();
        end.shutdown().await.unwrap();
        let mut reply = Vec::new();
        // rustls gives an error for an end without close_notify.
        client.read_to_end(&mut reply).await.unwrap();
        assert_eq!(reply, b"reply");
        client.write_all(b"more").await.unwrap();
        let mut more = [0; 4];
        end.read_exact(&mut more).await.unwrap();
        assert_eq!(&more, b"more");
        drop(end);
        drop(client);
        edge.connections.none_open().await;
    });
}

#[test]
fn a_worker_that_closes_its_end_with_unread_bytes_has_sent_what_it_sent() {
    run(async {
        let (edge, mut client, mut end) = connected(TIMEOUTS).await;
        client.write_all(&pattern(100_000)).await.unwrap();
        end.readable().await.unwrap();
        let reply = pattern(50_000);
        end.write_all(&reply).await.unwrap();
        drop(end);
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert!(read == reply);
        drop(client);
        edge.connections.none_open().await;
    });
}

#[test]
fn a_client_that_leaves_without_close_notify_is_cut_behind_what_it_sent() {
    run(async {
        for resets in [false, true] {
            let (edge, mut client, mut end) = connected(TIMEOUTS).await;
            // With the reply the client has read the ticket, too. Unread bytes would be a reset.
            end.write_all(b"reply").await.unwrap();
            client.read_exact(&mut [0; 5]).await.unwrap();
            if !resets {
                client.write_all(b" half").await.unwrap();
            }
            let (tcp, _) = client.into_inner();
            if resets {
                tcp.set_zero_linger().unwrap();
            }
            drop(tcp);
            edge.connections.none_open().await;
            let mut read = Vec::new();
            end.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, if resets { &b""[..] } else { b" half" });
            let error = end.write_all(b"reply").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "both ways are closed");
        }
    });
}

#[test]
fn a_client_that_leaves_behind_what_the_worker_does_not_read_is_noticed() {
    run(async {
        for resets in [false, true] {
            let (edge, mut client, end) = connected(TIMEOUTS).await;
            let unread = pattern(1 << 20);
            let mut left = &unread[..];
            // As much as the buffers on the way take.
            let full = tokio::time::timeout(Duration::from_millis(300), async {
                loop {
                    let length = client.write(left).await.unwrap();
                    left = if length < left.len() { &left[length..] } else { &unread };
                }
            });
            assert!(full.await.is_err());
            let (tcp, _) = client.into_inner();
            if resets {
                tcp.set_zero_linger().unwrap();
            }
            drop(tcp);
            // The end is not read from, and still open.
            edge.connections.none_open().await;
            drop(end);
        }
    });
}

#[test]
fn a_client_that_takes_nothing_is_cut_after_the_write_timeout() {
    run(async {
        let timeouts = Timeouts { write: Duration::from_millis(300), ..TIMEOUTS };
        let (edge, client, mut end) = connected(timeouts).await;
        let much = pattern(32 << 20);
        let error = end.write_all(&much).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
        edge.connections.none_open().await;
        drop(client);
    });
}

#[test]
fn bytes_that_are_no_records_are_answered_by_an_alert_and_the_end() {
    run(async {
        let (edge, client, mut end) = connected(TIMEOUTS).await;
        let (mut tcp, _) = client.into_inner();
        tcp.write_all(&[
            23, 3, 3, 0, 20, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        ])
        .await
        .unwrap();
        let mut told = Vec::new();
        tcp.read_to_end(&mut told).await.unwrap();
        assert!(!told.is_empty());
        assert_eq!(end.read(&mut [0]).await.unwrap(), 0);
        edge.connections.none_open().await;
    });
}

#[test]
fn nothing_is_left_of_connections_that_have_ended() {
    run(async {
        let (mut edge, config) = Edge::simple(TIMEOUTS).await;
        let fds = common::open_fds();
        let mut kept = Vec::new();
        for number in 0..100 {
            let mut client = edge.connect(config.clone(), "localhost").await.unwrap();
            client.write_all(b"GET").await.unwrap();
            let mut end = edge.end().await;
            end.write_all(b"reply").await.unwrap();
            client.read_exact(&mut [0; 5]).await.unwrap();
            if number % 2 == 0 {
                drop(client);
                kept.push(end);
            } else {
                drop(end);
                client.read_to_end(&mut Vec::new()).await.unwrap();
            }
        }
        edge.connections.none_open().await;
        drop(kept);
        assert_eq!(common::open_fds(), fds);
    });
}
