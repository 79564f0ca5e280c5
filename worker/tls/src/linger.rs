//! The end of a client's connection, with TLS or without. Owns the socket to its end.

use std::io::ErrorKind;

use abi::limits::{LINGER_BYTES_MAX, LINGER_SILENT_TIMEOUT, LINGER_TIMEOUT};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What is read at a time.
const SCRAP_BYTES: usize = 16 * 1024;

/// Reads on until the client has ended its side, within limits. A socket that is closed with unread
/// bytes in it resets the connection, and the client could lose what it was sent last.
pub async fn close(socket: TcpStream) {
    let drained = async {
        // Not in the future itself, which is there for all of the connection.
        let mut scrap = vec![0; SCRAP_BYTES];
        let mut total = 0;
        while let Ok(Ok(())) = timeout(LINGER_SILENT_TIMEOUT, socket.readable()).await {
            match socket.try_read(&mut scrap) {
                Ok(0) => return,
                Ok(read) => total += read as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            if total > LINGER_BYTES_MAX {
                return;
            }
        }
    };
    let _ = timeout(LINGER_TIMEOUT, drained).await;
}

/// Ends this side and then [closes](close) the socket.
pub async fn end(mut socket: TcpStream) {
    let _ = socket.shutdown().await;
    close(socket).await;
}
