//! Finds the end of a chunked body (RFC 9112 7.1) without taking it apart.
//!
//! hyper decodes the body; this only counts along, so that the gate knows which byte is the next request's first. It
//! is strict where readers are known to differ: line ends are CRLF, sizes plain hexadecimal. Pure; owns no fds.

/// The longest line of a chunk's size and extensions, and the most bytes of trailers.
const LINE_BYTES_MAX: u32 = 16 * 1024;

/// The body is not well formed, and where it ends cannot be known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a size: so many digits seen.
    Size {
        digits: u8,
    },
    /// Behind the size, up to the line's end.
    Extension,
    /// The line feed after a size line.
    SizeFeed,
    /// In the data.
    Data,
    /// CR and LF behind the data.
    DataReturn,
    DataFeed,
    /// At the start of a trailer line, or of the empty line that ends it all.
    TrailerStart,
    Trailer,
    TrailerFeed,
    LastFeed,
    Done,
}

/// Where in a chunked body the last byte was.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    /// Of the chunk at hand: its size while it is read, then how much of it is left.
    left: u64,
    line_bytes: u32,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self { state: State::Size { digits: 0 }, left: 0, line_bytes: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Goes on over `bytes` and returns how many of them are the body's: all, unless its end is among them.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            if self.state == State::Data {
                let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= take as u64;
                at += take;
                if self.left == 0 {
                    self.state = State::DataReturn;
                }
                continue;
            }
            self.state = self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
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
            (State::Size { digits: 1.. }, b';' | b' ' | b'\t') => Ok(State::Extension),
            (State::Extension, b'\r') => Ok(State::SizeFeed),
            (State::Extension, byte) if byte != b'\n' => Ok(State::Extension),
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
            (State::TrailerStart | State::Trailer, byte) if !matches!(byte, b'\r' | b'\n') => Ok(State::Trailer),
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

    fn length_of(body: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut scanner = Scanner::new();
        let length = scanner.advance(body)?;
        Ok(scanner.is_done().then_some(length))
    }

    #[test]
    fn ends_are_found() {
        for body in ["0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "a;x=\"y\"\r\n0123456789\r\n00\r\nA: b\r\nC: d\r\n\r\n"] {
            let more = format!("{body}GET / HTTP/1.1");
            assert_eq!(length_of(more.as_bytes()), Ok(Some(body.len())), "{body:?}");
            assert_eq!(length_of(&body.as_bytes()[..body.len() - 1]), Ok(None), "{body:?}");
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
            "0\r\nA: b\n\r\n",
            "1111111111111111\r\n",
            " 1\r\nx\r\n",
        ] {
            assert_eq!(length_of(body.as_bytes()), Err(Malformed), "{body:?}");
        }
        let long = format!("1;{}", "x".repeat(LINE_BYTES_MAX as usize));
        assert_eq!(length_of(long.as_bytes()), Err(Malformed));
    }

    proptest! {
        /// However a body is cut into reads, its end is the same byte.
        #[test]
        fn cuts_make_no_difference(chunks in proptest::collection::vec(1usize..300, 0..8), step in 1usize..40) {
            let mut body = Vec::new();
            for size in &chunks {
                body.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                body.extend(std::iter::repeat_n(b'\r', *size));
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let end = body.len();
            body.extend_from_slice(b"0\r\n\r\n");
            let mut scanner = Scanner::new();
            let mut at = 0;
            for piece in body.chunks(step) {
                let taken = scanner.advance(piece).unwrap();
                at += taken;
                if taken < piece.len() { break }
            }
            prop_assert!(scanner.is_done());
            prop_assert_eq!(at, end);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = length_of(&bytes);
        }
    }
}
