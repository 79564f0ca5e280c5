//! Bodies of requests: read whole up to a limit, or read and dropped. Owns no fds.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// A whole body.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

/// Why a body is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotReceived {
    /// It has this many bytes, which are too many. It was read to its end, so that the client gets
    /// a response.
    TooLarge { size_bytes: u64 },
    /// The client broke it off.
    Truncated,
}

/// Reads a body of at most `bytes_max` bytes.
pub(super) async fn receive(
    mut incoming: Incoming,
    bytes_max: usize,
) -> Result<Received, NotReceived> {
    let mut only = Bytes::new();
    let mut joined = BytesMut::new();
    let mut trailers = None;
    let mut size_bytes = 0_u64;
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|_| NotReceived::Truncated)?;
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        let is_first = size_bytes == 0;
        size_bytes = size_bytes.saturating_add(data.len() as u64);
        if size_bytes > bytes_max as u64 {
            // What cannot be used need not be kept.
            only = Bytes::new();
            joined = BytesMut::new();
        } else if is_first {
            only = data;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut only));
            joined.extend_from_slice(&data);
        }
    }
    if size_bytes > bytes_max as u64 {
        return Err(NotReceived::TooLarge { size_bytes });
    }
    let body = if joined.is_empty() { only } else { joined.freeze() };
    Ok(Received { body, trailers })
}

/// Reads a body to its end and drops it.
pub(super) async fn drain(mut incoming: Incoming) -> Result<(), NotReceived> {
    while let Some(frame) = incoming.frame().await {
        frame.map_err(|_| NotReceived::Truncated)?;
    }
    Ok(())
}
