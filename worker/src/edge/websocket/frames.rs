//! Frames of WebSocket (RFC 6455 5): a client's taken out of the bytes that arrive and joined to
//! messages, and the node's written. Pure; owns no fds.
//!
//! It is not a library's reader, because those keep for each connection, for as long as it lives, as
//! much memory as its longest message had, and take for a frame at once what its head announces.
//! This one takes for a message what has come of it, and has nothing between messages. The
//! end-to-end tests compare it with tungstenite, as their client.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::push::Message;

/// The longest body of a frame that is no message's (RFC 6455 5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;
/// The longest head of a frame.
const HEAD_BYTES_MAX: usize = 14;

/// Kinds of frames.
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The bit of a message's last frame.
const FINAL: u8 = 0x80;
/// The bits that an extension would set.
const RESERVED: u8 = 0x70;
/// The bit of a frame whose body is masked, beside its length.
const MASKED: u8 = 0x80;
/// The length stands behind this, in 16 bits.
const LENGTH_OF_16_BITS: u8 = 126;
/// The same in 64.
const LENGTH_OF_64_BITS: u8 = 127;

/// Codes of a close frame (RFC 6455 7.4.1, and IANA's list), and those that stand for one.
pub(super) mod code {
    pub(in super::super) const GOING_AWAY: u16 = 1001;
    pub(in super::super) const PROTOCOL: u16 = 1002;
    /// There was a close frame without a code.
    pub(in super::super) const NONE: u16 = 1005;
    /// There was no close frame.
    pub(in super::super) const CUT: u16 = 1006;
    pub(in super::super) const NOT_UTF8: u16 = 1007;
    pub(in super::super) const POLICY: u16 = 1008;
    pub(in super::super) const TOO_LARGE: u16 = 1009;
    pub(in super::super) const ERROR: u16 = 1011;
    pub(in super::super) const RESTART: u16 = 1012;
    pub(in super::super) const TRY_AGAIN: u16 = 1013;
}

/// What a client has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Incoming {
    Message(Message),
    Ping(Bytes),
    Pong,
    /// The end of what it sends, with the code if it gives one.
    Close(Option<u16>),
}

/// Why nothing more is read: the code of the close frame, and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

fn violation(code: u16, reason: &'static str) -> Violation {
    Violation { code, reason }
}

/// The head of a client's frame (RFC 6455 5.2).
struct Head {
    is_final: bool,
    opcode: u8,
    mask: [u8; 4],
    /// The bytes of the frame's body.
    length: u64,
    /// Its own.
    bytes: usize,
}

impl Head {
    /// Reads the head at the front of `bytes`. Returns `None` if it is not whole.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(violation(code::PROTOCOL, "a frame of an extension that is not spoken"));
        }
        if second & MASKED == 0 {
            return Err(violation(code::PROTOCOL, "a frame that is not masked"));
        }
        let (length, least, rest) = match second & !MASKED {
            LENGTH_OF_16_BITS => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), 126, rest),
                None => return Ok(None),
            },
            LENGTH_OF_64_BITS => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), 1 << 16, rest),
                None => return Ok(None),
            },
            length => (u64::from(length), 0, rest),
        };
        if length < least {
            return Err(violation(code::PROTOCOL, "a length that is written too long"));
        }
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let (is_final, opcode) = (first & FINAL != 0, first & !(FINAL | RESERVED));
        let own = bytes.len() - rest.len();
        Ok(Some(Self { is_final, opcode, mask: *mask, length, bytes: own }))
    }
}

/// A frame of a message that has begun.
struct Current {
    is_final: bool,
    mask: [u8; 4],
    /// The bytes that have not come.
    left: u64,
}

/// The reader of one client's frames.
#[derive(Default)]
pub(super) struct Decoder {
    /// The message that has begun: whether it is text, and what has come of it.
    message: Option<(bool, Vec<u8>)>,
    frame: Option<Current>,
}

