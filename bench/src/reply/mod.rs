//! An HTTP/1 reply, read from bytes as they come, in pieces of any size. No I/O and no file
//! descriptor: whoever owns the socket feeds it.
//!
//! Strict, as a referee should be: a reply that only a forgiving client accepts is an error here.

mod chunked;

use chunked::Chunked;

/// More head than any server we measure has cause to send.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;

/// What is wrong with a reply.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a reply head.
    #[error("malformed head: {0}")]
    Head(#[from] httparse::Error),
    /// A head without end.
    #[error("head longer than {HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    /// No number, two different ones, or one beside chunked coding.
    #[error("unusable content-length")]
    ContentLength,
    /// A transfer coding other than chunked.
    #[error("transfer-encoding other than chunked")]
    TransferEncoding,
    /// Chunked framing that does not add up.
    #[error("malformed chunk")]
    Chunk,
    /// The connection ended inside a reply.
    #[error("connection closed inside a reply")]
    Truncated,
    /// The connection ended before the reply's first byte.
    #[error("connection closed without a reply")]
    NoReply,
}

/// What a head says, once the reply is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Whether the connection may carry another request.
    pub keep_alive: bool,
}

/// Reads one reply after the other.
#[derive(Debug, Default)]
pub struct ReplyParser {
    state: State,
    /// Bytes of a head that came in pieces; empty in the usual case, where it is parsed in place.
    partial: Vec<u8>,
    /// Whether the reply ends with its head, because the request was a HEAD (RFC 9110 9.3.2).
    head_only: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    Body(Head, Framing),
}

#[derive(Debug)]
enum Framing {
    Sized { left: u64 },
    Chunked(Chunked),
    UntilClose,
}

impl ReplyParser {
    /// Says what the next request is. Call it between two replies only.
    pub fn expect(&mut self, head_only: bool) {
        self.head_only = head_only;
    }

    /// Takes the next bytes off the socket. Returns how many belong to this reply and, once it is
    /// whole, its head; the parser is then ready for the next reply. `on_body` sees the body's
    /// bytes.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        on_body: &mut impl FnMut(&[u8]),
    ) -> Result<(usize, Option<Head>), Error> {
        let mut used = 0;
        while matches!(self.state, State::Head) {
            match self.feed_head(&bytes[used..])? {
                Some(count) => used += count,
                None => return Ok((bytes.len(), None)),
            }
        }
        let State::Body(head, framing) = &mut self.state else {
            return Ok((used, None));
        };
        let head = *head;
        let rest = &bytes[used..];
        let done = match framing {
            Framing::Sized { left } => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                if count > 0 {
                    on_body(&rest[..count]);
                }
                *left -= count as u64;
                used += count;
                *left == 0
            }
            Framing::Chunked(chunked) => {
                let (count, done) = chunked.feed(rest, on_body)?;
                used += count;
                done
            }
            Framing::UntilClose => {
                on_body(rest);
                used = bytes.len();
                false
            }
        };
        if done {
            self.state = State::Head;
        }
        Ok((used, done.then_some(head)))
    }

    /// The peer has closed: the end of a reply that runs until then, an error anywhere else.
    pub fn end(&mut self) -> Result<Head, Error> {
        match std::mem::take(self) {
            Self { state: State::Body(head, Framing::UntilClose), .. } => Ok(head),
            Self { state: State::Head, partial, .. } if partial.is_empty() => Err(Error::NoReply),
            _ => Err(Error::Truncated),
        }
    }

    /// Returns how many of `bytes` end the head, or nothing when all of them are in it and it goes
    /// on.
    fn feed_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let before = self.partial.len();
        let parsed = if before == 0 {
            parse_head(bytes)?
        } else {
            self.partial.extend_from_slice(bytes);
            parse_head(&self.partial)?
        };
        let Some((length, head, framing)) = parsed else {
            if before == 0 {
                self.partial.extend_from_slice(bytes);
            }
            return if self.partial.len() > HEAD_BYTES_MAX {
                Err(Error::HeadTooLong)
            } else {
                Ok(None)
            };
        };
        self.partial.clear();
        // An interim reply (100, 103) announces the one that counts.
        if !(100..200).contains(&head.status) {
            let framing = if self.head_only { Framing::Sized { left: 0 } } else { framing };
            self.state = State::Body(head, framing);
        }
        Ok(Some(length - before))
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<(usize, Head, Framing)>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes)? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or(0);
    let mut keep_alive = response.version == Some(1);
    let (mut content_length, mut chunked) = (None, false);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let value = number(header.value).ok_or(Error::ContentLength)?;
            if content_length.is_some_and(|other| other != value) {
                return Err(Error::ContentLength);
            }
            content_length = Some(value);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Error::TransferEncoding);
            }
            chunked = true;
        } else if header.name.eq_ignore_ascii_case("connection") {
            for option in header.value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                if option.eq_ignore_ascii_case(b"close") {
                    keep_alive = false;
                    break;
                }
            }
        }
    }
    let framing = match (status, chunked, content_length) {
        (204 | 304, _, _) => Framing::Sized { left: 0 },
        (_, true, Some(_)) => return Err(Error::ContentLength),
        (_, true, None) => Framing::Chunked(Chunked::default()),
        (_, false, Some(left)) => Framing::Sized { left },
        (_, false, None) => {
            keep_alive = false;
            Framing::UntilClose
        }
    };
    Ok(Some((length, Head { status, keep_alive }, framing)))
}

/// Digits and nothing else: `str::parse` would let a sign through.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
