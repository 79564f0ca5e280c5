//! The decoder of chunked bodies (RFC 9112 7.1).
//!
//! It is strict where readers are known to differ about the end of a body: lines end with CRLF,
//! sizes are plain hexadecimal, and only an extension, with its semicolon, may follow a size. Pure;
//! owns no fds.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The longest line of a chunk's size and extensions, and the most bytes of trailers.
const LINE_BYTES_MAX: u32 = 16 * 1024;

/// The next piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// The end of the body.
    End,
    /// More bytes must be read first. At least `bytes` are missing.
    More {
        bytes: u64,
    },
}

/// The body is malformed, and its end cannot be known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a size, after `digits` digits.
    Size {
        digits: u8,
    },
    /// In white space after the size: an extension must follow.
    Space,
    /// After the semicolon, up to the line's end.
    Extension,
    /// Before the line feed of a size line.
    SizeFeed,
    /// In a chunk's data.
    Data,
    /// Before the CR after a chunk's data, and before its LF.
    DataReturn,
    DataFeed,
    /// At the start of a trailer line, or of the empty line that ends the body.
    TrailerStart,
    Trailer,
    TrailerFeed,
    LastFeed,
    Done,
}

/// The state of decoding a chunked body.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    /// The size of the current chunk while it is read, then the rest of its data.
    left: u64,
    line_bytes: u32,
    trailers: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Size { digits: 0 }, left: 0, line_bytes: 0, trailers: Vec::new() }
    }
}

