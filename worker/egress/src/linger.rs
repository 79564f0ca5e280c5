//! Closes a connection so that its last reply arrives. Owns the stream until then.
//!
//! Closing a socket with bytes in it that were not read makes the kernel reset the connection, and
//! the client may lose a reply that it has not read yet (RFC 9112 9.6).

use abi::limits::{LINGER_BYTES_MAX, LINGER_SILENT_TIMEOUT, LINGER_TIMEOUT};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

const BUFFER_BYTES: usize = 4096;

/// Ends the sending half, reads away what the client still sends, and closes the stream.
pub(crate) async fn close<I: AsyncRead + AsyncWrite + Unpin>(mut stream: I) {
    // A client that does not end its half in time is closed all the same.
    drop(timeout(LINGER_TIMEOUT, read_away(&mut stream)).await);
}

async fn read_away<I: AsyncRead + AsyncWrite + Unpin>(stream: &mut I) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut buffer = [0; BUFFER_BYTES];
    let mut left = LINGER_BYTES_MAX;
    while let Ok(Ok(length @ 1..)) = timeout(LINGER_SILENT_TIMEOUT, stream.read(&mut buffer)).await
    {
        left = left.saturating_sub(length as u64);
        if left == 0 {
            return;
        }
    }
}
