//! What goes through the stream of a client that speaks HTTP/2, and how either side's end reaches
//! the other.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Edge, TIMEOUTS, open_fds, run};
use tls::Timeouts;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A client that has sent `get`, and has read `GET`.
async fn connected(timeouts: Timeouts) -> (Edge, TlsStream<TcpStream>) {
    let (edge, mut config) = Edge::simple(timeouts).await;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = edge.connect(config, "localhost").await.unwrap();
    client.write_all(b"get").await.unwrap();
    let mut read = [0; 3];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"GET");
    (edge, client)
}

#[test]
fn bytes_go_both_ways_at_once_and_the_readers_may_be_slow() {
    run(async {
        let (edge, client) = connected(TIMEOUTS).await;
        let sent: Vec<u8> = (0..300_000).flat_map(|number: u32| number.to_le_bytes()).collect();
        let (mut reads, mut writes) = split(client);
        let read_slowly = async {
            let (mut all, mut piece) = (Vec::new(), vec![0; 50_000]);
            while all.len() < sent.len() {
                let length = reads.read(&mut piece).await.unwrap();
                all.extend_from_slice(&piece[..length]);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            all
        };
        let (written, read) = tokio::join!(writes.write_all(&sent), read_slowly);
        written.unwrap();
        assert!(read == sent.to_ascii_uppercase());
        drop((reads, writes));
        edge.connections.none_open().await;
    });
}

#[test]
fn small_records_become_one_read_and_what_does_not_fit_is_kept() {
    run(async {
        let (_edge, mut client) = connected(TIMEOUTS).await;
        let (tcp, tls) = client.get_mut();
        for _ in 0..3 {
            std::io::Write::write_all(&mut tls.writer(), &[b'x'; 6000]).unwrap();
        }
        let mut sealed = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut sealed).unwrap();
        }
        tcp.write_all(&sealed).await.unwrap();
        let mut read = vec![0; 18_000];
        client.read_exact(&mut read).await.unwrap();
        assert!(read.iter().all(|byte| *byte == b'X'));
    });
}

#[test]
fn an_end_in_order_is_answered_by_one_and_nothing_is_left() {
    run(async {
        let before = open_fds();
        let (edge, mut client) = connected(TIMEOUTS).await;
        client.write_all(b"rest").await.unwrap();
        client.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // rustls gives an error for an end without close_notify.
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"REST");
        drop(client);
        edge.connections.none_open().await;
        // The listener is left, in a task of its own.
        assert!(open_fds() <= before + 1, "{} before, {} after", before, open_fds());
    });
}

#[test]
fn a_client_that_is_cut_off_ends_it() {
    run(async {
        let (edge, client) = connected(TIMEOUTS).await;
        drop(client.into_inner().0);
        edge.connections.none_open().await;
    });
}

#[test]
fn a_client_that_breaks_tls_is_told_and_cut_off() {
    run(async {
        let (edge, mut client) = connected(TIMEOUTS).await;
        client.get_mut().0.write_all(b"\x17\x03\x03\x00\x10 sixteen bytes !").await.unwrap();
        assert!(client.read(&mut [0]).await.unwrap_err().to_string().contains("alert"));
        edge.connections.none_open().await;
    });
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    run(async {
        let timeouts = Timeouts { write: Duration::from_millis(200), ..TIMEOUTS };
        let (edge, client) = connected(timeouts).await;
        let (reads, mut writes) = split(client);
        let piece = vec![0; 100_000];
        // Until both ways are full, and then until this is reset.
        while writes.write_all(&piece).await.is_ok() {}
        edge.connections.none_open().await;
        drop(reads);
    });
}
