//! The prelude of a streamed HTTP response: JSON, eight NULs, and then the body (AWS: "Response
//! streaming for Lambda functions", content type [`CONTENT_TYPE`]).
//!
//! Chunks of the stream end anywhere: Rust's runtime sends JSON, NULs and body apart, Go's sends
//! them as its buffers fall. And a stream of this content type may have no prelude at all
//! (go-to-k/cdkd#664): then the response is 200, `application/octet-stream`, and every byte is
//! body. So the bytes are looked at one by one, and held only for as long as they can be a prelude.
//!
//! Pure. Owns no fds.

use bytes::{Bytes, BytesMut};

use crate::limits::PRELUDE_BYTES_MAX;
use crate::response_head::{HeadError, HeadFields, ResponseHead};

/// The content type that says that a stream is an HTTP response.
pub const CONTENT_TYPE: &str = "application/vnd.awslambda.http-integration-response";

/// How many NULs end a prelude.
const NULS: u8 = 8;

/// The content type of a response whose function names none.
const OCTET_STREAM: &str = "application/octet-stream";

/// Returns whether `content_type` says that a stream is an HTTP response.
#[must_use]
pub fn is_http_response(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(CONTENT_TYPE)
}

/// Why a prelude cannot be used. The client is to get status 502.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreludeError {
    /// Eight NULs follow what is no JSON of the right shape.
    #[error(
        "the function streams a prelude that is no JSON object of statusCode, headers and \
         cookies: {0}"
    )]
    Shape(String),
    /// Status, header fields or cookies cannot be used.
    #[error(transparent)]
    Head(#[from] HeadError),
}

/// A head, and the first bytes of the body after it.
pub type HeadAndRest = (ResponseHead, Bytes);

/// Looks for the prelude in the chunks of a stream.
#[derive(Debug, Default)]
pub struct PreludeParser {
    held: BytesMut,
    place: Place,
}

/// Where in a prelude the next byte stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    /// Inside of the object, so many braces deep.
    Object { depth: u32 },
    /// Inside of a string in the object.
    Text { depth: u32, escaped: bool },
    /// After `length` bytes that should be JSON, and so many NULs.
    Separator { length: usize, nuls: u8 },
    /// After a prelude's JSON of `length` bytes and its NULs.
    Body { length: usize },
    /// There is no prelude.
    Absent,
}

impl PreludeParser {
    /// Returns a parser that has seen nothing of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk of the stream. Returns the head and the bytes of the body so far once
    /// it is certain what the head is; what follows in the stream is then body and is not given to
    /// the parser. Returns `None` if more has to be seen.
    ///
    /// # Errors
    ///
    /// Returns a [`PreludeError`] if there is a prelude that cannot be used.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Option<HeadAndRest>, PreludeError> {
        let seen = self.held.len();
        self.held.extend_from_slice(chunk);
        for (offset, byte) in chunk.iter().enumerate() {
            let at = seen + offset;
            self.place =
                if at < PRELUDE_BYTES_MAX { self.place.next(*byte, at) } else { Place::Absent };
            match self.place {
                Place::Body { length } => {
                    let rest = self.held.split_off(at + 1);
                    self.held.truncate(length);
                    let fields: HeadFields = serde_json::from_slice(&self.held)
                        .map_err(|error| PreludeError::Shape(error.to_string()))?;
                    return Ok(Some((fields.into_head(OCTET_STREAM)?, rest.freeze())));
                }
                Place::Absent => return Ok(Some(self.without_prelude())),
                Place::Before
                | Place::Object { .. }
                | Place::Text { .. }
                | Place::Separator { .. } => {}
            }
        }
        Ok(None)
    }

    /// Returns the head and body of a stream that ended before it was certain that it has a
    /// prelude, which it then has not.
    #[must_use]
    pub fn finish(mut self) -> HeadAndRest {
        self.without_prelude()
    }

    fn without_prelude(&mut self) -> HeadAndRest {
        let fields = HeadFields::default();
        let head = fields.into_head(OCTET_STREAM).unwrap_or_else(|_| ResponseHead::default());
        (head, self.held.split().freeze())
    }
}

impl Place {
    /// Returns the place after `byte`, which is the stream's byte number `at`.
    ///
    /// A NUL ends the JSON also where JSON may not end: what comes before eight of them is meant as
    /// a prelude, and if it is none, that is the function's error. Fewer are part of some body.
    fn next(self, byte: u8, at: usize) -> Self {
        match (self, byte) {
            (Self::Before, b'{') => Self::Object { depth: 1 },
            (Self::Before, _) if byte.is_ascii_whitespace() => Self::Before,
            (Self::Object { .. } | Self::Text { .. }, 0) => Self::Separator { length: at, nuls: 1 },
            (Self::Object { depth }, b'{') => Self::Object { depth: depth + 1 },
            (Self::Object { depth: 1 }, b'}') => Self::Separator { length: at + 1, nuls: 0 },
            (Self::Object { depth }, b'}') => Self::Object { depth: depth - 1 },
            (Self::Object { depth }, b'"') => Self::Text { depth, escaped: false },
            (Self::Object { depth }, _) => Self::Object { depth },
            (Self::Text { depth, escaped: true }, _) => Self::Text { depth, escaped: false },
            (Self::Text { depth, .. }, b'\\') => Self::Text { depth, escaped: true },
            (Self::Text { depth, .. }, b'"') => Self::Object { depth },
            (Self::Text { depth, .. }, _) => Self::Text { depth, escaped: false },
            (Self::Separator { length, nuls }, 0) if nuls + 1 == NULS => Self::Body { length },
            (Self::Separator { length, nuls }, 0) => Self::Separator { length, nuls: nuls + 1 },
            (Self::Separator { length, nuls: 0 }, _) if byte.is_ascii_whitespace() => {
                Self::Separator { length, nuls: 0 }
            }
            (Self::Body { length }, _) => Self::Body { length },
            (Self::Before | Self::Separator { .. } | Self::Absent, _) => Self::Absent,
        }
    }
}

#[cfg(test)]
mod tests;
