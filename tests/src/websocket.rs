//! Frames of WebSocket (RFC 6455 5.2), written and read by hand. Owns no fds.

use std::io::{Read as _, Result};

/// A frame of text.
pub const TEXT: u8 = 1;
/// A frame of bytes.
pub const BINARY: u8 = 2;
/// A frame that ends the connection.
pub const CLOSE: u8 = 8;
/// A frame that asks for a pong.
pub const PING: u8 = 9;
/// The answer to a ping.
pub const PONG: u8 = 10;

/// Returns a whole frame of a client, masked with zeros.
#[must_use]
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match u8::try_from(payload.len()) {
        Ok(length @ ..126) => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Reads a frame of a server. Returns its opcode and payload.
///
/// # Errors
/// If it does not come whole.
pub fn read_frame(mut stream: impl std::io::Read) -> Result<(u8, Vec<u8>)> {
    let mut start = [0; 2];
    stream.read_exact(&mut start)?;
    let length = match start[1] {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            u64::from(u16::from_be_bytes(length))
        }
        127 => {
            let mut length = [0; 8];
            stream.read_exact(&mut length)?;
            u64::from_be_bytes(length)
        }
        length => length.into(),
    };
    let mut payload = Vec::new();
    stream.by_ref().take(length).read_to_end(&mut payload)?;
    match payload.len() as u64 == length {
        true => Ok((start[0] & 0x0f, payload)),
        false => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}