impl Decoder {
    /// Takes the next piece of the body off the front of `buffer`. Takes nothing after the body's
    /// end.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, Malformed> {
        let mut at = 0;
        while at < buffer.len() && self.state != State::Done {
            if self.state == State::Data {
                buffer.advance(at);
                let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
                self.left -= take as u64;
                if self.left == 0 {
                    self.state = State::DataReturn;
                }
                return Ok(Piece::Data(buffer.split_to(take).freeze()));
            }
            let byte = buffer[at];
            if matches!(self.state, State::TrailerStart | State::Trailer | State::TrailerFeed) {
                self.trailers.push(byte);
            }
            self.state = self.step(byte)?;
            at += 1;
        }
        buffer.advance(at);
        match self.state {
            // At least the chunk's line end and a last chunk are still to come.
            State::Data => Ok(Piece::More { bytes: self.left.saturating_add(7) }),
            State::Done if self.trailers.len() > 1 => Ok(Piece::Trailers(self.take_trailers()?)),
            State::Done => Ok(Piece::End),
            _ => Ok(Piece::More { bytes: 0 }),
        }
    }

    fn take_trailers(&mut self) -> Result<HeaderMap, Malformed> {
        let mut text = std::mem::take(&mut self.trailers);
        text.push(b'\n');
        let mut room = [httparse::EMPTY_HEADER; abi::limits::HEADERS_MAX];
        let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(&text, &mut room)
        else {
            return Err(Malformed);
        };
        let mut trailers = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
            trailers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| Malformed)?);
        }
        Ok(trailers)
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        self.line_bytes += 1;
        if self.line_bytes > LINE_BYTES_MAX {
            return Err(Malformed);
        }
        match (self.state, byte) {
            (State::Size { digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 15 => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                self.left = self.left * 16 + u64::from(digit);
                Ok(State::Size { digits: digits + 1 })
            }
            (State::Size { digits: 1.. }, b'\r') => Ok(State::SizeFeed),
            (State::Size { digits: 1.. } | State::Space, b' ' | b'\t') => Ok(State::Space),
            (State::Size { digits: 1.. } | State::Space, b';') => Ok(State::Extension),
            (State::Extension, b'\r') => Ok(State::SizeFeed),
            (State::Extension, byte) if byte == b'\t' || !byte.is_ascii_control() => {
                Ok(State::Extension)
            }
            (State::SizeFeed, b'\n') => {
                self.line_bytes = 0;
                Ok(if self.left == 0 { State::TrailerStart } else { State::Data })
            }
            (State::DataReturn, b'\r') => Ok(State::DataFeed),
            (State::DataFeed, b'\n') => {
                self.line_bytes = 0;
                Ok(State::Size { digits: 0 })
            }
            (State::TrailerStart, b'\r') => Ok(State::LastFeed),
            (State::TrailerStart | State::Trailer, byte) if !matches!(byte, b'\r' | b'\n') => {
                Ok(State::Trailer)
            }
            (State::Trailer, b'\r') => Ok(State::TrailerFeed),
            (State::TrailerFeed, b'\n') => Ok(State::TrailerStart),
            (State::LastFeed, b'\n') => Ok(State::Done),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes `body` in pieces of at most `step` bytes: its data, whether it has ended, and what
    /// is left behind it.
    fn decode(body: &[u8], step: usize) -> Result<(Vec<u8>, bool, usize), Malformed> {
        let (mut decoder, mut buffer, mut data) = (Decoder::default(), BytesMut::new(), Vec::new());
        let mut read = body.chunks(step);
        loop {
            match decoder.next(&mut buffer)? {
                Piece::Data(bytes) => data.extend_from_slice(&bytes),
                Piece::Trailers(_) => {}
                Piece::End => {
                    return Ok((data, true, buffer.len() + read.map(<[u8]>::len).sum::<usize>()));
                }
                Piece::More { .. } => match read.next() {
                    Some(bytes) => buffer.extend_from_slice(bytes),
                    None => return Ok((data, false, buffer.len())),
                },
            }
        }
    }

    #[test]
    fn ends_are_found() {
        for body in [
            "0\r\n\r\n",
            "0;x\r\n\r\n",
            "3 ; x\r\nabc\r\n0 \t;\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "a;x=\"y\"\r\n0123456789\r\n00\r\nA: b\r\nC: d\r\n\r\n",
        ] {
            let more = format!("{body}GET / HTTP/1.1");
            let (_, ended, rest) = decode(more.as_bytes(), 7).unwrap();
            assert_eq!((ended, rest), (true, "GET / HTTP/1.1".len()), "{body:?}");
            let (_, ended, rest) = decode(&body.as_bytes()[..body.len() - 1], 7).unwrap();
            assert_eq!((ended, rest), (false, 0), "{body:?}");
        }
    }

    #[test]
    fn what_readers_could_take_differently_is_malformed() {
        for body in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            "1\nx\r\n",
            "1\r\nxy",
            "1\r\nx\n0\r\n\r\n",
            "0\n\n",
            "1;a\nb",
            "1;a\0b\r\nx\r\n",
            "3 zz\r\nabc\r\n",
            "3\tzz\r\nabc\r\n",
            "3 \r\nabc\r\n",
            "3 3\r\nabc\r\n",
            "3zz\r\nabc\r\n",
            "3, 4\r\nabc\r\n",
            "0\r\nA: b\n\r\n",
            "1111111111111111\r\n",
            " 1\r\nx\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nA b: c\r\n\r\n",
        ] {
            assert!(decode(body.as_bytes(), 100).is_err(), "{body:?}");
        }
        let long = format!("1;{}", "x".repeat(LINE_BYTES_MAX as usize));
        assert!(decode(long.as_bytes(), 100).is_err());
    }

    proptest! {
        /// However a body is cut into reads, its data and its end are the same.
        #[test]
        fn cuts_make_no_difference(chunks in proptest::collection::vec(1usize..300, 0..8), step in 1usize..40) {
            let mut body = Vec::new();
            for size in &chunks {
                body.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                body.extend(std::iter::repeat_n(b'\r', *size));
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            body.extend_from_slice(b"0\r\n\r\n");
            let (data, ended, rest) = decode(&body, step).unwrap();
            prop_assert_eq!(data, vec![b'\r'; chunks.iter().sum()]);
            prop_assert_eq!((ended, rest), (true, 5));
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..256), step in 1usize..40) {
            let _ = decode(&bytes, step);
        }
    }
}
