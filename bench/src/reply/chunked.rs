//! Chunked transfer coding, byte by byte for the framing and slice by slice for the data.
//! No I/O and no file descriptor.

use super::Error;

/// Where in the coding the next byte stands.
#[derive(Debug)]
pub enum Chunked {
    /// In the digits of a chunk's size.
    Size { value: u64, digits: u8 },
    /// In a chunk extension, which nobody uses and everybody must skip.
    Extension { value: u64 },
    /// After the CR of a size line.
    SizeLf { value: u64 },
    /// In a chunk's data.
    Data { left: u64 },
    /// After a chunk's data.
    DataCr,
    /// After the CR that follows a chunk's data.
    DataLf,
    /// At the start of a line after the last chunk.
    TrailerStart,
    /// Inside a trailer.
    Trailer,
    /// After the CR of the empty line that ends it all.
    EndLf,
}

impl Default for Chunked {
    fn default() -> Self {
        Self::Size { value: 0, digits: 0 }
    }
}

impl Chunked {
    /// Takes bytes until the body's end or theirs; returns how many, and whether the body is whole.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        on_body: &mut impl FnMut(&[u8]),
    ) -> Result<(usize, bool), Error> {
        let mut at = 0;
        while at < bytes.len() {
            if let Self::Data { left } = self {
                let rest = &bytes[at..];
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                on_body(&rest[..count]);
                at += count;
                *left -= count as u64;
                if *left == 0 {
                    *self = Self::DataCr;
                }
                continue;
            }
            let byte = bytes[at];
            at += 1;
            if matches!((&*self, byte), (Self::EndLf, b'\n')) {
                return Ok((at, true));
            }
            *self = self.after(byte).ok_or(Error::Chunk)?;
        }
        Ok((at, false))
    }

    /// The state after one byte of framing, or nothing when that byte may not stand here.
    fn after(&self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (&Self::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = u64::from(char::from(byte).to_digit(16)?);
                // Sixteen digits fill the 64 bits; leading zeros past that are an attack, not a
                // size.
                if digits == 16 {
                    return None;
                }
                Self::Size { value: value << 4 | digit, digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return None,
            (&Self::Size { value, .. }, b';' | b' ' | b'\t') => Self::Extension { value },
            (&(Self::Size { value, .. } | Self::Extension { value }), b'\r') => {
                Self::SizeLf { value }
            }
            (&Self::Extension { value }, _) if byte != b'\n' => Self::Extension { value },
            (Self::SizeLf { value: 0 }, b'\n') => Self::TrailerStart,
            (&Self::SizeLf { value }, b'\n') => Self::Data { left: value },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::default(),
            (Self::TrailerStart, b'\r') => Self::EndLf,
            (Self::Trailer, b'\n') => Self::TrailerStart,
            (Self::TrailerStart | Self::Trailer, _) => Self::Trailer,
            _ => return None,
        })
    }
}
