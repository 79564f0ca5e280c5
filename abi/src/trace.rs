//! A span as others are told of it, by the W3C's Trace Context (level 1), which engine and worker
//! read and write alike. Pure; owns no fds.

use std::fmt;

/// The header that names the caller's span.
pub const TRACEPARENT: &str = "traceparent";
/// The header that has what tracing systems add to that. It goes where the other goes.
pub const TRACESTATE: &str = "tracestate";

/// The length of a traceparent of version 00, and the least length of any version: version, trace,
/// span and flags, with hyphens between them.
const TRACEPARENT_BYTES: usize = 55;
/// The flag by which the caller says that it may have recorded its span.
const SAMPLED: u8 = 1;

/// A span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The id of the trace that it is part of.
    pub trace: [u8; 16],
    /// Its own id.
    pub id: [u8; 8],
    /// Whether it is recorded.
    pub sampled: bool,
}

impl Span {
    /// Parses a traceparent of this version or a later one, which begins the same. Returns `None`
    /// if it is malformed.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(TRACEPARENT_BYTES)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let [version] = lower_hex(parts.next()?)?;
        let (trace, id, [flags]) =
            (lower_hex(parts.next()?)?, lower_hex(parts.next()?)?, lower_hex(parts.next()?)?);
        let ends = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => matches!(rest, [] | [b'-', ..]),
        };
        let fits = ends && parts.next().is_none() && trace != [0; 16] && id != [0; 8];
        fits.then_some(Self { trace, id, sampled: flags & SAMPLED != 0 })
    }
}

/// As a traceparent.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, id, sampled } = *self;
        let (trace, id, flags) =
            (u128::from_be_bytes(trace), u64::from_be_bytes(id), u8::from(sampled) * SAMPLED);
        write!(f, "00-{trace:032x}-{id:016x}-{flags:02x}")
    }
}

/// Returns the bytes that `text` encodes. Returns `None` unless it has exactly two lower-case
/// hexadecimal digits for each.
fn lower_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_later_version_may_have_more_and_is_answered_by_ours() {
        for later in [format!("01{}", &GOOD[2..]), format!("cc{}-more", &GOOD[2..])] {
            assert_eq!(Span::parse(later.as_bytes()), Span::parse(GOOD.as_bytes()));
        }
        assert_eq!(Span::parse(GOOD.as_bytes()).unwrap().to_string(), GOOD);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_so_that_it_reads_the_same(text in "[ -~]{50,60}", at in 0..55usize) {
            let mut damaged = GOOD.to_owned();
            damaged.replace_range(at..=at, &text[..1]);
            for text in [text, damaged] {
                if let Some(span) = Span::parse(text.as_bytes()) {
                    prop_assert_eq!(Span::parse(span.to_string().as_bytes()), Some(span));
                }
            }
        }
    }
}