impl Decoder {
    /// Returns the bytes that are held of a message that is not whole.
    pub(super) fn held_bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |(_, bytes)| bytes.capacity())
    }

    /// Returns whether a message has begun.
    pub(super) fn is_within_message(&self) -> bool {
        self.message.is_some()
    }

    /// Takes what comes next off the front of `buffer`. A message may have `bytes_max` bytes.
    /// Returns `None` if more has to arrive.
    ///
    /// # Errors
    /// Why the connection has to be closed.
    pub(super) fn next(
        &mut self,
        buffer: &mut BytesMut,
        bytes_max: usize,
    ) -> Result<Option<Incoming>, Violation> {
        loop {
            if let Some(message) = self.take_data(buffer)? {
                return Ok(Some(Incoming::Message(message)));
            }
            if self.frame.is_some() {
                return Ok(None);
            }
            let Some(head) = Head::read(buffer)? else { return Ok(None) };
            match head.opcode {
                CONTINUATION | TEXT | BINARY => {
                    self.begin(&head, bytes_max)?;
                    buffer.advance(head.bytes);
                }
                CLOSE | PING | PONG => {
                    let length = usize::try_from(head.length).unwrap_or(usize::MAX);
                    if !head.is_final || length > CONTROL_BYTES_MAX {
                        return Err(violation(code::PROTOCOL, "a control frame that is too long"));
                    }
                    if buffer.len() < head.bytes + length {
                        return Ok(None);
                    }
                    buffer.advance(head.bytes);
                    let mut body = buffer.split_to(length);
                    unmask(&mut body, head.mask);
                    return control(head.opcode, &body).map(Some);
                }
                _ => return Err(violation(code::PROTOCOL, "a frame of an unknown kind")),
            }
        }
    }

    /// Begins a frame of a message.
    fn begin(&mut self, head: &Head, bytes_max: usize) -> Result<(), Violation> {
        let begun = match (head.opcode, &self.message) {
            (CONTINUATION, Some((_, bytes))) => bytes.len(),
            (TEXT | BINARY, None) => 0,
            _ => return Err(violation(code::PROTOCOL, "a frame that does not come next")),
        };
        if head.length > bytes_max.saturating_sub(begun) as u64 {
            return Err(violation(code::TOO_LARGE, "the message is too large"));
        }
        if self.message.is_none() {
            self.message = Some((head.opcode == TEXT, Vec::new()));
        }
        let Head { is_final, mask, length: left, .. } = *head;
        self.frame = Some(Current { is_final, mask, left });
        Ok(())
    }

    /// Takes what has come of the current frame. Returns the message if that is its end.
    fn take_data(&mut self, buffer: &mut BytesMut) -> Result<Option<Message>, Violation> {
        let (Some(frame), Some((_, bytes))) = (&mut self.frame, &mut self.message) else {
            return Ok(None);
        };
        let most = usize::try_from(frame.left).unwrap_or(usize::MAX).min(buffer.len());
        let at = bytes.len();
        bytes.extend_from_slice(&buffer[..most]);
        buffer.advance(most);
        unmask(&mut bytes[at..], frame.mask);
        // The next part of the frame begins in the middle of the mask.
        frame.mask.rotate_left(most % 4);
        frame.left -= most as u64;
        if frame.left > 0 {
            return Ok(None);
        }
        let is_final = frame.is_final;
        self.frame = None;
        if !is_final {
            return Ok(None);
        }
        let Some((is_text, bytes)) = self.message.take() else { return Ok(None) };
        if is_text && std::str::from_utf8(&bytes).is_err() {
            return Err(violation(code::NOT_UTF8, "the text is not UTF-8"));
        }
        Ok(Some(Message { is_text, bytes: bytes.into() }))
    }
}

/// Takes a mask off bytes.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let mut chunks = bytes.chunks_exact_mut(4);
    for chunk in &mut chunks {
        chunk.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
    chunks.into_remainder().iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

fn control(opcode: u8, body: &[u8]) -> Result<Incoming, Violation> {
    match (opcode, body) {
        (PING, body) => Ok(Incoming::Ping(Bytes::copy_from_slice(body))),
        (PONG, _) => Ok(Incoming::Pong),
        (_, []) => Ok(Incoming::Close(None)),
        (_, [_]) => Err(violation(code::PROTOCOL, "a close frame with half a code")),
        (_, [high, low, reason @ ..]) => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(violation(code::PROTOCOL, "a close frame with no code of a client's"));
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(violation(code::NOT_UTF8, "the reason is not UTF-8"));
            }
            Ok(Incoming::Close(Some(code)))
        }
    }
}

/// Appends the head of a frame that the node sends, which is never masked nor in parts.
fn head(out: &mut Vec<u8>, opcode: u8, length: usize) {
    out.push(FINAL | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..LENGTH_OF_16_BITS), _) => out.push(length),
        (_, Ok(length)) => {
            out.push(LENGTH_OF_16_BITS);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(LENGTH_OF_64_BITS);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a message.
pub(super) fn write_message(out: &mut Vec<u8>, message: &Message) {
    out.reserve(HEAD_BYTES_MAX + message.bytes.len());
    head(out, if message.is_text { TEXT } else { BINARY }, message.bytes.len());
    out.extend_from_slice(&message.bytes);
}

/// Appends a ping.
pub(super) fn write_ping(out: &mut Vec<u8>) {
    head(out, PING, 0);
}

/// Appends the answer to a ping.
pub(super) fn write_pong(out: &mut Vec<u8>, body: &[u8]) {
    head(out, PONG, body.len());
    out.extend_from_slice(body);
}

/// Appends a close frame, without a code if `code` stands for none.
pub(super) fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    if code == code::NONE {
        return head(out, CLOSE, 0);
    }
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    head(out, CLOSE, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
