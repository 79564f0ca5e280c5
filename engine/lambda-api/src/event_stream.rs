//! Frames of `application/vnd.amazon.eventstream`, the type of streamed answers.
//!
//! ```text
//! total u32, headers u32, CRC-32 of these, headers, payload, CRC-32 of all   (big-endian)
//! header: name's length u8, name, 7 (text), value's length u16, value
//! ```
//!
//! Follows the "Amazon Event Stream Specification" of Smithy. Pure; owns no fds.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Serialize;

use crate::invocation::Completion;
use crate::json::base64_tail;

/// The type of a streamed answer.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";
/// The largest payload of a frame. Clients refuse frames of more than 16 MiB.
pub(crate) const FRAME_PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// What stands before the headers.
const PRELUDE_BYTES: usize = 12;
/// A CRC-32.
const CHECKSUM_BYTES: usize = 4;
/// The type of a header whose value is text.
const TEXT: u8 = 7;

/// What the last frame says.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct InvokeComplete<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_details: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_result: Option<String>,
}

/// Returns the frames of a piece of the answer: one, unless it is larger than
/// [`FRAME_PAYLOAD_BYTES_MAX`].
pub(crate) fn payload_chunks(piece: &Bytes) -> Bytes {
    let headers = [
        (":event-type", "PayloadChunk"),
        (":content-type", "application/octet-stream"),
        (":message-type", "event"),
    ];
    let mut frames = BytesMut::new();
    for payload in piece.chunks(FRAME_PAYLOAD_BYTES_MAX) {
        write(&mut frames, &headers, payload);
    }
    frames.freeze()
}

/// Returns the frame that ends an answer.
pub(crate) fn complete(completion: &Completion) -> Bytes {
    let error = completion.function_error.as_ref();
    let complete = InvokeComplete {
        error_code: error.map(|error| error.kind.as_str()),
        error_details: error.map(|error| String::from_utf8_lossy(&error.document).into_owned()),
        log_result: completion.log_tail.as_ref().map(base64_tail),
    };
    let headers = [
        (":event-type", "InvokeComplete"),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    let mut frame = BytesMut::new();
    // An error's document is smaller than any frame may be: it came through a payload's limit.
    write(&mut frame, &headers, &serde_json::to_vec(&complete).unwrap_or_default());
    frame.freeze()
}

/// Returns the frame that ends an answer of which the node lost the rest.
pub(crate) fn failed(message: &str) -> Bytes {
    let headers = [
        (":message-type", "error"),
        (":error-code", "ServiceException"),
        (":error-message", message),
    ];
    let mut frame = BytesMut::new();
    write(&mut frame, &headers, &[]);
    frame.freeze()
}

/// Writes a frame. A header's value that is too long is cut.
fn write(frames: &mut BytesMut, headers: &[(&'static str, &str)], payload: &[u8]) {
    let mut encoded = BytesMut::new();
    for (name, value) in headers {
        let name = name.get(..name.len().min(u8::MAX.into())).unwrap_or_default();
        let value = value.as_bytes();
        let value = value.get(..value.len().min(u16::MAX.into())).unwrap_or_default();
        encoded.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        encoded.put_slice(name.as_bytes());
        encoded.put_u8(TEXT);
        encoded.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        encoded.put_slice(value);
    }
    let total = PRELUDE_BYTES + encoded.len() + payload.len() + CHECKSUM_BYTES;
    let mut frame = BytesMut::with_capacity(total);
    // Both are far below 4 GiB: the largest part is one frame's payload.
    frame.put_u32(u32::try_from(total).unwrap_or(u32::MAX));
    frame.put_u32(u32::try_from(encoded.len()).unwrap_or(u32::MAX));
    frame.put_u32(crc32fast::hash(&frame));
    frame.put_slice(&encoded);
    frame.put_slice(payload);
    frame.put_u32(crc32fast::hash(&frame));
    frames.unsplit(frame);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_the_specification_has_it() {
        let mut frame = BytesMut::new();
        write(&mut frame, &[], &[]);
        // The specification's empty message.
        assert_eq!(hex::encode(&frame), "000000100000000005c248eb7d98c8ff");
    }

    #[test]
    fn a_large_piece_becomes_several_frames() {
        let piece = Bytes::from(vec![1; FRAME_PAYLOAD_BYTES_MAX + 1]);
        let frames = payload_chunks(&piece);
        let first = u32::from_be_bytes(frames[..4].try_into().unwrap()) as usize;
        let second = u32::from_be_bytes(frames[first..first + 4].try_into().unwrap()) as usize;
        assert_eq!(first + second, frames.len());
        assert_eq!(first - second, FRAME_PAYLOAD_BYTES_MAX - 1);
        assert!(payload_chunks(&Bytes::new()).is_empty());
    }
}
